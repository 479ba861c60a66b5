"""Packed decimal numbers of 18 digits (SDM volume 1, section 4.7; volume 2, FBLD and FBSTP)."""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.x87.conversion import rounded_integer
from isa.x86.x87.number import BIAS, EXPONENT, WIDTH, pack, unpack
from isa.x86.x87.result import FLAGS, INVALID, PRECISION, Result, exact
from isa.x86.x87.rounding import Control

DIGITS: Final = 18
LARGEST: Final = 10**DIGITS - 1
INDEFINITE: Final = 0xFFFF_C000_0000_0000_0000


@family("value")
def from_decimal(image: Bits) -> dict[str, Bits]:
    """The number that an image means; digits beyond 9 count as they are."""
    magnitude = Bits.of(0, 64)
    for digit in reversed(range(DIGITS)):
        magnitude = magnitude * 10 + image.bits(4 * digit, 4).zext(64)
    places = magnitude.clz()
    exponent = Bits.of(BIAS + 63, EXPONENT) - places.low(EXPONENT)
    exponent = (magnitude == 0).select(0, exponent)
    return {"value": pack(image.sign, exponent, magnitude << places)}


@family("result")
def to_decimal(value: Bits, control: Bits) -> dict[str, Bits]:
    """A number rounded to an integer, as an image."""
    x = unpack(value)
    magnitude, inexact, up, beyond = rounded_integer(x, Control(control).mode)
    wrong = x.odd | ~x.zero & (beyond | Bits.of(LARGEST, 64).ult(magnitude))
    image = x.sign.concat(Bits.of(0, 7)).concat(_digits(magnitude))
    result = Result(image, inexact.select(Bits.of(PRECISION, FLAGS), 0), up)
    indefinite = exact(Bits.of(INDEFINITE, WIDTH), Bits.of(INVALID, FLAGS))
    return {"result": result.or_else(wrong, indefinite).pack()}


def _digits(magnitude: Bits) -> Bits:
    """Eighteen digits of four bits."""
    digits, rest = magnitude.urem(10).low(4), magnitude.udiv(10)
    for _ in range(DIGITS - 1):
        digits, rest = rest.urem(10).low(4).concat(digits), rest.udiv(10)
    return digits
