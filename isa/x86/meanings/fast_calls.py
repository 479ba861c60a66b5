"""SYSENTER and SYSEXIT: flat segments without descriptors (SDM volume 2)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import X86Builder
from isa.x86.descriptors import fill
from isa.x86.meanings.privilege import require_level_0
from isa.x86.registers import (
    CPL,
    ECX,
    EDX,
    ESP,
    FLAT_CODE,
    FLAT_DATA,
    IF,
    SYSENTER_CS,
    SYSENTER_EIP,
    SYSENTER_ESP,
    VM,
)
from isa.x86.table import instruction
from isa.x86.vectors import GENERAL_PROTECTION

DPL = 0x60  # in a segment's attributes


@instruction("sysenter", heading="SYSENTER—Fast System Call", since="pentium2")
def sysenter(m: X86Builder) -> None:
    if not m.mode.has_system:
        m.invalid_opcode()
        return
    _require_code_segment(m)
    _flat(m, m.get(SYSENTER_CS).low(16) & 0xFFFC, 0)
    m.put(ESP, m.get(SYSENTER_ESP))
    m.go(m.get(SYSENTER_EIP))
    for flag in (VM, IF):
        m.put(flag, Bits.of(0, 1))


@instruction("sysexit", heading="SYSEXIT—Fast Return from Fast System Call", since="pentium2")
def sysexit(m: X86Builder) -> None:
    if not m.mode.has_system:
        m.invalid_opcode()
        return
    require_level_0(m)
    _require_code_segment(m)
    _flat(m, (m.get(SYSENTER_CS).low(16) + 16) | 3, 3)
    m.put(ESP, m.get(ECX))
    m.go(m.get(EDX))


def _require_code_segment(m: X86Builder) -> None:
    if m.mode.real:
        m.general_protection()
    m.fault_when((m.get(SYSENTER_CS) & 0xFFFC) == 0, GENERAL_PROTECTION, 0)


def _flat(m: X86Builder, code: Bits, level: int) -> None:
    """CS, and SS from the descriptor behind it, of all 4 GiB."""
    base, limit = Bits.of(0, 32), Bits.of(0xFFFFFFFF, 32)
    for name, selector, flat in (("cs", code, FLAT_CODE), ("ss", code + 8, FLAT_DATA)):
        attributes = Bits.of(flat & ~DPL | level << 5, 12)
        fill(m, name, selector, base, limit, attributes)
    m.put(CPL, Bits.of(level, 2))
