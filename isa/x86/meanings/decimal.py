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
    _adjust_unpacked(m, 6, 1)


@instruction("aas", heading="AAS—ASCII Adjust AL After Subtraction")
def aas(m: X86Builder) -> None:
    _adjust_unpacked(m, -6, -1)


def _adjust_unpacked(m: X86Builder, low: int, high: int) -> None:
    """AX with a decimal digit in AL and the carry, if there is one, counted in AH.

    `low` and `high` are what then is added to AL and to AH; an 8086 adds them apart, the others as
    one number of 16 bits.
    """
    ax = m.read_part(EAX, 16)
    if m.model.is_8086:
        adjusted = (ax.bits(8, 8) + high).concat(ax.low(8) + low)
    else:
        adjusted = ax + (high * 256 + low)
    carry = results.needs_adjustment(ax.low(8), m.flag(AF))
    m.write_part(EAX, carry.select(adjusted, ax) & 0xFF0F)
    m.set_flags({"af": carry, "cf": carry}, undefined="pf zf sf of")


@instruction("daa", heading="DAA—Decimal Adjust AL After Addition")
def daa(m: X86Builder) -> None:
    al, cf, af = m.read_part(EAX, 8), m.flag(CF), m.flag(AF)
    if m.model.is_8086:
        _adjust_packed_8086(m, al, 1)
        return
    m.write_part(EAX, al + results.decimal_adjustment(al, cf, af))
    m.set_flags(flags.decimal_add(al, cf, af), undefined="of")


@instruction("das", heading="DAS—Decimal Adjust AL After Subtraction")
def das(m: X86Builder) -> None:
    al, cf, af = m.read_part(EAX, 8), m.flag(CF), m.flag(AF)
    if m.model.is_8086:
        _adjust_packed_8086(m, al, -1)
        return
    m.write_part(EAX, al - results.decimal_adjustment(al, cf, af))
    m.set_flags(flags.decimal_subtract(al, cf, af), undefined="of")


def _adjust_packed_8086(m: X86Builder, al: Bits, sign: int) -> None:
    """With AF, an 8086 lets the high digit run over later, as the low one's carry is in it."""
    low = results.needs_adjustment(al, m.flag(AF))
    high = m.flag(AF).select(Bits.of(0x9F, 8), Bits.of(0x99, 8)).ult(al) | m.flag(CF)
    change = low.select(Bits.of(6, 8), Bits.of(0, 8)) + high.select(Bits.of(0x60, 8), Bits.of(0, 8))
    result = al + change * sign
    m.write_part(EAX, result)
    m.set_flags(flags.of_result(result) | {"cf": high, "af": low}, undefined="of")


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
