"""The double accumulator of multiplication and division: AX, DX:AX or EDX:EAX."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import X86Builder
from isa.x86.registers import EAX, EDX


def read_double(m: X86Builder, width: int) -> Bits:
    """The double accumulator of operands of `width` bits."""
    if width == 8:
        return m.read_part(EAX, 16)
    return m.read_part(EDX, width).concat(m.read_part(EAX, width))


def write_double(m: X86Builder, high: Bits, low: Bits) -> None:
    """Write both halves of the double accumulator."""
    if low.width == 8:
        m.write_part(EAX, high.concat(low))
        return
    m.write_part(EAX, low)
    m.write_part(EDX, high)
