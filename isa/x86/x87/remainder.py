"""Partial remainders (SDM volume 2, FPREM and FPREM1)."""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.x86.x87 import nan
from isa.x86.x87.division import divide
from isa.x86.x87.number import EXPONENT, Number, unpack
from isa.x86.x87.result import Result
from isa.x86.x87.rounding import WIDE, Control, finish

UNIT = 1 << WIDE - 64  # the precision control does not count


@family("result", "partial", "counted", "quotient")
def truncated(a: Bits, b: Bits, control: Bits) -> dict[str, Bits]:
    """a - b × (a / b cut to an integer), whether more is to be done, whether there is a quotient,
    and its last 3 bits."""
    return _remainder(unpack(a), unpack(b), Control(control), nearest=False)


@family("result", "partial", "counted", "quotient")
def nearest(a: Bits, b: Bits, control: Bits) -> dict[str, Bits]:
    """The same with a / b rounded to the nearest integer (IEEE 754)."""
    return _remainder(unpack(a), unpack(b), Control(control), nearest=True)


def _remainder(a: Number, b: Number, control: Control, *, nearest: bool) -> dict[str, Bits]:
    distance = a.exponent - b.exponent
    partial = ~distance.slt(64)
    below = distance.slt(0)
    places = partial.select(_some_places(distance), below.select(0, distance))
    wide = a.significand.zext(WIDE) << places.zext(WIDE)
    quotient, rest = divide(wide.bits(64, 64), wide.low(64), b.significand)
    quotient = below.select(0, quotient)
    twice = below.select(a.significand.zext(WIDE), rest.zext(WIDE) << 1)  # in halves of a place
    sign = a.sign
    if nearest:
        divisor = b.significand.zext(WIDE) << 1
        above = divisor.ult(twice << 1) | ((twice << 1) == divisor) & quotient.bit(0)
        above = above & ~partial & ~distance.slt(-1)
        quotient = quotient + above.zext(64)
        twice = above.select(divisor - twice, twice)
        sign = sign ^ above & (twice != 0)
    moved = twice.clz()
    left = below.select(0, distance - places)  # places that the quotient does not reach
    exponent = b.exponent + left + 63 - moved.low(EXPONENT)
    result = _finite(sign, exponent, twice << moved, control)
    small = distance.slt(-1 if nearest else 0)
    same = small | b.infinite | a.zero
    kept = _finite(a.sign, a.exponent, a.significand.zext(WIDE) << 64, control)
    result = result.or_else(same, kept)
    wrong = a.infinite | b.zero
    counted = ~(wrong | a.nan | b.nan | a.unsupported | b.unsupported)
    result = nan.of_operands(result.or_else(wrong, nan.invalid()), a, b)
    done = ~(same | wrong | a.odd | b.odd)
    return {
        "result": result.pack(),
        "partial": partial & done,
        "counted": counted,
        "quotient": (done & ~partial).select(quotient.low(3), 0),
    }


def _some_places(distance: Bits) -> Bits:
    """By how many places the exponents come nearer if they are far apart: 32 to 63."""
    return distance & 31 | 32


def _finite(sign: Bits, exponent: Bits, significand: Bits, control: Control) -> Result:
    return finish(sign, exponent, significand, Bits.of(UNIT, WIDE), control)
