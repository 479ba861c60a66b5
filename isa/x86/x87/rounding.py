"""Rounding, and results that lie outside the destination's range.

SDM volume 1, sections 4.8.4, 4.9.1 and 8.5: four modes; the masked and the unmasked answers to
overflow and underflow. Significands to be rounded are 128 bits wide with the highest bit 1, the
lowest one sticky.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.bits import Bits, all_of
from isa.hints import Final
from isa.x86.x87 import number
from isa.x86.x87.number import EXPONENT
from isa.x86.x87.result import OVERFLOW, UNDERFLOW, Result, flags

WIDE: Final = 128
NEAREST, DOWN, UP, CHOP = range(4)
WRAP: Final = 0x6000  # what an unmasked overflow takes off the exponent (SDM 1, section 8.5.4)


@dataclass(frozen=True, slots=True)
class Control:
    """The control word, read (SDM volume 1, figure 8-6)."""

    word: Bits

    @property
    def to(self) -> Format:
        """The format of results."""
        return EXTENDED

    @property
    def mode(self) -> Bits:
        """The rounding mode."""
        return self.word.bits(10, 2)

    @property
    def unit(self) -> Bits:
        """The last place that the precision control keeps of a wide significand."""
        precision = self.word.bits(8, 2)
        single = (precision == 0).select(Bits.of(1 << WIDE - 24, WIDE), 1 << WIDE - 64)
        return (precision == 2).select(Bits.of(1 << WIDE - 53, WIDE), single)

    def masked(self, exception: int) -> Bits:
        """Whether an exception is masked."""
        return self.word.bit(exception.bit_length() - 1)

    @property
    def flushes(self) -> Bits:
        """Whether masked underflows give zeros."""
        return Bits.of(0, 1)


@dataclass(frozen=True, slots=True)
class Rounded:
    """A wide significand cut to a unit; `carry` if it became 2^128, and then it is 2^127 here."""

    significand: Bits
    carry: Bits
    inexact: Bits
    up: Bits


def round_to(significand: Bits, unit: Bits, sign: Bits, mode: Bits) -> Rounded:
    """Cut a wide significand to whole units (a power of 2, at least 2)."""
    places = unit - 1
    total = significand + _increment(significand, unit, sign, mode)
    carry = total.ult(significand)
    return Rounded(
        carry.select(Bits.of(1 << WIDE - 1, WIDE), total & ~places),
        carry,
        (significand & places) != 0,
        ((total ^ significand) & ~places) != 0,
    )


def _increment(significand: Bits, unit: Bits, sign: Bits, mode: Bits) -> Bits:
    """What to add so that cutting rounds."""
    odd = ((significand & unit) != 0).zext(WIDE)
    away = (mode == UP) & ~sign | (mode == DOWN) & sign
    directed = away.select(unit - 1, 0)
    return (mode == NEAREST).select((unit >> 1) - 1 + odd, directed)


def jam(value: Bits, places: Bits) -> Bits:
    """Shift right; what falls out makes the lowest bit 1."""
    amount = places.zext(value.width)
    shifted = value >> amount
    return shifted | ((shifted << amount) != value).zext(value.width)


@dataclass(frozen=True, slots=True)
class Format:
    """A destination: the greatest biased exponent of finite numbers, and the bits stored."""

    largest: int
    fraction: int

    def finite(self, sign: Bits, exponent: Bits, significand: Bits) -> Bits:
        """The bits of a number; those above `fraction` and the integer bit are dropped."""
        exponent = exponent.low((2 * self.largest).bit_length() - 1)
        low = WIDE - 1 - self.fraction
        return sign.concat(exponent).concat(significand.bits(low, self.fraction))

    @property
    def bias(self) -> int:
        """What is added to exponents."""
        return self.largest // 2

    @property
    def unit(self) -> Bits:
        """The last place of a wide significand."""
        return Bits.of(1 << WIDE - 1 - self.fraction, WIDE)

    def zero(self, sign: Bits) -> Bits:
        """A zero."""
        return self.finite(sign, Bits.of(0, EXPONENT), Bits.of(0, WIDE))

    def infinity(self, sign: Bits) -> Bits:
        """An infinity."""
        return self.finite(sign, Bits.of(self.largest + 1, EXPONENT), Bits.of(1 << WIDE - 1, WIDE))

    def nan(self, sign: Bits, significand: Bits) -> Bits:
        """A quiet NaN with the other places of a wide significand."""
        exponent = Bits.of(self.largest + 1, EXPONENT)
        return self.finite(sign, exponent, significand | 1 << WIDE - 2)

    def indefinite(self) -> Bits:
        """The real indefinite."""
        return self.nan(Bits.of(1, 1), Bits.of(1 << WIDE - 1, WIDE))


class Extended(Format):
    """Double extended precision: the integer bit is stored."""

    def finite(self, sign: Bits, exponent: Bits, significand: Bits) -> Bits:
        """See `Format`."""
        return number.pack(sign, exponent, significand.bits(WIDE - 64, 64))


EXTENDED: Final = Extended(0x7FFE, 63)
DOUBLE: Final = Format(0x7FE, 52)
SINGLE: Final = Format(0xFE, 23)


def finish(
    sign: Bits, exponent: Bits, significand: Bits, unit: Bits, control: Control,
    to: Format = EXTENDED,
) -> Result:  # fmt: skip
    """Round to a format; `exponent` is biased as the format wants it, a zero stays one."""
    mode, one = control.mode, Bits.of(1, EXPONENT)
    full = round_to(significand, unit, sign, mode)
    small = exponent.slt(1)
    tiny = small & ~((exponent == 0) & full.carry)
    denormalised = small & control.masked(UNDERFLOW)
    shifted = jam(significand, denormalised.select(one - exponent, 0))
    rounded = round_to(shifted, unit, sign, mode)
    following = denormalised.select(
        rounded.significand.sign.zext(EXPONENT), exponent + rounded.carry.zext(EXPONENT)
    )
    over = Bits.of(to.largest, EXPONENT).slt(following)
    some = significand.sign
    raised = flags(
        overflow=some & over,
        underflow=all_of(some, tiny, ~control.masked(UNDERFLOW) | rounded.inexact),
        precision=some & rounded.inexact,
    )
    wrapped = _wrapped(following, tiny & ~denormalised, over)
    inside = Result(to.finite(sign, wrapped, rounded.significand), raised, rounded.up)
    outside = _overflow(sign, unit, mode, to)
    nothing = Result(to.zero(sign), raised, Bits.of(0, 1))
    result = inside.or_else(over & control.masked(OVERFLOW), outside).or_else(~some, nothing)
    return _flushed(
        result, all_of(some, tiny, control.masked(UNDERFLOW), control.flushes), sign, to
    )


def _flushed(result: Result, condition: Bits, sign: Bits, to: Format) -> Result:
    """A zero in place of what is too small (SDM volume 1, section 10.2.3.3)."""
    one = Bits.of(1, 1)
    nothing = Result(to.zero(sign), flags(underflow=one, precision=one), Bits.of(0, 1))
    return result.or_else(condition, nothing)


def _wrapped(exponent: Bits, tiny: Bits, over: Bits) -> Bits:
    """The exponent that an unmasked overflow or underflow leaves in a register."""
    lifted = tiny.select(exponent + WRAP, exponent)
    return over.select(exponent - WRAP, lifted)


def _overflow(sign: Bits, unit: Bits, mode: Bits, to: Format) -> Result:
    """An infinity, or the largest finite number (SDM volume 1, table 4-10)."""
    infinite = (mode == NEAREST) | (mode == UP) & ~sign | (mode == DOWN) & sign
    largest = to.finite(sign, Bits.of(to.largest, EXPONENT), ~(unit - 1))
    raised = flags(overflow=Bits.of(1, 1), precision=Bits.of(1, 1))
    return Result(infinite.select(to.infinity(sign), largest), raised, infinite)
