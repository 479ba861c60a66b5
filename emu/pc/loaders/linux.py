"""Linux by its 32-bit boot protocol (Documentation/x86/boot.rst, zero-page.rst).

The kernel proper is unpacked from the bzImage here, so that no guest's decompressor has to run; it
is entered at its own first instruction, with the zero page in ESI.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from emu.errors import LoaderError
from emu.pc.loaders import flat_mode
from emu.pc.loaders.flat_mode import put
from emu.pc.loaders.kernel_image import KernelImage, kernel_image
from emu.pc.machine import PcMachine
from emu.pc.memory_map import left_by_firmware
from isa.hints import Final

SETUP_SECTORS, JUMP_LENGTH, HEADER, VERSION = 0x1F1, 0x201, 0x202, 0x206  # offsets in the file
CMDLINE_SIZE, PAYLOAD_OFFSET, PAYLOAD_LENGTH = 0x238, 0x248, 0x24C
CODE_START: Final = 0x214
COMMAND_LINE_VERSION: Final = 0x206  # the first protocol that tells how long one may be
PAYLOAD_VERSION: Final = 0x208  # the first protocol that tells where the payload is
SECTOR, PAGE, KILO, MEGA = 512, 4096, 1 << 10, 1 << 20
ZERO_PAGE, COMMAND_LINE, TABLE = 0x10000, 0x20000, 0x8000
CODE_SELECTOR, DATA_SELECTOR = 0x10, 0x18  # __BOOT_CS, __BOOT_DS
HIGHEST_INITRD: Final = 0x37FFFFFF  # below the kernel's own mappings
TYPE_OF_LOADER, RAMDISK, RAMDISK_SIZE, COMMAND_LINE_POINTER = 0x210, 0x218, 0x21C, 0x228
ALT_MEM_K, E820_ENTRIES, E820_TABLE = 0x1E0, 0x1E8, 0x2D0
UNDEFINED_LOADER: Final = 0xFF
TEXT_MODE: Final = {0x06: 3, 0x07: 80, 0x0E: 25, 0x0F: 1, 0x10: 16}
"""Of struct screen_info: mode, columns, lines, VGA, points of a character."""

Unpack = Callable[[bytes], bytes]


def _gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data)


def _unlzma(data: bytes) -> bytes:
    return lzma.LZMADecompressor().decompress(data)


def _bunzip(data: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(data)


UNPACKERS: Final[dict[bytes, Unpack]] = {
    b"\x1f\x8b": _gunzip,
    b"\xfd7zXZ\0": _unlzma,
    b"]\0\0": _unlzma,
    b"BZh": _bunzip,
}


@dataclass(frozen=True, slots=True)
class BzImage:
    """A kernel file: its setup header as it stands, and what is loaded of it."""

    header: bytes  # from offset 0x1F1 to its end
    longest_command_line: int
    kernel: KernelImage


def unpack(data: bytes) -> BzImage:
    """Take a bzImage apart; raises LoaderError."""
    if len(data) < PAYLOAD_LENGTH + 4:
        raise LoaderError("The Linux kernel is truncated", where=f"{len(data)} bytes")
    (version,) = struct.unpack_from("<H", data, VERSION)
    if version < COMMAND_LINE_VERSION:
        raise LoaderError(
            f"The Linux kernel has boot protocol {version >> 8}.{version & 0xFF:02}",
            why="kernels since 2.6.22 have 2.06 or more",
        )
    start = ((data[SETUP_SECTORS] or 4) + 1) * SECTOR
    offset, length = struct.unpack_from("<2I", data, PAYLOAD_OFFSET)
    if version < PAYLOAD_VERSION or not length:
        kernel = _protected_part(data, start)
    else:
        kernel = kernel_image(_decompressed(_payload(data, start + offset, length)))
    (longest,) = struct.unpack_from("<I", data, CMDLINE_SIZE)
    end = HEADER + data[JUMP_LENGTH]
    return BzImage(data[SETUP_SECTORS:end], longest, kernel)


def _protected_part(data: bytes, start: int) -> KernelImage:
    """What a kernel has in place of Linux proper (memtest86+): loaded as it is, entered first."""
    (entry,) = struct.unpack_from("<I", data, CODE_START)
    if len(data) <= start:
        raise LoaderError("The kernel is truncated", where=f"{len(data)} bytes")
    return KernelImage(((entry, data[start:]),), entry)


def _payload(data: bytes, start: int, length: int) -> bytes:
    payload = data[start : start + length]
    if len(payload) < length:
        raise LoaderError(
            "The Linux kernel is truncated",
            where=f"its payload at {start:#x}",
            why=f"{length} bytes are promised, {len(payload)} are there",
        )
    return payload


def _decompressed(payload: bytes) -> bytes:
    if payload.startswith(b"\x7fELF"):
        return payload
    for magic, unpacker in UNPACKERS.items():
        if payload.startswith(magic):
            try:
                return unpacker(payload)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                raise LoaderError("The Linux kernel is damaged", why=str(error)) from None
    raise LoaderError(
        "The Linux kernel is packed in a way that is not known",
        why=f"it begins with {payload[:6].hex(' ')}; gzip, xz, lzma and bzip2 are known",
        advice="Unpack it (scripts/extract-vmlinux) and give the vmlinux",
    )


def load_linux(machine: PcMachine, data: bytes, command_line: str, initrd: bytes) -> None:
    """Load a kernel with an initial RAM disk, and begin at its entry; raises LoaderError."""
    image = unpack(data)
    line = command_line.encode() + b"\0"
    if len(line) > image.longest_command_line + 1:
        raise LoaderError(
            f"The command line has {len(line) - 1} bytes",
            why=f"this kernel takes {image.longest_command_line}",
        )
    kernel = image.kernel
    for address, content in kernel.pieces:
        put(machine, address, content)
    put(machine, COMMAND_LINE, line)
    ramdisk = _place_initrd(machine, initrd, kernel.end)
    put(machine, ZERO_PAGE, _zero_page(machine, image, ramdisk, len(initrd)))
    flat_mode.enter(machine, kernel.entry, TABLE, CODE_SELECTOR, DATA_SELECTOR, {"esi": ZERO_PAGE})


def _place_initrd(machine: PcMachine, initrd: bytes, kernel_end: int) -> int:
    """As high as it goes, out of the kernel's way."""
    if not initrd:
        return 0
    top = min(machine.memory.ram, HIGHEST_INITRD + 1)
    start = (top - len(initrd)) & ~(PAGE - 1)
    if start < kernel_end:
        raise LoaderError(
            f"The initial RAM disk of {len(initrd) >> 20} MiB does not fit",
            why=f"the kernel ends at {kernel_end:#x}, memory at {top:#x}",
            advice="Give the machine more: --memory 128M",
        )
    put(machine, start, initrd)
    return start


def _zero_page(machine: PcMachine, image: BzImage, ramdisk: int, size: int) -> bytes:
    page = bytearray(PAGE)
    page[SETUP_SECTORS : SETUP_SECTORS + len(image.header)] = image.header
    page[TYPE_OF_LOADER] = UNDEFINED_LOADER
    for place, value in TEXT_MODE.items():
        page[place] = value
    ram = machine.memory.ram
    struct.pack_into("<I", page, ALT_MEM_K, (ram - MEGA) // KILO)
    struct.pack_into("<2I", page, RAMDISK, ramdisk, size)
    struct.pack_into("<I", page, COMMAND_LINE_POINTER, COMMAND_LINE)
    ranges = left_by_firmware(ram)
    entries = b"".join(row.entry() for row in ranges)
    page[E820_ENTRIES] = len(ranges)
    page[E820_TABLE : E820_TABLE + len(entries)] = entries
    return bytes(page)
