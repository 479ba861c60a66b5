"""What a file is to a PC, by its content. Light: `emu run` looks at every guest with it."""

from __future__ import annotations

import struct

from isa.hints import Final
from isa.record import NamedTuple

SECTOR: Final = 512
BOOT_SIGNATURE: Final = b"\x55\xaa"  # at the end of a boot sector
LINUX_HEADER, LINUX_MAGIC = 0x202, b"HdrS"
MULTIBOOT_MAGIC: Final = 0x1BADB002
SEARCHED: Final = 8192  # bytes at the beginning of a file in which a Multiboot header lies
ADDRESSES: Final = 1 << 16  # flag of a header that tells where the file is to be loaded


class MultibootHeader(NamedTuple):
    """The header's place in the file, its flags, and the five addresses if it has them."""

    offset: int
    flags: int
    header_address: int = 0
    load: int = 0
    load_end: int = 0
    bss_end: int = 0
    entry: int = 0


def multiboot_header(data: bytes) -> MultibootHeader | None:
    """The Multiboot header of a kernel, or None; its checksum makes it one."""
    magic = struct.pack("<I", MULTIBOOT_MAGIC)
    offset = data.find(magic, 0, SEARCHED)
    while offset >= 0 and offset + 12 <= len(data):
        flags, checksum = struct.unpack_from("<2I", data, offset + 4)
        if offset % 4 == 0 and (MULTIBOOT_MAGIC + flags + checksum) & 0xFFFFFFFF == 0:
            if flags & ADDRESSES and offset + 32 <= len(data):
                return MultibootHeader(offset, flags, *struct.unpack_from("<5I", data, offset + 12))
            return MultibootHeader(offset, flags)
        offset = data.find(magic, offset + 1, SEARCHED)
    return None


def is_linux(data: bytes) -> bool:
    """Whether a file has a Linux setup header."""
    return data[LINUX_HEADER : LINUX_HEADER + 4] == LINUX_MAGIC


def is_kernel(data: bytes) -> bool:
    """Whether a boot loader could start the file."""
    return is_linux(data) or multiboot_header(data) is not None


def is_bootable(data: bytes) -> bool:
    """Whether firmware could start the file as a disk."""
    return data[SECTOR - 2 : SECTOR] == BOOT_SIGNATURE
