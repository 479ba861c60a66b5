"""Decimal arithmetic: AAA AAS DAA DAS AAM AAD (SDM volume 1, section 7.3.3)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86 import flags, results
from isa.x86.builder import Operand, X86Builder
from isa.x86.meanings.divide import dividing
from isa.x86.registers import AF, CF, EAX
from isa.x86.table import instruction


@instruction("aaa", heading="AAA—ASCII Adjust After Addition")
def aaa(m: X86Builder) -> None:
    ax = m.read_part(EAX, 16)
    _adjust_unpacked(m, ax, ax + 0x106)


@instruction("aas", heading="AAS—ASCII Adjust AL After Subtraction")
def aas(m: X86Builder) -> None:
    ax = m.read_part(EAX, 16)
    _adjust_unpacked(m, ax, ax - 0x106)


def _adjust_unpacked(m: X86Builder, ax: Bits, adjusted: Bits) -> None:
    """AX with a decimal digit in AL and the carry, if there is one, counted in AH."""
    carry = results.needs_adjustment(ax.low(8), m.flag(AF))
    m.write_part(EAX, carry.select(adjusted, ax) & 0xFF0F)
    m.set_flags({"af": carry, "cf": carry}, undefined="pf zf sf of")


@instruction("daa", heading="DAA—Decimal Adjust AL After Addition")
def daa(m: X86Builder) -> None:
    al, cf, af = m.read_part(EAX, 8), m.flag(CF), m.flag(AF)
    m.write_part(EAX, al + results.decimal_adjustment(al, cf, af))
    m.set_flags(flags.decimal_add(al, cf, af), undefined="of")


@instruction("das", heading="DAS—Decimal Adjust AL After Subtraction")
def das(m: X86Builder) -> None:
    al, cf, af = m.read_part(EAX, 8), m.flag(CF), m.flag(AF)
    m.write_part(EAX, al - results.decimal_adjustment(al, cf, af))
    m.set_flags(flags.decimal_subtract(al, cf, af), undefined="of")


@instruction("aam", heading="AAM—ASCII Adjust AX After Multiply")
def aam(m: X86Builder, base: Operand) -> None:
    al, divisor = m.read_part(EAX, 8), m.read(base)
    with dividing(m, divisor == 0):
        digit = al.urem(divisor)
        m.write_part(EAX, al.udiv(divisor).concat(digit))
        m.set_flags(flags.of_result(digit), undefined="cf af of")


@instruction("aad", heading="AAD—ASCII Adjust AX Before Division")
def aad(m: X86Builder, base: Operand) -> None:
    ax = m.read_part(EAX, 16)
    al = ax.low(8) + ax.bits(8, 8) * m.read(base)
    m.write_part(EAX, al.zext(16))
    m.set_flags(flags.of_result(al), undefined="cf af of")
