"""Options of sockets. Those that change nothing here are kept and told again."""

from __future__ import annotations

import struct

from emu.process.addresses import AF_INET
from emu.process.numbers import POLLOUT, CallError, Errno
from emu.process.process import Process
from emu.process.sockets import BUFFER, SOCK_STREAM, Socket
from emu.process.syscalls.registry import INT, PTR, call
from emu.process.syscalls.sockets import PROTOCOLS, socket_of
from emu.process.syscalls.time import SECOND

SOL_IP, SOL_SOCKET, SOL_TCP = 0, 1, 6
SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE = 2, 3, 4, 7, 8, 9
SO_LINGER, SO_PASSCRED, SO_PEERCRED, SO_RCVTIMEO, SO_SNDTIMEO = 13, 16, 17, 20, 21
SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW = 30, 38, 39, 66, 67
KEPT = {
    SOL_SOCKET: {
        1, 5, 6, 9, 10, 12, 15, 18,
    },  # SO_DEBUG, DONTROUTE, BROADCAST, KEEPALIVE, OOBINLINE, PRIORITY, REUSEPORT, RCVLOWAT
    SOL_TCP: {1, 3, 4, 5, 6, 8, 9, 12, 18},  # TCP_NODELAY, CORK, KEEP*, LINGER2, …, USER_TIMEOUT
    SOL_IP: {1, 2, 8, 10, 11},  # IP_TOS, TTL, PKTINFO, MTU_DISCOVER, RECVERR
}  # fmt: skip
LEAST_SEND, LEAST_RECEIVE = 4608, 2304
TIMEVAL, TIMEVAL64 = "<ii", "<qq"
PATIENCE = {
    SO_RCVTIMEO: (0, TIMEVAL), SO_SNDTIMEO: (1, TIMEVAL), SO_RCVTIMEO_NEW: (0, TIMEVAL64),
    SO_SNDTIMEO_NEW: (1, TIMEVAL64),
}  # fmt: skip
BUFFERS = (SO_SNDBUF, SO_RCVBUF)


def _check(sock: Socket, level: int, name: int) -> None:
    """Refuse what there is not; EOPNOTSUPP, ENOPROTOOPT."""
    if level != SOL_SOCKET and sock.family != AF_INET:
        raise CallError(Errno.EOPNOTSUPP)
    if level == SOL_TCP and sock.kind != SOCK_STREAM:
        raise CallError(Errno.ENOPROTOOPT)
    if name not in KEPT.get(level, ()):
        raise CallError(Errno.ENOPROTOOPT)


@call("setsockopt", INT, INT, INT, PTR, INT)
def setsockopt(p: Process, fd: int, level: int, name: int, address: int, size: int) -> int:
    """Set an option."""
    sock = socket_of(p, fd)
    if level == SOL_SOCKET and name in PATIENCE:
        _set_patience(p, sock, name, address, size)
    elif size < (8 if (level, name) == (SOL_SOCKET, SO_LINGER) else 4):
        raise CallError(Errno.EINVAL)
    elif (level, name) == (SOL_SOCKET, SO_LINGER):
        sock.options[level, name] = int.from_bytes(p.read(address, 8), "little")
    else:
        _set(sock, level, name, p.unpack("<i", address)[0])
    return 0


def _set(sock: Socket, level: int, name: int, value: int) -> None:
    """Set an option that is a number."""
    if level == SOL_SOCKET and name in BUFFERS:
        _set_buffer(sock, name, value)
    elif (level, name) == (SOL_SOCKET, SO_REUSEADDR):
        sock.reuses = bool(value)
    elif (level, name) == (SOL_SOCKET, SO_PASSCRED):
        sock.passes_credentials = bool(value)
    else:
        _check(sock, level, name)
        switch = (level, name) == (SOL_SOCKET, SO_KEEPALIVE)
        sock.options[level, name] = int(bool(value)) if switch else value


def _set_buffer(sock: Socket, name: int, value: int) -> None:
    """Linux doubles what it is told, for its own overhead."""
    size = 2 * min(value & 0xFFFFFFFF, BUFFER)
    if name == SO_SNDBUF:
        sock.send_size = max(size, LEAST_SEND)
        sock.tell(POLLOUT)
    else:
        sock.receive_size = max(size, LEAST_RECEIVE)


def _set_patience(p: Process, sock: Socket, name: int, address: int, size: int) -> None:
    which, layout = PATIENCE[name]
    if size < struct.calcsize(layout):
        raise CallError(Errno.EINVAL)
    seconds, micro = p.unpack(layout, address)
    if not 0 <= micro < 1_000_000:
        raise CallError(Errno.EDOM)
    told = max(seconds, 0) * SECOND + micro * 1000
    patience = list(sock.patience)
    patience[which] = told or None
    sock.patience = patience[0], patience[1]


@call("getsockopt", INT, INT, INT, PTR, PTR)
def getsockopt(p: Process, fd: int, level: int, name: int, address: int, length: int) -> int:
    """Store an option, or what of it there is room for."""
    sock = socket_of(p, fd)
    (size,) = p.unpack("<i", length)
    if size < 0:
        raise CallError(Errno.EINVAL)
    found = _value(sock, level, name)[:size]
    p.write(address, found)
    p.pack("<I", length, len(found))
    return 0


def _value(sock: Socket, level: int, name: int) -> bytes:
    if level == SOL_SOCKET and name in PATIENCE:
        which, layout = PATIENCE[name]
        seconds, rest = divmod(sock.patience[which] or 0, SECOND)
        return struct.pack(layout, min(seconds, 0x7FFFFFFF), rest // 1000)
    if level == SOL_SOCKET and name == SO_PEERCRED:
        who = sock.other_end
        return struct.pack("<iii", who.pid, who.user, who.group)
    if level == SOL_SOCKET and name == SO_LINGER:
        return sock.options.get((level, name), 0).to_bytes(8, "little")
    number = _number(sock, name) if level == SOL_SOCKET else None
    if number is None:
        _check(sock, level, name)
        number = sock.options.get((level, name), 0)
    return struct.pack("<i", number)


def _number(sock: Socket, name: int) -> int | None:
    """What the socket itself tells; None for what is only kept."""
    if name == SO_ERROR:
        return sock.taken_error() or 0
    protocol = PROTOCOLS[sock.kind] if sock.family == AF_INET else 0
    return {
        SO_TYPE: sock.kind, SO_DOMAIN: sock.family, SO_PROTOCOL: protocol,
        SO_ACCEPTCONN: int(sock.listening), SO_SNDBUF: sock.send_size,
        SO_RCVBUF: sock.receive_size, SO_REUSEADDR: int(sock.reuses),
        SO_PASSCRED: int(sock.passes_credentials),
    }.get(name)  # fmt: skip
