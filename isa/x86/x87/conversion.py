"""Conversions between the unit's format and those of memory (SDM 1, sections 4.8 and 8.2)."""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.x87 import nan, number
from isa.x86.x87.number import BIAS, EXPONENT, Number, unpack
from isa.x86.x87.result import DENORMAL, FLAGS, INVALID, PRECISION, Result, exact
from isa.x86.x87.rounding import DOUBLE, SINGLE, WIDE, Control, Format, finish, jam, round_to

FORMATS: Final = {32: SINGLE, 64: DOUBLE}
"""The shorter formats by their widths."""


@family("value", "denormal")
def widen(value: Bits) -> dict[str, Bits]:
    """A number of 32 or 64 bits in 80, signaling NaNs as they are, and whether it was denormal."""
    return _widened(value)


def _widened(value: Bits) -> dict[str, Bits]:
    x = short_number(value)
    above = (x.infinite | x.nan).select(Bits.of(number.MAXIMUM, EXPONENT), x.exponent)
    exponent = x.zero.select(0, above)
    return {"value": number.pack(x.sign, exponent, x.significand), "denormal": x.denormal}


def short_number(value: Bits) -> Number:
    """Take 32 or 64 bits apart."""
    form = FORMATS[value.width]
    fraction = value.low(form.fraction)
    exponent = value.bits(form.fraction, value.width - form.fraction - 1)
    least, most = exponent == 0, exponent == form.largest + 1
    zero = least & (fraction == 0)
    whole = (~least).concat(fraction).concat(Bits.of(0, 63 - form.fraction))
    places = least.select(whole.clz(), 0)  # a zero's do not matter
    rebased = exponent.zext(EXPONENT) + (BIAS - form.bias) + least.zext(EXPONENT)
    return Number(
        bits=value,
        sign=value.sign,
        exponent=rebased - places.low(EXPONENT),
        significand=whole << places,
        zero=zero,
        denormal=least & ~zero,
        unsupported=Bits.of(0, 1),
        infinite=most & (fraction == 0),
        nan=most & (fraction != 0),
    )


@family("result")
def load(value: Bits) -> dict[str, Bits]:
    """FLD of a number of 32 or 64 bits: signaling NaNs are invalid and made quiet."""
    wide = _widened(value)
    x = unpack(wide["value"])
    flags = x.signaling.zext(FLAGS) | wide["denormal"].select(Bits.of(DENORMAL, FLAGS), 0)
    return {"result": exact(x.nan.select(number.quiet(x.bits), x.bits), flags).pack()}


@family("value")
def from_integer(value: Bits) -> dict[str, Bits]:
    """A signed integer of up to 64 bits; always exact."""
    sign, exponent, significand = integer_parts(value)
    exponent = (significand == 0).select(0, exponent)
    return {"value": number.pack(sign, exponent, significand)}


def integer_parts(value: Bits) -> tuple[Bits, Bits, Bits]:
    """Sign, exponent and significand, as of a `Number`, of a signed integer of up to 64 bits."""
    wide = value.sext(64)
    magnitude = wide.sign.select(-wide, wide)
    places = magnitude.clz()
    exponent = Bits.of(BIAS + 63, EXPONENT) - places.low(EXPONENT)
    return wide.sign, exponent, magnitude << places


def indefinite(width: int) -> Bits:
    """The real indefinite in 32 or 64 bits."""
    return FORMATS[width].indefinite()


def narrowed(x: Number, control: Control, to: Format) -> Result:
    """A number rounded to a shorter format; NaNs lose the places that there are not."""
    wide = x.significand.concat(Bits.of(0, 64))
    result = finish(x.sign, x.exponent - (BIAS - to.bias), wide, to.unit, control, to)
    result = result.or_else(x.infinite, exact(to.infinity(x.sign)))
    payload = to.nan(x.sign, wide)
    result = result.or_else(x.nan, exact(payload, x.signaling.zext(FLAGS)))
    return result.or_else(x.unsupported, nan.invalid(to))


def _narrow(value: Bits, control: Bits, to: Format) -> dict[str, Bits]:
    return {"result": narrowed(unpack(value), Control(control), to).pack()}


@family("result")
def to_single(value: Bits, control: Bits) -> dict[str, Bits]:
    """80 bits rounded to 32."""
    return _narrow(value, control, SINGLE)


@family("result")
def to_double(value: Bits, control: Bits) -> dict[str, Bits]:
    """80 bits rounded to 64."""
    return _narrow(value, control, DOUBLE)


def rounded_integer(x: Number, mode: Bits) -> tuple[Bits, Bits, Bits, Bits]:
    """Magnitude (64 bits) of a number below 2^64 rounded to an integer, its being inexact and
    greater, and whether it does not fit 64 bits."""
    power = x.exponent - BIAS
    places = Bits.of(63, EXPONENT) - power
    beyond = places.sign  # 2^64 or more
    wide = jam(x.significand.concat(Bits.of(0, 64)), beyond.select(Bits.of(0, EXPONENT), places))
    whole = round_to(wide, Bits.of(1 << 64, WIDE), x.sign, mode)
    return whole.significand.bits(64, 64), whole.inexact, whole.up, beyond | whole.carry


def integer(x: Number, mode: Bits, width: int) -> Result:
    """A number rounded to a signed integer; the integer indefinite of what does not fit."""
    magnitude, inexact, up, beyond = rounded_integer(x, mode)
    most = Bits.of((1 << width - 1) - 1, 64) + x.sign.zext(64)
    wrong = x.odd | ~x.zero & (beyond | most.ult(magnitude))
    signed = x.sign.select(-magnitude, magnitude).low(width)
    result = Result(signed, inexact.select(Bits.of(PRECISION, FLAGS), 0), up)
    indefinite = exact(Bits.of(1 << width - 1, width), Bits.of(INVALID, FLAGS))
    return result.or_else(wrong, indefinite)


def _to_integer(value: Bits, control: Bits, width: int) -> dict[str, Bits]:
    return {"result": integer(unpack(value), Control(control).mode, width).pack()}


@family("result")
def to_integer16(value: Bits, control: Bits) -> dict[str, Bits]:
    """80 bits rounded to a signed integer of 16."""
    return _to_integer(value, control, 16)


@family("result")
def to_integer32(value: Bits, control: Bits) -> dict[str, Bits]:
    """80 bits rounded to a signed integer of 32."""
    return _to_integer(value, control, 32)


@family("result")
def to_integer64(value: Bits, control: Bits) -> dict[str, Bits]:
    """80 bits rounded to a signed integer of 64."""
    return _to_integer(value, control, 64)


@family("result")
def round_to_integer(value: Bits, control: Bits) -> dict[str, Bits]:
    """FRNDINT: a number with no fraction; it keeps its sign."""
    x = unpack(value)
    magnitude, inexact, up, beyond = rounded_integer(x, Control(control).mode)
    places = magnitude.clz()
    exponent = Bits.of(BIAS + 63, EXPONENT) - places.low(EXPONENT)
    some = number.pack(x.sign, exponent, magnitude << places)
    small = (magnitude == 0).select(number.zero(x.sign), some)
    result = Result(small, inexact.select(Bits.of(PRECISION, FLAGS), 0), up)
    result = result.or_else(beyond | x.zero | x.infinite, exact(value))
    return {"result": nan.of_operand(result, x).pack()}


TO_FLOAT: Final = {32: to_single, 64: to_double}
TO_INTEGER: Final = {16: to_integer16, 32: to_integer32, 64: to_integer64}
