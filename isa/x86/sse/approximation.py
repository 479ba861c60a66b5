"""RCP and RSQRT: reciprocals of 12 bits (SDM volume 2, RCPSS and RSQRTSS).

The manual promises a relative error of at most 1.5 × 2^-12 and leaves it to processors which number
within that they give. Here it is the nearest one of 12 bits. No exception is raised, and MXCSR does
not count: denormal operands and results are zeros.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.x87.conversion import short_number
from isa.x86.x87.division import WIDE
from isa.x86.x87.division import square_root as root_of
from isa.x86.x87.number import BIAS, EXPONENT, Number, quiet
from isa.x86.x87.rounding import SINGLE

PLACES: Final = 12  # of a result, the first one included
_UNIT: Final = SINGLE.fraction  # binary places of an operand's significand
_WORK: Final = 64


@family("value")
def reciprocal(a: Bits) -> dict[str, Bits]:
    """1 / a."""
    x = short_number(a)
    places = Bits.of(1 << PLACES + 1 + _UNIT, _WORK).udiv(_significand(x))
    exponent = Bits.of(2 * BIAS - 1, EXPONENT) - x.exponent
    found = _rounded(x.sign, exponent, places)
    return {"value": _of_special(x, x.infinite.select(SINGLE.zero(x.sign), found))}


@family("value")
def reciprocal_square_root(a: Bits) -> dict[str, Bits]:
    """1 / √a, of a negative number the indefinite."""
    x = short_number(a)
    power = x.exponent - BIAS
    square = _significand(x) << power.bit(0).zext(_WORK)
    inverse = Bits.of((1 << 2 * PLACES + 2 + _UNIT) - 1, _WORK).udiv(square)
    root, _ = root_of(inverse.zext(WIDE) << WIDE - 2 * PLACES - 2)
    places = root.bits(_WORK - PLACES - 1, PLACES + 1).zext(_WORK)
    exponent = Bits.of(BIAS - 1, EXPONENT) - power.ashr(1)
    found = x.infinite.select(SINGLE.zero(x.sign), _rounded(x.sign, exponent, places))
    found = x.sign.select(SINGLE.indefinite(), found)
    return {"value": _of_special(x, found)}


def _significand(x: Number) -> Bits:
    """A significand as an integer."""
    return x.significand >> 63 - _UNIT


def _rounded(sign: Bits, exponent: Bits, places: Bits) -> Bits:
    """A number of `PLACES` places from one more; zero if it is too small."""
    rounded = (places + 1) >> 1
    carry = rounded.bit(PLACES)  # then all others are 0
    fraction = rounded.low(PLACES - 1).concat(Bits.of(0, SINGLE.fraction - PLACES + 1))
    biased = exponent + carry.zext(EXPONENT) - (BIAS - SINGLE.bias)
    some = sign.concat(biased.low(8)).concat(fraction)
    return biased.slt(1).select(SINGLE.zero(sign), some)


def _of_special(x: Number, found: Bits) -> Bits:
    """`found`, or what a zero or a NaN gives."""
    value = (x.zero | x.denormal).select(SINGLE.infinity(x.sign), found)
    return x.nan.select(quiet(x.bits), value)
