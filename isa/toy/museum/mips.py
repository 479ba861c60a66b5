"""MIPS (MIPS R4000 User's Manual, chapters 4 and 5): coprocessor 0 and its registers.

The segments are the machine's (`unmapped` in its configuration): an address whose highest bit is 1
is KSEG0's, the supervisor's to reach storage around R, and an address error in user mode. Of
coprocessor 0, register 0 is Status, whose bit 0 is the mode that ERET leads to, and 1 is EPC; TLBWR
is LR.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.table import instruction


@instruction("MFC0", 0xB4, "rd, natural", user="traps", registers="epc spp")
def mfc0(m: ToyBuilder) -> None:
    """Move from coprocessor 0: rd := EPC or Status; in user mode, coprocessor unusable."""
    m.write("rd", _is_epc(m).select(m.system("epc"), m.system("spp")))


@instruction("MTC0", 0xB5, "ra, natural", user="traps", registers="epc spp")
def mtc0(m: ToyBuilder) -> None:
    """Move to coprocessor 0: EPC or Status := ra; in user mode, coprocessor unusable."""
    is_epc = _is_epc(m)
    with m.when(is_epc):
        m.set_system("epc", m.read("ra"))
    with m.when(~is_epc):
        m.set_system("spp", m.read("ra"))


@instruction("ERET", 0xB6, user="traps", registers="epc spp")
def eret(m: ToyBuilder) -> None:
    """Exception return: P := EPC, the mode := the one that Status names."""
    m.put(m.registers.m, m.system("spp").low(m.shape.m_bits))
    m.jump(m.system("epc"))


def _is_epc(m: ToyBuilder) -> Bits:
    return m.read("natural").bit(0)
