"""What every instruction of the unit begins with: is there a unit, and did the last one fail?

SDM volume 1, section 8.7 and 8.1.8; volume 3, section 9.2.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder
from isa.x86.registers import (
    EIP,
    EM,
    FCS,
    FCW,
    FDP,
    FDS,
    FIP,
    FOP,
    FPU_FLAGS,
    NE,
    SEGMENTS,
    TS,
)
from isa.x86.vectors import DEVICE_NOT_AVAILABLE, FLOATING_POINT_ERROR

EXCEPTIONS = 6  # flags that have a mask: all but SF


def require_unit(m: X86Builder) -> None:
    """#NM if the unit is to be emulated, or still holds another task's state."""
    if m.mode.has_system:
        m.fault_when(m.get(EM) | m.get(TS), DEVICE_NOT_AVAILABLE)


def pending(m: X86Builder) -> Bits:
    """Whether an exception has been raised that is not masked (ES)."""
    raised, masks = m.get(FPU_FLAGS).low(EXCEPTIONS), m.get(FCW).low(EXCEPTIONS)
    return (raised & ~masks) != 0


def wait_for_errors(m: X86Builder) -> None:
    """#MF if an exception is pending.

    Without CR0.NE the processor waits for an interrupt that whoever sees FERR# sends; here it goes
    on, as it does where IGNNE# is asserted.
    """
    waits = pending(m)
    if m.mode.has_system:
        waits = waits & m.get(NE)
    m.fault_when(waits, FLOATING_POINT_ERROR)


def begin(m: X86Builder, operand: Operand | None = None) -> None:
    """The start of an instruction that waits and that leaves its address behind."""
    require_unit(m)
    wait_for_errors(m)
    m.put(FIP, m.get(EIP))
    m.put(FCS, m.get(SEGMENTS["cs"].selector))
    m.put(FOP, m.field("escape", 3).concat(m.field("modrm", 8)))
    if operand is not None and operand.is_memory:
        m.put(FDP, m.address(operand))
        m.put(FDS, m.get(SEGMENTS[m.segment_of(operand)].selector))
