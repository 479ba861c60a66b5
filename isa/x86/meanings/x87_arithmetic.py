"""x87 arithmetic: FADD FSUB FMUL FDIV and their kin, FSQRT, FRNDINT, FABS, FCHS.

SDM volume 1, section 8.3.5.
"""

from __future__ import annotations

from collections.abc import Iterator

from isa.bits import Bits
from isa.functions import Family
from isa.x86.builder import Operand, X86Builder
from isa.x86.meanings.x87_operands import leave_codes_undefined, register, source, top
from isa.x86.registers import C0, C2, C3
from isa.x86.table import Meaning, instruction
from isa.x86.x87 import arithmetic, conversion, remainder, scaling
from isa.x86.x87.entry import begin
from isa.x86.x87.result import Result
from isa.x86.x87.unit import Unit

_OPERATIONS = (
    ("add", arithmetic.add, "FADD/FADDP/FIADD—Add Floating-Point"),
    ("mul", arithmetic.multiply, "FMUL/FMULP/FIMUL—Multiply Floating-Point"),
    ("sub", arithmetic.subtract, "FSUB/FSUBP/FISUB—Subtract Floating-Point"),
    ("subr", arithmetic.reverse_subtract, "FSUBR/FSUBRP/FISUBR—Reverse Subtract Floating-Point"),
    ("div", arithmetic.divide, "FDIV/FDIVP/FIDIV—Divide Floating-Point"),
    ("divr", arithmetic.reverse_divide, "FDIVR/FDIVRP/FIDIVR—Reverse Divide Floating-Point"),
)


def _rows() -> Iterator[tuple[str, str, tuple[Family, bool, bool]]]:
    """Mnemonic, heading, and parameters: what to compute, of an integer, and whether to pop."""
    for name, operation, heading in _OPERATIONS:
        yield f"f{name}", heading, (operation, False, False)
        yield f"f{name}p", heading, (operation, False, True)
        yield f"fi{name}", heading, (operation, True, False)


def _each(meaning: Meaning) -> Meaning:
    for mnemonic, heading, parameters in _rows():
        instruction(mnemonic, heading=heading, parameters=parameters)(meaning)
    return meaning


@_each
def compute(
    m: X86Builder, operation: Family, integer: bool, pops: bool, first: Operand, *rest: Operand
) -> None:
    """ST(0) op operand, in ST(0); or ST(i) op ST(0), in ST(i)."""
    begin(m, first)
    unit = Unit(m)
    to: Bits | int = 0
    one, other = top(unit), source(m, unit, first, integer=integer)
    if rest or pops:
        to, one, other = register(m, first), other, one
    missing = unit.require(one.full, other.full)
    packed = operation(one.value, other.value, other.denormal, unit.control.word)
    unit.write(to, unit.accept(Result.unpack(packed["result"]), missing))
    if pops:
        unit.pop()
    unit.commit()
    leave_codes_undefined(m)


@instruction("fsqrt", heading="FSQRT—Square Root", parameters=(arithmetic.square_root,))
@instruction(
    "frndint", heading="FRNDINT—Round to Integer", parameters=(conversion.round_to_integer,)
)
def compute_of_top(m: X86Builder, operation: Family) -> None:
    begin(m)
    unit = Unit(m)
    missing = unit.require(unit.full(0))
    packed = operation(unit.value(0), unit.control.word)
    unit.write(0, unit.accept(Result.unpack(packed["result"]), missing))
    unit.commit()
    leave_codes_undefined(m)


@instruction("fabs", heading="FABS—Absolute Value", parameters=(False,))
@instruction("fchs", heading="FCHS—Change Sign", parameters=(True,))
def change_sign(m: X86Builder, change: bool) -> None:
    """Only the sign bit changes, whatever the number is."""
    begin(m)
    unit = Unit(m)
    missing = unit.require(unit.full(0))
    value = unit.value(0)
    sign = ~value.sign if change else Bits.of(0, 1)
    unit.write(0, unit.or_indefinite(missing, sign.concat(value.low(79))))
    unit.commit()
    leave_codes_undefined(m)


@instruction("fscale", heading="FSCALE—Scale")
def scale(m: X86Builder) -> None:
    begin(m)
    unit = Unit(m)
    missing = unit.require(unit.full(0), unit.full(1))
    packed = scaling.scale(unit.value(0), unit.value(1), unit.control.word)
    unit.write(0, unit.accept(Result.unpack(packed["result"]), missing))
    unit.commit()
    leave_codes_undefined(m)


@instruction("fxtract", heading="FXTRACT—Extract Exponent and Significand")
def extract(m: X86Builder) -> None:
    """The exponent in place of the number, the significand pushed."""
    begin(m)
    unit = Unit(m)
    missing = unit.require(unit.full(0))
    taken = unit.require_room(missing)
    found = scaling.extract(unit.value(0))
    wrong = missing | taken
    unit.write(0, unit.accept(Result.unpack(found["exponent"]), wrong))
    unit.push(unit.or_indefinite(wrong, found["significand"]))
    unit.commit()
    leave_codes_undefined(m)


@instruction("fprem", heading="FPREM—Partial Remainder", parameters=(remainder.truncated,))
@instruction("fprem1", heading="FPREM1—Partial Remainder", parameters=(remainder.nearest,))
def partial_remainder(m: X86Builder, operation: Family) -> None:
    """C2: not done. C0, C3 and C1 are bits 2, 1 and 0 of the quotient, if there is one."""
    begin(m)
    unit = Unit(m)
    missing = unit.require(unit.full(0), unit.full(1))
    found = operation(unit.value(0), unit.value(1), unit.control.word)
    unit.write(0, unit.accept(Result.unpack(found["result"]), missing))
    counted = found["counted"] & ~missing & ~unit.blocked
    quotient = counted.select(found["quotient"], 0)
    unit.c1 = quotient.bit(0)
    for code, value in ((C0, quotient.bit(2)), (C3, quotient.bit(1))):
        m.put(code, counted.select(value, m.get(code)))
    m.put(C2, found["partial"] & counted)
    unit.commit()
