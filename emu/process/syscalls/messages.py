"""Sending and receiving: bytes, datagrams, and the open files and credentials beside them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from emu.process.files import OpenFile
from emu.process.messages import Credentials, Received
from emu.process.numbers import CHUNK, MAX_TRANSFER, CallError, Errno
from emu.process.process import Process, Sleep
from emu.process.sockets import LARGEST_UDP, Socket, StreamSocket, Target
from emu.process.syscalls.io import (
    IOV_MAX,
    gather,
    may_sleep,
    raise_broken_pipe,
    scatter,
    vectors,
    waits,
)
from emu.process.syscalls.registry import FLAGS, INT, PTR, UINT, call
from emu.process.syscalls.sockets import (
    address_bytes,
    owner,
    socket_of,
    store_address,
    target_of,
)
from isa.record import NamedTuple

MSG_OOB, MSG_PEEK, MSG_CTRUNC, MSG_TRUNC, MSG_DONTWAIT = 1, 2, 8, 0x20, 0x40
MSG_EOR, MSG_WAITALL, MSG_ERRQUEUE, MSG_NOSIGNAL = 0x80, 0x100, 0x2000, 0x4000
MSG_WAITFORONE, MSG_CMSG_CLOEXEC = 0x10000, 0x40000000
MSGHDR, MSGHDR_SIZE, FLAGS_AT = "<IiIIIII", 28, 24
CMSGHDR, CMSGHDR_SIZE = "<Iii", 12
SOL_SOCKET, SCM_RIGHTS, SCM_CREDENTIALS = 1, 1, 2
MOST_RIGHTS = 253  # SCM_MAX_FD
MOST_CONTROL = 20_480  # net.core.optmem_max
UIO_MAXIOV = 1024

Pairs = list[tuple[int, int]]  # buffers: addresses and sizes


class Header(NamedTuple):
    """A struct msghdr at an address."""

    at: int
    name: int
    name_size: int
    pairs: Pairs
    control: int
    control_size: int


def header_at(p: Process, address: int) -> Header:
    """Read a struct msghdr; EFAULT, EMSGSIZE."""
    name, name_size, vector, count, control, control_size, _ = p.unpack(MSGHDR, address)
    if count > IOV_MAX:
        raise CallError(Errno.EMSGSIZE)
    pairs = _cut(vectors(p, vector, count) if count else [])
    return Header(address, name, name_size, pairs, control, control_size)


def _cut(pairs: Pairs) -> Pairs:
    """No more than a call transfers."""
    left, found = MAX_TRANSFER, []
    for address, size in pairs:
        found.append((address, min(size, left)))
        left -= found[-1][1]
    return found


def waiting(
    p: Process, sock: Socket, error: CallError, flags: int, receiving: bool,
    ready: Callable[[], bool],
) -> Exception:  # fmt: skip
    """How a call goes on that failed: it waits, if that is what it means and it may."""
    if flags & MSG_DONTWAIT or not may_sleep(sock, error):
        return error
    what = "receiving what nobody sends" if receiving else "sending what nobody receives"
    return waits(p, what, ready, sock.patience[0 if receiving else 1])


# -- sending ----------------------------------------------------------------------------------


def send(
    p: Process, sock: Socket, pairs: Pairs, flags: int, target: Target | None = None,
    rights: Sequence[OpenFile] = (), who: Credentials | None = None,
) -> int:  # fmt: skip
    """Do any of the sends."""
    if flags & MSG_OOB:
        raise CallError(Errno.EOPNOTSUPP)
    try:
        return _send(p, sock, pairs, flags, target, rights, who)
    except CallError as error:
        if not flags & MSG_NOSIGNAL:
            raise_broken_pipe(p, error)
        raise


def _send(
    p: Process, sock: Socket, pairs: Pairs, flags: int, target: Target | None,
    rights: Sequence[OpenFile], who: Credentials | None,
) -> int:  # fmt: skip
    total, done = sum(size for _, size in pairs), p.progress
    while True:
        data = gather(p, pairs, done, max(sock.send_size, LARGEST_UDP))
        try:
            count = sock.send(data, target, () if done else rights, who)
        except CallError as error:
            after = waiting(p, sock, error, flags, False, lambda: sock.can_send(target))
            if isinstance(after, Sleep):
                p.progress = done
            elif done:
                return done
            raise after from None
        done += count
        if done >= total or not count:
            return done


@call("sendto", INT, PTR, UINT, FLAGS, PTR, INT)
def sendto(
    p: Process, fd: int, buffer: int, size: int, flags: int, address: int, length: int
) -> int:
    """Send bytes or a datagram, perhaps to an address."""
    sock = socket_of(p, fd)
    target = _target(p, sock, address, length)
    return send(p, sock, _cut([(buffer, size)]), flags, target)


def _target(p: Process, sock: Socket, address: int, length: int) -> Target | None:
    if not address or not length:
        return None
    data = address_bytes(p, address, length)
    if isinstance(sock, StreamSocket):
        is_plain = sock.family == 1 and not sock.by_messages
        return Target(sock.remote) if is_plain else None  # which send refuses, or does not need
    return target_of(p, sock, data)


@call("sendmsg", INT, PTR, FLAGS)
def sendmsg(p: Process, fd: int, message: int, flags: int) -> int:
    """Send from several buffers, with open files."""
    sock, header = socket_of(p, fd), header_at(p, message)
    target = _target(p, sock, header.name, header.name_size)
    rights, who = _sent_control(p, sock, header)
    return send(p, sock, header.pairs, flags, target, rights, who)


def _sent_control(
    p: Process, sock: Socket, header: Header
) -> tuple[list[OpenFile], Credentials | None]:
    """The open files and credentials that go with a message; EINVAL, EBADF, EPERM, ENOBUFS."""
    if header.control_size > MOST_CONTROL:
        raise CallError(Errno.ENOBUFS)
    rights, who = list[OpenFile](), None
    if not header.control_size:
        return rights, who
    for level, kind, data in _control(p.read(header.control, header.control_size)):
        if level != SOL_SOCKET or sock.family != 1:
            continue
        if kind == SCM_RIGHTS:
            numbers = struct.iter_unpack("<i", data[: len(data) & ~3])
            rights += [p.files.get(number) for (number,) in numbers]
        elif kind == SCM_CREDENTIALS and len(data) == 12:
            who = Credentials(*struct.unpack("<iii", data))
            if who != owner(p) and p.user:
                raise CallError(Errno.EPERM)
        else:
            raise CallError(Errno.EINVAL)
    if len(rights) > MOST_RIGHTS:
        raise CallError(Errno.EINVAL)
    return rights, who


def _control(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The control messages in a buffer; EINVAL."""
    at = 0
    while at + CMSGHDR_SIZE <= len(data):
        size, level, kind = struct.unpack_from(CMSGHDR, data, at)
        if not CMSGHDR_SIZE <= size <= len(data) - at:
            raise CallError(Errno.EINVAL)
        yield level, kind, data[at + CMSGHDR_SIZE : at + size]
        at += size + 3 & ~3


# -- receiving --------------------------------------------------------------------------------


def receive(p: Process, sock: Socket, pairs: Pairs, flags: int) -> tuple[int, Received]:
    """Do any of the receives: store what has come; returns how much, and what came with it.

    Whoever calls must drop the files, unless it only peeks.
    """
    if flags & (MSG_OOB | MSG_ERRQUEUE):
        raise CallError(Errno.EINVAL if flags & MSG_OOB else Errno.EAGAIN)
    total, done = sum(size for _, size in pairs), p.progress
    while True:
        try:
            found = sock.receive(min(total - done, CHUNK), peek=bool(flags & MSG_PEEK))
        except CallError as error:
            after = waiting(p, sock, error, flags, True, sock.can_read)
            if isinstance(after, Sleep):
                p.progress = done
            elif done:
                return done, Received()
            raise after from None
        done += _store(p, sock, pairs, found, done, flags)
        whole = flags & MSG_WAITALL and not flags & MSG_PEEK and not sock.by_messages
        if not whole or done >= total or not found.data or found.rights:
            return done, found


def _store(p: Process, sock: Socket, pairs: Pairs, found: Received, done: int, flags: int) -> int:
    try:
        return scatter(p, pairs, found.data, done)
    except CallError:
        if not flags & MSG_PEEK:
            sock.network.drop(found.rights)
        raise


@call("recvfrom", INT, PTR, UINT, FLAGS, PTR, PTR)
def recvfrom(
    p: Process, fd: int, buffer: int, size: int, flags: int, address: int, length: int
) -> int:
    """Receive bytes or a datagram; store who sent it."""
    sock = socket_of(p, fd)
    done, found = receive(p, sock, _cut([(buffer, size)]), flags)
    if not flags & MSG_PEEK:
        sock.network.drop(found.rights)
    store_address(p, _sender(sock, found), address, length)
    return _length(sock, found, done, flags)


def _sender(sock: Socket, found: Received) -> bytes:
    """The address that a receiver is told: none of who has no name, and of a TCP connection."""
    packed = found.sender.packed()
    told = len(packed) > 2 and not (sock.family == 2 and isinstance(sock, StreamSocket))
    return packed if told else b""


def _length(sock: Socket, found: Received, done: int, flags: int) -> int:
    """How much has come: with MSG_TRUNC the whole message's length."""
    return max(found.length, done) if flags & MSG_TRUNC and sock.by_messages else done


@call("recvmsg", INT, PTR, FLAGS)
def recvmsg(p: Process, fd: int, message: int, flags: int) -> int:
    """Receive into several buffers, with open files."""
    sock, header = socket_of(p, fd), header_at(p, message)
    done, found = receive(p, sock, header.pairs, flags)
    try:
        told = MSG_TRUNC if sock.by_messages and found.length > done else 0
        if header.name:
            sender = _sender(sock, found)
            p.write(header.name, sender[: max(header.name_size, 0)])
            p.pack("<I", message + 4, len(sender))
        told |= _put_control(p, sock, header, found, flags)
        if flags & MSG_CMSG_CLOEXEC:
            told |= MSG_CMSG_CLOEXEC
        p.pack("<I", message + FLAGS_AT, told)
    finally:
        if not flags & MSG_PEEK:
            sock.network.drop(found.rights)
    return _length(sock, found, done, flags)


def _put_control(p: Process, sock: Socket, header: Header, found: Received, flags: int) -> int:
    """Store what came with a message, as far as there is room; returns MSG_CTRUNC if there is not.

    In place of its room the header has how much there is.
    """
    at, left, told = header.control, header.control_size if header.control else 0, 0
    if sock.passes_credentials:
        who = found.credentials
        data = struct.pack("<iii", who.pid, who.user, who.group)
        size = min(left, CMSGHDR_SIZE + len(data))
        if size >= CMSGHDR_SIZE:
            packed = struct.pack(CMSGHDR, size, SOL_SOCKET, SCM_CREDENTIALS) + data
            p.write(at, packed[:size])
            at, left = at + size, left - size
        told = 0 if size == CMSGHDR_SIZE + len(data) else MSG_CTRUNC
    if found.rights:
        size, cut = _put_rights(p, at, left, found.rights, cloexec=bool(flags & MSG_CMSG_CLOEXEC))
        at, told = at + size, told | cut
    p.pack("<I", header.at + 20, at - header.control if header.control else 0)
    return told


def _put_rights(
    p: Process, at: int, left: int, rights: Sequence[OpenFile], *, cloexec: bool
) -> tuple[int, int]:
    """Install open files and store their numbers: how many bytes, and whether some are missing."""
    room, numbers = max(left - CMSGHDR_SIZE, 0) // 4, list[int]()
    p.read(at, CMSGHDR_SIZE) if room else None
    for file in rights[:room]:
        try:
            numbers.append(p.files.add(file, close_on_exec=cloexec))
        except CallError:
            break
    cut = 0 if len(numbers) == len(rights) else MSG_CTRUNC
    if not numbers:
        return 0, cut
    size = CMSGHDR_SIZE + 4 * len(numbers)
    packed = struct.pack(CMSGHDR, size, SOL_SOCKET, SCM_RIGHTS)
    p.write(at, packed + struct.pack(f"<{len(numbers)}i", *numbers))
    return size, cut


# -- several at once --------------------------------------------------------------------------


def _each(p: Process, vector: int, count: int, transfer: Callable[[int, int], int]) -> int:
    """Transfer messages until one fails; an error after some is left for the next call."""
    count = min(count, UIO_MAXIOV)
    for index in range(count):
        address = vector + index * (MSGHDR_SIZE + 4)
        try:
            size = transfer(address, index)
            p.pack("<I", address + MSGHDR_SIZE, size)
        except CallError:
            if index:
                return index
            raise
        p.progress = 0  # which was that of the message that waited
    return count


@call("sendmmsg", INT, PTR, UINT, FLAGS)
def sendmmsg(p: Process, fd: int, vector: int, count: int, flags: int) -> int:
    """Send several messages; those that would have to wait are left out."""
    socket_of(p, fd)
    return _each(p, vector, count, lambda at, index: sendmsg(p, fd, at, flags | _later(index)))


@call("recvmmsg", INT, PTR, UINT, FLAGS, PTR)
@call("recvmmsg_time64", INT, PTR, UINT, FLAGS, PTR)
def recvmmsg(p: Process, fd: int, vector: int, count: int, flags: int, timeout: int) -> int:
    """Receive several messages: those that are there, once the first has come."""
    socket_of(p, fd)
    flags &= ~MSG_WAITFORONE
    return _each(p, vector, count, lambda at, index: recvmsg(p, fd, at, flags | _later(index)))


def _later(index: int) -> int:
    """Only the first one waits."""
    return MSG_DONTWAIT if index else 0
