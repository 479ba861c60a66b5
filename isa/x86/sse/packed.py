"""The registers of an instruction that there is for MMX registers and for XMM registers alike."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder
from isa.x86.form import Mm, Xmm
from isa.x86.sse import entry
from isa.x86.x87.multimedia import Multimedia


class Wide:
    """XMM registers and memory, aligned where it is 128 bits."""

    def __init__(self, m: X86Builder) -> None:
        self.m = m

    def read(self, operand: Operand) -> Bits:
        """The operand's value, whatever kind of operand it is."""
        return entry.read(self.m, operand)

    def write(self, operand: Operand, value: Bits) -> None:
        """Make `value` the operand's; a register keeps the bits above it."""
        entry.write(self.m, operand, value)


def begin(m: X86Builder) -> Multimedia | Wide:
    """The start of an instruction, by the registers that it names: MMX's, SSE's or both's."""
    kinds = {type(operand.shape) for operand in m.operands}
    if Xmm in kinds or Mm not in kinds:
        entry.begin(m)
    return Multimedia(m) if Mm in kinds else Wide(m)
