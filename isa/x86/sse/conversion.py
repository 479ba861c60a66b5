"""Conversions between numbers of 32 and 64 bits and integers of 32 (SDM volume 1, 11.4.1.4).

Families with the one result "result" (`Result.pack`), from a value and the word of `Settings`.
Conversions to integers tell of no denormal operands.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.sse.operands import taken
from isa.x86.sse.settings import Settings
from isa.x86.x87 import nan
from isa.x86.x87.conversion import FORMATS, integer, integer_parts, narrowed
from isa.x86.x87.number import BIAS
from isa.x86.x87.rounding import CHOP, DOUBLE, SINGLE, WIDE, Format, finish

INTEGER: Final = 32


def _from_integer(value: Bits, settings: Bits, to: Format) -> dict[str, Bits]:
    control = Settings(settings, to)
    sign, exponent, significand = integer_parts(value)
    wide = significand.concat(Bits.of(0, WIDE - 64))
    result = finish(sign, exponent - (BIAS - to.bias), wide, to.unit, control, to)
    return {"result": result.pack()}


@family("result")
def integer_to_single(value: Bits, settings: Bits) -> dict[str, Bits]:
    """A signed integer rounded to 32 bits."""
    return _from_integer(value, settings, SINGLE)


@family("result")
def integer_to_double(value: Bits, settings: Bits) -> dict[str, Bits]:
    """A signed integer in 64 bits: always exact."""
    return _from_integer(value, settings, DOUBLE)


def _between(value: Bits, settings: Bits, to: Format) -> dict[str, Bits]:
    control = Settings(settings, to)
    x = taken(value, control)
    return {"result": nan.told(narrowed(x, control, to), x.denormal).pack()}


@family("result")
def to_single(value: Bits, settings: Bits) -> dict[str, Bits]:
    """64 bits rounded to 32."""
    return _between(value, settings, SINGLE)


@family("result")
def to_double(value: Bits, settings: Bits) -> dict[str, Bits]:
    """32 bits in 64: always exact."""
    return _between(value, settings, DOUBLE)


@family("result")
def to_integer(value: Bits, settings: Bits) -> dict[str, Bits]:
    """A number rounded to a signed integer."""
    control = Settings(settings, FORMATS[value.width])
    return {"result": integer(taken(value, control), control.mode, INTEGER).pack()}


@family("result")
def truncate(value: Bits, settings: Bits) -> dict[str, Bits]:
    """A number cut to a signed integer."""
    control = Settings(settings, FORMATS[value.width])
    return {"result": integer(taken(value, control), Bits.of(CHOP, 2), INTEGER).pack()}
