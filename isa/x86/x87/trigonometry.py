"""Sine, cosine and tangent (SDM volume 2, FSIN, FCOS, FPTAN; volume 1, section 8.3.8).

Arguments are brought to -π/4 … π/4 by multiples of π/2 as the unit has it, 66 bits of π: exactly,
so that all that differs from the true functions is how far that π is from the true one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, zip_longest
from math import factorial

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.x87 import nan, number
from isa.x86.x87.constants import scaled
from isa.x86.x87.fixed import TOP, Real, alternating, coefficients, times
from isa.x86.x87.number import BIAS, EXPONENT, Number, unpack
from isa.x86.x87.result import Result, exact
from isa.x86.x87.rounding import WIDE, Control

PLACES: Final = 65
QUARTER: Final = scaled("fldpi", PLACES - 1)
"""π/2 with 65 places."""
_INVERSE: Final = (1 << PLACES + WIDE) // QUARTER
OUTSIDE: Final = 63
"""Arguments of 2^63 and more are left as they are, and C2 is set."""

_LARGEST: Final = 617, 1000  # (π/4)^2
_OF_SINE: Final = coefficients(((1, factorial(2 * n + 3)) for n in count()), _LARGEST)
_OF_COSINE: Final = coefficients(((1, factorial(2 * n + 2)) for n in count()), _LARGEST)
_TERMS: Final = list(zip_longest(_OF_SINE, _OF_COSINE, fillvalue=0))


@dataclass(frozen=True, slots=True)
class Angle:
    """A magnitude taken apart: quadrant × π/2 ± rest."""

    quadrant: Bits
    negative: Bits
    rest: Real

    @property
    def square(self) -> Bits:
        """Of the rest."""
        return times(self.rest.fixed(), self.rest.fixed())


def _reduced(x: Number) -> Angle:
    power = x.exponent - BIAS
    whole = x.significand.zext(WIDE) << (power + (PLACES - 63)).zext(WIDE)
    turns = times(whole, Bits.of(_INVERSE, WIDE)) + (1 << PLACES - 1) >> PLACES
    rest = whole - turns * QUARTER
    magnitude = rest.sign.select(-rest, rest) << WIDE - PLACES
    small = power.slt(-1)
    return Angle(
        small.select(0, turns.low(2)),
        ~small & rest.sign,
        Real.normal(-1, magnitude).or_else(small, Real.of(x)),
    )


def _circular(a: Bits, control: Bits, turned: int) -> Result:
    """The sine of |a| + turned × π/2."""
    x = unpack(a)
    angle = _reduced(x)
    quadrant = angle.quadrant + turned
    odd = quadrant.bit(0)  # then it is a cosine
    terms = [odd.select(Bits.of(c, WIDE), s) for s, c in _TERMS]
    lacking = times(angle.square, alternating(angle.square, terms))
    one = Real(Bits.of(0, EXPONENT), Bits.of(TOP, WIDE))
    value = angle.rest.or_else(odd, one).times(~lacking)  # always below 1
    negative = quadrant.bit(1) ^ ~odd & angle.negative
    return value.rounded(negative if turned else negative ^ x.sign, Control(control))


def _special(result: Result, x: Number, of_zero: Bits) -> Bits:
    """The result unless the operand is zero, infinite, a NaN or too large."""
    found = result.or_else(x.zero, exact(of_zero)).or_else(x.infinite, nan.invalid())
    return nan.of_operand(found, x).or_else(_outside(x), exact(x.bits)).pack()


def _outside(x: Number) -> Bits:
    return ~x.odd & ~(x.exponent - BIAS).slt(OUTSIDE)


@family("result", "outside")
def sine(a: Bits, control: Bits) -> dict[str, Bits]:
    """sin a, or a if it is outside the range, and whether it is."""
    x = unpack(a)
    return {"result": _special(_circular(a, control, 0), x, x.bits), "outside": _outside(x)}


@family("result", "outside")
def cosine(a: Bits, control: Bits) -> dict[str, Bits]:
    """cos a, likewise."""
    x = unpack(a)
    one = Bits.of(number.ONE, number.WIDTH)
    return {"result": _special(_circular(a, control, 1), x, one), "outside": _outside(x)}


@family("result", "outside")
def tangent(a: Bits, control: Bits) -> dict[str, Bits]:
    """tan a, likewise."""
    x = unpack(a)
    angle = _reduced(x)
    odd = angle.quadrant.bit(0)
    lacking = [times(angle.square, alternating(angle.square, c)) for c in (_OF_SINE, _OF_COSINE)]
    sine = angle.rest.times(~lacking[0])
    # The tangent of a small number is a little more than it, though the quotient is cut: so take a
    # little less of the cosine than would make up for that.
    cosine = Real.normal(-1, ~lacking[1] - (1 << 9))
    value = sine.or_else(odd, cosine).over(cosine.or_else(odd, sine))
    result = value.rounded(x.sign ^ odd ^ angle.negative, Control(control))
    return {"result": _special(result, x, x.bits), "outside": _outside(x)}
