"""What system instructions require before they do anything (SDM volume 3, section 5.9)."""

from __future__ import annotations

from isa.x86.builder import X86Builder
from isa.x86.registers import UMIP
from isa.x86.vectors import GENERAL_PROTECTION


def require_level_0(m: X86Builder) -> None:
    """#GP(0) unless CPL is 0."""
    if m.mode.cpl:
        m.general_protection()
    elif not m.mode.has_system:
        m.exit("unimplemented")


def require_visible(m: X86Builder) -> None:
    """#GP(0) if CR4.UMIP hides system registers from programs."""
    if m.mode.cpl:
        m.fault_when(m.get(UMIP), GENERAL_PROTECTION, 0)


def unimplemented_in_process(m: X86Builder) -> bool:
    """Whether this is a process machine, whose programs have no use for the instruction."""
    if not m.mode.has_system:
        m.exit("unimplemented")
    return not m.mode.has_system


def forbid_without_segments(m: X86Builder) -> bool:
    """#UD where selectors select no descriptors: real-address and virtual-8086 mode."""
    if m.mode.segments_are_paragraphs:
        m.invalid_opcode()
    return m.mode.segments_are_paragraphs
