"""How often blocks without a region were entered in the last run that had them, kept on disk: what
is warm in every run of a program is worth a region too."""

from __future__ import annotations

import struct

from emu.engines.native.cache import DiskCache
from isa.hints import Final
from isa.record import NamedTuple

FILE: Final = "warmth"
MOST: Final = 4_096  # blocks that are remembered: what loads in a thousandth of a second


class Place(NamedTuple):
    """A block: its program counter, and 64 bits that tell its code and circumstances."""

    pc: int
    code: int


class Warmth:
    """Entries by block, of all programs; those that were entered most."""

    def __init__(self, cache: DiskCache) -> None:
        self._cache = cache
        found = cache.load(FILE)
        self._fill(memoryview(b"") if found is None else found[1])
        self._known: dict[Place, int] | None = None

    def _fill(self, content: memoryview) -> None:
        """The three columns of a file; of another length they are no columns."""
        count = len(content) // 16
        columns = memoryview(bytes(content) if len(content) == 16 * count else b"")
        self.pcs = columns[: 4 * count].cast("I")
        self._codes = columns[4 * count : 12 * count].cast("Q")
        self._entries = columns[12 * count :].cast("I")

    def _all(self) -> dict[Place, int]:
        if self._known is None:
            places = map(Place, self.pcs, self._codes)
            self._known = dict(zip(places, self._entries, strict=True))
        return self._known

    def of(self, place: Place) -> int:
        """How often a block was entered in the last run that had it."""
        return self._all().get(place, 0)

    def keep(self, found: dict[Place, int], needless: set[int], inside: set[int]) -> None:
        """Remember a run's entries beside those of other blocks in earlier runs; not at program
        counters that are served by regions by now or should have none, nor what earlier runs said
        of those inside: that such a block was warm as long as there was no region tells nothing."""
        earlier = {p: n for p, n in self._all().items() if p.pc not in inside}
        entries = {p: n for p, n in (earlier | found).items() if p.pc not in needless}
        if entries == self._all():
            return
        self._known = entries
        kept = sorted(entries.items(), key=lambda item: -item[1])[:MOST]
        columns = [struct.pack(f"{len(kept)}I", *(place.pc for place, _ in kept))]
        columns += [struct.pack(f"{len(kept)}Q", *(place.code for place, _ in kept))]
        columns += [struct.pack(f"{len(kept)}I", *(count for _, count in kept))]
        self._cache.save(FILE, {}, b"".join(columns))
