"""IBM System/360 (Principles of Operation, A22-6821, "Status switching")."""

from __future__ import annotations

from isa.toy.builder import ToyBuilder
from isa.toy.table import instruction


@instruction("SSM", 0xAC, "ra", user="traps", registers="masked")
def ssm(m: ToyBuilder) -> None:
    """Set system mask: interrupts are held back if bit 0 of ra is 0."""
    m.set_system("masked", m.read("ra") & 1 ^ 1)
