"""Multiboot 1 kernels (Multiboot specification 0.6.96): what GRUB does for them."""

from __future__ import annotations

import struct

from emu.errors import LoaderError
from emu.pc.kinds import ADDRESSES, MultibootHeader, multiboot_header
from emu.pc.loaders import flat_mode
from emu.pc.loaders.flat_mode import put
from emu.pc.loaders.kernel_image import KernelImage, kernel_image
from emu.pc.machine import PcMachine
from emu.pc.memory_map import BIOS_DATA, left_by_firmware
from isa.hints import Final

LOADED_MAGIC: Final = 0x2BADB002  # in EAX
PAGE_ALIGNED, MEMORY_INFO, VIDEO_MODE = 1, 2, 4  # flags that ask for something
KNOWN: Final = PAGE_ALIGNED | MEMORY_INFO | VIDEO_MODE
NAME: Final = b"popek\0"
INFO: Final = 0x9000  # where the information structure is put
TABLE: Final = 0x8000
KILO, MEGA = 1 << 10, 1 << 20


def load_multiboot(
    machine: PcMachine, data: bytes, command_line: str, modules: list[tuple[bytes, str]]
) -> None:
    """Load a kernel with its modules (content, command line), and begin at its entry."""
    header = multiboot_header(data)
    assert header is not None, "the caller has looked"
    if header.flags & 0xFFFF & ~KNOWN:
        raise LoaderError(
            f"The Multiboot kernel asks for what is not there (flags {header.flags:#x})",
            where=f"header at offset {header.offset:#x}",
            why="flags 0 to 15 are requirements; 0, 1 and 2 are known",
        )
    image = image_of(data, header)
    for address, content in image.pieces:
        put(machine, address, content)
    info = _information(machine, command_line, modules, image.end)
    flat_mode.enter(machine, image.entry, TABLE, 8, 16, {"eax": LOADED_MAGIC, "ebx": info})


def image_of(data: bytes, header: MultibootHeader) -> KernelImage:
    """What a kernel with such a header consists of; raises LoaderError."""
    return _by_header(data, header) if header.flags & ADDRESSES else kernel_image(data)


def _by_header(data: bytes, header: MultibootHeader) -> KernelImage:
    start = header.offset - (header.header_address - header.load)
    if start < 0 or header.load > header.header_address:
        raise LoaderError("The Multiboot header's addresses lie outside the file")
    end = start + header.load_end - header.load if header.load_end else len(data)
    content = data[start:end]
    bss = max(header.bss_end - header.load - len(content), 0) if header.bss_end else 0
    if bss > 1 << 30:
        raise LoaderError(f"The Multiboot kernel asks for {bss >> 20} MiB of zeros")
    return KernelImage(((header.load, content + bytes(bss)),), header.entry)


class _Area:
    """Puts strings and structures one after the other into memory."""

    def __init__(self, machine: PcMachine, at: int) -> None:
        self._machine, self.at = machine, at

    def put(self, content: bytes) -> int:
        """The address of content that was put."""
        address = self.at
        put(self._machine, address, content)
        self.at += -(-len(content) // 8) * 8
        return address


def _information(
    machine: PcMachine, command_line: str, modules: list[tuple[bytes, str]], end: int
) -> int:
    """The information structure (specification, section 3.3): returns its address."""
    area = _Area(machine, INFO + 128)
    line = area.put(command_line.encode() + b"\0")
    name = area.put(NAME)
    upper = machine.memory.ram
    entries = [row.entry() for row in left_by_firmware(upper)]
    map_ = b"".join(struct.pack("<I", len(entry)) + entry for entry in entries)
    map_at = area.put(map_)
    placed = _modules(machine, area, modules, end)
    flags = 1 << 0 | 1 << 2 | (bool(modules)) << 3 | 1 << 6 | 1 << 9
    fields = [flags, BIOS_DATA // KILO, (upper - MEGA) // KILO, 0, line, len(modules), placed]
    fields += [0, 0, 0, 0, len(map_), map_at, 0, 0, 0, name]
    machine.memory.write(INFO, struct.pack("<17I", *fields))
    return INFO


def _modules(machine: PcMachine, area: _Area, modules: list[tuple[bytes, str]], end: int) -> int:
    """Load modules behind the kernel, page by page; returns the address of their list."""
    rows = b""
    for content, line in modules:
        start = -(-end // 4096) * 4096
        put(machine, start, content)
        end = start + len(content)
        rows += struct.pack("<4I", start, end, area.put(line.encode() + b"\0"), 0)
    return area.put(rows) if rows else 0
