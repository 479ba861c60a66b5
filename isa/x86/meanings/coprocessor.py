"""The coprocessor's place: WAIT, ESC, and what programs ask to find out that there is none.

SDM volume 3, sections 2.5 and 9.2. Without an x87, a store of its status or control word leaves the
destination as it was.
"""

from __future__ import annotations

from isa.x86.builder import Operand, X86Builder
from isa.x86.meanings.privilege import unimplemented_in_process
from isa.x86.registers import EM, MP, TS
from isa.x86.table import instruction
from isa.x86.vectors import DEVICE_NOT_AVAILABLE


@instruction("wait", heading="WAIT/FWAIT—Wait")
def wait(m: X86Builder) -> None:
    if not unimplemented_in_process(m):
        m.fault_when(m.get(MP) & m.get(TS), DEVICE_NOT_AVAILABLE)


@instruction("fninit", heading="FINIT/FNINIT—Initialize Floating-Point Unit")
@instruction("fnstsw", heading="FSTSW/FNSTSW—Store x87 FPU Status Word")
@instruction("fnstcw", heading="FSTCW/FNSTCW—Store x87 FPU Control Word")
def probe(m: X86Builder, *_: Operand) -> None:
    if not unimplemented_in_process(m):
        require_coprocessor(m)


def escape(m: X86Builder) -> None:
    """Any other instruction of the coprocessor."""
    require_coprocessor(m)
    m.exit("unimplemented")


def require_coprocessor(m: X86Builder) -> None:
    """#NM if it is to be emulated, or still holds another task's state."""
    m.fault_when(m.get(EM) | m.get(TS), DEVICE_NOT_AVAILABLE)
