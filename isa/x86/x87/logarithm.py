"""y × log2(x) and y × log2(x + 1) (SDM volume 2, FYL2X and FYL2XP1).

With s = (m - 1) / (m + 1), log2(m) = 2 / ln 2 × (s + s^3 / 3 + s^5 / 5 + …), where m lies between
√½ and √2: |s| < 0.1716.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from math import isqrt

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.x87 import nan, number
from isa.x86.x87.constants import scaled
from isa.x86.x87.fixed import TOP, Real, coefficients, series, times
from isa.x86.x87.number import BIAS, EXPONENT, Number, unpack
from isa.x86.x87.result import Result, exact, flags
from isa.x86.x87.rounding import WIDE, Control, jam

_ROOT: Final = isqrt(1 << 2 * WIDE - 1)  # √2 with 127 places
_LN2: Final = scaled("fldln2", WIDE)
_TERMS: Final = coefficients(
    ((1 << WIDE - 1, _LN2 * (2 * n + 1)) for n in count()), (295, 10000)
)  # a quarter of those above: below 1
_PLACES: Final = 112  # of a logarithm that has an integer part
_NEAR: Final = -2
"""x + 1 needs no rounding if the exponent of x is at least that; below, x is used as it is."""


@dataclass(frozen=True, slots=True)
class Logarithm:
    """Sign and magnitude of log2, and whether there are places beyond these."""

    negative: Bits
    magnitude: Real
    inexact: Bits

    def product(self, y: Number, control: Control) -> Result:
        """Times a finite number."""
        whole = self.magnitude.significand.zext(2 * WIDE) * y.significand.zext(2 * WIDE)
        places = whole.clz()
        moved = whole << places
        significand = moved.bits(WIDE, WIDE) | (moved.low(WIDE) != 0).zext(WIDE)
        power = self.magnitude.exponent + (y.exponent - BIAS) + 65
        value = Real(power - places.low(EXPONENT), significand)
        return value.rounded(self.negative ^ y.sign, control, self.inexact)


@dataclass(frozen=True, slots=True)
class Split:
    """log2(n / w × …): a number as 2^exponent × m, and m - 1 and m + 1 of that."""

    exponent: Bits
    negative: Bits  # whether m < 1
    less: Real  # |m - 1|
    more: Real  # m + 1


def _split(value: Real) -> Split:
    """A positive number."""
    m = value.significand
    above = Bits.of(_ROOT, WIDE).ult(m)  # then it is halved
    return Split(
        value.exponent + above.zext(EXPONENT),
        above,
        Real.normal(above.select(Bits.of(-1, EXPONENT), 0), above.select(-m, m - TOP)),
        Real.normal(
            above.select(Bits.of(0, EXPONENT), 1),
            (m >> 1) + above.select(Bits.of(TOP, WIDE), TOP >> 1),
        ),
    )


def _logarithm(parts: Split) -> Logarithm:
    s = parts.less.over(parts.more)
    z = times(s.fixed(), s.fixed())
    fraction = s.times(series(z, Bits.of(0, 1), _TERMS), WIDE - 2)
    whole = parts.exponent.sign.select(-parts.exponent, parts.exponent)
    part = fraction.fixed(_PLACES)
    opposite = parts.negative ^ parts.exponent.sign
    total = (whole.zext(WIDE) << _PLACES) + opposite.select(-part, part)
    some = whole != 0
    magnitude = fraction.or_else(some, Real.normal(WIDE - 1 - _PLACES, total))
    negative = some.select(parts.exponent.sign, parts.negative)
    return Logarithm(negative, magnitude, parts.less.significand != 0)


@family("result")
def times_logarithm(x: Bits, y: Bits, control: Bits) -> dict[str, Bits]:
    """y × log2(x)."""
    a, b = unpack(x), unpack(y)
    logarithm = _logarithm(_split(Real.of(a)))
    is_one = x == number.ONE
    sign = (a.exponent - BIAS).sign ^ b.sign
    result = logarithm.product(b, Control(control))
    result = result.or_else(is_one | b.zero, exact(number.zero(is_one.select(b.sign, sign))))
    result = result.or_else(a.infinite | b.infinite, exact(number.infinity(sign)))
    pole = exact(number.infinity(~b.sign), flags(zero_divide=~b.infinite))
    result = result.or_else(a.zero, pole)
    wrong = a.sign & ~a.zero | (a.infinite | a.zero) & b.zero | is_one & b.infinite
    return {"result": nan.of_operands(result.or_else(wrong, nan.invalid()), a, b).pack()}


@family("result")
def times_logarithm_of_more(x: Bits, y: Bits, control: Bits) -> dict[str, Bits]:
    """y × log2(x + 1), precise where x is small."""
    a, b = unpack(x), unpack(y)
    result = _logarithm(_split_more(a)).product(b, Control(control))
    sign = a.sign ^ b.sign
    result = result.or_else(a.zero | b.zero, exact(number.zero(sign)))
    result = result.or_else(a.infinite | b.infinite, exact(number.infinity(sign)))
    below = a.sign & ~(a.exponent - BIAS).slt(0)  # -1 or less
    wrong = below | a.zero & b.infinite | a.infinite & b.zero
    return {"result": nan.of_operands(result.or_else(wrong, nan.invalid()), a, b).pack()}


def _split_more(a: Number) -> Split:
    """x + 1."""
    x = Real.of(a)
    near = x.exponent.slt(_NEAR)
    far = _split(_plus_one(a.sign, x))
    part = x.or_else(~near, Real(Bits.of(_NEAR, EXPONENT), x.significand)).fixed(WIDE - 2)
    two = Bits.of(TOP, WIDE)
    more = Real.normal(1, two + a.sign.select(-part, part))
    return Split(
        near.select(0, far.exponent),
        near.select(a.sign, far.negative),
        far.less.or_else(near, x),
        far.more.or_else(near, more),
    )


def _plus_one(negative: Bits, x: Real) -> Real:
    """1 ± x, in the places of the greater one."""
    greater = x.exponent.slt(1).select(Bits.of(1, EXPONENT), x.exponent + 1)
    one = jam(Bits.of(TOP, WIDE), greater)
    part = x.significand >> (greater - x.exponent).zext(WIDE)
    return Real.normal(greater, one + negative.select(-part, part))
