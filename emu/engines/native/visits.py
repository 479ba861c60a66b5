"""Whether regions pay: how often each was entered, and how many instructions were done in it then.

To enter and leave a region takes as long as some dozen instructions of stitched code do: registers
and flags are loaded and stored. Code that jumps about, as an interpreter's, leaves soon.
"""

from __future__ import annotations

from emu.engines.native.layout import VISITS_BITS, visits_slot
from emu.room import Room
from isa.hints import Final

LEAST: Final = 50  # instructions of a visit for which a region is worth entering
ENOUGH: Final = 20_000  # visits after which that is known


class Visits:
    """What regions count as they are entered and left, a pair of words for each `visits_slot`; two
    regions that have one in common, which is rare, are judged as one."""

    def __init__(self) -> None:
        room = Room(16 << VISITS_BITS)
        self._words, self.address = room.words(), room.address

    def begin(self, pc: int) -> None:
        """A region from a program counter on is new."""
        slot = 2 * visits_slot(pc)
        self._words[slot] = self._words[slot + 1] = 0

    def of(self, pc: int) -> tuple[int, int]:
        """How often a region was entered, and how many instructions were done in it."""
        slot = 2 * visits_slot(pc)
        return self._words[slot], self._words[slot + 1]

    def pay(self, pc: int) -> bool:
        """Whether a region is worth entering, as far as that is known."""
        visits, instructions = self.of(pc)
        return bool(visits < ENOUGH or instructions >= visits * LEAST)
