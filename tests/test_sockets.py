"""Sockets: each call as a program makes it, limits, and that nothing of it is the host's."""

from __future__ import annotations

import io
import os
import random
import socket as host_socket
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from c_programs import check, compiled
from process_guest import Guest, descriptors_into, tiny_elf

import emu
from emu.box import Box, Boxes, Running
from emu.box.description import read_boxes
from emu.process.network import MOST_BYTES, MOST_FLYING, MOST_SOCKETS
from emu.process.signals import Signal
from emu.process.sockets import BUFFER as CAPACITY
from emu.process.syscalls.names import NUMBERS

BUFFER = Guest.BUFFER
UNIX, INET, INET6, NETLINK, PACKET = 1, 2, 10, 16, 17
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
NONBLOCK, CLOEXEC = 0o4000, 0o2000000
DONTWAIT, PEEK, TRUNC, NOSIGNAL = 0x40, 2, 0x20, 0x4000
EPERM, ENOENT, EBADF, EAGAIN, EACCES, EFAULT, EINVAL = -1, -2, -9, -11, -13, -14, -22
ENFILE, EMFILE, EROFS, EPIPE, ENOTSOCK, EDESTADDRREQ, EMSGSIZE = -23, -24, -30, -32, -88, -89, -90
EPROTOTYPE, ENOPROTOOPT, EPROTONOSUPPORT, ESOCKTNOSUPPORT = -91, -92, -93, -94
EOPNOTSUPP, EAFNOSUPPORT, EADDRINUSE, EADDRNOTAVAIL, ENETUNREACH = -95, -97, -98, -99, -101
ECONNRESET, ENOBUFS, EISCONN, ENOTCONN, ETOOMANYREFS, ECONNREFUSED = (
    -104, -105, -106, -107, -109, -111
)  # fmt: skip
AT, TEXT, LENGTH = 0x2000, 0x3000, 0x2800  # where addresses, texts and lengths lie in the buffer
LOCAL = 0x7F000001
BAD = 0x10


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path, writable=True, net=True)


def unix(name: bytes) -> bytes:
    """A struct sockaddr_un."""
    return struct.pack("<H", UNIX) + name


def inet(port: int, host: int = LOCAL) -> bytes:
    """A struct sockaddr_in."""
    return struct.pack("<H", INET) + struct.pack(">HI8x", port, host)


def at(guest: Guest, call: str, fd: int, address: bytes) -> int:
    """Do bind or connect."""
    return guest.call(call, fd, guest.put(address, AT), len(address))


def send(guest: Guest, fd: int, data: bytes, flags: int = 0, to: bytes = b"") -> int:
    """Send some bytes, perhaps to an address."""
    where = guest.put(to, AT) if to else 0
    return guest.call("sendto", fd, guest.put(data, TEXT), len(data), flags, where, len(to))


def receive(guest: Guest, fd: int, size: int = 100, flags: int = DONTWAIT) -> bytes | int:
    """What is received, or the error."""
    count = guest.call("recvfrom", fd, BUFFER, size, flags, 0, 0)
    return guest.get(min(count, size)) if count >= 0 else count


def pair(guest: Guest, kind: int = STREAM) -> tuple[int, int]:
    """Two sockets that are connected."""
    assert guest.call("socketpair", UNIX, kind, 0, BUFFER) == 0
    one, other = guest.words("<II")
    return one, other


def connected(guest: Guest, family: int = UNIX) -> tuple[int, int, int]:
    """A listener and both ends of a connection to it."""
    server, client = (guest.call("socket", family, STREAM, 0) for _ in range(2))
    address = unix(b"\0server") if family == UNIX else inet(5000)
    assert at(guest, "bind", server, address) == guest.call("listen", server, 5) == 0
    assert at(guest, "connect", client, address) == 0
    return server, client, guest.call("accept4", server, 0, 0, 0)


def name(guest: Guest, call: str, fd: int, room: int = 128) -> bytes | int:
    """What getsockname or getpeername tells."""
    guest.put(struct.pack("<I", room), LENGTH)
    result = guest.call(call, fd, BUFFER + AT, BUFFER + LENGTH)
    (length,) = guest.words("<I", LENGTH)
    return guest.get(min(length, room), AT) if result == 0 else result


def events(guest: Guest, fd: int) -> int:
    """What poll tells."""
    guest.call("poll", guest.put(struct.pack("<iHH", fd, 0x2005, 0)), 1, 0)
    return guest.words("<iHH")[2]


def option(guest: Guest, fd: int, which: int, level: int = 1) -> int:
    """An option that is a number, or the error."""
    guest.put(struct.pack("<I", 4), LENGTH)
    result = guest.call("getsockopt", fd, level, which, BUFFER + AT, BUFFER + LENGTH)
    return guest.words("<i", AT)[0] if result == 0 else result


# -- making them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ((UNIX, STREAM, 0), 3), ((UNIX, DGRAM, 0), 3), ((UNIX, SEQPACKET, 1), 3),
        ((UNIX, RAW, 0), 3), ((INET, STREAM, 0), 3), ((INET, STREAM, 6), 3),
        ((INET, DGRAM, 17), 3), ((INET, STREAM, 17), EPROTONOSUPPORT),
        ((INET, SEQPACKET, 0), ESOCKTNOSUPPORT), ((INET, RAW, 1), EPERM),
        ((UNIX, STREAM, 6), EPROTONOSUPPORT), ((UNIX, 4, 0), ESOCKTNOSUPPORT),
        ((UNIX, 11, 0), EINVAL), ((UNIX, STREAM | 0x100, 0), EINVAL),
        ((INET6, STREAM, 0), EAFNOSUPPORT), ((NETLINK, RAW, 0), EAFNOSUPPORT),
        ((PACKET, DGRAM, 0), EAFNOSUPPORT), ((0, STREAM, 0), EAFNOSUPPORT),
        ((999, STREAM, 0), EAFNOSUPPORT), ((-1, STREAM, 0), EAFNOSUPPORT),
    ],
)  # fmt: skip
def test_kinds(guest: Guest, arguments: tuple[int, ...], result: int) -> None:
    """What there is, and the errors for what there is not, by both entrances."""
    assert guest.call("socket", *arguments) == result
    words = struct.pack("<3i", *arguments)
    assert guest.call("socketcall", 1, guest.put(words)) == (4 if result == 3 else result)


def test_without_net_there_is_no_internet(tmp_path: Path) -> None:
    """AF_INET is not there, as in a Linux without it; names are."""
    guest = Guest(tmp_path)
    assert guest.call("socket", INET, STREAM, 0) == EAFNOSUPPORT
    assert guest.call("socket", INET, DGRAM, 17) == EAFNOSUPPORT
    assert guest.call("socket", UNIX, STREAM, 0) == 3


def test_flags_and_files(guest: Guest) -> None:
    """Close-on-exec, O_NONBLOCK, what fstat and lseek say, and what is no socket."""
    fd = guest.call("socket", UNIX, STREAM | NONBLOCK | CLOEXEC, 0)
    assert guest.call("fcntl", fd, 1, 0) == 1
    assert guest.call("fcntl", fd, 3, 0) & 0o4003 == 0o4002
    assert guest.call("fstat64", fd, BUFFER) == 0
    assert guest.words("<I", 16)[0] & 0o170000 == 0o140000
    assert guest.call("lseek", fd, 0, 0) == -29
    assert guest.call("pread64", fd, BUFFER, 1, 0, 0) == -29
    assert guest.call("mmap2", 0, 4096, 1, 2, fd, 0) < 0
    assert guest.call("ftruncate", fd, 0) == EINVAL
    assert guest.call("listen", 1, 1) == ENOTSOCK
    assert guest.call("listen", 99, 1) == EBADF


def test_both_entrances(guest: Guest) -> None:
    """socketcall takes its arguments from memory: every number of it."""

    def call(which: int, *arguments: int) -> int:
        return guest.call("socketcall", which, guest.put(struct.pack(f"<{len(arguments)}I",
            *(a & 0xFFFFFFFF for a in arguments)), 0x1800))  # fmt: skip

    address = unix(b"\0name")
    where, length, text = guest.put(address, AT), BUFFER + LENGTH, guest.put(b"hello", TEXT)
    server, client = call(1, UNIX, STREAM, 0), call(1, UNIX, STREAM, 0)
    assert call(2, server, where, len(address)) == call(4, server, 5) == 0
    assert call(3, client, where, len(address)) == 0
    end = call(5, server, 0, 0)
    assert end == 5
    assert call(9, client, text, 5, 0) == call(11, client, text, 5, 0, 0, 0) == 5
    assert call(10, end, BUFFER, 7, 0) == 7
    assert call(12, end, BUFFER, 7, 0, 0, 0) == 3
    guest.put(struct.pack("<I", 16), LENGTH)
    assert call(6, end, BUFFER, length) == call(7, client, BUFFER, length) == 0
    assert call(14, end, 1, 2, guest.put(b"\1\0\0\0"), 4) == 0
    assert call(15, end, 1, 2, BUFFER, length) == 0
    header = struct.pack("<7I", 0, 0, BUFFER + 0x1700, 1, 0, 0, 0)
    guest.put(struct.pack("<II", text, 5), 0x1700)
    assert call(16, client, guest.put(header, 0x1600), 0) == 5
    assert call(17, end, BUFFER + 0x1600, 0) == 5
    assert call(8, UNIX, STREAM, 0, BUFFER) == 0
    assert call(13, end, 2) == 0
    assert call(18, server, 0, 0, NONBLOCK << 1) == EINVAL
    assert call(0) == call(21) == call(99) == EINVAL
    assert guest.call("socketcall", 1, BAD) == EFAULT


def test_wrong_pointers_and_lengths(guest: Guest) -> None:
    """EFAULT and EINVAL, and nothing is left open."""
    one, other = pair(guest)
    assert guest.call("socketpair", UNIX, STREAM, 0, BAD) == EFAULT
    assert guest.call("socketpair", INET, STREAM, 0, BUFFER) == EOPNOTSUPP
    fd = guest.call("socket", UNIX, STREAM, 0)
    assert fd == other + 1
    assert guest.call("bind", fd, BAD, 10) == EFAULT
    assert guest.call("bind", fd, BUFFER, 129) == guest.call("bind", fd, BUFFER, -1) == EINVAL
    assert guest.call("bind", fd, guest.put(unix(b"x" * 109)), 111) == EINVAL
    assert guest.call("connect", fd, BUFFER, 0) == guest.call("connect", fd, BUFFER, 1) == EINVAL
    assert guest.call("getsockname", fd, BUFFER, BAD) == EFAULT
    assert guest.call("getsockname", fd, BAD, guest.put(b"\x10\0\0\0")) == EFAULT
    assert guest.call("getsockname", fd, BUFFER, guest.put(b"\xff" * 4)) == EINVAL
    assert guest.call("recvfrom", one, BAD, 1, DONTWAIT, 0, 0) == EAGAIN
    assert guest.call("sendto", one, BAD, 1, 0, 0, 0) == EFAULT
    send(guest, one, b"x")
    assert guest.call("recvfrom", other, BAD, 1, DONTWAIT, 0, 0) == EFAULT
    assert guest.call("sendmsg", one, BAD, 0) == guest.call("recvmsg", one, BAD, 0) == EFAULT
    header = struct.pack("<7I", 0, 0, BUFFER, 1025, 0, 0, 0)
    assert guest.call("sendmsg", one, guest.put(header, AT), 0) == EMSGSIZE


# -- streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [UNIX, INET])
def test_a_connection(guest: Guest, family: int) -> None:
    """Bytes go both ways until one end shuts or closes; then comes the end, and EPIPE."""
    server, client, end = connected(guest, family)
    assert (send(guest, client, b"hello"), send(guest, client, b" you")) == (5, 4)
    assert guest.call("ioctl", end, 0x541B, BUFFER) == 0
    assert guest.words("<I") == (9,)
    assert receive(guest, end, 3, PEEK) == b"hel"
    assert receive(guest, end) == b"hello you"
    assert receive(guest, end) == EAGAIN
    assert guest.call("shutdown", client, 1) == 0
    assert (receive(guest, end), send(guest, client, b"x", NOSIGNAL)) == (b"", EPIPE)
    assert send(guest, end, b"back") == 4
    assert receive(guest, client) == b"back"
    assert guest.call("close", end) == 0
    assert receive(guest, client) == b""
    assert events(guest, client) & 0x10
    assert at(guest, "connect", server, inet(1)) < 0
    assert guest.call("accept4", client, 0, 0, 0) == EINVAL


@pytest.mark.parametrize("family", [UNIX, INET])
def test_names_of_both_ends(guest: Guest, family: int) -> None:
    """getsockname and getpeername, cut to the room there is."""
    server, client, end = connected(guest, family)
    own = name(guest, "getsockname", server)
    assert own == (unix(b"\0server") if family == UNIX else inet(5000))
    assert own == name(guest, "getsockname", end) == name(guest, "getpeername", client)
    assert name(guest, "getpeername", end) == name(guest, "getsockname", client)
    assert name(guest, "getpeername", server) == ENOTCONN
    assert name(guest, "getsockname", server, 4) == own[:4]
    assert guest.words("<I", LENGTH) == (len(own),)


def test_a_broken_connection_ends_the_process(guest: Guest) -> None:
    """SIGPIPE, unless MSG_NOSIGNAL; of messages never, as in Linux."""
    one, other = pair(guest, SEQPACKET)
    guest.call("close", other)
    assert send(guest, one, b"x") == EPIPE
    one, other = pair(guest)
    guest.call("close", other)
    assert send(guest, one, b"x", NOSIGNAL) == EPIPE
    send(guest, one, b"x")
    assert guest.outcome is not None
    assert (guest.outcome.kind, guest.outcome.code) == ("signal", Signal.SIGPIPE)


def test_what_was_not_read_or_accepted_is_reset(guest: Guest) -> None:
    """Who closes with unread bytes, or before accepting, resets: ECONNRESET once, then the end."""
    one, other = pair(guest)
    send(guest, other, b"kept")
    send(guest, one, b"lost")
    guest.call("close", other)
    assert [receive(guest, one) for _ in range(3)] == [b"kept", ECONNRESET, b""]
    server, client, _ = connected(guest)
    late = guest.call("socket", UNIX, STREAM, 0)
    assert at(guest, "connect", late, unix(b"\0server")) == 0
    guest.call("close", server)
    assert [receive(guest, late) for _ in range(2)] == [ECONNRESET, b""]
    assert at(guest, "connect", client, unix(b"\0server")) == ECONNREFUSED


def test_a_backlog_is_bounded(guest: Guest) -> None:
    """One more than was asked for wait; the next one is told to try again."""
    server = guest.call("socket", UNIX, STREAM, 0)
    at(guest, "bind", server, unix(b"\0server"))
    assert at(guest, "connect", guest.call("socket", UNIX, STREAM, 0), unix(b"\0server")) \
        == ECONNREFUSED  # fmt: skip
    guest.call("listen", server, 0)
    clients = [guest.call("socket", UNIX, STREAM | NONBLOCK, 0) for _ in range(2)]
    assert [at(guest, "connect", c, unix(b"\0server")) for c in clients] == [0, EAGAIN]
    assert guest.call("accept4", server, 0, 0, 0) > 0
    assert at(guest, "connect", clients[1], unix(b"\0server")) == 0
    datagram = guest.call("socket", UNIX, SEQPACKET, 0)
    assert at(guest, "connect", datagram, unix(b"\0server")) == ECONNREFUSED
    assert guest.call("listen", guest.call("socket", UNIX, DGRAM, 0), 1) == EOPNOTSUPP


# -- datagrams --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [UNIX, INET])
def test_datagrams(guest: Guest, family: int) -> None:
    """Each on its own, empty ones too, with the sender's name; what does not fit is lost."""
    one, other = (guest.call("socket", family, DGRAM, 0) for _ in range(2))
    here, there = (unix(b"\0a"), unix(b"\0b")) if family == UNIX else (inet(7), inet(5001))
    assert at(guest, "bind", one, here) == (0 if family == UNIX else EACCES)
    assert send(guest, one, b"x") == (ENOTCONN if family == UNIX else EDESTADDRREQ)
    assert at(guest, "bind", other, there) == 0
    for text in (b"first", b"", b"third"):
        assert send(guest, one, text, 0, there) == len(text)
    assert guest.call("ioctl", other, 0x541B, BUFFER) == 0
    assert guest.words("<I") == (5,)
    guest.put(struct.pack("<I", 128), LENGTH)
    assert guest.call("recvfrom", other, BUFFER, 2, TRUNC, BUFFER + AT, BUFFER + LENGTH) == 5
    sender = guest.get(guest.words("<I", LENGTH)[0], AT)
    assert sender == name(guest, "getsockname", one) or family == INET
    assert (receive(guest, other), receive(guest, other)) == (b"", b"third")
    assert receive(guest, other) == EAGAIN
    assert send(guest, other, b"back", 0, sender) == 4
    assert at(guest, "connect", one, there) == 0
    assert receive(guest, one) == b"back"
    assert send(guest, one, bytes(0x4000), 0) == 0x4000
    assert send(guest, one, b"x", 1) == EOPNOTSUPP


def test_full_receivers(guest: Guest) -> None:
    """A named receiver makes its senders wait; UDP loses what there is no room for."""
    one, other = (guest.call("socket", UNIX, DGRAM, 0) for _ in range(2))
    at(guest, "bind", other, unix(b"\0b"))
    count = 0
    while send(guest, one, b"x", DONTWAIT, unix(b"\0b")) == 1:
        count += 1
    assert count == 11
    one, other = (guest.call("socket", INET, DGRAM, 0) for _ in range(2))
    at(guest, "bind", other, inet(5002))
    assert [send(guest, one, bytes(0x4000), 0, inet(5002)) for _ in range(100)] == [0x4000] * 100
    got = 0
    while receive(guest, other, 1) != EAGAIN:
        got += 1
    assert 0 < got <= CAPACITY // 0x4000


def test_udp_ports(guest: Guest) -> None:
    """Nobody there: the next call of who is connected learns it. Other hosts are out of reach."""
    one = guest.call("socket", INET, DGRAM, 0)
    assert send(guest, one, b"x", 0, inet(6000)) == 1
    assert send(guest, one, b"x", 0, inet(6000, 0x08080808)) == ENETUNREACH
    assert send(guest, one, b"x", 0, inet(0)) == EINVAL
    assert at(guest, "connect", one, inet(6000, 0xC0000201)) == ENETUNREACH
    assert at(guest, "connect", one, inet(6000)) == 0
    assert [send(guest, one, b"x") for _ in range(2)] == [1, ECONNREFUSED]
    send(guest, one, b"x")
    assert (option(guest, one, 4), option(guest, one, 4)) == (-ECONNREFUSED, 0)
    assert guest.call("connect", one, guest.put(bytes(16)), 16) == 0
    assert send(guest, one, b"x") == EDESTADDRREQ


def test_tcp_ports(guest: Guest) -> None:
    """Who has a port keeps others from it; there are none outside 127.0.0.0/8."""
    server, client, end = connected(guest, INET)
    fd = guest.call("socket", INET, STREAM, 0)
    assert at(guest, "bind", fd, inet(5000)) == at(guest, "bind", fd, inet(5000, 0)) == EADDRINUSE
    assert at(guest, "bind", fd, inet(5000, 0x08080808)) == EADDRNOTAVAIL
    assert at(guest, "bind", fd, inet(80)) == EACCES
    assert at(guest, "connect", fd, inet(80, 0x08080808)) == ENETUNREACH
    assert at(guest, "connect", fd, inet(5001)) == ECONNREFUSED
    assert at(guest, "connect", fd, unix(bytes(14))) == EAFNOSUPPORT
    guest.call("close", server)
    assert at(guest, "bind", fd, inet(5000)) == EADDRINUSE, "the connection has it"
    guest.call("close", end)
    assert at(guest, "bind", fd, inet(5000)) == 0
    assert at(guest, "connect", client, inet(5000)) == EISCONN


# -- waiting ----------------------------------------------------------------------------------


def test_waiting_for_each_other(guest: Guest) -> None:
    """A receiver sleeps until somebody sends, a sender until there is room, accept and connect
    likewise; a child's end is the end of what it had."""
    one, other = pair(guest)
    parent = guest.process.pid
    child = guest.call("fork")
    guest.call("recvfrom", one, BUFFER, 5, 0, 0, 0)
    assert guest.process.pid == child
    assert send(guest, other, b"hello") == 5
    guest.call("recvfrom", other, BUFFER, 5, 0, 0, 0)
    assert (guest.process.pid, guest.get(5)) == (parent, b"hello")
    assert guest.state["eax"] == 5
    guest.call("close", other)
    sent = 0
    while (count := send(guest, one, bytes(0x4000), DONTWAIT)) > 0:
        sent += count
    assert (sent, count) == (CAPACITY, EAGAIN)
    guest.call("sendto", one, BUFFER, 0x100, 0, 0, 0)
    assert guest.process.pid == child, "it has received nothing yet"
    guest.call("exit_group", 0)
    assert guest.process.pid == parent
    assert guest.outcome is not None
    assert guest.outcome.code == Signal.SIGPIPE


def test_waiting_for_ever_is_told(guest: Guest) -> None:
    """Who waits for itself ends with a reason."""
    one, _ = pair(guest)
    guest.call("recvfrom", one, BUFFER, 1, 0, 0, 0)
    assert guest.outcome is not None
    assert "waits for ever" in guest.outcome.message


def test_time_limits(guest: Guest) -> None:
    """SO_RCVTIMEO and SO_SNDTIMEO, of both layouts: virtual time passes, then EAGAIN."""
    one, other = pair(guest)
    before = guest.process.elapsed
    assert guest.call("setsockopt", one, 1, 20, guest.put(struct.pack("<ii", 1, 500_000)), 8) == 0
    assert guest.call("read", one, BUFFER, 1) == EAGAIN
    assert guest.process.elapsed - before == 1_500_000_000
    assert guest.call("setsockopt", other, 1, 67, guest.put(struct.pack("<qq", 2, 0)), 16) == 0
    while send(guest, other, bytes(0x4000), DONTWAIT) > 0:
        pass
    assert send(guest, other, b"x") == EAGAIN
    assert guest.process.elapsed - before == 3_500_000_000
    assert guest.call("setsockopt", one, 1, 20, guest.put(struct.pack("<ii", 1, -1)), 8) == -33
    guest.put(struct.pack("<I", 16), LENGTH)
    assert guest.call("getsockopt", one, 1, 66, BUFFER, BUFFER + LENGTH) == 0
    assert guest.words("<qq") == (1, 500_000)


def test_poll_and_select(guest: Guest) -> None:
    """What poll tells of each state, and select the same."""
    server, client, end = connected(guest)
    assert [events(guest, fd) for fd in (server, client, end)] == [0, 4, 4]
    send(guest, client, b"x")
    assert events(guest, end) == 5
    late = guest.call("socket", UNIX, STREAM, 0)
    assert events(guest, late) == 0x14
    at(guest, "connect", late, unix(b"\0server"))
    assert events(guest, server) == 1
    sets = struct.pack("<II", 1 << end | 1 << late, 1 << late)
    where = guest.put(sets)
    timeout = guest.put(bytes(8), 0x100)
    assert guest.call("_newselect", 16, where, where + 4, 0, timeout) == 2
    assert guest.words("<II") == (1 << end, 1 << late)
    while send(guest, client, bytes(0x4000), DONTWAIT) > 0:
        pass
    assert events(guest, client) == 0
    guest.call("close", end)
    assert events(guest, client) == 0x201D
    assert option(guest, client, 4) == -ECONNRESET
    assert events(guest, client) == 0x2015


# -- options ----------------------------------------------------------------------------------


def test_options(guest: Guest) -> None:
    """Those that do something, those that are only kept, and those that there are not."""
    stream, datagram = (guest.call("socket", INET, kind, 0) for kind in (STREAM, DGRAM))
    named = guest.call("socket", UNIX, SEQPACKET, 0)
    assert [option(guest, named, which) for which in (3, 4, 30, 38, 39)] == [5, 0, 0, 0, 1]
    assert [option(guest, stream, which) for which in (3, 30, 38, 39)] == [1, 0, 6, 2]
    assert option(guest, datagram, 38) == 17

    def set_(fd: int, level: int, which: int, value: int) -> int:
        return guest.call("setsockopt", fd, level, which, guest.put(struct.pack("<i", value)), 4)

    for fd, level, which, value in (
        (stream, 1, 2, 1), (stream, 1, 9, 1), (stream, 6, 1, 1), (stream, 6, 4, 30),
        (stream, 0, 1, 16), (datagram, 1, 6, 1), (named, 1, 16, 1),
    ):  # fmt: skip
        assert set_(fd, level, which, value) == 0
        assert option(guest, fd, which, level) == value
    assert (option(guest, named, 7), set_(named, 1, 7, 5000)) == (CAPACITY, 0)
    assert option(guest, named, 7) == 10_000
    assert set_(named, 1, 8, -1) == set_(named, 1, 7, 1) == 0
    assert (option(guest, named, 8), option(guest, named, 7)) == (2 * CAPACITY, 4608)
    assert set_(named, 1, 999, 1) == option(guest, named, 999) == ENOPROTOOPT
    assert set_(stream, 1, 3, 1) == set_(stream, 6, 999, 1) == ENOPROTOOPT
    assert option(guest, datagram, 1, 6) == ENOPROTOOPT
    assert set_(named, 6, 1, 1) == option(guest, named, 1, 0) == EOPNOTSUPP
    assert guest.call("setsockopt", named, 1, 2, BUFFER, 3) == EINVAL
    assert guest.call("setsockopt", named, 1, 2, BUFFER, -1) == EINVAL
    assert guest.call("setsockopt", named, 1, 2, BAD, 4) == EFAULT
    assert guest.call("getsockopt", named, 1, 3, BUFFER, guest.put(b"\xff" * 4)) == EINVAL


def test_who_is_connected(guest: Guest) -> None:
    """SO_PEERCRED: who listened, who connected; nobody for who is not, and for TCP."""
    _, client, end = connected(guest)
    me = (guest.process.pid, 1000, 1000)
    for fd, who in ((client, me), (end, me), (guest.call("socket", UNIX, 1, 0), (0, -1, -1))):
        guest.put(struct.pack("<I", 12), LENGTH)
        assert guest.call("getsockopt", fd, 1, 17, BUFFER, BUFFER + LENGTH) == 0
        assert guest.words("<iii") == who


# -- messages with files ----------------------------------------------------------------------


def control(*numbers: int) -> bytes:
    """A control message with descriptors."""
    return struct.pack(f"<Iii{len(numbers)}i", 12 + 4 * len(numbers), 1, 1, *numbers)


def message(guest: Guest, call: str, fd: int, beside: bytes, flags: int = 0, size: int = 1) -> int:
    """sendmsg or recvmsg of one byte, with a control buffer."""
    guest.put(struct.pack("<II", BUFFER + 0x1000, size), 0x1100)
    where = guest.put(beside, 0x1200) if beside else 0
    header = struct.pack("<7I", 0, 0, BUFFER + 0x1100, 1, where, len(beside), 0)
    return guest.call(call, fd, guest.put(header, 0x1180), flags)


@pytest.mark.parametrize("kind", [STREAM, DGRAM, SEQPACKET])
def test_files_in_messages(guest: Guest, kind: int) -> None:
    """A descriptor arrives as another number of the same open file, also if it was closed here."""
    one, other = pair(guest, kind)
    fd = guest.call("open", b"file", 0o102, 0o666)
    guest.call("write", fd, guest.put(b"text"), 4)
    assert message(guest, "sendmsg", one, control(fd)) == 1
    guest.call("close", fd)
    assert message(guest, "recvmsg", other, bytes(16), PEEK) == 1
    peeked = guest.words("<Iiii", 0x1200)[3]
    assert message(guest, "recvmsg", other, bytes(16), 0x40000000) == 1
    length, level, which, number = guest.words("<Iiii", 0x1200)
    assert (length, level, which, number) == (16, 1, 1, peeked + 1)
    assert guest.words("<II", 0x1180 + 20) == (16, 0x40000000)
    assert guest.call("fcntl", number, 1, 0) == 1
    assert guest.call("lseek", number, 0, 1) == 4
    assert guest.process.files.get(number) is guest.process.files.get(peeked)


def test_files_without_room_are_closed(guest: Guest, tmp_path: Path) -> None:
    """By a short buffer, a plain read, a full table, or the end: MSG_CTRUNC, nothing stays open."""
    one, other = pair(guest)
    for take in (
        lambda: message(guest, "recvmsg", other, bytes(12)),
        lambda: guest.call("read", other, BUFFER, 1),
        lambda: len(receive(guest, other)),
    ):
        fd = guest.call("open", b"file", 0o102, 0o666)
        assert message(guest, "sendmsg", one, control(fd, fd)) == 1
        guest.call("close", fd)
        assert descriptors_into(tmp_path) == 1
        assert take() == 1
        assert descriptors_into(tmp_path) == 0
    fd = guest.call("open", b"file", 0, 0)
    message(guest, "sendmsg", one, control(*[fd] * 4))
    guest.process.files.limit = fd + 2
    assert message(guest, "recvmsg", other, bytes(28)) == 1
    assert guest.words("<II", 0x1180 + 20) == (16, 8)
    guest.process.files.limit = 1024
    message(guest, "sendmsg", one, control(fd, one, other))
    for number in (one, other, fd, fd + 1):
        guest.call("close", number)
    assert descriptors_into(tmp_path) == 1, "a message that only itself refers to"
    guest.machine.close()
    assert descriptors_into(tmp_path) == 0


def test_wrong_control_messages(guest: Guest) -> None:
    """EBADF, EINVAL, EPERM, ENOBUFS."""
    one, _ = pair(guest)
    assert message(guest, "sendmsg", one, control(99)) == EBADF
    assert message(guest, "sendmsg", one, struct.pack("<Iii", 11, 1, 1)) == EINVAL
    assert message(guest, "sendmsg", one, struct.pack("<Iii", 99, 1, 1)) == EINVAL
    assert message(guest, "sendmsg", one, struct.pack("<Iii", 12, 1, 77)) == EINVAL
    assert message(guest, "sendmsg", one, struct.pack("<Iii3i", 24, 1, 2, 1, 0, 0)) == EPERM
    assert message(guest, "sendmsg", one, control(*[one] * 254)) == EINVAL
    header = struct.pack("<7I", 0, 0, 0, 0, BUFFER, 30_000, 0)
    assert guest.call("sendmsg", one, guest.put(header, AT), 0) == ENOBUFS


def test_several_messages_at_once(guest: Guest) -> None:
    """sendmmsg and recvmmsg."""
    one, other = pair(guest, DGRAM)
    guest.put(b"abc", TEXT)
    for index in range(3):
        guest.put(struct.pack("<II", BUFFER + TEXT + index, 1), 0x1100 + 8 * index)
        header = struct.pack("<8I", 0, 0, BUFFER + 0x1100 + 8 * index, 1, 0, 0, 0, 77)
        guest.put(header, 0x1200 + 32 * index)
    assert guest.call("sendmmsg", one, BUFFER + 0x1200, 3, 0) == 3
    guest.put(bytes(3), TEXT)
    assert guest.call("recvmmsg", other, BUFFER + 0x1200, 5, 0, 0) == 3
    assert guest.get(3, TEXT) == b"abc"
    assert guest.call("recvmmsg", other, BUFFER + 0x1200, 5, DONTWAIT, 0) == EAGAIN


# -- paths ------------------------------------------------------------------------------------


def test_paths_are_the_guests_alone(guest: Guest, tmp_path: Path) -> None:
    """A bound path is there for the guest, and nothing is for the host."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    fd, client = guest.call("socket", UNIX, STREAM, 0), guest.call("socket", UNIX, STREAM, 0)
    assert at(guest, "bind", fd, unix(b"file\0")) == EADDRINUSE
    assert at(guest, "bind", fd, unix(b"none/s\0")) == ENOENT
    assert at(guest, "bind", fd, unix(b"/dev/s\0")) == EROFS
    assert at(guest, "bind", fd, unix(b"dir/s\0more")) == 0
    assert name(guest, "getsockname", fd) == unix(b"dir/s\0")
    assert list((tmp_path / "dir").iterdir()) == []
    assert guest.call("stat64", b"/dir/s", BUFFER) == 0
    assert guest.words("<I", 16)[0] == 0o140755
    directory = guest.call("open", b"dir", 0, 0)
    size = guest.call("getdents64", directory, BUFFER, 1000)
    assert b"s\0" in guest.get(size)
    assert at(guest, "connect", client, unix(b"dir/s\0")) == ECONNREFUSED
    guest.call("listen", fd, 1)
    assert at(guest, "connect", client, unix(b"/dir/../dir/s\0")) == 0
    assert at(guest, "connect", guest.call("socket", UNIX, DGRAM, 0), unix(b"dir/s")) == EPROTOTYPE
    assert guest.call("rename", b"dir/s", b"t") == guest.call("link", b"dir/s", b"t") == EPERM
    assert guest.call("rename", b"file", b"dir/s") == EPERM
    assert guest.call("rename", b"dir", b"else") == guest.call("rmdir", b"dir") == -39
    assert guest.call("open", b"dir/s", 0o102, 0o666) == guest.call("truncate", b"dir/s", 0) == -6
    assert guest.call("symlink", b"x", b"dir/s") == guest.call("mkdir", b"dir/s", 0o777) == -17
    assert guest.call("utime", b"dir/s", 0) == guest.call("access", b"dir/s", 2) == 0
    assert guest.call("execve", b"dir/s", 0, 0) == EACCES
    assert guest.call("unlink", b"dir/s") == 0
    assert list((tmp_path / "dir").iterdir()) == []
    assert at(guest, "connect", client, unix(b"dir/s\0")) == ENOENT
    assert guest.call("rmdir", b"dir") == 0


def test_paths_where_nothing_may_be_written(tmp_path: Path) -> None:
    """EROFS; a socket of the host is not connected to."""
    root = tmp_path / "root"
    root.mkdir()
    with host_socket.socket(host_socket.AF_UNIX) as theirs:
        before = Path.cwd()
        os.chdir(root)  # a socket's path has 108 bytes at most
        try:
            theirs.bind("theirs")
        finally:
            os.chdir(before)
        theirs.listen()
        theirs.settimeout(0)
        guest = Guest(root)
        fd = guest.call("socket", UNIX, STREAM, 0)
        assert at(guest, "bind", fd, unix(b"s\0")) == EROFS
        assert at(guest, "bind", fd, unix(b"theirs\0")) == EADDRINUSE
        assert at(guest, "connect", fd, unix(b"theirs\0")) == ECONNREFUSED
        with pytest.raises(BlockingIOError):
            theirs.accept()


# -- limits and isolation ---------------------------------------------------------------------


def test_limits(guest: Guest) -> None:
    """EMFILE for the process, ENFILE for the machine, and all is given back."""
    opened = 0
    while (result := guest.call("socketpair", UNIX, STREAM, 0, BUFFER)) == 0:
        opened += 1
    assert result == EMFILE
    assert opened == (1024 - 3) // 2
    network = guest.machine.table.sockets
    assert network is not None
    guest.call("fork")
    guest.call("close_range", 3, 2000, 0)
    assert network.supply.left == MOST_SOCKETS - 2 * opened
    network.supply.left = 1
    assert guest.call("socketpair", UNIX, STREAM, 0, BUFFER) == ENFILE
    assert network.supply.left == 1
    assert guest.call("socket", UNIX, STREAM, 0) == 3
    assert guest.call("socket", UNIX, STREAM, 0) == ENFILE
    guest.machine.close()
    assert network.supply.left == 1 + 2 * opened


def test_bytes_under_way_are_bounded(guest: Guest) -> None:
    """ENOBUFS once all sockets together hold too much; what is closed gives it back."""
    sent = 0
    for _ in range(MOST_BYTES // CAPACITY + 2):
        one, _ = pair(guest)
        while (count := send(guest, one, bytes(0x4000), DONTWAIT)) > 0:
            sent += count
    assert count == ENOBUFS
    assert MOST_BYTES - CAPACITY < sent <= MOST_BYTES
    network = guest.machine.table.sockets
    assert network is not None
    guest.machine.close()
    assert network.room.left == MOST_BYTES


def test_files_under_way_are_bounded(guest: Guest) -> None:
    """ETOOMANYREFS; and a long chain of sockets in sockets is closed without much stack."""
    links = [pair(guest) for _ in range(300)]
    for (one, _), (_, following) in pairwise(links):
        assert message(guest, "sendmsg", one, control(following)) == 1
    for _, other in links[1:]:
        guest.call("close", other)
    for one, _ in links:
        guest.call("close", one)
    network = guest.machine.table.sockets
    assert network is not None
    guest.call("close", links[0][1])
    assert network.supply.left == MOST_SOCKETS
    one, _ = pair(guest)
    for _ in range(MOST_FLYING // 128):
        assert message(guest, "sendmsg", one, control(*[one] * 128)) == 1
    assert message(guest, "sendmsg", one, control(one)) == ETOOMANYREFS
    guest.machine.close()
    assert network.supply.left == MOST_SOCKETS


def test_random_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any arguments: a result or the guest's end; all is given back at the end, and Python's own
    sockets are never asked."""

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("a socket of the host")

    monkeypatch.setattr(host_socket, "socket", never)
    monkeypatch.setattr(host_socket, "socketpair", never)
    rng, seen = random.Random(1), set[int]()
    for seed in range(30):
        guest = Guest(tmp_path, writable=True, net=True, memory=4 << 20, seed=seed)
        for number, address in enumerate((unix(b"\0a"), unix(b"path\0"), inet(5000), inet(0))):
            guest.put(address, 0x200 * number)
        guest.call("fcntl", 0, 4, NONBLOCK)
        for _ in range(300):
            call = rng.choice(SOCKET_CALLS)
            seen.add(guest.call(call, *likely(rng, call)))
            if guest.outcome is not None:
                break
        guest.machine.close()
        network = guest.machine.table.sockets
        if network is not None:
            left = network.supply.left, network.room.left, network._flying.left
            assert left == (MOST_SOCKETS, MOST_BYTES, MOST_FLYING)
            assert not network.names
            assert not network._ports
    assert len(seen) > 20


SOCKET_CALLS = (
    *("socket", "socketpair", "bind", "connect", "listen", "accept4", "getsockopt", "setsockopt"),
    *("getsockname", "getpeername", "sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown"),
    *("sendmmsg", "recvmmsg", "close", "dup", "read", "write", "readv", "writev", "poll"),
)


def likely(rng: random.Random, call: str) -> list[int]:
    """Arguments that a call often takes."""
    if call in ("socket", "socketpair"):
        kind = rng.choice((STREAM, DGRAM, SEQPACKET)) | NONBLOCK
        return [rng.choice((UNIX, UNIX, INET)), kind, 0, BUFFER + 0x1000]
    values = (0, 1, 2, 8, 16, DONTWAIT, 0x7FFFFFFF, 0xFFFFFFFF, BUFFER + 0x1000, BUFFER + 0x7FFE)
    rest = [rng.choice((*values, BUFFER + 0x200 * rng.randrange(4))) for _ in range(5)]
    if call in ("bind", "connect"):
        rest = [BUFFER + 0x200 * rng.randrange(4), rng.choice((3, 7, 16))]
    return [rng.randrange(3, 12), *rest]


def test_no_module_of_the_hosts_is_asked(tmp_path: Path) -> None:
    """Nothing imports Python's sockets, and who makes no socket imports nothing of ours."""
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from process_guest import Guest
guest = Guest()
assert not {"emu.process.sockets", "emu.process.syscalls.sockets"} & set(sys.modules)
assert guest.call("socketpair", 1, 1, 0, Guest.BUFFER) == 0
assert "emu.process.sockets" in sys.modules
assert not {"socket", "_socket", "ssl", "asyncio"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent)], check=True)


def test_boxes_have_a_loopback_each(tmp_path: Path) -> None:
    """What one binds is free in the other; without `net` there is none."""
    (tmp_path / "prog").write_bytes(tiny_elf())
    boxes = [
        Running(Box(name, "prog", root=tmp_path, net=net))
        for name, net in (("one", True), ("two", True), ("three", False))
    ]
    description = tmp_path / "boxes.toml"
    description.write_text('[one]\nprogram = "prog"\nnet = true\n[two]\nprogram = "prog"\n')
    assert [box.net for box in read_boxes(description)] == [True, False]
    tables = [box.machine.table for box in boxes]
    assert [table.net for table in tables] == [True, True, False]
    Boxes(boxes).run()
    guests = [Guest(tmp_path, net=True) for _ in range(2)]
    for guest in guests:
        fd = guest.call("socket", INET, STREAM, 0)
        assert at(guest, "bind", fd, inet(5000)) == guest.call("listen", fd, 1) == 0
        fd = guest.call("socket", UNIX, STREAM, 0)
        assert at(guest, "bind", fd, unix(b"\0name")) == 0


def test_traces_show_the_calls(tmp_path: Path) -> None:
    """Also the first one, at which the calls are imported."""
    seen: list[str] = []
    guest = Guest(tmp_path, on_call=lambda event: seen.append(str(event)))
    guest.call("socketpair", UNIX, STREAM, 0, BUFFER)
    assert seen == [f"socketpair(1, 0x1, 0, {BUFFER:#x}) = 0"]
    assert NUMBERS["socketpair"] == 360


PORTS = """
    .globl _start
_start:
    call bound
first:
    call bound
    mov eax, 1
    movzx ebx, byte ptr [name + 3]  # 1 of 32769
    int 0x80
bound:                          # a datagram socket with a port of the kernel's choice, its name
    mov eax, 359
    mov ebx, 2
    mov ecx, 2
    xor edx, edx
    int 0x80
    mov ebx, eax
    mov eax, 361
    mov ecx, offset any
    mov edx, 16
    int 0x80
    mov eax, 367
    mov ecx, offset name
    mov edx, offset length
    int 0x80
    .globl opened
opened:
    mov eax, 6
    int 0x80
    ret
    .data
any: .short 2, 0, 0, 0, 0, 0, 0, 0
name: .skip 16
length: .long 16
"""


def test_snapshots_are_of_guests_without_open_sockets() -> None:
    """An error says so; a snapshot before or after them gives back the numbers that come next."""
    pytest.importorskip("llvmlite")
    guest = emu.source(PORTS, engine="python", net=True)
    begin = guest.snapshot()
    guest.run(until="opened")
    with pytest.raises(emu.ScriptError, match="sockets open"):
        guest.snapshot()
    guest.run(until="first")
    between = guest.snapshot()
    codes = []
    for snapshot in (between, begin, between, begin):
        guest.restore(snapshot)
        codes.append(guest.run().code)
    assert codes == [1] * 4


# -- programs ---------------------------------------------------------------------------------


@pytest.mark.heavy
def test_names_and_pairs_as_on_the_host(tmp_path: Path) -> None:
    """Every state of sockets with names, as the host's Linux has them."""
    check("sockets", tmp_path)


@pytest.mark.heavy
def test_tcp_and_udp_as_on_the_host(tmp_path: Path) -> None:
    """Connections, ports, datagrams and a server, over 127.0.0.0/8."""
    check("loopback", tmp_path, net=True)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("net", "said"),
    [(True, b"Protocol not supported"), (False, b"Address family not supported by protocol")],
)
def test_net_is_asked_for(tmp_path: Path, net: bool, said: bytes) -> None:
    """With `net` a program has a loopback; without it is told as where there is no internet."""
    output = io.BytesIO()
    guest = emu.load(compiled("loopback", tmp_path), engine="python", net=net, stdout=output)
    guest.run()
    assert output.getvalue().splitlines()[1] == b"wrong protocol: " + said
