"""Real-address mode: segments are paragraphs, interrupts go through a table of far pointers.

SDM volume 3, chapter 20; the descriptor caches as Intel's processors since the 386 keep them.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.x86.registers import IDT_BASE, IDT_LIMIT, IF, SEGMENTS, TF
from isa.x86.vectors import GENERAL_PROTECTION

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder
    from isa.x86.delivery import Event

DATA = 0x93  # present, writable, accessed data, DPL 0
V86_DATA = 0xF3  # the same with DPL 3


def load(m: X86Builder, name: str, selector: Bits) -> None:
    """Load a segment register: the base follows from the selector.

    Real mode leaves limit and size as they are ("unreal" mode rests on that); virtual-8086 mode
    sets them.
    """
    segment = SEGMENTS[name]
    m.put(segment.selector, selector)
    m.put(segment.base, selector.zext(32) << 4)
    if m.mode.v86:
        m.put(segment.limit, Bits.of(0xFFFF, 32))
        m.put(segment.attributes, Bits.of(V86_DATA, 12))
    else:
        kept = m.get(segment.attributes) & 0xF00
        m.put(segment.attributes, kept | DATA)


def go_far(m: X86Builder, selector: Bits, offset: Bits) -> None:
    """A far transfer: #GP(0) if the offset lies beyond the limit, which stays."""
    m.fault_when(m.get(SEGMENTS["cs"].limit).ult(offset), GENERAL_PROTECTION, 0)
    load(m, "cs", selector)
    m.go(offset)


def interrupt(m: X86Builder, event: Event) -> None:
    """Push FLAGS, CS and IP, and go where the vector's entry of the table points."""
    from isa.x86.meanings.stack import flags_image

    place = event.vector.zext(32) << 2
    # "an interrupt vector is beyond the limit of the table": #GP, SDM volume 2, INT n
    m.fault_when(m.get(IDT_LIMIT).zext(32).ult(place + 3), GENERAL_PROTECTION, 0)
    entry = m.load_space("system", m.get(IDT_BASE) + place, 32)
    m.push(flags_image(m).low(16))
    m.push(m.get(SEGMENTS["cs"].selector))
    m.push(event.return_to.low(16))
    for flag in (IF, TF):
        m.put(flag, Bits.of(0, 1))
    go_far(m, entry.bits(16, 16), entry.low(16).zext(32))
