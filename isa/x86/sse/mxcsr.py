"""MXCSR as one word (SDM volume 1, section 10.2.3)."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import Final
from isa.x86.builder import X86Builder
from isa.x86.registers import MXCSR
from isa.x86.vectors import GENERAL_PROTECTION

WIDTH: Final = 32
DAZ_BIT: Final = 1 << 6


def known_bits(m: X86Builder) -> int:
    """The bits of MXCSR that the processor has: denormals as zeros came with the Pentium 4."""
    return 0xFFFF if m.model.has("pentium4") else 0xFFFF & ~DAZ_BIT


def read(m: X86Builder) -> Bits:
    """The word as it is."""
    whole: Bits | None = None
    for part, _ in MXCSR.fields:
        whole = m.get(part) if whole is None else m.get(part).concat(whole)
    assert whole is not None
    return whole.zext(WIDTH)


def write(m: X86Builder, word: Bits) -> None:
    """Make `word` MXCSR; #GP(0) if it has bits that the processor does not have."""
    m.fault_when((word & (~known_bits(m) & 0xFFFFFFFF)) != 0, GENERAL_PROTECTION, 0)
    for part, low in MXCSR.fields:
        m.put(part, word.bits(low, part.width))
