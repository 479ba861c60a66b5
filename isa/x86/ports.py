"""Who may use a port: IOPL and the I/O permission bitmap (SDM volume 1, section 18.5)."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.x86.registers import IOPL, TR_ATTRIBUTES, TR_BASE, TR_LIMIT
from isa.x86.vectors import GENERAL_PROTECTION

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

MAP_BASE = 102
"""Where a TSS of 32 bits says at which offset its bitmap begins (SDM volume 3, figure 7-2)."""


def above_io_level(m: X86Builder) -> Bits:
    """Whether CPL is greater than IOPL."""
    return m.get(IOPL).ult(Bits.of(m.mode.cpl, 2))


def require_port(m: X86Builder, port: Bits, width: int) -> None:
    """#GP(0) if the program may not use the port; virtual-8086 mode always asks the bitmap."""
    if not m.mode.has_system:
        m.fault_when(above_io_level(m), GENERAL_PROTECTION, 0)
    elif m.mode.v86:
        _ask_bitmap(m, port, width // 8)
    elif m.mode.cpl:
        with m.when(above_io_level(m)):
            _ask_bitmap(m, port, width // 8)


def _ask_bitmap(m: X86Builder, port: Bits, size: int) -> None:
    """Two bytes are read, so that the bits of all ports of an access are there."""
    wide, limit = m.get(TR_ATTRIBUTES).bit(3), m.get(TR_LIMIT)
    m.fault_when(~wide | limit.ult(MAP_BASE + 1), GENERAL_PROTECTION, 0)
    base = m.load_space("system", m.get(TR_BASE) + MAP_BASE, 16).zext(32)
    place = base + (port >> 3)
    m.fault_when(limit.ult(place + 1), GENERAL_PROTECTION, 0)
    bits = m.load_space("system", m.get(TR_BASE) + place, 16)
    forbidden = (bits >> (port & 7).low(16)) & ((1 << size) - 1)
    m.fault_when(forbidden != 0, GENERAL_PROTECTION, 0)
