"""Moves and conversions (SDM volume 1, section 7.3.1)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder, is_segment, is_special
from isa.x86.meanings import segments, system
from isa.x86.meanings.conditions import for_each_condition, holds
from isa.x86.registers import CF, EAX, EBX, EDX
from isa.x86.table import instruction


@instruction("mov", heading="MOV—Move", escaped_since="386")
def mov(m: X86Builder, dst: Operand, src: Operand) -> None:
    if is_special(dst) or is_special(src):
        system.mov_special(m, dst, src)
    elif is_segment(dst):
        segments.mov_to(m, dst, src)
    elif is_segment(src):
        segments.mov_from(m, dst, src)
    else:
        m.write(dst, m.read(src))


@instruction("movzx", heading="MOVZX—Move With Zero-Extend", since="386")
def movzx(m: X86Builder, dst: Operand, src: Operand) -> None:
    m.write(dst, m.read(src).zext(dst.width))


@instruction("movsx", heading="MOVSX/MOVSXD—Move With Sign-Extension", since="386")
def movsx(m: X86Builder, dst: Operand, src: Operand) -> None:
    m.write(dst, m.read(src).sext(dst.width))


@instruction("xchg", heading="XCHG—Exchange Register/Memory With Register", lockable=True)
def xchg(m: X86Builder, first: Operand, second: Operand) -> None:
    a, b = m.read(first), m.read(second)
    m.write(first, b)
    m.write(second, a)


@instruction("lea", heading="LEA—Load Effective Address")
def lea(m: X86Builder, dst: Operand, src: Operand) -> None:
    m.write(dst, m.address(src).low(dst.width))


@for_each_condition("cmov", heading="CMOVcc—Conditional Move", since="pentium2")
def cmov(m: X86Builder, condition: str, dst: Operand, src: Operand) -> None:
    value = m.read(src)  # memory is read, and may fault, whatever the condition
    m.write(dst, holds(m, condition).select(value, m.read(dst)))


@for_each_condition("set", heading="SETcc—Set Byte on Condition", since="386")
def setcc(m: X86Builder, condition: str, dst: Operand) -> None:
    m.write(dst, holds(m, condition).zext(8))


@instruction("bswap", heading="BSWAP—Byte Swap", since="486")
def bswap(m: X86Builder, dst: Operand) -> None:
    value = m.read(dst)
    if dst.width == 16:
        m.undefined("operand")
        m.write(dst, Bits.of(0, 16))  # what processors do
        return
    low, second, third, high = (value.bits(n, 8) for n in (0, 8, 16, 24))
    m.write(dst, low.concat(second).concat(third).concat(high))


@instruction("xlatb", heading="XLAT/XLATB—Table Look-up Translation", implied_operands=True)
def xlat(m: X86Builder) -> None:
    offset = m.wrap(m.get(EBX) + m.read_part(EAX, 8).zext(32))
    m.write_part(EAX, m.load(m.form.segment, offset, 8))


@instruction("cbw", "cwde", heading="CBW/CWDE/CDQE—Convert Byte to Word/Convert Word to Doubleword")
def cbw(m: X86Builder) -> None:
    size = m.form.operand_size
    m.write_part(EAX, m.read_part(EAX, size // 2).sext(size))


@instruction("cwd", "cdq", heading="CWD/CDQ/CQO—Convert Word to Doubleword/Doubleword to Quadword")
def cwd(m: X86Builder) -> None:
    size = m.form.operand_size
    m.write_part(EDX, m.read_part(EAX, size).sext(2 * size).bits(size, size))


@instruction("salc", heading="(undocumented) SALC—Set AL on Carry")
def salc(m: X86Builder) -> None:
    m.write_part(EAX, m.flag(CF).sext(8))
