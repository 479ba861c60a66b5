"""Task-state segments and local tables: what their registers cache, and what lies in a TSS.

SDM volume 3, sections 7.2.1 and 7.6.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.bits import Bits
from isa.hints import TYPE_CHECKING, Final
from isa.x86.descriptors import Descriptor, Selector
from isa.x86.registers import (
    EFLAGS,
    GPR,
    LDT_ATTRIBUTES,
    LDT_BASE,
    LDT_LIMIT,
    LDTR,
    SEGMENT_NAMES,
    SEGMENTS,
    TR,
    TR_ATTRIBUTES,
    TR_BASE,
    TR_LIMIT,
)

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

LDT: Final = 2
AVAILABLE: Final = 1, 9
BUSY: Final = 3, 11
BUSY_BIT: Final = 2
LINK: Final = 0
PAGE_DIRECTORY: Final = 0x1C  # of a TSS of 32 bits
TRAP: Final = 0x64


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in a TSS of 32 or 16 bits; registers lie in the order of their encoding."""

    width: int
    last: int  # byte that there must be
    pointer: int
    flags: int
    general: int
    segments: int
    names: tuple[str, ...]
    table: int  # LDT selector


WIDE: Final = Layout(32, 0x67, 0x20, 0x24, 0x28, 0x48, SEGMENT_NAMES, 0x60)
NARROW: Final = Layout(16, 0x2B, 0x0E, 0x10, 0x12, 0x22, SEGMENT_NAMES[:4], 0x2A)


def save(m: X86Builder, layout: Layout, pointer: Bits, flags: Bits) -> None:
    """Save the present task in the present TSS."""
    base, width = m.get(TR_BASE), layout.width
    words = [(layout.pointer, pointer), (layout.flags, flags)]
    words += [(layout.general + n * width // 8, m.get(r)) for n, r in enumerate(GPR.members)]
    for offset, value in words:
        m.store_space("system", base + offset, value.low(width))
    for number, name in enumerate(layout.names):
        place = base + (layout.segments + number * width // 8)
        m.store_space("system", place, m.get(SEGMENTS[name].selector))


def load(m: X86Builder, layout: Layout, base: Bits) -> Bits:
    """Take over a task's registers and selectors; returns its flags."""
    pointer, flags = (_word(m, layout, base, offset) for offset in (layout.pointer, layout.flags))
    m.go(pointer.zext(32))
    for number, register in enumerate(GPR.members):
        value = _word(m, layout, base, layout.general + number * layout.width // 8)
        m.put(register, value if layout.width == 32 else Bits.of(0xFFFF, 16).concat(value))
    for number, name in enumerate(layout.names):
        place = base + (layout.segments + number * layout.width // 8)
        m.put(SEGMENTS[name].selector, m.load_space("system", place, 16))
    for name in SEGMENT_NAMES[len(layout.names) :]:
        m.put(SEGMENTS[name].selector, Bits.of(0, 16))
    m.put(LDTR, m.load_space("system", base + layout.table, 16))
    return put_flags(m, flags.zext(32))


def _word(m: X86Builder, layout: Layout, base: Bits, offset: int) -> Bits:
    return m.load_space("system", base + offset, layout.width)


def put_flags(m: X86Builder, image: Bits) -> Bits:
    """Every flag is the task's; returns the image."""
    for register, low in EFLAGS.fields:
        m.put(register, image.bits(low, register.width))
    return image


def mark_busy(m: X86Builder, selector: Selector, descriptor: Descriptor) -> None:
    """Set the busy bit in memory."""
    m.store_space("system", selector.address(m) + 5, descriptor.high.bits(8, 8) | BUSY_BIT)


def mark_available(m: X86Builder, selector: Selector) -> None:
    """Clear the busy bit in memory."""
    place = selector.address(m) + 5
    m.store_space("system", place, m.load_space("system", place, 8) & ~BUSY_BIT)


def put_task(m: X86Builder, selector: Bits, descriptor: Descriptor) -> None:
    """TR and what it caches: a busy TSS."""
    m.put(TR, selector)
    m.put(TR_BASE, descriptor.base)
    m.put(TR_LIMIT, descriptor.limit)
    m.put(TR_ATTRIBUTES, descriptor.attributes | BUSY_BIT)


def put_ldt(m: X86Builder, descriptor: Descriptor) -> None:
    """What LDTR caches."""
    m.put(LDT_BASE, descriptor.base)
    m.put(LDT_LIMIT, descriptor.limit)
    m.put(LDT_ATTRIBUTES, descriptor.attributes)


def forget_ldt(m: X86Builder) -> None:
    """No table: every local selector is outside it."""
    for register in (LDT_BASE, LDT_LIMIT, LDT_ATTRIBUTES):
        m.put(register, Bits.of(0, register.width))
