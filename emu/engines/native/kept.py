"""Of which blocks the disk may tell something, by program counter: most need not be looked for."""

from __future__ import annotations

from emu.engines.native.cache import DiskCache
from emu.engines.native.layout import KEPT_BITS, kept_slot
from emu.room import Room
from isa.hints import Iterable

PREFIX = "region"


def region_file(pc: int, name: str) -> str:
    """The cache's key of a region from a program counter on, with a digest that tells the rest."""
    return f"{PREFIX}-{pc:x}-{name}"


class Kept:
    """One bit for each `kept_slot`, which native code looks at: 0 if the disk has no region and
    remembers no entries; `warm` are program counters of which it does."""

    def __init__(self, cache: DiskCache, warm: Iterable[int] = ()) -> None:
        room = Room(1 << KEPT_BITS - 3)
        self.address, self._marks = room.address, room.view
        told = [key.split("-")[1] for key in cache.names() if key.startswith(PREFIX + "-")]
        for pc in (*(int(pc, 16) for pc in told), *warm):
            self.note(pc)

    def note(self, pc: int) -> None:
        """There is something."""
        slot = kept_slot(pc)
        self._marks[slot >> 3] |= 1 << (slot & 7)

    def may_have(self, pc: int) -> bool:
        """Whether there may be something."""
        slot = kept_slot(pc)
        return bool(self._marks[slot >> 3] >> (slot & 7) & 1)
