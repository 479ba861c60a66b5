"""Which code was executed, and how often: exact, the same on every engine, at little cost.

Engines count where straight-line runs of instructions begin and where they are left: one addition
for each, in native code too. How often an instruction was passed is the sum of everything up to it,
whatever the blocks were in which an engine ran it.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from emu.late import np
from emu.memory import PAGE_SIZE
from isa.hints import Final

NO_RESERVE: Final = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""Python 3.13 has a name for it: memory that is not set aside before it is used."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Units of code [start, end), each of whose instructions was executed `count` times."""

    start: int
    end: int
    count: int


class Coverage:
    """Counts over a code space of so many units.

    `changes[address]` is by how much the count at `address` differs from that of the unit before.
    A repeated instruction counts when it is done, not for each iteration; an instruction that
    faulted does not count. Raises OSError if the host has no addresses for 8 bytes a unit (memory
    is taken only for pages with code).
    """

    def __init__(self, units: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        self._memory = mmap.mmap(-1, 8 * (units + PAGE_SIZE), flags=flags)
        self.changes = np.frombuffer(self._memory, dtype=np.int64)
        self._pages: set[int] = set()

    @property
    def address(self) -> int:
        """Where `changes` lies, for native code."""
        return int(self.changes.ctypes.data)

    def touch(self, start: int, size: int) -> None:
        """Code there has been translated: it may be counted from now on."""
        self._pages.update(range(start // PAGE_SIZE, (start + size) // PAGE_SIZE + 1))

    def passed(self, start: int, end: int, times: int = 1) -> None:
        """The instructions in [start, end) were executed."""
        self.changes[start] += times
        self.changes[end] -= times

    def clear(self) -> None:
        """Begin anew."""
        for page in self._pages:
            self.changes[page * PAGE_SIZE : (page + 1) * PAGE_SIZE] = 0

    def ranges(self) -> Iterator[Passed]:
        """Everything that was executed, in order, neighbours of one count joined."""
        start, count = 0, 0
        for address, change in self._changes():
            if count:
                yield Passed(start, address, count)
            start, count = address, count + change

    def _changes(self) -> Iterator[tuple[int, int]]:
        for page in sorted(self._pages):
            part = self.changes[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
            for at in np.flatnonzero(part).tolist():
                yield page * PAGE_SIZE + at, int(part[at])

    def count(self, address: int) -> int:
        """How often the instruction at an address was executed."""
        return next((p.count for p in self.ranges() if p.start <= address < p.end), 0)
