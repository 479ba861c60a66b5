"""What earlier runs tell of program counters: which have regions on the disk, and how warm others
are. So most blocks need not be looked for there, and a program that runs often but not long is
compiled in the end as well: when all its runs together have taken as long as that does."""

from __future__ import annotations

import zlib

from emu.engines.native.cache import DiskCache
from emu.engines.native.layout import KEPT_BITS, ON_DISK, kept_slot
from emu.room import Room

PREFIX = "region"
WARMTH = "warmth"
"""The cache's key of the bytes that are no ON_DISK."""

_WITHOUT_MARKS = bytes(range(ON_DISK)) + bytes(256 - ON_DISK)


def region_file(pc: int, name: str) -> str:
    """The cache's key of a region from a program counter on, with a digest that tells the rest."""
    return f"{PREFIX}-{pc:x}-{name}"


class Kept:
    """The table of `Word.KEPT`, one byte for each `kept_slot`."""

    def __init__(self, cache: DiskCache) -> None:
        room = Room(1 << KEPT_BITS)
        self.address, self._degrees = room.address, room.view
        self._cache = cache
        self._before = self._load()
        for key in cache.names():
            kind, _, rest = key.partition("-")
            if kind == PREFIX:
                self.note(int(rest.partition("-")[0], 16))

    def _load(self) -> bytes:
        found = self._cache.load(WARMTH)
        degrees = b"" if found is None else zlib.decompress(found[1])
        if degrees:
            self._degrees[:] = degrees
        return degrees

    def save(self) -> None:
        """Let the next run know."""
        degrees = bytes(self._degrees).translate(_WITHOUT_MARKS)
        if degrees != self._before and (self._before or any(degrees)):
            self._before = degrees
            self._cache.save(WARMTH, {}, zlib.compress(degrees, 1))

    def note(self, pc: int) -> None:
        """The disk has a region from here."""
        self._degrees[kept_slot(pc)] = ON_DISK

    def degrees(self, pc: int) -> int:
        """ON_DISK if the disk may have a region, else how warm blocks are here."""
        return self._degrees[kept_slot(pc)]
