"""Sockets: making them, naming them, connecting them, and the one call that was all of that once.

Imported when the first of these calls is made.
"""

from __future__ import annotations

from emu.process.addresses import (
    AF_INET,
    AF_UNIX,
    AF_UNSPEC,
    FAMILIES,
    LARGEST,
    family_of,
    internet_address,
    unix_address,
)
from emu.process.messages import Credentials
from emu.process.network import Network
from emu.process.numbers import O_CLOEXEC, O_NONBLOCK, CallError, Errno
from emu.process.process import Process
from emu.process.sockets import (
    RECEIVE,
    SEND,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    Socket,
    StreamSocket,
    Target,
    make_pair,
    make_socket,
)
from emu.process.syscalls.io import may_sleep, waits
from emu.process.syscalls.names import NUMBERS
from emu.process.syscalls.registry import FLAGS, INT, PTR, call, row_of
from isa.hints import cast

SOCK_RAW, KINDS = 3, 11  # SOCK_MAX
TYPE_MASK = 0xF
PROTOCOLS = {SOCK_STREAM: 6, SOCK_DGRAM: 17}


def network(p: Process) -> Network:
    """What the machine's sockets have together, made for the first one."""
    table = p.table
    if table.sockets is None:
        table.sockets = Network(lambda: owner(table.current()))
    return table.sockets


def socket_of(p: Process, fd: int) -> Socket:
    """Return the socket of a descriptor; EBADF, ENOTSOCK."""
    file = p.files.get(fd)
    if not isinstance(file, Socket):
        raise CallError(Errno.ENOTSOCK)
    return file


def owner(p: Process) -> Credentials:
    """Who a process is, for others."""
    return Credentials(p.main.pid, p.user, p.user)


# -- making them ------------------------------------------------------------------------------


def _kind(p: Process, family: int, kind: int, protocol: int) -> int:
    """Which kind of socket is meant; EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT and others."""
    if kind & ~(TYPE_MASK | O_NONBLOCK | O_CLOEXEC):
        raise CallError(Errno.EINVAL)
    kind &= TYPE_MASK
    if not 0 <= family < FAMILIES:
        raise CallError(Errno.EAFNOSUPPORT)
    if kind >= KINDS:
        raise CallError(Errno.EINVAL)
    if family == AF_UNIX:
        return _unix_kind(kind, protocol)
    if family != AF_INET or not p.table.net:
        raise CallError(Errno.EAFNOSUPPORT)
    return _internet_kind(kind, protocol)


def _internet_kind(kind: int, protocol: int) -> int:
    if kind == SOCK_RAW and protocol:
        raise CallError(Errno.EPERM)
    if kind not in PROTOCOLS and kind != SOCK_RAW:
        raise CallError(Errno.ESOCKTNOSUPPORT)
    if protocol not in (0, PROTOCOLS.get(kind)) or kind == SOCK_RAW:
        raise CallError(Errno.EPROTONOSUPPORT)
    return kind


def _unix_kind(kind: int, protocol: int) -> int:
    if protocol not in (0, AF_UNIX):
        raise CallError(Errno.EPROTONOSUPPORT)
    if kind == SOCK_RAW:
        return SOCK_DGRAM
    if kind not in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET):
        raise CallError(Errno.ESOCKTNOSUPPORT)
    return kind


@call("socket", INT, FLAGS, INT)
def socket(p: Process, family: int, kind: int, protocol: int) -> int:
    """Open a socket."""
    chosen = _kind(p, family, kind, protocol)
    p.files.room()
    made = make_socket(network(p), family, chosen, kind)
    return p.files.add(made, close_on_exec=bool(kind & O_CLOEXEC))


@call("socketpair", INT, FLAGS, INT, PTR)
def socketpair(p: Process, family: int, kind: int, protocol: int, address: int) -> int:
    """Open two sockets that are connected, and store their numbers."""
    chosen = _kind(p, family, kind, protocol)
    if family != AF_UNIX:
        raise CallError(Errno.EOPNOTSUPP)
    p.pack("<II", address, 0, 0)
    ends = make_pair(network(p), chosen, kind, owner(p))
    numbers: list[int] = []
    try:
        numbers += [p.files.add(end, close_on_exec=bool(kind & O_CLOEXEC)) for end in ends]
    except CallError:
        for end in ends:
            p.files.forget(end)
        raise
    p.pack("<II", address, *numbers)
    return 0


# -- addresses --------------------------------------------------------------------------------


def address_bytes(p: Process, address: int, size: int) -> bytes:
    """Read a struct sockaddr; EINVAL, EFAULT."""
    if not 0 <= size <= LARGEST:
        raise CallError(Errno.EINVAL)
    return p.read(address, size)


def store_address(p: Process, found: bytes, address: int, length: int) -> None:
    """Store an address, or what of it there is room for, and how long it is; EINVAL, EFAULT."""
    if not address:
        return
    (size,) = p.unpack("<i", length)
    if size < 0:
        raise CallError(Errno.EINVAL)
    p.write(address, found[:size])
    p.pack("<I", length, len(found))


def target_of(p: Process, sock: Socket, data: bytes) -> Target:
    """What an address means to a socket; EINVAL, EAFNOSUPPORT, ENOENT, ECONNREFUSED."""
    if sock.family == AF_INET:
        return Target(internet_address(data))
    address = unix_address(data)
    if not address.name:
        raise CallError(Errno.EINVAL)
    if not address.is_path:
        return Target(address, network(p).names.get((sock.kind, address.name)))
    return Target(address, cast(Socket, p.sandbox.socket(address.name, p.cwd)))


@call("bind", INT, PTR, INT)
def bind(p: Process, fd: int, address: int, size: int) -> int:
    """Give a socket a name."""
    sock, data = socket_of(p, fd), address_bytes(p, address, size)
    if sock.family == AF_INET:
        sock.bind(internet_address(data), p.user)
        return 0
    name = unix_address(data)
    if name.is_path and not sock.bound:
        p.sandbox.bind(name.name, p.cwd, 0o777 & ~p.umask, sock)
    sock.bind(name)
    return 0


@call("getsockname", INT, PTR, PTR)
def getsockname(p: Process, fd: int, address: int, length: int) -> int:
    """Store a socket's name."""
    found = socket_of(p, fd).address.packed()
    return _told(p, found, address, length)


@call("getpeername", INT, PTR, PTR)
def getpeername(p: Process, fd: int, address: int, length: int) -> int:
    """Store the name of what a socket is connected to."""
    sock = socket_of(p, fd)
    if not sock.connected:
        raise CallError(Errno.ENOTCONN)
    return _told(p, sock.remote.packed(), address, length)


def _told(p: Process, found: bytes, address: int, length: int) -> int:
    p.unpack("<i", length)
    p.read(address, 1)
    store_address(p, found, address, length)
    return 0


# -- connections ------------------------------------------------------------------------------


@call("listen", INT, INT)
def listen(p: Process, fd: int, backlog: int) -> int:
    """Let others connect."""
    socket_of(p, fd).listen(backlog, owner(p))
    return 0


@call("connect", INT, PTR, INT)
def connect(p: Process, fd: int, address: int, size: int) -> int:
    """Connect to a name; one of no family ends a connection."""
    sock, data = socket_of(p, fd), address_bytes(p, address, size)
    if family_of(data) == AF_UNSPEC:
        sock.disconnect()
        return 0
    target = target_of(p, sock, data)
    try:
        sock.connect(target, owner(p))
    except CallError as error:
        if isinstance(sock, StreamSocket) and may_sleep(sock, error):
            what, ready = "connecting where nobody accepts", lambda: sock.can_connect(target)
            raise waits(p, what, ready, sock.patience[1]) from None
        raise
    return 0


def accept_from(p: Process, fd: int, address: int, length: int, flags: int) -> int:
    """Do any of the accepts."""
    sock = socket_of(p, fd)
    if flags & ~(O_NONBLOCK | O_CLOEXEC):
        raise CallError(Errno.EINVAL)
    p.files.room()
    try:
        end = sock.accept(flags)
    except CallError as error:
        if may_sleep(sock, error):
            what = "accepting a connection that nobody makes"
            raise waits(p, what, sock.can_read, sock.patience[0]) from None
        raise
    number = p.files.add(end, close_on_exec=bool(flags & O_CLOEXEC))
    try:
        store_address(p, end.remote.packed(), address, length)
    except CallError:
        p.files.close(number)
        raise
    return number


@call("accept4", INT, PTR, PTR, FLAGS)
def accept4(p: Process, fd: int, address: int, length: int, flags: int) -> int:
    """Accept a connection; store who made it."""
    return accept_from(p, fd, address, length, flags)


@call("shutdown", INT, INT)
def shutdown(p: Process, fd: int, how: int) -> int:
    """Shut receiving (0), sending (1) or both (2)."""
    sock = socket_of(p, fd)
    if not 0 <= how <= 2:
        raise CallError(Errno.EINVAL)
    sock.shutdown((RECEIVE, SEND, RECEIVE | SEND)[how])
    return 0


# -- the one call -----------------------------------------------------------------------------

_DIRECT = {
    1: "socket", 2: "bind", 3: "connect", 4: "listen", 6: "getsockname", 7: "getpeername",
    8: "socketpair", 11: "sendto", 12: "recvfrom", 13: "shutdown", 14: "setsockopt",
    15: "getsockopt", 16: "sendmsg", 17: "recvmsg", 18: "accept4", 19: "recvmmsg",
    20: "sendmmsg",
}  # fmt: skip
ACCEPT, SEND_CALL, RECEIVE_CALL = 5, 9, 10


@call("socketcall", INT, PTR)
def socketcall(p: Process, which: int, arguments: int) -> int | None:
    """Do any of these calls, the arguments of which are in memory."""
    if which == ACCEPT:
        fd, address, length = p.unpack("<iII", arguments)
        return accept_from(p, fd, address, length, 0)
    name = {SEND_CALL: "sendto", RECEIVE_CALL: "recvfrom"}.get(which) or _DIRECT.get(which)
    row = None if name is None else row_of(NUMBERS[name])
    if row is None:
        raise CallError(Errno.EINVAL)
    count = 4 if which in (SEND_CALL, RECEIVE_CALL) else len(row.kinds)
    raw = p.unpack(f"<{count}I", arguments) + (0,) * (len(row.kinds) - count)
    decoded = [kind.decode(p, value) for kind, value in zip(row.kinds, raw, strict=True)]
    return row.handler(p, *decoded)


from emu.process.syscalls import messages, options  # noqa: E402, F401 - their rows belong here
