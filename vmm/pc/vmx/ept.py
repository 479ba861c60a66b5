"""Extended page tables: from guest-physical to host-physical addresses, four levels of 512 entries.

SDM volume 3, section 28.2. The tables lie in the monitor's own memory; the monitor fills them when
the processor meets what is not there yet, an EPT violation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

from emu.memory import PAGE_MASK, PAGE_SIZE
from emu.pc.machine import PcMachine
from vmm.pc.shadow import Frames
from vmm.pc.vmx.controls import EPT_WALK_LENGTH, EPT_WRITE_BACK

READ, WRITE, EXECUTE = 1, 2, 4  # rights of an entry
TYPE: Final = EPT_WRITE_BACK << 3  # of memory, in the last level
INDEX_BITS: Final = 9
_FRAME: Final = 0xFFFFF000


class Ept:
    """The tables of one guest."""

    def __init__(self, below: PcMachine, frames: Frames) -> None:
        self._memory = below.memory
        self._frames = frames
        self.root = frames.take()

    @property
    def pointer(self) -> int:
        """The EPTP of these tables (table 24-8)."""
        return self.root | EPT_WALK_LENGTH - 1 << 3 | EPT_WRITE_BACK

    def map(self, address: int, where: int, rights: int) -> None:
        """Let a guest-physical page be the host's page there."""
        table = self.root
        for level in range(EPT_WALK_LENGTH - 1, 0, -1):
            table = self._next(table, address, level)
        self._memory.store(self._place(table, address, 0), 8, where & ~PAGE_MASK | rights | TYPE)

    def rights(self, address: int) -> int:
        """What the entries allow; 0 if there is none."""
        table, rights = self.root, READ | WRITE | EXECUTE
        for level in range(EPT_WALK_LENGTH - 1, -1, -1):
            entry = cast(int, self._memory.load(self._place(table, address, level), 8))
            table, rights = entry & _FRAME, rights & entry
        return rights

    def _place(self, table: int, address: int, level: int) -> int:
        return table + 8 * (address >> 12 + INDEX_BITS * level & (1 << INDEX_BITS) - 1)

    def _next(self, table: int, address: int, level: int) -> int:
        place = self._place(table, address, level)
        entry = cast(int, self._memory.load(place, 8))
        if not entry & READ:
            entry = self._frames.take() | READ | WRITE | EXECUTE
            self._memory.store(place, 8, entry)
        return entry & _FRAME

    def pages(self) -> Iterator[int]:
        """Where the pages lie that are mapped now."""
        yield from self._leaves(self.root, EPT_WALK_LENGTH - 1)

    def _leaves(self, table: int, level: int) -> Iterator[int]:
        for entry in self._entries(table):
            if level:
                yield from self._leaves(entry & _FRAME, level - 1)
            else:
                yield entry & _FRAME

    def _entries(self, table: int) -> list[int]:
        found = [cast(int, self._memory.load(table + n, 8)) for n in range(0, PAGE_SIZE, 8)]
        return [entry for entry in found if entry & READ]

    def clear(self) -> None:
        """Map nothing."""
        self._give_back(self.root, EPT_WALK_LENGTH - 1)
        self._memory.write(self.root, bytes(PAGE_SIZE))

    def _give_back(self, table: int, level: int) -> None:
        for entry in self._entries(table) if level else ():
            self._give_back(entry & _FRAME, level - 1)
            self._frames.give_back(entry & _FRAME)
