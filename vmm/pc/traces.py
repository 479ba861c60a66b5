"""Traces: which pages hold the guest's page tables, and where its kernel writes to them.

The translating monitor maps such pages read-only. The first stores to one trap; a store that has
trapped `ADAPTS` times is translated again, as a call-out, which costs less than a trap: adaptive
translation.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, cast

from emu.memory import PAGE_BITS, WRITE
from emu.pc.paging import LinearMemory
from emu.state import State
from isa.fault import Fault
from isa.x86.registers import PG

ADAPTS: Final = 4
MOST_SITES: Final = 64  # of stores that are call-outs: each new one costs all translated code


class Traces:
    """Of one guest."""

    def __init__(self) -> None:
        self.frames: set[int] = set()
        self.sites: set[int] = set()  # linear addresses of stores that are call-outs by now
        self._trapped: Counter[int] = Counter()
        self._writers: dict[int, set[int]] = {}  # frame -> pages mapped writable

    def clear(self) -> None:
        """Nothing is mapped any more."""
        self.frames.clear()
        self._writers.clear()

    def is_traced(self, state: State, address: int) -> bool:
        """Whether a store of the supervisor's would change a page table."""
        where = cast(LinearMemory, state.memory["system"]).translate(address, WRITE)
        return not isinstance(where, Fault) and where >> PAGE_BITS in self.frames

    def mapped(self, state: State, address: int, *, write: bool) -> set[int]:
        """A page has been mapped: the tables that led there are traced from now on; which pages
        have to be mapped anew for that."""
        if not state.values[PG.slot]:
            return set()
        memory = cast(LinearMemory, state.memory["system"])
        frames = {at >> PAGE_BITS for at in memory.tables_of(address)} - self.frames
        self.frames |= frames
        if write:
            where = memory.translate(address, WRITE)
            if not isinstance(where, Fault):
                pages = self._writers.setdefault(where >> PAGE_BITS, set())
                pages.add(address >> PAGE_BITS)
        return set().union(*(self._writers.pop(frame, set()) for frame in frames))

    def trapped(self, address: int) -> None:
        """A store at an address of code has trapped."""
        self._trapped[address] += 1
        if self._trapped[address] >= ADAPTS and len(self.sites) < MOST_SITES:
            self.sites.add(address)
