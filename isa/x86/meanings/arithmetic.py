"""Binary arithmetic: ADD ADC SUB SBB CMP INC DEC NEG (SDM volume 1, section 7.3.2)."""

from __future__ import annotations

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


@instruction("cmp", heading="CMP—Compare Two Operands")
def cmp(m: X86Builder, first: Operand, second: Operand) -> None:
    m.set_flags(flags.subtract(m.read(first), m.read(second)))
