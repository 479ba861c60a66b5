"""MXCSR as one word (SDM volume 1, section 10.2.3)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import X86Builder
from isa.x86.registers import DAZ, MXCSR
from isa.x86.vectors import GENERAL_PROTECTION


def mask(m: X86Builder) -> int:
    """The bits that are not reserved (MXCSR_MASK): DAZ came with SSE2."""
    fields = [(r, low) for r, low in MXCSR.fields if r is not DAZ or m.model.has("pentium4")]
    return sum((1 << r.width) - 1 << low for r, low in fields)


def status(m: X86Builder) -> Bits:
    """MXCSR."""
    whole = Bits.of(0, MXCSR.width)
    for register, low in MXCSR.fields:
        whole = whole | m.get(register).zext(MXCSR.width) << low
    return whole


def put_status(m: X86Builder, value: Bits) -> None:
    """Make `value` MXCSR's; #GP(0) if it has reserved bits."""
    reserved = 0xFFFFFFFF ^ mask(m)
    m.fault_when((value & reserved) != 0, GENERAL_PROTECTION, 0)
    for register, low in MXCSR.fields:
        m.put(register, value.bits(low, register.width))
