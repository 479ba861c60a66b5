"""Segment descriptors of a guest: what may stand in its GDT and LDT, and where these lie.

The tables are the guest's frames, which it cannot write while they are in use. No descriptor of
them is of ring 0, none but code and data are there, and no segment reaches the monitor.
"""

from __future__ import annotations

import struct
from typing import Final

from emu.memory import PAGE_BITS, PAGE_SIZE
from emu.pc.machine import PcMachine
from emu.pc.paging import ALL
from vmm.pc.paravirtual.frames import FrameTable, Kind
from vmm.pc.paravirtual.interface import SEGMENT_END
from vmm.pc.paravirtual.refusal import Errno, Refusal

_PRESENT, _SEGMENT, _CODE, _EXPANDS_DOWN, _GRANULAR = 1 << 15, 1 << 12, 1 << 11, 1 << 10, 1 << 23
_LEVEL: Final = 3 << 13
_KERNEL: Final = 1 << 13  # DPL 1
_PER_PAGE: Final = PAGE_SIZE // 8


def checked(low: int, high: int) -> tuple[int, int]:
    """A descriptor as a guest may have it: of ring 1 if it asked for 0, and cut where it ends.

    Refused are all but code and data, and what would have to be cut to nothing.
    """
    if not high & _PRESENT:
        return low, high
    if not high & _SEGMENT:
        raise Refusal(Errno.EINVAL, "a system descriptor")
    if not high & _CODE and high & _EXPANDS_DOWN:
        raise Refusal(Errno.EINVAL, "a segment that expands down")
    if not high & _LEVEL:
        high |= _KERNEL
    base = high & 0xFF000000 | (high & 0xFF) << 16 | low >> 16
    limit = high & 0xF0000 | low & 0xFFFF
    size = limit + 1 << 12 if high & _GRANULAR else limit + 1
    if base + size <= SEGMENT_END:
        return low, high
    return _cut(low, high, base)


def _cut(low: int, high: int, base: int) -> tuple[int, int]:
    pages = SEGMENT_END - base >> PAGE_BITS
    if pages <= 0:
        raise Refusal(Errno.EINVAL, "a segment in the monitor's part")
    limit = pages - 1
    return low & 0xFFFF0000 | limit & 0xFFFF, high & ~0xF0000 | limit & 0xF0000 | _GRANULAR


class DescriptorTables:
    """One domain's GDT and LDT, shown to the processor in the monitor's part of its addresses.

    `table` is the monitor's page table; the GDT's pages come first in it, then the LDT's.
    """

    def __init__(
        self, below: PcMachine, frames: FrameTable, domain: int, table: int, empty: int
    ) -> None:
        self._below = below
        self._frames = frames
        self._domain = domain
        self._table = table
        self._empty = empty
        self._used: dict[int, int] = {}  # place in `table` -> frame

    def set(self, first: int, most: int, numbers: list[int]) -> None:
        """Let these frames be the table's pages from `first` on, `most` of them empty or not."""
        taken: list[int] = []
        try:
            for number in numbers:
                self._take(number)
                taken.append(number)
        except Refusal:
            for number in taken:
                self._give_back(number)
            raise
        for place in range(first, first + most):
            self._clear(place)
        for place, number in enumerate(numbers, first):
            self._used[place] = number
            self._put(place, number << PAGE_BITS | 3)
        self._below.linear.invalidate(0, ALL)

    def _clear(self, place: int) -> None:
        self._put(place, self._empty)
        number = self._used.pop(place, None)
        if number is not None:
            self._give_back(number)

    def _put(self, place: int, entry: int) -> None:
        self._below.memory.store(self._table + 4 * place, 4, entry)

    def _take(self, number: int) -> None:
        frame = self._frames.of(self._domain, number)
        self._frames.take(number, Kind.DESCRIPTORS, self._validate)
        frame.references += 1

    def _give_back(self, number: int) -> None:
        self._frames[number].references -= 1
        self._frames.give_back(number)

    def _validate(self, number: int, _: Kind) -> None:
        """All of a page, which is rewritten only if nothing in it is refused."""
        where = number << PAGE_BITS
        words = struct.unpack(
            f"<{2 * _PER_PAGE}I", self._below.memory.physical.read(where, PAGE_SIZE)
        )
        new = [checked(low, high) for low, high in zip(words[::2], words[1::2], strict=True)]
        for index, (low, high) in enumerate(new):
            if (low, high) != words[2 * index : 2 * index + 2]:
                self._store(where + 8 * index, low, high)

    def _store(self, address: int, low: int, high: int) -> None:
        self._below.memory.store(address, 8, high << 32 | low)

    def update(self, address: int, low: int, high: int) -> None:
        """Change the descriptor at a machine address, in a table or in a page that may be one."""
        if address & 7:
            raise Refusal(Errno.EINVAL, "no descriptor begins there")
        low, high = checked(low, high)
        number = address >> PAGE_BITS
        frame = self._frames.of(self._domain, number)
        if not (frame.typed and frame.kind is Kind.DESCRIPTORS):
            self._frames.take(number, Kind.WRITABLE)
            self._frames.give_back(number)
        self._store(address, low, high)

    def used(self) -> list[int]:
        """Frames that are descriptor tables now."""
        return list(self._used.values())


def pages_of(size: int) -> int:
    """Pages that so many descriptors need."""
    return -(-size // _PER_PAGE)
