"""Exponents taken off and put on (SDM volume 2, FXTRACT and FSCALE)."""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.x86.x87 import nan, number
from isa.x86.x87.number import BIAS, EXPONENT, Number, unpack
from isa.x86.x87.result import DENORMAL, FLAGS, OVERFLOW, UNDERFLOW, Result, exact, flags
from isa.x86.x87.rounding import EXTENDED, WIDE, WRAP, Control, finish

FARTHEST = 1 << 16  # beyond all exponents, whatever is added to them


@family("result")
def scale(a: Bits, b: Bits, control: Bits) -> dict[str, Bits]:
    """a × 2^b, with b cut to an integer."""
    x, y = unpack(a), unpack(b)
    wide = x.significand.zext(WIDE) << 64
    unit = Bits.of(1 << WIDE - 64, WIDE)
    settings, exponent = Control(control), x.exponent + _integer(y)
    result = finish(x.sign, exponent, wide, unit, settings)
    result = _massive(result, x.sign, exponent, settings)
    to_infinity = y.infinite & ~y.sign
    result = result.or_else(x.zero, exact(x.bits))
    result = result.or_else(y.infinite & y.sign, exact(number.zero(x.sign)))
    result = result.or_else(x.infinite | to_infinity, exact(number.infinity(x.sign)))
    wrong = x.infinite & y.infinite & y.sign | x.zero & to_infinity
    return {"result": nan.of_operands(result.or_else(wrong, nan.invalid()), x, y).pack()}


def _massive(result: Result, sign: Bits, exponent: Bits, control: Control) -> Result:
    """Results that unmasked overflow or underflow cannot bring into range become infinity or 0."""
    one, none = Bits.of(1, 1), Bits.of(0, 1)
    large = ~control.masked(OVERFLOW) & Bits.of(EXTENDED.largest + WRAP, EXPONENT).slt(exponent)
    small = ~control.masked(UNDERFLOW) & exponent.slt(1 - WRAP)
    above = Result(number.infinity(sign), flags(overflow=one, precision=one), one)
    below = Result(number.zero(sign), flags(underflow=one, precision=one), none)
    return result.or_else(large, above).or_else(small, below)


def _integer(y: Number) -> Bits:
    """A number cut to an integer, and that to what matters."""
    power = y.exponent - BIAS
    beyond = Bits.of(15, EXPONENT).slt(power)
    places = beyond.select(Bits.of(0, EXPONENT), Bits.of(63, EXPONENT) - power)
    small = power.slt(0).select(0, (y.significand >> places.zext(64)).low(EXPONENT))
    magnitude = beyond.select(FARTHEST, small)
    return y.sign.select(-magnitude, magnitude)


@family("exponent", "significand")
def extract(a: Bits) -> dict[str, Bits]:
    """The exponent as a number (with the exceptions), and the significand with the sign."""
    x = unpack(a)
    power = x.exponent - BIAS
    magnitude = power.sign.select(-power, power).zext(64)
    places = magnitude.clz()
    biased = (magnitude == 0).select(0, Bits.of(BIAS + 63, EXPONENT) - places.low(EXPONENT))
    exponent = exact(
        number.pack(power.sign, biased, magnitude << places),
        x.denormal.select(Bits.of(DENORMAL, FLAGS), 0),
    )
    minus, plus = Bits.of(1, 1), Bits.of(0, 1)
    of_zero = exact(number.infinity(minus), flags(zero_divide=Bits.of(1, 1)))
    exponent = exponent.or_else(x.zero, of_zero)
    exponent = exponent.or_else(x.infinite, exact(number.infinity(plus)))
    exponent = nan.of_operand(exponent, x)
    plain = number.pack(x.sign, Bits.of(BIAS, EXPONENT), x.significand)
    significand = (x.zero | x.infinite).select(x.bits, plain)
    significand = x.nan.select(number.quiet(x.bits), significand)
    return {
        "exponent": exponent.pack(),
        "significand": x.unsupported.select(number.indefinite(), significand),
    }
