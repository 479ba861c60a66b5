"""What the sockets of one machine have together: names, ports, and how much of each thing.

Nothing of it is the host's: no socket is ever opened there, and two machines have two networks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from emu.process.addresses import ANY, InternetAddress, UnixAddress
from emu.process.files import OpenFile
from emu.process.namespace import Supply
from emu.process.numbers import POLLOUT, CallError, Errno
from isa.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.process.messages import Credentials
    from emu.process.sockets import Socket

MOST_SOCKETS = 1024  # at a time, those that nobody has accepted included
MOST_BYTES = 64 << 20  # of all messages under way
MOST_FLYING = 1024  # open files that are under way in messages
EPHEMERAL = range(32768, 61000)  # ports for who names none (net.ipv4.ip_local_port_range)
AUTOMATIC = 1 << 20  # abstract names for who names none: five digits


class Network:
    """The sockets of a machine; `owner` tells who the current process is."""

    def __init__(self, owner: Callable[[], Credentials]) -> None:
        self.owner = owner
        self.supply = Supply(MOST_SOCKETS)
        self.room = Supply(MOST_BYTES, Errno.ENOBUFS)
        self._flying = Supply(MOST_FLYING, Errno.ETOOMANYREFS)
        self.names: dict[tuple[int, bytes], Socket] = {}  # abstract ones, by kind of socket
        self._ports: dict[tuple[int, int], list[Socket]] = {}  # by kind of socket and port
        self._sockets: dict[int, Socket] = {}  # by inode
        self._inode = 10_000
        self._automatic, self._ephemeral = 0, EPHEMERAL.start
        self._dropped: deque[OpenFile] = deque()
        self._dropping = False

    @property
    def are_open(self) -> bool:
        """Whether there are any."""
        return bool(self._sockets)

    @property
    def numbers(self) -> tuple[int, int, int]:
        """The numbers that the next ones get: inode, name, port."""
        return self._inode, self._automatic, self._ephemeral

    @numbers.setter
    def numbers(self, numbers: tuple[int, int, int]) -> None:
        self._inode, self._automatic, self._ephemeral = numbers

    def join(self, socket: Socket) -> int:
        """One more socket; returns its inode. ENFILE."""
        self.supply.take()
        self._inode += 1
        self._sockets[self._inode] = socket
        return self._inode

    def leave(self, socket: Socket) -> None:
        """A socket is closed."""
        del self._sockets[socket.inode]
        self.supply.give_back()

    def close(self) -> None:
        """Close every socket, also those that only messages to themselves refer to."""
        for socket in list(self._sockets.values()):
            if socket.inode in self._sockets:
                socket.close()

    def tell_senders(self, receiver: Socket) -> None:
        """Those that are connected to a socket may have room to send, or learn that it is gone."""
        for socket in list(self._sockets.values()):
            if socket.watchers and socket.sends_to(receiver):
                socket.tell(POLLOUT)

    # -- open files that are under way --------------------------------------------------------

    def send(self, files: Iterable[OpenFile]) -> None:
        """Open files are put into a message; ETOOMANYREFS."""
        files = list(files)
        self._flying.take(len(files))
        for file in files:
            file.users += 1

    def drop(self, files: Iterable[OpenFile]) -> None:
        """They have arrived, or never will. A chain of sockets in sockets takes no stack."""
        self._dropped.extend(files)
        if self._dropping:
            return
        self._dropping = True
        try:
            while self._dropped:
                self._flying.give_back()
                self._dropped.popleft().let_go()
        finally:
            self._dropping = False

    # -- names --------------------------------------------------------------------------------

    def name(self, socket: Socket, address: UnixAddress) -> UnixAddress:
        """Give an abstract name, one of ours if it is empty; EADDRINUSE."""
        name = address.name or self._automatic_name(socket.kind)
        if (socket.kind, name) in self.names:
            raise CallError(Errno.EADDRINUSE)
        self.names[socket.kind, name] = socket
        return UnixAddress(name)

    def _automatic_name(self, kind: int) -> bytes:
        while (kind, name := b"\0%05x" % self._automatic) in self.names:
            self._automatic = (self._automatic + 1) % AUTOMATIC
        return name

    def forget(self, socket: Socket) -> None:
        """A socket with a name is closed: that is free again, or its port is."""
        if isinstance(socket.address, UnixAddress):
            if not socket.address.is_path:
                del self.names[socket.kind, socket.address.name]
            return
        place = socket.kind, socket.address.port
        self._ports[place].remove(socket)
        if not self._ports[place]:
            del self._ports[place]

    # -- ports --------------------------------------------------------------------------------

    def users(self, kind: int, port: int) -> list[Socket]:
        """The sockets of a kind that have a port."""
        return self._ports.get((kind, port), [])

    def claim(self, socket: Socket, address: InternetAddress) -> InternetAddress:
        """Give an address to a socket, with a port of ours for 0; EADDRINUSE, EADDRNOTAVAIL."""
        if not address.port:
            address = InternetAddress(address.host, self._free_port(socket.kind))
        if any(self.conflicts(socket, address)):
            raise CallError(Errno.EADDRINUSE)
        self.share(socket, address)
        return address

    def share(self, socket: Socket, address: InternetAddress) -> None:
        """A socket has the address of the one that it was accepted by."""
        self._ports.setdefault((socket.kind, address.port), []).append(socket)

    def conflicts(self, socket: Socket, address: InternetAddress) -> Iterator[Socket]:
        """The sockets that keep another one from an address."""
        for other in self.users(socket.kind, address.port):
            assert isinstance(other.address, InternetAddress)
            hosts = {other.address.host, address.host}
            shared = socket.reuses and other.reuses and not other.listening
            if other is not socket and (len(hosts) == 1 or ANY in hosts) and not shared:
                yield other

    def _free_port(self, kind: int) -> int:
        for _ in EPHEMERAL:
            port, self._ephemeral = self._ephemeral, self._ephemeral + 1
            if self._ephemeral not in EPHEMERAL:
                self._ephemeral = EPHEMERAL.start
            if not self.users(kind, port):
                return port
        raise CallError(Errno.EADDRINUSE)
