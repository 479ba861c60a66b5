"""What there is of the coprocessor's instructions beside their meanings; and one that is not there
(SDM volume 2, appendix B.17).
"""

from __future__ import annotations

from isa.x86.builder import Operand, X86Builder
from isa.x86.table import instruction
from isa.x86.x87.entry import require_unit


def escape(m: X86Builder) -> None:
    """An instruction that is not in `isa` yet: #NM, where there may be a unit, comes first."""
    require_unit(m)
    m.exit("unimplemented")


@instruction("esc", heading="ESC—Escape to the Coprocessor")
def esc(m: X86Builder, operand: Operand) -> None:
    """The processor reads a word at the operand's address for the coprocessor, which is deaf."""
    require_unit(m)
    if operand.is_memory:
        m.read(operand)
