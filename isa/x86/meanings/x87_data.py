"""x87 data transfer: FLD FST FSTP FILD FIST FISTP FXCH FCMOV, constants (SDM 1, 8.3.3–8.3.4)."""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.hints import Final
from isa.x86.builder import Operand, X86Builder
from isa.x86.meanings.conditions import holds
from isa.x86.meanings.x87_operands import leave_codes_undefined, register, source
from isa.x86.registers import C1
from isa.x86.table import Meaning, instruction
from isa.x86.x87 import conversion, decimal, number
from isa.x86.x87.constants import CONSTANTS, constant
from isa.x86.x87.entry import begin
from isa.x86.x87.result import FLAGS, INVALID, OVERFLOW, UNDERFLOW, Result, exact
from isa.x86.x87.unit import Unit


def _push(m: X86Builder, unit: Unit, result: Result, missing: Bits | None = None) -> None:
    """Push a result, or on overflow the indefinite; then the end."""
    taken = unit.require_room(Bits.of(0, 1) if missing is None else missing)
    value = unit.accept(result, taken)
    unit.push(value)
    unit.commit()
    leave_codes_undefined(m)


@instruction("fld", heading="FLD—Load Floating-Point Value", parameters=(False,))
@instruction("fild", heading="FILD—Load Integer", parameters=(True,))
def load(m: X86Builder, integer: bool, src: Operand) -> None:
    begin(m, src)
    unit = Unit(m, blocking=INVALID)  # a denormal number is pushed in any case
    if src.is_memory and not integer and src.width < number.WIDTH:
        _push(m, unit, Result.unpack(conversion.load(m.read(src))["result"]))
        return
    found = source(m, unit, src, integer=integer)
    missing = unit.require(found.full)
    _push(m, unit, exact(unit.or_indefinite(missing, found.value)), missing)


def _constants(meaning: Meaning) -> Meaning:
    for mnemonic in CONSTANTS:
        heading = "FLD1/FLDL2T/FLDL2E/FLDPI/FLDLG2/FLDLN2/FLDZ—Load Constant"
        instruction(mnemonic, heading=heading, parameters=(mnemonic,))(meaning)
    return meaning


@_constants
def load_constant(m: X86Builder, mnemonic: str) -> None:
    """Rounded by the rounding mode, to 64 bits whatever the precision control says."""
    begin(m)
    unit = Unit(m)
    _push(m, unit, exact(constant(mnemonic, unit.control.mode)))


@instruction("fst", heading="FST/FSTP—Store Floating-Point Value", parameters=(False,))
@instruction("fstp", heading="FST/FSTP—Store Floating-Point Value", parameters=(True,))
def store(m: X86Builder, pops: bool, dst: Operand) -> None:
    begin(m, dst)
    unit = Unit(m)
    missing = unit.require(unit.full(0))
    value = unit.value(0)
    if not dst.is_memory:
        unit.write(register(m, dst), unit.or_indefinite(missing, value))
        _stored(m, unit, pops)
    elif dst.width == number.WIDTH:
        _to_memory(m, unit, dst, unit.or_indefinite(missing, value), pops)
    else:
        packed = conversion.TO_FLOAT[dst.width](value, unit.control.word)
        indefinite = conversion.indefinite(dst.width)
        result = _inside(unit, Result.unpack(packed["result"]), missing)
        _to_memory(m, unit, dst, unit.accept(result, missing, indefinite), pops)


def _inside(unit: Unit, result: Result, missing: Bits) -> Result:
    """An unmasked overflow or underflow: nothing is stored, so nothing was rounded."""
    range_flags = Bits.of(OVERFLOW | UNDERFLOW, FLAGS)
    outside = unit.unmasked(result.flags & range_flags) & ~missing
    unit.blocked = unit.blocked | outside
    flags = outside.select(result.flags & range_flags, result.flags)
    return Result(result.value, flags, result.up & ~outside)


@instruction("fstpnce", heading="(undocumented) FSTPNCE—Store and Pop, Not Checking for Empty")
def store_unchecked(m: X86Builder, dst: Operand, _: Operand) -> None:
    """FSTP ST(i), but from an empty register it only pops."""
    begin(m)
    unit, index = Unit(m), register(m, dst)
    full, other_full = unit.full(0), unit.full(index)
    unit.write(index, number.choose(full, unit.value(0), unit.value(index)))
    unit.free(index, ~(full | other_full))
    _stored(m, unit, pops=True)


@instruction("fist", heading="FIST/FISTP—Store Integer", parameters=(False,))
@instruction("fistp", heading="FIST/FISTP—Store Integer", parameters=(True,))
def store_integer(m: X86Builder, pops: bool, dst: Operand) -> None:
    begin(m, dst)
    unit = Unit(m)
    missing = unit.require(unit.full(0))
    packed = conversion.TO_INTEGER[dst.width](unit.value(0), unit.control.word)
    indefinite = Bits.of(1 << dst.width - 1, dst.width)
    stored = unit.accept(Result.unpack(packed["result"]), missing, indefinite)
    _to_memory(m, unit, dst, stored, pops)


def _to_memory(m: X86Builder, unit: Unit, dst: Operand, value: Bits, pops: bool) -> None:
    """Store, if no unmasked exception prevents it."""
    with m.when(unit.blocked):
        m.read(dst)  # the right to write there is needed all the same
    with m.when(~unit.blocked):
        m.write(dst, value)
    _stored(m, unit, pops)


def _stored(m: X86Builder, unit: Unit, pops: bool) -> None:
    if pops:
        unit.pop()
    unit.commit()
    leave_codes_undefined(m)


@instruction("fbld", heading="FBLD—Load Binary Coded Decimal")
def load_decimal(m: X86Builder, src: Operand) -> None:
    begin(m, src)
    _push(m, Unit(m), exact(decimal.from_decimal(m.read(src))["value"]))


@instruction("fbstp", heading="FBSTP—Store BCD Integer and Pop")
def store_decimal(m: X86Builder, dst: Operand) -> None:
    begin(m, dst)
    unit = Unit(m)
    missing = unit.require(unit.full(0))
    packed = decimal.to_decimal(unit.value(0), unit.control.word)
    indefinite = Bits.of(decimal.INDEFINITE, number.WIDTH)
    stored = unit.accept(Result.unpack(packed["result"]), missing, indefinite)
    _to_memory(m, unit, dst, stored, pops=True)


@instruction("fxch", heading="FXCH—Exchange Register Contents")
def exchange(m: X86Builder, *operands: Operand) -> None:
    """Empty registers are filled with the indefinite first, if the exception is masked."""
    begin(m)
    unit, index = Unit(m), register(m, operands[-1])
    full, other_full = unit.full(0), unit.full(index)
    unit.require(full, other_full)
    a = unit.or_indefinite(~full, unit.value(0))
    b = unit.or_indefinite(~other_full, unit.value(index))
    unit.write(0, b)
    unit.write(index, a)
    unit.commit()
    leave_codes_undefined(m)


_CONDITIONS: Final = ("b", "nb", "e", "ne", "be", "nbe", "u", "nu")
_AS_JUMPS: Final = {"nb": "ae", "nbe": "a", "u": "p", "nu": "np"}


def _conditional(meaning: Callable[..., None]) -> Callable[..., None]:
    for name in _CONDITIONS:
        heading = "FCMOVcc—Floating-Point Conditional Move"
        parameters = (_AS_JUMPS.get(name, name),)
        enter = instruction(
            f"fcmov{name}", heading=heading, parameters=parameters, since="pentium2"
        )
        enter(meaning)
    return meaning


@_conditional
def move_if(m: X86Builder, condition: str, *operands: Operand) -> None:
    """Both registers must be full, whatever the condition."""
    begin(m)
    unit, index = Unit(m), register(m, operands[-1])
    unit.c1 = m.get(C1)
    m.undefined(C1)
    missing = unit.require(unit.full(0), unit.full(index))
    moved = number.choose(holds(m, condition), unit.value(index), unit.value(0))
    unit.write(0, unit.or_indefinite(missing, moved))
    unit.commit()
    leave_codes_undefined(m)
