"""Shifts and rotates: SHL SHR SAR ROL ROR RCL RCR SHLD SHRD (SDM volume 1, section 7.3.6).

Counts are masked to 5 bits, but on an 8086; a count of 0 leaves the flags alone.
"""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.functions import Family
from isa.x86 import flags, results
from isa.x86.builder import Operand, X86Builder
from isa.x86.flags import STATUS_FLAGS
from isa.x86.registers import CF, OF
from isa.x86.table import instruction

Result = Callable[..., Bits]


def _count(m: X86Builder, count: Operand, width: int) -> Bits:
    """The count, masked; capstone spells the implied 1 as an immediate of the operand's width."""
    return m.read(count).low(8 if m.model.is_8086 else 5).zext(width)


def _beyond(m: X86Builder, count: Bits, limit: int) -> Bits:
    """Whether the count exceeds `limit`."""
    if m.model.is_8086:
        return Bits.of(limit, 8).ult(count.low(8))
    return Bits.of(limit, 5).ult(count.low(5)) if limit < 31 else Bits.of(0, 1)


def _leave_flags(m: X86Builder, values: dict[str, Bits], count: Bits, undefined: str = "") -> None:
    """Put the flags unless the count is 0; OF is defined for a count of 1 only."""
    m.set_flags(values, undefined, when=count != 0)
    m.undefined(OF, _beyond(m, count, 1))


def _shift_left(a: Bits, count: Bits) -> Bits:
    return a << count


def _shift_right(a: Bits, count: Bits) -> Bits:
    return a >> count


@instruction("shl", heading="SAL/SAR/SHL/SHR—Shift", parameters=(_shift_left, flags.shift_left))
@instruction("shr", heading="SAL/SAR/SHL/SHR—Shift", parameters=(_shift_right, flags.shift_right))
def shift(m: X86Builder, result: Result, left: Family, dst: Operand, by: Operand) -> None:
    a = m.read(dst)
    count = _count(m, by, a.width)
    m.write(dst, result(a, count))
    _leave_flags(m, left(a, count), count, undefined="af")
    m.undefined(CF, _beyond(m, count, a.width - 1))


@instruction("sar", heading="SAL/SAR/SHL/SHR—Shift")
def sar(m: X86Builder, dst: Operand, by: Operand) -> None:
    a = m.read(dst)
    count = _count(m, by, a.width)
    m.write(dst, a.ashr(count))
    _leave_flags(m, flags.shift_right_arithmetic(a, count), count, undefined="af")


@instruction(
    "rol", heading="RCL/RCR/ROL/ROR—Rotate", parameters=(results.rotate_left, flags.rotate_left)
)
@instruction(
    "ror", heading="RCL/RCR/ROL/ROR—Rotate", parameters=(results.rotate_right, flags.rotate_right)
)
def rotate(m: X86Builder, result: Result, left: Family, dst: Operand, by: Operand) -> None:
    a = m.read(dst)
    count = _count(m, by, a.width)
    m.write(dst, result(a, count))
    _leave_flags(m, left(a, count), count)


@instruction(
    "rcl",
    heading="RCL/RCR/ROL/ROR—Rotate",
    parameters=(results.rotate_left_through_carry, flags.rotate_left_through_carry),
)
@instruction(
    "rcr",
    heading="RCL/RCR/ROL/ROR—Rotate",
    parameters=(results.rotate_right_through_carry, flags.rotate_right_through_carry),
)
def rotate_through_carry(
    m: X86Builder, result: Result, left: Family, dst: Operand, by: Operand
) -> None:
    a, carry = m.read(dst), m.flag(CF)
    count = _count(m, by, a.width)
    m.write(dst, result(a, carry, count).low(a.width))
    _leave_flags(m, left(a, carry, count), count)


@instruction(
    "shld",
    heading="SHLD—Double Precision Shift Left",
    since="386",
    parameters=(results.double_shift_left, flags.double_shift_left),
)
@instruction(
    "shrd",
    heading="SHRD—Double Precision Shift Right",
    since="386",
    parameters=(results.double_shift_right, flags.double_shift_right),
)
def double_shift(
    m: X86Builder, result: Result, left: Family, dst: Operand, src: Operand, by: Operand
) -> None:
    a, filler = m.read(dst), m.read(src)
    count = _count(m, by, a.width)
    too_far = _beyond(m, count, a.width)  # of 16 bits only
    m.undefined("operand", too_far)
    m.write(dst, result(a, filler, count))
    _leave_flags(m, left(a, filler, count), count, undefined="af")
    for flag in STATUS_FLAGS.values():
        m.undefined(flag, too_far)


@instruction("setmo", heading="(undocumented) SETMO—Set to Minus One")
def setmo(m: X86Builder, dst: Operand, by: Operand) -> None:
    """What an 8086 makes of /6 among the shifts: all ones, unless the count is 0."""
    count = _count(m, by, dst.width)
    value = (count != 0).select(Bits.of((1 << dst.width) - 1, dst.width), m.read(dst))
    m.write(dst, value)
    m.set_flags(flags.logic(value), undefined="cf pf af zf sf of", when=count != 0)
