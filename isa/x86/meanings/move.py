"""Moves: MOV, MOVZX, MOVSX, XCHG, LEA, CMOVcc, BSWAP, XLAT (SDM volume 1, section 7.3.1)."""

from __future__ import annotations

from isa.x86.builder import Operand, X86Builder
from isa.x86.table import instruction


@instruction("mov", heading="MOV—Move")
def mov(m: X86Builder, dst: Operand, src: Operand) -> None:
    m.write(dst, m.read(src))


@instruction("lea", heading="LEA—Load Effective Address")
def lea(m: X86Builder, dst: Operand, src: Operand) -> None:
    m.write(dst, m.address(src).low(dst.width))
