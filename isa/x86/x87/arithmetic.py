"""Sums, products, quotients and roots (SDM volume 1, sections 4.8 and 8.3.5).

Families of functions with the one result "result" (`Result.pack`), from 80-bit operands and the
control word. `denormal` says of `b` that it was denormal in the shorter format it came from.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.x86.x87 import nan, number
from isa.x86.x87.division import divide as divide_wide
from isa.x86.x87.division import square_root as root_of
from isa.x86.x87.number import BIAS, EXPONENT, Number, unpack
from isa.x86.x87.result import Result, exact, flags
from isa.x86.x87.rounding import DOWN, WIDE, Control, finish, jam


@family("result")
def add(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """a + b."""
    return _sum(unpack(a), unpack(b), denormal, Control(control))


@family("result")
def subtract(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """a - b; NaNs keep their sign."""
    return _sum(unpack(a), unpack(b), denormal, Control(control), negate=True)


@family("result")
def reverse_subtract(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """b - a."""
    x, y = unpack(a), unpack(b)
    return _sum(y, x, denormal, Control(control), negate=True)


def _sum(
    a: Number, b: Number, denormal: Bits, control: Control, *, negate: bool = False
) -> dict[str, Bits]:
    sign_b = ~b.sign if negate else b.sign
    result = _finite_sum(a, b, sign_b, control)
    either = exact(number.infinity(a.infinite.select(a.sign, sign_b)))
    infinite = either.or_else(a.infinite & b.infinite & (a.sign ^ sign_b), nan.invalid())
    result = result.or_else(a.infinite | b.infinite, infinite)
    return {"result": nan.of_operands(result, a, b, denormal).pack()}


def _finite_sum(a: Number, b: Number, sign_b: Bits, control: Control) -> Result:
    swap = a.exponent.slt(b.exponent)
    high, low = swap.select(b.significand, a.significand), swap.select(a.significand, b.significand)
    exponent = swap.select(b.exponent, a.exponent)
    distance = swap.select(b.exponent - a.exponent, a.exponent - b.exponent)
    sign = swap.select(sign_b, a.sign)
    large = high.zext(WIDE) << 63
    small = jam(low.zext(WIDE) << 63, distance)
    opposite = a.sign ^ sign_b
    total = opposite.select(large - small, large + small)
    negative = opposite & total.sign  # only if the exponents are equal
    magnitude = negative.select(-total, total)
    places = magnitude.clz()
    of_zero = opposite.select(control.mode == DOWN, a.sign)
    sign = (magnitude == 0).select(of_zero, sign ^ negative)
    return finish(
        sign, exponent + 1 - places.low(EXPONENT), magnitude << places, control.unit, control
    )


@family("result")
def multiply(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """a × b."""
    x, y, settings = unpack(a), unpack(b), Control(control)
    sign = x.sign ^ y.sign
    product = x.significand.zext(WIDE) * y.significand.zext(WIDE)
    short = ~product.sign
    exponent = x.exponent + y.exponent - (BIAS - 1) - short.zext(EXPONENT)
    result = finish(sign, exponent, product << short.zext(WIDE), settings.unit, settings)
    infinite = x.infinite | y.infinite
    result = result.or_else(infinite, exact(number.infinity(sign)))
    result = result.or_else(infinite & (x.zero | y.zero), nan.invalid())
    return {"result": nan.of_operands(result, x, y, denormal).pack()}


@family("result")
def divide(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """a / b."""
    return _quotient(unpack(a), unpack(b), denormal, Control(control))


@family("result")
def reverse_divide(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """b / a."""
    x, y = unpack(a), unpack(b)
    return _quotient(y, x, denormal, Control(control))


def _quotient(a: Number, b: Number, denormal: Bits, control: Control) -> dict[str, Bits]:
    sign = a.sign ^ b.sign
    result = _finite_quotient(a, b, sign, control)
    by_zero = exact(number.infinity(sign), flags(zero_divide=~a.infinite))
    result = result.or_else(b.zero, by_zero)
    result = result.or_else(b.infinite | a.zero & ~b.zero, exact(number.zero(sign)))
    result = result.or_else(a.infinite, exact(number.infinity(sign)))
    neither = a.zero & b.zero | a.infinite & b.infinite
    result = result.or_else(neither, nan.invalid())
    return {"result": nan.of_operands(result, a, b, denormal).pack()}


def _finite_quotient(a: Number, b: Number, sign: Bits, control: Control) -> Result:
    """64 bits of the quotient, the next one, and whether any follows."""
    smaller = a.significand.ult(b.significand)
    high = smaller.select(a.significand, a.significand >> 1)
    low = smaller.select(Bits.of(0, 64), a.significand << 63)
    quotient, rest = divide_wide(high, low, b.significand)
    twice = rest.zext(WIDE) << 1
    half = b.significand.zext(WIDE).ule(twice)
    more = (rest != 0) & (twice != b.significand.zext(WIDE))
    exponent = a.exponent - b.exponent + BIAS - smaller.zext(EXPONENT)
    wide = with_tail(quotient, half, more)
    return finish(sign, exponent, wide, control.unit, control)


def with_tail(significand: Bits, half: Bits, more: Bits) -> Bits:
    """64 bits of significand, the next place, and whether any that follow it are not 0."""
    return significand.concat(half).concat(Bits.of(0, 62)).concat(more)


@family("result")
def square_root(a: Bits, control: Bits) -> dict[str, Bits]:
    """The square root of a; of -0 it is -0."""
    x, settings = unpack(a), Control(control)
    power = x.exponent - BIAS
    wide = x.significand.zext(WIDE) << power.bit(0).select(Bits.of(64, WIDE), 63)
    root, rest = root_of(wide)
    significand = with_tail(root.low(64), root.ult(rest), rest != 0)
    exponent = power.ashr(1) + BIAS
    result = finish(x.sign, exponent, significand, settings.unit, settings)
    result = result.or_else(x.zero | x.infinite, exact(x.bits))
    result = result.or_else(x.sign & ~x.zero, nan.invalid())
    return {"result": nan.of_operand(result, x).pack()}
