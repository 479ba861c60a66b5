"""Sockets: connections and datagrams between the processes of a machine.

As Linux has them (unix(7), tcp(7), udp(7)), on one kind of stream and one of datagrams: what is
sent is in the receiver's queue at once. A TCP connection differs from one between names only in who
learns what when an end is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from emu.process.addresses import (
    AF_INET,
    AF_UNIX,
    ANY,
    LOOPBACK,
    UNNAMED,
    Address,
    InternetAddress,
)
from emu.process.files import OpenFile, Status, WaitingFile
from emu.process.messages import NOBODY, Credentials, Message, Queue, Received
from emu.process.network import Network
from emu.process.numbers import (
    O_NONBLOCK,
    O_RDWR,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDHUP,
    S_IFSOCK,
    CallError,
    Errno,
    QuietError,
)
from isa.record import NamedTuple

SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET = 1, 2, 5
RECEIVE, SEND = 1, 2  # directions that are shut
BUFFER = 212_992  # net.core.wmem_default
MOST_BACKLOG = 4096  # net.core.somaxconn
MOST_WAITING = 10  # net.unix.max_dgram_qlen: datagrams that wait when one more may come
LARGEST_UDP = 65_507
FIRST_FREE_PORT = 1024  # those below are the superuser's


class Target(NamedTuple):
    """An address, and the socket that has this name."""

    address: Address
    found: Socket | None = None


class Socket(WaitingFile):
    """What all sockets have: a name, a queue, options. Calls fail with EAGAIN where they would
    have to wait.

    `kind` is SOCK_*, `address` its own, `remote` that of what it is connected to.
    """

    listening = connected = False

    def __init__(self, network: Network, family: int, kind: int, flags: int = 0) -> None:
        super().__init__(O_RDWR | flags & O_NONBLOCK)
        self.network, self.family, self.kind = network, family, kind
        self.inode = network.join(self)
        self.address = self.remote = UNNAMED if family == AF_UNIX else InternetAddress()
        self.bound = False
        self.incoming = Queue(network.room)
        self.shut = 0
        self.error: Errno | None = None  # that the next call learns
        self.options: dict[tuple[int, int], int] = {}
        self.reuses = self.passes_credentials = False
        self.send_size = self.receive_size = BUFFER
        self.other_end = NOBODY  # who made the connection
        self.closed = False

    # -- names --------------------------------------------------------------------------------

    def bind(self, address: Address, user: int = 0) -> None:
        """Give it a name; EINVAL, EADDRINUSE, EADDRNOTAVAIL, EACCES. A path is there already."""
        if self.bound:
            raise CallError(Errno.EINVAL)
        if isinstance(address, InternetAddress):
            if not address.is_loopback and address.host != ANY:
                raise CallError(Errno.EADDRNOTAVAIL)
            if 0 < address.port < FIRST_FREE_PORT and user:
                raise CallError(Errno.EACCES)
            self.address = address = self.network.claim(self, address)
        elif address.is_path:
            self.address = address
        else:
            self.address = self.network.name(self, address)
        self.bound = True

    def _bind_to_any(self, host: int = ANY) -> None:
        """Give it a port if it has none."""
        if not self.bound:
            self.bind(InternetAddress(host))

    def _reachable(self, address: InternetAddress) -> InternetAddress:
        """Where a packet to an address goes; ENETUNREACH."""
        if not address.is_loopback and address.host != ANY:
            raise CallError(Errno.ENETUNREACH)
        return address if address.host else InternetAddress(LOOPBACK, address.port)

    # -- files --------------------------------------------------------------------------------

    def read(self, size: int) -> bytes:
        """Receive; files that come along are dropped."""
        found = self.receive(size)
        self.network.drop(found.rights)
        return found.data

    def write(self, data: bytes) -> int:
        """Send."""
        return self.send(data)

    def status(self) -> Status:
        """A socket."""
        return Status(S_IFSOCK | 0o777, inode=self.inode, device=8)

    def can_read(self) -> bool:
        """Something has come, or never will."""
        return bool(self.incoming or self.error or self.shut & RECEIVE or self.closed)

    def can_write(self, size: int) -> bool:
        """There is room where it is connected to, or an error."""
        return self.can_send(None)

    def can_send(self, target: Target | None) -> bool:
        """The same for a target."""
        raise NotImplementedError

    def send(
        self, data: bytes, target: Target | None = None, rights: Sequence[OpenFile] = (),
        credentials: Credentials | None = None,
    ) -> int:  # fmt: skip
        """Send bytes or a datagram with open files; returns how many bytes were taken."""
        raise NotImplementedError

    def receive(self, size: int, *, peek: bool = False) -> Received:
        """Receive bytes or a datagram; whoever does not `peek` must drop its files."""
        raise NotImplementedError

    def listen(self, backlog: int, owner: Credentials) -> None:
        """Take connections; EOPNOTSUPP."""
        raise CallError(Errno.EOPNOTSUPP)

    def accept(self, flags: int) -> Socket:
        """Return the end of the oldest connection; EOPNOTSUPP."""
        raise CallError(Errno.EOPNOTSUPP)

    def connect(self, target: Target, owner: Credentials) -> None:
        """Connect."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Be connected no more; EINVAL."""
        raise NotImplementedError

    def shutdown(self, directions: int) -> None:
        """Shut one direction or both."""
        raise NotImplementedError

    def sends_to(self, receiver: Socket) -> bool:
        """Tell whether it is connected to another one and sends datagrams."""
        return False

    def _raise_error(self) -> None:
        """Tell what has happened meanwhile, once."""
        if (error := self.taken_error()) is not None:
            raise CallError(error)

    def taken_error(self) -> Errno | None:
        """What has happened meanwhile (SO_ERROR)."""
        error, self.error = self.error, None
        return error

    def _credentials(self, to: Socket, told: Credentials | None) -> Credentials:
        """Those that go with a message: only if somebody may ask, unless they were `told`."""
        if told is not None:
            return told
        asked = self.passes_credentials or to.passes_credentials
        return self.network.owner() if asked else NOBODY

    def _deliver(self, to: Socket, message: Message, *, whole: bool) -> None:
        """Put a message into another socket's queue; ENOBUFS, ETOOMANYREFS."""
        self.network.send(message.rights)
        try:
            to.incoming.add(message) if whole else to.incoming.extend(message)
        except CallError:
            self.network.drop(message.rights)
            raise
        to.tell(POLLIN)

    def _shut_events(self) -> int:
        found = POLLERR if self.error else 0
        if self.shut & RECEIVE:
            found |= POLLIN | POLLRDHUP
        return found | (POLLHUP if self.shut == RECEIVE | SEND else 0)

    def close(self) -> None:
        """Nobody refers to it any more."""
        if self.closed:
            return  # at the machine's end, before the messages that refer to it
        self.closed = True
        if self.bound:
            self.network.forget(self)
        self._leave()
        self.network.leave(self)
        self.network.drop(self.incoming.clear())

    def _leave(self) -> None:
        """Tell those that are connected."""
        raise NotImplementedError


class StreamSocket(Socket):
    """A connection's end, or what listens for some; SOCK_SEQPACKET keeps messages apart."""

    def __init__(self, network: Network, family: int, kind: int, flags: int = 0) -> None:
        super().__init__(network, family, kind, flags)
        self.by_messages = kind == SOCK_SEQPACKET
        self.peer: StreamSocket | None = None
        self.connecting = False  # the call that began it said EINPROGRESS
        self._backlog: deque[StreamSocket] = deque()
        self._most_backlog = 0

    @property
    def _is_tcp(self) -> bool:
        return self.family == AF_INET

    def join(self, other: StreamSocket, owner: Credentials, others: Credentials) -> None:
        """Connect two ends, each of which learns who made the other."""
        for end, peer, who in ((self, other, others), (other, self, owner)):
            end.peer, end.connected, end.remote = peer, True, peer.address
            end.other_end = NOBODY if self._is_tcp else who

    # -- making connections -------------------------------------------------------------------

    def listen(self, backlog: int, owner: Credentials) -> None:
        """Take connections; EINVAL, EADDRINUSE."""
        if self.connected or (not self._is_tcp and not self.bound):
            raise CallError(Errno.EINVAL)
        if self._is_tcp:
            self._bind_to_any()
            assert isinstance(self.address, InternetAddress)
            if any(self.network.conflicts(self, self.address)):
                raise CallError(Errno.EADDRINUSE)
        self.shut = 0 if self._is_tcp else self.shut
        self.listening, self.other_end = True, NOBODY if self._is_tcp else owner
        self._most_backlog = min(backlog & 0xFFFFFFFF, MOST_BACKLOG)

    def accept(self, flags: int) -> StreamSocket:
        """Return the end of the oldest connection; EINVAL."""
        if not self.listening:
            raise CallError(Errno.EINVAL)
        if not self._backlog:
            raise CallError(Errno.EINVAL if self.shut & RECEIVE else Errno.EAGAIN)
        found = self._backlog.popleft()
        found.flags |= flags & O_NONBLOCK
        return found

    def can_connect(self, target: Target) -> bool:
        """Tell whether a connect would be decided."""
        try:
            listener = self._listener(target)
        except CallError:
            return True
        return not listener.is_full

    @property
    def is_full(self) -> bool:
        """Whether more connections than it takes wait to be accepted."""
        return len(self._backlog) > self._most_backlog

    def connect(self, target: Target, owner: Credentials) -> None:
        """Connect to what listens there; EISCONN, ECONNREFUSED, EPROTOTYPE, EINPROGRESS."""
        if self.connecting:
            self.connecting = False
            self._raise_error()
            return
        if not self._is_tcp:
            self._listener(target)
        if self.connected or (self.listening and self._is_tcp):
            raise CallError(Errno.EISCONN)
        if self.listening:
            raise CallError(Errno.EINVAL)
        later = self._is_tcp and bool(self.flags & O_NONBLOCK)
        try:
            self._join_listener(self._listener(target), target.address, owner)
        except CallError as error:
            if not later or error.number != Errno.ECONNREFUSED:
                raise
            self.error, self.shut = error.number, RECEIVE | SEND
            self.tell()
        if later:
            self.connecting = True
            raise CallError(Errno.EINPROGRESS)

    def _listener(self, target: Target) -> StreamSocket:
        found = target.found
        if isinstance(target.address, InternetAddress):
            address = self._reachable(target.address)
            users = self.network.users(self.kind, address.port)
            at = {s.address.host: s for s in users if isinstance(s, StreamSocket) and s.listening
                  and isinstance(s.address, InternetAddress)}  # fmt: skip
            found = at.get(address.host) or at.get(ANY)
        if found is None or found.closed:
            raise CallError(Errno.ECONNREFUSED)
        if not isinstance(found, StreamSocket) or found.kind != self.kind:
            raise CallError(Errno.EPROTOTYPE)
        if not found.listening or found.shut & RECEIVE:
            raise CallError(Errno.ECONNREFUSED)
        return found

    def _join_listener(self, listener: StreamSocket, address: Address, owner: Credentials) -> None:
        if listener.is_full:
            raise CallError(Errno.EAGAIN)
        end = listener._other_end()
        try:
            if isinstance(address, InternetAddress):
                self._route(end, self._reachable(address))
        except CallError:
            end.close()
            raise
        self.shut, self.error = 0, None
        self.join(end, owner, listener.other_end)
        listener._backlog.append(end)
        listener.tell(POLLIN)
        if self._is_tcp:
            self.tell()

    def _other_end(self) -> StreamSocket:
        """An end for a new connection, with what it has of the listener; ENFILE."""
        end = StreamSocket(self.network, self.family, self.kind)
        end.address, end.reuses, end.options = self.address, self.reuses, dict(self.options)
        end.passes_credentials = self.passes_credentials
        end.send_size, end.receive_size = self.send_size, self.receive_size
        return end

    def _route(self, end: StreamSocket, address: InternetAddress) -> None:
        """Give both ends of a TCP connection their addresses; EADDRINUSE."""
        self._bind_to_any(LOOPBACK)
        assert isinstance(self.address, InternetAddress)
        self.address = InternetAddress(self.address.host or LOOPBACK, self.address.port)
        end.address, end.bound = address, True
        self.network.share(end, address)

    # -- bytes --------------------------------------------------------------------------------

    def can_send(self, target: Target | None) -> bool:
        """There is room for a good deal, or an error."""
        if not self.connected or self.error or self.shut & SEND or self.peer is None:
            return True
        return self._used(self.peer) * 4 <= self.send_size

    def _used(self, peer: StreamSocket) -> int:
        """How much of the room for what this end sends is taken."""
        return peer.incoming.cost if self.by_messages else peer.incoming.size

    def send(
        self, data: bytes, target: Target | None = None, rights: Sequence[OpenFile] = (),
        credentials: Credentials | None = None,
    ) -> int:  # fmt: skip
        """Send bytes, or one message; EPIPE, ENOTCONN, EMSGSIZE."""
        if target is not None and self.kind == SOCK_STREAM and not self._is_tcp:
            raise CallError(Errno.EISCONN if self.connected else Errno.EOPNOTSUPP)
        if self._is_tcp:
            self._raise_error()
        if not self.connected:
            raise CallError(Errno.EPIPE if self._is_tcp else Errno.ENOTCONN)
        if self.shut & SEND:
            raise QuietError(Errno.EPIPE) if self.by_messages else CallError(Errno.EPIPE)
        if self.peer is None:  # TCP learns of that by the answer
            self.shut |= SEND
            self.tell()
            return len(data)
        return self._put(self.peer, data, list(rights), credentials)

    def _put(
        self,
        peer: StreamSocket,
        data: bytes,
        rights: list[OpenFile],
        credentials: Credentials | None,
    ) -> int:
        if self.by_messages and len(data) > self.send_size - 32:
            raise CallError(Errno.EMSGSIZE)
        used = self._used(peer)
        if not data and not self.by_messages:
            return 0
        if used >= self.send_size:
            raise CallError(Errno.EAGAIN)
        if not self.by_messages:
            data = data[: self.send_size - used]
        who = self._credentials(peer, credentials)
        message = Message(bytearray(data), self.address, who, rights)
        self._deliver(peer, message, whole=self.by_messages)
        return len(data)

    def receive(self, size: int, *, peek: bool = False) -> Received:
        """Receive bytes, or one message; nothing at the end. ENOTCONN."""
        if not self.connected and not self.shut & RECEIVE:
            plain = not self._is_tcp and self.kind == SOCK_STREAM
            raise CallError(Errno.EINVAL if plain else Errno.ENOTCONN)
        if self.incoming and not self.by_messages:
            return self._take(self.incoming.take_bytes, size, peek)
        self._raise_error()
        if self.incoming:
            return self._take(self.incoming.take, size, peek)
        if self.shut & RECEIVE or (not size and not self.by_messages):
            return Received()
        raise CallError(Errno.EAGAIN)

    def _take(self, take: Callable[..., Received], size: int, peek: bool) -> Received:
        """Take from the queue; the other end is told of room: between names whenever all is taken,
        in TCP when it had none."""
        peer = self.peer
        had_room = peer is None or peer._has_room()
        found = take(size, peek=peek)
        if peer is not None and peer._has_room():
            news = not had_room or not (self._is_tcp or self.incoming)
            if news and not peek:
                peer.tell(POLLOUT)
        return found

    def _has_room(self) -> bool:
        """Whether poll tells that it can be written."""
        return self.peer is None or self._used(self.peer) * 4 <= self.send_size

    def can_read(self) -> bool:
        """Something has come, or never will; of what listens, a connection."""
        if self.listening:
            return bool(self._backlog or self.closed or self.shut & RECEIVE)
        return super().can_read()

    def waiting(self) -> int:
        """The bytes that have come; EINVAL of what listens."""
        if self.listening:
            raise CallError(Errno.EINVAL)
        return self.incoming.size

    def events(self) -> int:
        """See WaitingFile."""
        if self.listening:
            return self._shut_events() | (POLLIN if self._backlog else 0)
        found = self._shut_events() | (POLLIN if self.incoming else 0)
        if not self.connected:
            found |= POLLHUP
        return found | (POLLOUT if self._has_room() or (self._is_tcp and self.shut & SEND) else 0)

    def shutdown(self, directions: int) -> None:
        """Shut a direction: the other end learns that nothing comes any more, and between names,
        that nothing is received. ENOTCONN."""
        if self._is_tcp and self.listening and directions & RECEIVE:
            self.listening, self.shut = False, RECEIVE
            self._refuse()
            self.tell()
            return
        if self._is_tcp and not self.connected and not self.listening:
            raise CallError(Errno.ENOTCONN)
        self.shut |= directions
        if self.peer is not None and directions & SEND:
            self.peer.shut |= RECEIVE
        if self.peer is not None and directions & RECEIVE and not self._is_tcp:
            self.peer.shut |= SEND
        self.tell()
        if self.peer is not None:
            self.peer.tell()

    def disconnect(self) -> None:
        """Break a TCP connection; EINVAL."""
        if not self._is_tcp:
            raise CallError(Errno.EINVAL)
        self._abort()
        self._leave()
        self.connected, self.connecting, self.shut, self.error = False, False, 0, None
        self.tell()
        self.network.drop(self.incoming.clear())

    def _refuse(self) -> None:
        """Close the connections that nobody has accepted."""
        ends, self._backlog = list(self._backlog), deque()
        for end in ends:
            end._abort()
            end.close()

    def _abort(self) -> None:
        if self.peer is not None:
            self.peer.error, self.peer.shut = Errno.ECONNRESET, RECEIVE | SEND
            self.peer.tell()

    def _leave(self) -> None:
        self._refuse()
        self.listening = False
        peer = self.peer
        if peer is None:
            return
        if self.incoming:
            self._abort()
        peer.shut |= RECEIVE if self._is_tcp else RECEIVE | SEND
        peer.peer = self.peer = None
        peer.tell()


class DatagramSocket(Socket):
    """A socket whose messages are each on their own."""

    by_messages = True

    def __init__(self, network: Network, family: int, kind: int, flags: int = 0) -> None:
        super().__init__(network, family, kind, flags)
        self.peer: DatagramSocket | None = None  # of a name that it is connected to

    @property
    def _is_udp(self) -> bool:
        return self.family == AF_INET

    def join(self, other: DatagramSocket) -> None:
        """Connect two."""
        for end, peer in ((self, other), (other, self)):
            end.peer, end.connected, end.remote = peer, True, peer.address

    def connect(self, target: Target, owner: Credentials) -> None:
        """Say where datagrams go, and from where they come; ECONNREFUSED, EPROTOTYPE, EPERM."""
        address = target.address
        if isinstance(address, InternetAddress):
            address = self._reachable(address)
            self._bind_to_any()
            assert isinstance(self.address, InternetAddress)
            self.address = InternetAddress(self.address.host or LOOPBACK, self.address.port)
        else:
            self.peer = self._named(target)
        self.connected, self.remote = True, address

    def disconnect(self) -> None:
        """Talk to anybody again."""
        self.connected, self.peer = False, None
        self.remote = InternetAddress() if self._is_udp else UNNAMED

    def _named(self, target: Target) -> DatagramSocket:
        found = target.found
        if found is None or found.closed:
            raise CallError(Errno.ECONNREFUSED)
        if not isinstance(found, DatagramSocket) or found.family != self.family:
            raise CallError(Errno.EPROTOTYPE)
        if found.peer not in (None, self):
            raise CallError(Errno.EPERM)
        return found

    def _receiver(self, target: Target | None) -> DatagramSocket | None:
        """Who gets a datagram, None if nobody has that port; ENOTCONN, EDESTADDRREQ and others."""
        if target is None and not self.connected:
            raise CallError(Errno.EDESTADDRREQ if self._is_udp else Errno.ENOTCONN)
        if self._is_udp:
            return self._at_port(self.remote if target is None else target.address)
        if target is not None:
            return self._named(target)
        if self.peer is None or self.peer.closed:
            self.disconnect()
            raise CallError(Errno.ECONNREFUSED)
        return self.peer

    def _at_port(self, address: Address) -> DatagramSocket | None:
        """Who has a port: rather who is connected to us, and who has the very address."""
        assert isinstance(address, InternetAddress)
        if not address.port:
            raise CallError(Errno.EINVAL)
        address = self._reachable(address)
        best, found = -1, None
        for user in self.network.users(self.kind, address.port):
            assert isinstance(user, DatagramSocket) and isinstance(user.address, InternetAddress)
            if user.address.host not in (ANY, address.host):
                continue
            if user.connected and user.remote != self._source:
                continue
            score = 2 * user.connected + (user.address.host != ANY)
            if score >= best:
                best, found = score, user
        return found

    @property
    def _source(self) -> Address:
        """The address that a receiver sees."""
        if isinstance(self.address, InternetAddress):
            return InternetAddress(self.address.host or LOOPBACK, self.address.port)
        return self.address

    def sends_to(self, receiver: Socket) -> bool:
        """See Socket."""
        return self.peer is receiver

    def _is_full(self, receiver: DatagramSocket) -> bool:
        """Whether a sender waits for a receiver; UDP never does."""
        if self._is_udp or receiver.shut & RECEIVE:
            return False
        queue = receiver.incoming
        many = receiver.peer is not self and len(queue) > MOST_WAITING
        return queue.cost >= self.send_size or many

    def can_send(self, target: Target | None) -> bool:
        """There is room, or an error."""
        gone = target is None and self.peer is not None and self.peer.closed
        if self.error or self.shut & SEND or self.closed or gone:
            return True
        try:
            receiver = self._receiver(target)
        except CallError:
            return True
        return receiver is None or not self._is_full(receiver)

    def send(
        self, data: bytes, target: Target | None = None, rights: Sequence[OpenFile] = (),
        credentials: Credentials | None = None,
    ) -> int:  # fmt: skip
        """Send a datagram; EMSGSIZE, EPIPE, ENOTCONN, EDESTADDRREQ, ECONNREFUSED, ENETUNREACH."""
        if len(data) > (LARGEST_UDP if self._is_udp else self.send_size - 32):
            raise CallError(Errno.EMSGSIZE)
        self._raise_error()
        if self.shut & SEND:
            raise QuietError(Errno.EPIPE)
        if self._is_udp:
            self._bind_to_any()
        receiver = self._receiver(target)
        if receiver is None:
            if target is None:
                self.error = Errno.ECONNREFUSED
                self.tell(POLLERR)
            return len(data)
        if self._is_udp:
            self.tell(POLLOUT)  # on its way, it takes no room of the sender's any more
        return self._put(receiver, data, list(rights), credentials)

    def _put(
        self, receiver: DatagramSocket, data: bytes, rights: list[OpenFile],
        credentials: Credentials | None,
    ) -> int:  # fmt: skip
        if self._is_udp and receiver.incoming.cost + len(data) > receiver.receive_size:
            return len(data)  # nobody learns that it is lost
        if receiver.shut & RECEIVE and not self._is_udp:
            raise QuietError(Errno.EPIPE)
        if self._is_full(receiver):
            raise CallError(Errno.EAGAIN)
        who = self._credentials(receiver, credentials)
        message = Message(bytearray(data), self._source, who, rights)
        self._deliver(receiver, message, whole=True)
        return len(data)

    def receive(self, size: int, *, peek: bool = False) -> Received:
        """Receive a datagram."""
        self._raise_error()
        if self.incoming:
            found = self.incoming.take(size, peek=peek)
            if not peek and not self._is_udp:
                self.network.tell_senders(self)
            return found
        if self.shut & RECEIVE:
            return Received()
        raise CallError(Errno.EAGAIN)

    def waiting(self) -> int:
        """The bytes of the oldest datagram."""
        return len(self.incoming.messages[0].data) if self.incoming else 0

    def events(self) -> int:
        """See WaitingFile."""
        found = self._shut_events() | (POLLIN if self.incoming else 0)
        room = self.peer is None or self.peer.closed or not self._is_full(self.peer)
        return found | (POLLOUT if room else 0)

    def shutdown(self, directions: int) -> None:
        """Shut a direction; ENOTCONN, though it is shut."""
        self.shut |= directions
        self.tell()
        if self._is_udp and not self.connected:
            raise CallError(Errno.ENOTCONN)

    def _leave(self) -> None:
        self.peer = None
        self.network.tell_senders(self)


def make_socket(network: Network, family: int, kind: int, flags: int) -> Socket:
    """A new socket; ENFILE."""
    made = DatagramSocket if kind == SOCK_DGRAM else StreamSocket
    return made(network, family, kind, flags)


def make_pair(network: Network, kind: int, flags: int, owner: Credentials) -> tuple[Socket, Socket]:
    """Two sockets that are connected; ENFILE."""
    one = make_socket(network, AF_UNIX, kind, flags)
    try:
        other = make_socket(network, AF_UNIX, kind, flags)
    except CallError:
        one.close()
        raise
    if isinstance(one, StreamSocket) and isinstance(other, StreamSocket):
        one.join(other, owner, owner)
    elif isinstance(one, DatagramSocket) and isinstance(other, DatagramSocket):
        one.join(other)
    one.other_end = other.other_end = owner
    return one, other
