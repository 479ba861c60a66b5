"""Virtual-8086 mode (SDM volume 3, chapter 20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa.bits import Bits
from isa.x86 import real
from isa.x86.descriptors import fill
from isa.x86.registers import CPL, ESP
from isa.x86.vectors import GENERAL_PROTECTION

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

SEGMENT_LIMIT = 0xFFFF
RETURNED_SEGMENTS = "ss", "es", "ds", "fs", "gs"  # as IRET pops them


def load(m: X86Builder, name: str, selector: Bits) -> None:
    """Load a segment register as the mode has it, whatever the present mode is."""
    base, limit = selector.zext(32) << 4, Bits.of(SEGMENT_LIMIT, 32)
    fill(m, name, selector, base, limit, Bits.of(real.V86_DATA, 12))


def resume(m: X86Builder, code: Bits, offset: Bits) -> None:
    """IRET from level 0 into the mode: the other segments lie on the stack, above ESP."""
    m.fault_when(Bits.of(SEGMENT_LIMIT, 32).ult(offset), GENERAL_PROTECTION, 0)
    pointer = m.pop(32)
    for name in RETURNED_SEGMENTS:
        load(m, name, m.pop(32).low(16))
    load(m, "cs", code)
    m.put(ESP, pointer)
    m.put(CPL, Bits.of(3, 2))
    m.go(offset)
