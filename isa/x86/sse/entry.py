"""What every SSE instruction begins with, and its operands (SDM volume 1, chapters 10 and 11).

Volume 3, section 13.1.3 has the conditions in which there is no SSE; section 10.4.1.1 of volume 1
the alignment of what memory holds.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder
from isa.x86.form import Xmm
from isa.x86.registers import EM, OSFXSR, SEGMENTS, TS
from isa.x86.vectors import DEVICE_NOT_AVAILABLE, GENERAL_PROTECTION

WIDTH = 128
_ALIGNED_BYTES = WIDTH // 8


def begin(m: X86Builder) -> None:
    """#UD if the system has not switched SSE on, #NM if its registers hold another task's state."""
    if not m.mode.has_system:
        return
    with m.when(m.get(EM) | ~m.get(OSFXSR)):
        m.invalid_opcode()
    m.fault_when(m.get(TS), DEVICE_NOT_AVAILABLE)


def read(m: X86Builder, operand: Operand, width: int = WIDTH, *, aligned: bool = True) -> Bits:
    """The low `width` bits of a register, or all of a memory operand, which is that wide.

    `aligned`: #GP(0) unless a memory operand of 128 bits begins at a multiple of 16 bytes.
    """
    if operand.is_memory and aligned:
        require_alignment(m, operand)
    found = m.read(operand)
    return found.low(width) if isinstance(operand.shape, Xmm) else found


def write(m: X86Builder, operand: Operand, value: Bits, *, aligned: bool = True) -> None:
    """Make `value` the low bits of a register, whose others stay, or all of a memory operand."""
    if operand.is_memory and aligned:
        require_alignment(m, operand)
    if isinstance(operand.shape, Xmm) and value.width < WIDTH:
        value = m.read(operand).bits(value.width, WIDTH - value.width).concat(value)
    m.write(operand, value)


def require_alignment(m: X86Builder, operand: Operand, width: int | None = None) -> None:
    """#GP(0) if 128 bits of memory, or more, do not begin at a multiple of 16 as a linear address.

    `width` in bits is what there is, if the operand's own does not say.
    """
    if (width or operand.width) >= WIDTH:
        segment = m.segment_of(operand)
        address = m.address(operand)
        if segment not in m.mode.flat:
            address = address + m.get(SEGMENTS[segment].base)
        m.fault_when((address & _ALIGNED_BYTES - 1) != 0, GENERAL_PROTECTION, 0)
