"""2^x - 1 (SDM volume 2, F2XM1)."""

from __future__ import annotations

from itertools import count
from math import factorial

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.x87 import nan, number
from isa.x86.x87.constants import scaled
from isa.x86.x87.fixed import Real, coefficients, series, times
from isa.x86.x87.number import BIAS, WIDTH, Number, unpack
from isa.x86.x87.result import FLAGS, PRECISION, Result, exact
from isa.x86.x87.rounding import WIDE, Control

_LN2: Final = scaled("fldln2", WIDE)
_TERMS: Final = coefficients(((1, factorial(n + 2)) for n in count()), (694, 1000))
MINUS_HALF: Final = 0xBFFE_8000_0000_0000_0000


@family("result")
def power_minus_one(a: Bits, control: Bits) -> dict[str, Bits]:
    """2^a - 1 for -1 <= a <= 1; beyond that the operand, as processors leave it."""
    x = unpack(a)
    result = _inside(x, Control(control))
    one, minus_half = (Bits.of(n, WIDTH) for n in (number.ONE, MINUS_HALF))
    edge = exact(x.sign.select(minus_half, one))
    unit = x.exponent - BIAS
    result = result.or_else((unit == 0) & (x.significand == number.INTEGER_BIT), edge)
    outside = ~unit.slt(0) & ~((unit == 0) & (x.significand == number.INTEGER_BIT))
    result = result.or_else(outside, exact(x.bits, Bits.of(PRECISION, FLAGS)))
    result = result.or_else(x.zero, exact(x.bits))
    minus_one = Bits.of(number.ONE | 1 << WIDTH - 1, WIDTH)
    result = result.or_else(x.infinite, exact(x.sign.select(minus_one, x.bits)))
    return {"result": nan.of_operand(result, x).pack()}


def _inside(x: Number, control: Control) -> Result:
    """With u = x ln 2: u (1 ± u (1/2! ± u (1/3! ± …)))."""
    argument = Real.of(x).times(Bits.of(_LN2, WIDE))
    u = argument.fixed()
    rest = times(u, series(u, x.sign, _TERMS)) >> 1
    factor = Bits.of(1 << WIDE - 1, WIDE) + x.sign.select(-rest, rest)
    return argument.times(factor, WIDE - 1).rounded(x.sign, control)
