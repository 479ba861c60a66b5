"""Motorola 68000 and 68010 (M68000 Programmer's Reference Manual, sections 4 and 6).

The status register holds the condition codes N Z V C in bits 3:0 (`flags`) and S, 1 in supervisor
mode, in bit 13. Its interrupt mask is left out, as the toy's supervisor mode is a mask; so are the
trace bit, X, and the second stack pointer.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.registers import SUPERVISOR
from isa.toy.table import instruction

S = 13


@instruction("MOVE_FROM_SR", 0x98, "rd", registers="flags")
def move_from_sr(m: ToyBuilder) -> None:
    """rd := the status register; anybody may (68000), or supervisors only (68010)."""
    s = m.in_supervisor_mode.zext(m.shape.word) << S
    m.write("rd", s | m.system("flags"))


@instruction("MOVE_TO_SR", 0x99, "ra", user="traps", registers="flags")
def move_to_sr(m: ToyBuilder) -> None:
    """The status register := ra, S included."""
    _set_sr(m, m.read("ra"))


@instruction("MOVE_FROM_CCR", 0x9A, "rd", registers="flags")
def move_from_ccr(m: ToyBuilder) -> None:
    """rd := the condition codes; the 68010 has it for those who may no longer read SR."""
    m.write("rd", m.system("flags"))


@instruction("MOVE_TO_CCR", 0x9B, "ra", registers="flags")
def move_to_ccr(m: ToyBuilder) -> None:
    """The condition codes := ra."""
    m.set_system("flags", m.read("ra"))


@instruction("RTE", 0x9C, user="traps", registers="flags")
def rte(m: ToyBuilder) -> None:
    """Return from exception: pop P and the status register."""
    target, status = m.pop_pair()
    m.jump(target)
    _set_sr(m, status)


def _set_sr(m: ToyBuilder, status: Bits) -> None:
    user = Bits.of(m.shape.least_privileged, m.shape.m_bits)
    m.put(m.registers.m, status.bit(S).select(Bits.of(SUPERVISOR, user.width), user))
    m.set_system("flags", status)
