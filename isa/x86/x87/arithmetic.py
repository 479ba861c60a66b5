"""Sums, products, quotients and roots (SDM volume 1, sections 4.8 and 8.3.5).

What is said of numbers that are no NaNs holds for the x87 and for SSE; a control says in which
format. The families are the x87's: functions with the one result "result" (`Result.pack`), from
80-bit operands and the control word. `denormal` says of `b` that it was denormal in the shorter
format it came from.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.x86.x87 import nan
from isa.x86.x87.division import divide as divide_wide
from isa.x86.x87.division import square_root as root_of
from isa.x86.x87.number import BIAS, EXPONENT, Number, unpack
from isa.x86.x87.result import Result, exact, flags
from isa.x86.x87.rounding import DOWN, WIDE, Control, finish, jam


def _finish(sign: Bits, exponent: Bits, significand: Bits, control: Control) -> Result:
    """Round to the control's format what has the bias of `Number`."""
    rebased = exponent - (BIAS - control.to.bias)
    return finish(sign, rebased, significand, control.unit, control, control.to)


# -- sums ----------------------------------------------------------------------------------------


def total(a: Number, b: Number, control: Control) -> Result:
    """a + b."""
    return _total(a, b, b.sign, control)


def difference(a: Number, b: Number, control: Control) -> Result:
    """a - b."""
    return _total(a, b, ~b.sign, control)


def _total(a: Number, b: Number, sign_b: Bits, control: Control) -> Result:
    result = _finite_sum(a, b, sign_b, control)
    either = exact(control.to.infinity(a.infinite.select(a.sign, sign_b)))
    wrong = a.infinite & b.infinite & (a.sign ^ sign_b)
    infinite = either.or_else(wrong, nan.invalid(control.to))
    return result.or_else(a.infinite | b.infinite, infinite)


def _finite_sum(a: Number, b: Number, sign_b: Bits, control: Control) -> Result:
    swap = a.exponent.slt(b.exponent)
    high, low = swap.select(b.significand, a.significand), swap.select(a.significand, b.significand)
    exponent = swap.select(b.exponent, a.exponent)
    distance = swap.select(b.exponent - a.exponent, a.exponent - b.exponent)
    sign = swap.select(sign_b, a.sign)
    large = high.zext(WIDE) << 63
    small = jam(low.zext(WIDE) << 63, distance)
    opposite = a.sign ^ sign_b
    found = opposite.select(large - small, large + small)
    negative = opposite & found.sign  # only if the exponents are equal
    magnitude = negative.select(-found, found)
    places = magnitude.clz()
    of_zero = opposite.select(control.mode == DOWN, a.sign)
    sign = (magnitude == 0).select(of_zero, sign ^ negative)
    return _finish(sign, exponent + 1 - places.low(EXPONENT), magnitude << places, control)


@family("result")
def add(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """a + b."""
    x, y = unpack(a), unpack(b)
    return {"result": nan.of_operands(total(x, y, Control(control)), x, y, denormal).pack()}


@family("result")
def subtract(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """a - b; NaNs keep their sign."""
    return _difference(unpack(a), unpack(b), denormal, control)


@family("result")
def reverse_subtract(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """b - a."""
    x, y = unpack(a), unpack(b)
    return _difference(y, x, denormal, control)


def _difference(a: Number, b: Number, denormal: Bits, control: Bits) -> dict[str, Bits]:
    result = difference(a, b, Control(control))
    return {"result": nan.of_operands(result, a, b, denormal).pack()}


# -- products ------------------------------------------------------------------------------------


def product(a: Number, b: Number, control: Control) -> Result:
    """a × b."""
    sign = a.sign ^ b.sign
    found = a.significand.zext(WIDE) * b.significand.zext(WIDE)
    short = ~found.sign
    exponent = a.exponent + b.exponent - (BIAS - 1) - short.zext(EXPONENT)
    result = _finish(sign, exponent, found << short.zext(WIDE), control)
    infinite = a.infinite | b.infinite
    result = result.or_else(infinite, exact(control.to.infinity(sign)))
    return result.or_else(infinite & (a.zero | b.zero), nan.invalid(control.to))


@family("result")
def multiply(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """a × b."""
    x, y = unpack(a), unpack(b)
    return {"result": nan.of_operands(product(x, y, Control(control)), x, y, denormal).pack()}


# -- quotients -----------------------------------------------------------------------------------


def quotient(a: Number, b: Number, control: Control) -> Result:
    """a / b."""
    sign = a.sign ^ b.sign
    result = _finite_quotient(a, b, sign, control)
    by_zero = exact(control.to.infinity(sign), flags(zero_divide=~a.infinite))
    result = result.or_else(b.zero, by_zero)
    result = result.or_else(b.infinite | a.zero & ~b.zero, exact(control.to.zero(sign)))
    result = result.or_else(a.infinite, exact(control.to.infinity(sign)))
    neither = a.zero & b.zero | a.infinite & b.infinite
    return result.or_else(neither, nan.invalid(control.to))


def _finite_quotient(a: Number, b: Number, sign: Bits, control: Control) -> Result:
    """64 bits of the quotient, the next one, and whether any follows."""
    smaller = a.significand.ult(b.significand)
    high = smaller.select(a.significand, a.significand >> 1)
    low = smaller.select(Bits.of(0, 64), a.significand << 63)
    found, rest = divide_wide(high, low, b.significand)
    twice = rest.zext(WIDE) << 1
    half = b.significand.zext(WIDE).ule(twice)
    more = (rest != 0) & (twice != b.significand.zext(WIDE))
    exponent = a.exponent - b.exponent + BIAS - smaller.zext(EXPONENT)
    return _finish(sign, exponent, with_tail(found, half, more), control)


def with_tail(significand: Bits, half: Bits, more: Bits) -> Bits:
    """64 bits of significand, the next place, and whether any that follow it are not 0."""
    return significand.concat(half).concat(Bits.of(0, 62)).concat(more)


@family("result")
def divide(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """a / b."""
    return _ratio(unpack(a), unpack(b), denormal, control)


@family("result")
def reverse_divide(a: Bits, b: Bits, denormal: Bits, control: Bits) -> dict[str, Bits]:
    """b / a."""
    x, y = unpack(a), unpack(b)
    return _ratio(y, x, denormal, control)


def _ratio(a: Number, b: Number, denormal: Bits, control: Bits) -> dict[str, Bits]:
    return {"result": nan.of_operands(quotient(a, b, Control(control)), a, b, denormal).pack()}


# -- roots ---------------------------------------------------------------------------------------


def root(a: Number, control: Control) -> Result:
    """The square root of a; of -0 it is -0."""
    power = a.exponent - BIAS
    wide = a.significand.zext(WIDE) << power.bit(0).select(Bits.of(64, WIDE), 63)
    found, rest = root_of(wide)
    significand = with_tail(found.low(64), found.ult(rest), rest != 0)
    result = _finish(a.sign, power.ashr(1) + BIAS, significand, control)
    result = result.or_else(a.zero | a.infinite, exact(a.bits))
    return result.or_else(a.sign & ~a.zero, nan.invalid(control.to))


@family("result")
def square_root(a: Bits, control: Bits) -> dict[str, Bits]:
    """The square root of a; of -0 it is -0."""
    x = unpack(a)
    return {"result": nan.of_operand(root(x, Control(control)), x).pack()}
