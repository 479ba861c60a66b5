"""INT n in virtual-8086 mode: to the monitor, or to the program itself (SDM volume 3, 20.3)."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.x86 import gates
from isa.x86.ports import MAP_BASE
from isa.x86.registers import IF, SEGMENTS, TF, TR_BASE, TR_LIMIT, VIF, VME
from isa.x86.v86 import load, shown_flags, trusted
from isa.x86.vectors import GENERAL_PROTECTION

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder
    from isa.x86.delivery import Event


def interrupt(m: X86Builder, event: Event) -> None:
    """INT n: to the program's own handler, or to the monitor's (SDM volume 3, section 20.3.1)."""
    own = m.value_when(m.get(VME), lambda: _is_redirected(m, event.vector), Bits.of(0, 1))
    with m.when(own):
        _to_own_handler(m, event)
    with m.when(~own):
        m.fault_when(~trusted(m), GENERAL_PROTECTION, 0)
        gates.interrupt(m, event)


def _is_redirected(m: X86Builder, vector: Bits) -> Bits:
    """Whether the vector's bit is 0 in the 32 bytes below the I/O permission bitmap."""
    limit = m.get(TR_LIMIT)
    m.fault_when(limit.ult(MAP_BASE + 1), GENERAL_PROTECTION, 0)
    base = m.load_space("system", m.get(TR_BASE) + MAP_BASE, 16).zext(32)
    place = base - 32 + (vector >> 3).zext(32)
    m.fault_when(limit.ult(place), GENERAL_PROTECTION, 0)
    bits = m.load_space("system", m.get(TR_BASE) + place, 8)
    return ~(bits >> (vector & 7)).bit(0)


def _to_own_handler(m: X86Builder, event: Event) -> None:
    """As in real-address mode, through the table at linear address 0."""
    entry = m.load_space("linear", event.vector.zext(32) << 2, 32)
    m.push(shown_flags(m, event.flags(m).low(16)))
    m.push(m.get(SEGMENTS["cs"].selector))
    m.push(event.return_to.low(16))
    m.put(TF, Bits.of(0, 1))
    m.put(IF, m.get(IF) & ~trusted(m))
    m.put(VIF, m.get(VIF) & trusted(m))
    load(m, "cs", entry.bits(16, 16))
    m.go(entry.low(16).zext(32))
