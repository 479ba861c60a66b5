"""x87 transcendentals: F2XM1 FYL2X FYL2XP1 FPATAN, FSIN FCOS FSINCOS FPTAN (SDM 1, 8.3.7)."""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import Family
from isa.x86.builder import X86Builder
from isa.x86.meanings.x87_operands import leave_codes_undefined
from isa.x86.registers import C0, C2, C3
from isa.x86.table import instruction
from isa.x86.x87 import arctangent, exponential, logarithm, number, trigonometry
from isa.x86.x87.entry import begin
from isa.x86.x87.result import Result
from isa.x86.x87.unit import Unit


@instruction("f2xm1", heading="F2XM1—Compute 2x–1")
def power_minus_one(m: X86Builder) -> None:
    begin(m)
    unit = Unit(m)
    missing = unit.require(unit.full(0))
    packed = exponential.power_minus_one(unit.value(0), unit.control.word)
    unit.write(0, unit.accept(Result.unpack(packed["result"]), missing))
    unit.commit()
    leave_codes_undefined(m)


@instruction("fyl2x", heading="FYL2X—Compute y * log2x", parameters=(logarithm.times_logarithm,))
@instruction(
    "fyl2xp1", heading="FYL2XP1—Compute y * log2(x +1)",
    parameters=(logarithm.times_logarithm_of_more,),
)  # fmt: skip
@instruction("fpatan", heading="FPATAN—Partial Arctangent", parameters=(arctangent.angle,))
def compute_and_pop(m: X86Builder, operation: Family) -> None:
    """Of x in ST(0) and y in ST(1), in place of both."""
    begin(m)
    unit = Unit(m)
    missing = unit.require(unit.full(0), unit.full(1))
    packed = operation(unit.value(0), unit.value(1), unit.control.word)
    unit.write(1, unit.accept(Result.unpack(packed["result"]), missing))
    unit.pop()
    unit.commit()
    leave_codes_undefined(m)


def _put_outside(m: X86Builder, outside: Bits) -> None:
    """C2; what the manual says of C0 and C3 is that they are undefined."""
    m.put(C2, outside)
    for code in (C0, C3):
        m.undefined(code)


@instruction("fsin", heading="FSIN—Sine", parameters=(trigonometry.sine,))
@instruction("fcos", heading="FCOS—Cosine", parameters=(trigonometry.cosine,))
def circular(m: X86Builder, operation: Family) -> None:
    begin(m)
    unit = Unit(m)
    missing = unit.require(unit.full(0))
    found = operation(unit.value(0), unit.control.word)
    unit.write(0, unit.accept(Result.unpack(found["result"]), missing))
    unit.commit()
    _put_outside(m, found["outside"] & ~missing)


@instruction("fsincos", heading="FSINCOS—Sine and Cosine")
def sine_and_cosine(m: X86Builder) -> None:
    """The sine in place of the angle, the cosine pushed; C1 is the sine's."""
    begin(m)
    unit = Unit(m)
    wrong = _room_for_two(unit)
    angle, control = unit.value(0), unit.control.word
    sine, cosine = trigonometry.sine(angle, control), trigonometry.cosine(angle, control)
    pushed = unit.accept(Result.unpack(cosine["result"]), wrong)
    value = unit.accept(Result.unpack(sine["result"]), wrong)
    _replace_by_two(m, unit, value, pushed, sine["outside"] & ~wrong)


@instruction("fptan", heading="FPTAN—Partial Tangent")
def tangent(m: X86Builder) -> None:
    """The tangent in place of the angle, and 1 pushed; a NaN is pushed once more."""
    begin(m)
    unit = Unit(m)
    wrong = _room_for_two(unit)
    found = trigonometry.tangent(unit.value(0), unit.control.word)
    value = unit.accept(Result.unpack(found["result"]), wrong)
    is_nan = value.bits(64, 15) == number.MAXIMUM
    pushed = number.choose(is_nan, value, Bits.of(number.ONE, number.WIDTH))
    _replace_by_two(m, unit, value, pushed, found["outside"] & ~wrong)


def _room_for_two(unit: Unit) -> Bits:
    """Whether ST(0) is missing or there is no room for a second result."""
    missing = unit.require(unit.full(0))
    return missing | unit.require_room(missing)


def _replace_by_two(m: X86Builder, unit: Unit, value: Bits, pushed: Bits, outside: Bits) -> None:
    unit.blocked = unit.blocked | outside
    unit.write(0, value)
    unit.push(pushed)
    unit.commit()
    _put_outside(m, outside)
