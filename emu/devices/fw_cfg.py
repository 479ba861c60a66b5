"""The firmware configuration device of QEMU (its documentation: docs/specs/fw_cfg).

Items of bytes by number, files by name in a directory; read byte by byte, or by DMA.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from emu.devices import registers
from emu.devices.bus_memory import BusMemory
from emu.devices.device import PortRange
from isa.hints import Any, Final

SELECTOR, DATA, DMA = 0x510, 0x511, 0x514
SIGNATURE, ID, RAM_SIZE, PROCESSORS, BOOT_MENU, MOST_PROCESSORS = 0, 1, 3, 5, 0x0E, 0x0F
KERNEL_SIZE, INITRD_SIZE, KERNEL_DATA, INITRD_DATA = 0x08, 0x0B, 0x11, 0x12
COMMAND_LINE_SIZE, COMMAND_LINE_DATA = 0x14, 0x15
DIRECTORY, FIRST_FILE = 0x19, 0x20
FEATURES: Final = 3  # ports and DMA
DMA_SIGNATURE: Final = b"QEMU CFG"
ERROR, READ, SKIP, SELECT, WRITE = 1, 2, 4, 8, 16  # control field of a DMA request
REQUEST: Final = struct.Struct(">IIQ")  # control, length, address
NAME_SIZE: Final = 56


def standard_items(memory_size: int) -> dict[int, bytes]:
    """What every machine has, with one processor and no boot menu."""
    return {
        SIGNATURE: b"QEMU",
        ID: struct.pack("<I", FEATURES),
        RAM_SIZE: struct.pack("<Q", memory_size),
        PROCESSORS: struct.pack("<H", 1),
        MOST_PROCESSORS: struct.pack("<H", 1),
        BOOT_MENU: struct.pack("<H", 0),
    }


def kernel_items(kernel: bytes, initrd: bytes, command_line: str) -> dict[int, bytes]:
    """A kernel for firmware that boots one from here; the command line ends with a 0."""
    line = command_line.encode() + b"\0"
    return {
        KERNEL_SIZE: struct.pack("<I", len(kernel)),
        KERNEL_DATA: kernel,
        INITRD_SIZE: struct.pack("<I", len(initrd)),
        INITRD_DATA: initrd,
        COMMAND_LINE_SIZE: struct.pack("<I", len(line)),
        COMMAND_LINE_DATA: line,
    }


def _directory(files: Mapping[str, bytes]) -> bytes:
    """Sizes, numbers and names, big-endian."""
    entries = [
        struct.pack(">IHH56s", len(content), FIRST_FILE + i, 0, name.encode()[: NAME_SIZE - 1])
        for i, (name, content) in enumerate(sorted(files.items()))
    ]
    return struct.pack(">I", len(entries)) + b"".join(entries)


@dataclass(slots=True)
class Registers:
    """Where the reader is."""

    selector: int = 0
    offset: int = 0
    dma_address: int = 0


class FwCfg:
    """Items to be read; an item that does not exist is zeros."""

    ports = (PortRange(SELECTOR, SELECTOR, 2), PortRange(DATA, DATA), PortRange(DMA, DMA + 7, 4))

    def __init__(
        self,
        memory: BusMemory,
        items: Mapping[int, bytes],
        files: Mapping[str, bytes],
    ) -> None:
        self._memory = memory
        contents = enumerate((files[name] for name in sorted(files)), FIRST_FILE)
        self._items = {**items, DIRECTORY: _directory(files), **dict(contents)}
        self.registers = Registers()

    def _take(self, size: int) -> bytes:
        """The next bytes of the item; zeros after its end."""
        r = self.registers
        item = self._items.get(r.selector, b"")
        data = item[r.offset : r.offset + size]
        r.offset += size
        return data.ljust(size, b"\0")

    def _select(self, selector: int) -> None:
        self.registers.selector = selector & ~0x4000  # asking to write chooses the same
        self.registers.offset = 0

    # -- ports -------------------------------------------------------------------------------

    def read(self, port: int, size: int, now: int) -> int:
        """The next byte, or the signature of DMA; the selector cannot be read."""
        if port >= DMA:
            return int.from_bytes(DMA_SIGNATURE[port - DMA : port - DMA + size], "little")
        return self._take(1)[0] if port == DATA else (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """The selector, or the address of a DMA request; the low half starts it."""
        if port == SELECTOR and size == 2:
            self._select(value)
        elif port >= DMA and size == 4:
            half = int.from_bytes(value.to_bytes(4, "little"), "big")
            if port == DMA:
                self.registers.dma_address = half << 32
            elif port == DMA + 4:
                self._serve(self.registers.dma_address | half)
                self.registers.dma_address = 0

    # -- DMA ---------------------------------------------------------------------------------

    def _serve(self, address: int) -> None:
        """Do a request and write its control field: 0, or an error."""
        control, length, target = REQUEST.unpack(self._memory.read(address, REQUEST.size))
        if control & SELECT:
            self._select(control >> 16)
        done = True
        if control & READ:
            done = self._copy(target, length)
        elif control & WRITE:
            done = False  # nothing here can be written
        elif control & SKIP:
            self.registers.offset += length
        self._memory.write(address, (0 if done else ERROR).to_bytes(4, "big"))

    def _copy(self, target: int, length: int) -> bool:
        """To guest memory; nothing if not all of it lies there."""
        if target + length > self._memory.size:
            return False
        self._memory.write(target, self._take(length))
        return True

    def snapshot(self) -> Mapping[str, object]:
        """Where the reader is; the items never change."""
        return registers.save(self.registers)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Where the reader is."""
        registers.restore(self.registers, saved)
