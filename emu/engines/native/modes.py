"""Where native code goes on when an instruction has changed what decoding depends on.

Interrupt flags and their shadow, segments, privilege: an operating system changes some of that
every few hundred instructions, and mostly back to what it was. What the engine looked up for the
contents of the registers that decide is noted here, for native code to find.
"""

from __future__ import annotations

from emu.room import Room, words_of
from isa.hints import Final, Sequence
from isa.record import NamedTuple

ROW_BITS: Final = 8
ROWS: Final = 1 << ROW_BITS
FACTOR: Final = 0x9E3779B97F4A7C15


class Places(NamedTuple):
    """What differs from mode to mode: addresses, as `layout.Word` has them."""

    pages: int
    jumps: int
    keys: int


ROW_WORDS: Final = len(Places._fields) + 1  # and whether there is something, before the contents


def factors(count: int) -> list[int]:
    """With what the contents are multiplied, one after the other, for the number of their row."""
    return [(2 * n + 1) * FACTOR % (1 << 64) for n in range(count)]


class Modes:
    """Rows by the contents of the registers at some slots; several contents share a row in turns.

    An instruction that leaves for a look at the state may go on in native code if its row is
    there: nothing but these registers decides, while nobody wants to interrupt and there is no
    breakpoint.
    """

    def __init__(self, slots: Sequence[int]) -> None:
        self._slots = slots
        self._factors = factors(len(slots))
        self._size = ROW_WORDS + len(slots)
        room = Room(8 * ROWS * self._size)
        self.address, self._bytes, self._words = room.address, room.view, room.words()
        self._noted: dict[int, bytes] = {}  # by row
        self._known: set[bytes] = set()

    def clear(self) -> None:
        """Forget everything: addresses have changed."""
        if self._noted:
            self._bytes[:] = bytes(len(self._bytes))
            self._noted.clear()
            self._known.clear()

    def note(self, name: bytes, values: Sequence[int], places: Places) -> None:
        """Native code may go on at `places` with such contents of the registers, which have a
        name."""
        if name in self._known:
            return
        contents = [values[slot] for slot in self._slots]
        row = self._row(contents)
        self._known.discard(self._noted.get(row, b""))
        self._known.add(name)
        self._noted[row] = name
        at = row * self._size
        self._words[at : at + self._size] = words_of([1, *places, *contents])

    def _row(self, contents: Sequence[int]) -> int:
        mixed = sum(map(int.__mul__, contents, self._factors)) % (1 << 64)
        return mixed >> 64 - ROW_BITS
