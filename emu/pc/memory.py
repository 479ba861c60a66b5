"""The PC's memory at physical addresses: RAM, ROM, and nothing.

Storage is one array: RAM from physical address 0 up, behind it ROM and two pages that stand for
what is not there: one that reads as ones, one that takes what is written and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable

from emu.memory import (
    PAGE_BITS,
    PAGE_MASK,
    PAGE_SIZE,
    READ,
    WRITE,
    PhysicalMemory,
    TranslatedMemory,
)
from isa.fault import Fault
from isa.hints import Final

A20: Final = 1 << 20
ROM_ROOM: Final = 1 << 20  # bytes of ROM that may be kept


def storage_for(ram: int) -> int:
    """How many bytes of storage a machine with so much RAM needs."""
    return -(-ram // PAGE_SIZE) * PAGE_SIZE + ROM_ROOM + 2 * PAGE_SIZE


class SplitMemory(TranslatedMemory):
    """Memory in which a page may have one place for reads and another for writes: ROM."""

    def is_split(self, address: int) -> bool:
        """See `TranslatedMemory`."""
        return self.translate(address, READ) != self.translate(address, WRITE)

    def load_for_write(self, address: int, size: int) -> int | Fault:
        """See `Memory`: what is read is what is there, in ROM too."""
        pieces = self._pieces(address, size, WRITE)
        return pieces if isinstance(pieces, Fault) else self.load(address, size)


class PhysicalMap(SplitMemory):
    """Physical addresses, a page at a time.

    `readable` and `writable` tell where pages lie in storage whose place there is not their
    address. The A20 gate, if closed, hides bit 20 of every address. `listeners` are called when
    any of this changes.
    """

    def __init__(self, ram: int, storage: PhysicalMemory | None = None) -> None:
        """`ram` bytes, rounded up to whole pages; in zeroed `storage` of `storage_for` them."""
        self.ram = -(-ram // PAGE_SIZE) * PAGE_SIZE
        super().__init__(PhysicalMemory(storage_for(ram)) if storage is None else storage)
        self.physical.size = self.ram  # for devices, which reach nothing else
        self._ones = self.ram + ROM_ROOM
        self._thrown_away = self._ones + PAGE_SIZE
        self.physical.array[self._ones : self._thrown_away] = 0xFF
        self._next_rom = self.ram
        self.readable: dict[int, int] = {}
        self.writable: dict[int, int] = {}
        self._roms: dict[int, int] = {}  # where pages of ROM lie in storage, shadowed or not
        self.a20 = True
        self.listeners: list[Callable[[], None]] = []

    def place(self, address: int, access: int) -> int:
        """Where the byte at a physical address lies in storage, for an access."""
        if not self.a20:
            address &= ~A20
        special = self.writable if access == WRITE else self.readable
        base = special.get(address >> PAGE_BITS)
        if base is None:
            if address < self.ram:
                return address
            base = self._thrown_away if access == WRITE else self._ones
        return base + (address & PAGE_MASK)

    def _walk(self, address: int, access: int) -> int:
        where = self.place(address, access)
        self._cached[access][address >> PAGE_BITS] = where & ~PAGE_MASK
        return where

    # -- what lies where -------------------------------------------------------------------------

    def add_rom(self, data: bytes) -> int:
        """Keep a ROM's content, of whole pages; returns where it lies in storage.

        Raises ValueError if there is no room.
        """
        where = self._next_rom
        if len(data) % PAGE_SIZE or where + len(data) > self._ones:
            raise ValueError(f"no room for a ROM of {len(data)} bytes")
        self.physical.write(where, data)
        self._next_rom += len(data)
        return where

    def map_rom(self, address: int, where: int, size: int) -> None:
        """Let reads of physical addresses find ROM, and throw away writes."""
        for offset in range(0, size, PAGE_SIZE):
            page = address + offset >> PAGE_BITS
            self._roms[page] = self.readable[page] = where + offset
            self.writable[page] = self._thrown_away
        self.changed()

    def shadow(self, start: int, size: int, read: bool, write: bool) -> None:
        """Let reads, let writes of a range go to the RAM there instead of to ROM or nowhere."""
        for page in range(start >> PAGE_BITS, start + size >> PAGE_BITS):
            rom = self._roms.get(page, self._ones)
            _put(self.readable, page, None if read else rom)
            _put(self.writable, page, None if write else self._thrown_away)
        self.changed()

    def set_a20(self, is_open: bool) -> None:
        """Open or close the A20 gate."""
        if is_open != self.a20:
            self.a20 = is_open
            self.changed()

    def changed(self) -> None:
        """See `TranslatedMemory`; tells the listeners too."""
        super().changed()
        for listener in self.listeners:
            listener()


def _put(places: dict[int, int], page: int, where: int | None) -> None:
    if where is None:
        places.pop(page, None)
    else:
        places[page] = where
