"""The angle of a point (SDM volume 2, FPATAN).

With q = i / 16 next to the smaller coordinate by the greater one, the angle between them is
arctan(q) + arctan(t), where t = (n - q d) / (d + q n), |t| < 1/31; the series for that is short.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.x87 import nan, number
from isa.x86.x87.constants import arctangent, scaled
from isa.x86.x87.fixed import Real, alternating, coefficients, lookup, times
from isa.x86.x87.number import EXPONENT, INTEGER_BIT, Number, unpack
from isa.x86.x87.result import exact
from isa.x86.x87.rounding import WIDE, Control

_STEPS: Final = 16
_PLACES: Final = WIDE - 2  # of an angle
_ANGLES: Final = [arctangent(n, _STEPS, _PLACES) for n in range(_STEPS + 1)]
_PI: Final = scaled("fldpi", _PLACES)
_TERMS: Final = coefficients(((1, 2 * n + 3) for n in count()), (1, 31 * 31))
_FAR: Final = 1 << 20  # between the exponents of numbers, infinities and zeros


@family("result")
def angle(x: Bits, y: Bits, control: Bits) -> dict[str, Bits]:
    """arctan(y / x), in the quadrant of the point (x, y)."""
    a, b = unpack(x), unpack(y)
    across, up = _coordinate(a, 2), _coordinate(b, 3)
    steep = across.exponent.slt(up.exponent) | (across.exponent == up.exponent) & (
        across.significand.ult(up.significand)
    )
    n, d = up.or_else(steep, across), across.or_else(steep, up)
    value = _turned(_between(n, d), steep, a.sign)
    result = value.rounded(b.sign, Control(control))
    flat = ~a.sign & (b.zero | a.infinite & ~b.infinite)
    result = result.or_else(flat, exact(number.zero(b.sign)))
    return {"result": nan.of_operands(result, a, b).pack()}


def _coordinate(x: Number, zero: int) -> Real:
    """A magnitude; infinities and zeros are far from all others, zeros `zero` times as far."""
    far = x.infinite.select(Bits.of(_FAR, EXPONENT), -zero * _FAR)
    finite = Real.of(x)
    strange = x.infinite | x.zero
    significand = strange.select(Bits.of(INTEGER_BIT << 64, WIDE), finite.significand)
    return Real(strange.select(far, finite.exponent), significand)


@dataclass(frozen=True, slots=True)
class Between:
    """An angle of 0 to π/4: that of a step, and more or less."""

    step: Bits
    less: Bits
    rest: Real


def _between(n: Real, d: Real) -> Between:
    """The angle of n / d <= 1."""
    short = n.significand >> (d.exponent - n.exponent).zext(WIDE)  # exact unless the step is 0
    upper, divisor = short.bits(64, 64), d.significand.bits(64, 64)
    step = ((upper >> 1) + (divisor >> 6)).udiv(divisor >> 5)  # 16 n / d + 1/2
    wide, low, high = step.zext(WIDE), short >> 9, d.significand >> 9
    one, other = low << 4, high * wide
    less = one.ult(other)
    difference = Real.normal(9, less.select(other - one, one - other))
    total = Real.normal(9, (high << 4) + low * wide)
    none = step == 0
    t = difference.or_else(none, n).over(total.or_else(none, d))
    z = times(t.fixed(), t.fixed())
    lacking = times(z, alternating(z, _TERMS))
    return Between(step.low(5), less, t.times(~lacking))


def _turned(part: Between, steep: Bits, left: Bits) -> Real:
    """From the nearer axis' angle to that from the right."""
    axis = steep.select(Bits.of(_PI >> 1, WIDE), left.select(Bits.of(_PI, WIDE), 0))
    back = steep ^ left
    step, rest = lookup(part.step, _ANGLES), part.rest.fixed(_PLACES)
    whole = axis + back.select(-step, step)
    total = whole + (back ^ part.less).select(-rest, rest)
    return Real.normal(1, total).or_else(~steep & ~left & (part.step == 0), part.rest)
