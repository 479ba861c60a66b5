"""Binary arithmetic: ADD ADC SUB SBB CMP INC DEC NEG (SDM volume 1, section 7.3.2)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86 import flags
from isa.x86.builder import Operand, X86Builder
from isa.x86.registers import CF
from isa.x86.table import instruction


@instruction("add", heading="ADD—Add", lockable=True)
def add(m: X86Builder, dst: Operand, src: Operand) -> None:
    a, b = m.read(dst), m.read(src)
    m.write(dst, a + b)
    m.set_flags(flags.add(a, b))


@instruction("adc", heading="ADC—Add With Carry", lockable=True)
def adc(m: X86Builder, dst: Operand, src: Operand) -> None:
    a, b, carry = m.read(dst), m.read(src), m.flag(CF)
    m.write(dst, a + b + carry.zext(a.width))
    m.set_flags(flags.add_with_carry(a, b, carry))


@instruction("sub", heading="SUB—Subtract", lockable=True)
def sub(m: X86Builder, dst: Operand, src: Operand) -> None:
    a, b = m.read(dst), m.read(src)
    m.write(dst, a - b)
    m.set_flags(flags.subtract(a, b))


@instruction("sbb", heading="SBB—Integer Subtraction With Borrow", lockable=True)
def sbb(m: X86Builder, dst: Operand, src: Operand) -> None:
    a, b, borrow = m.read(dst), m.read(src), m.flag(CF)
    m.write(dst, a - b - borrow.zext(a.width))
    m.set_flags(flags.subtract_with_borrow(a, b, borrow))


@instruction("cmp", heading="CMP—Compare Two Operands")
def cmp(m: X86Builder, first: Operand, second: Operand) -> None:
    m.set_flags(flags.subtract(m.read(first), m.read(second)))


@instruction("inc", heading="INC—Increment by 1", lockable=True)
def inc(m: X86Builder, dst: Operand) -> None:
    a = m.read(dst)
    m.write(dst, a + 1)
    m.set_flags(flags.increment(a))


@instruction("dec", heading="DEC—Decrement by 1", lockable=True)
def dec(m: X86Builder, dst: Operand) -> None:
    a = m.read(dst)
    m.write(dst, a - 1)
    m.set_flags(flags.decrement(a))


@instruction("neg", heading="NEG—Two's Complement Negation", lockable=True)
def neg(m: X86Builder, dst: Operand) -> None:
    a = m.read(dst)
    m.write(dst, -a)
    m.set_flags(flags.subtract(Bits.of(0, a.width), a))
