"""A chip's oscillator, counted in instructions: exact, as everything here is in whole numbers."""

from __future__ import annotations

from fractions import Fraction

from isa.hints import Final

MIPS: Final = 10  # million instructions in one virtual second, unless somebody says otherwise


class Clock:
    """An oscillator of `hertz` on a machine that retires `mips` million instructions a second."""

    def __init__(self, hertz: int, mips: int | Fraction = MIPS) -> None:
        ratio = Fraction(hertz) / (Fraction(mips) * 1_000_000)
        self._cycles, self._instructions = ratio.numerator, ratio.denominator

    def cycles(self, now: int) -> int:
        """How many cycles are over at the count `now`."""
        return now * self._cycles // self._instructions

    def count_at(self, cycle: int) -> int:
        """The first count at which so many cycles are over."""
        return -(-cycle * self._instructions // self._cycles)
