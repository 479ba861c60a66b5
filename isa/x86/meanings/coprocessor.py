"""A coprocessor that is not there: ESC and WAIT (SDM volume 2, WAIT/FWAIT and appendix B.17)."""

from __future__ import annotations

from isa.x86.builder import Operand, X86Builder
from isa.x86.meanings.privilege import unimplemented_in_process
from isa.x86.registers import EM, MP, TS
from isa.x86.table import instruction
from isa.x86.vectors import DEVICE_NOT_AVAILABLE


@instruction("esc", heading="ESC—Escape to the Coprocessor")
def esc(m: X86Builder, operand: Operand) -> None:
    """The processor reads a word at the operand's address for the coprocessor, which is deaf."""
    m.fault_when(m.get(EM) | m.get(TS), DEVICE_NOT_AVAILABLE)
    if operand.is_memory:
        m.read(operand)


@instruction("wait", heading="WAIT/FWAIT—Wait")
def wait(m: X86Builder) -> None:
    """Nobody is busy."""
    if not unimplemented_in_process(m):
        m.fault_when(m.get(MP) & m.get(TS), DEVICE_NOT_AVAILABLE)
