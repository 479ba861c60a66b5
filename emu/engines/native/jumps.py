"""The jump cache: where native code finds native code by program counter, without Python.

Two entries side by side can hold a program counter, so that two that fall together do not push each
other out in turns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emu.engines.native.layout import JUMP_WORDS, JUMPS, NOWHERE


class JumpCache:
    """Entries of a program counter, a function and what to call it with (see `pieces.chain`)."""

    def __init__(self) -> None:
        self._words = np.zeros((JUMPS, JUMP_WORDS), dtype=np.uint64)
        self._view = memoryview(self._words)  # type: ignore[arg-type]  # numpy's stubs
        self.address = int(self._words.ctypes.data)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._words[:, 0] = NOWHERE

    def has(self, pc: int) -> bool:
        """Whether native code finds something at a program counter."""
        return self._place(pc) is not None

    def enter(self, pc: int, function: int, number: int) -> None:
        """Let native code find a function; the entry that was entered last stays, if it can."""
        first = pc % JUMPS
        place = self._place(pc)
        if place is None:
            if self._view[first, 0] != NOWHERE:
                self._words[first ^ 1] = self._words[first]
            place = first
        self._words[place] = (pc, function, number, 0)

    def remove(self, pc: int, function: int, number: int | None = None) -> None:
        """Forget a program counter's entry if it leads to a function (called with a number)."""
        place = self._place(pc)
        if place is None or self._view[place, 1] != function:
            return
        if number is None or self._view[place, 2] == number:
            self._view[place, 0] = NOWHERE

    def remove_all(self, pcs: npt.NDArray[np.int64], function: int) -> None:
        """Forget the entries of program counters that lead to a function."""
        for rows in (pcs % JUMPS, pcs % JUMPS ^ 1):
            tags = self._words[rows]
            stale = (tags[:, 0] == pcs.astype(np.uint64)) & (tags[:, 1] == function)
            self._words[rows[stale], 0] = NOWHERE

    def _place(self, pc: int) -> int | None:
        first = pc % JUMPS
        for place in (first, first ^ 1):
            if self._view[place, 0] == pc:
                return place
        return None
