"""Addresses of sockets: names in one machine, and ports of its loopback."""

from __future__ import annotations

import struct

from emu.process.numbers import CallError, Errno
from isa.record import NamedTuple

AF_UNSPEC, AF_UNIX, AF_INET = 0, 1, 2
FAMILIES = 46  # AF_MAX: numbers from there on are of no family
SUN_PATH = 108
SOCKADDR_IN = ">HI8x"  # behind the family, which is in the processor's order
LARGEST = 128  # sizeof(struct sockaddr_storage)

ANY, LOOPBACK = 0, 0x7F000001  # 0.0.0.0, 127.0.0.1


class UnixAddress(NamedTuple):
    """A name: none if empty, abstract if it begins with a zero byte, else a path."""

    name: bytes = b""

    @property
    def is_path(self) -> bool:
        """Whether it names a file."""
        return bool(self.name) and self.name[0] != 0

    def packed(self) -> bytes:
        """As a struct sockaddr_un."""
        return struct.pack("<H", AF_UNIX) + self.name + (b"\0" if self.is_path else b"")


class InternetAddress(NamedTuple):
    """A host's number and a port."""

    host: int = ANY
    port: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether it is one of 127.0.0.0/8."""
        return self.host >> 24 == 127

    def packed(self) -> bytes:
        """As a struct sockaddr_in."""
        return struct.pack("<H", AF_INET) + struct.pack(SOCKADDR_IN, self.port, self.host)


Address = UnixAddress | InternetAddress
UNNAMED = UnixAddress()


def family_of(data: bytes) -> int:
    """The family that a struct sockaddr says; EINVAL if it is too short to."""
    if len(data) < 2:
        raise CallError(Errno.EINVAL)
    return int.from_bytes(data[:2], "little")


def unix_address(data: bytes) -> UnixAddress:
    """Read a struct sockaddr_un, whose name may be missing; EINVAL."""
    if family_of(data) != AF_UNIX or len(data) > 2 + SUN_PATH:
        raise CallError(Errno.EINVAL)
    name = data[2:]
    return UnixAddress(name if name[:1] == b"\0" else name.partition(b"\0")[0])


def internet_address(data: bytes) -> InternetAddress:
    """Read a struct sockaddr_in; EINVAL, EAFNOSUPPORT."""
    family = family_of(data)
    if len(data) < 16:
        raise CallError(Errno.EINVAL)
    port, host = struct.unpack(SOCKADDR_IN, data[2:16])
    if family != AF_INET and (family, host) != (AF_UNSPEC, ANY):
        raise CallError(Errno.EAFNOSUPPORT)
    return InternetAddress(host, port)
