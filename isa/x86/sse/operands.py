"""Operands of 32 or 64 bits, and the NaNs among them (SDM volume 1, sections 4.8.3.5, 10.2.3.4)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.sse.settings import Settings
from isa.x86.x87 import nan
from isa.x86.x87.conversion import FORMATS, short_number
from isa.x86.x87.number import Number, quiet
from isa.x86.x87.result import FLAGS, Result, exact


def taken(value: Bits, control: Settings) -> Number:
    """An operand; a denormal one is a zero if MXCSR says so."""
    form = FORMATS[value.width]
    least = value.bits(form.fraction, value.width - form.fraction - 1) == 0
    nothing = value.sign.concat(Bits.of(0, value.width - 1))
    return short_number((least & control.ignores_denormals).select(nothing, value))


def of_two(result: Result, a: Number, b: Number) -> Result:
    """`result` unless an operand is a NaN: the first one that is, made quiet."""
    signaling = (a.signaling | b.signaling).zext(FLAGS)
    some_nan = exact(quiet(a.nan.select(a.bits, b.bits)), signaling)
    return nan.told(result, a.denormal | b.denormal).or_else(a.nan | b.nan, some_nan)


def of_one(result: Result, a: Number) -> Result:
    """The same for one operand."""
    some_nan = exact(quiet(a.bits), a.signaling.zext(FLAGS))
    return nan.told(result, a.denormal).or_else(a.nan, some_nan)
