"""Segment descriptors and selectors (SDM volume 3, sections 3.4.2 and 3.4.5)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import X86Builder
from isa.x86.registers import GDT_BASE, GDT_LIMIT, LDT_BASE, LDT_LIMIT


class Selector:
    """A segment selector."""

    def __init__(self, value: Bits) -> None:
        self.value = value.low(16)
        self.rpl = value.low(2)
        self.is_null = value.bits(2, 14) == 0

    @property
    def error_code(self) -> Bits:
        """As it stands in an error code: without its RPL."""
        return (self.value & 0xFFFC).zext(32)

    def table(self, m: X86Builder) -> tuple[Bits, Bits]:
        """Base and limit of the descriptor table that the selector names."""
        local = self.value.bit(2)
        base = local.select(m.get(LDT_BASE), m.get(GDT_BASE))
        return base, local.select(m.get(LDT_LIMIT), m.get(GDT_LIMIT).zext(32))

    def outside(self, m: X86Builder) -> Bits:
        """Whether its descriptor lies beyond the table's limit."""
        _, limit = self.table(m)
        return limit.ult((self.value | 7).zext(32))

    def address(self, m: X86Builder) -> Bits:
        """Linear address of its descriptor."""
        base, _ = self.table(m)
        return base + (self.value & 0xFFF8).zext(32)


class Descriptor:
    """A descriptor's 64 bits and what they say."""

    def __init__(self, whole: Bits) -> None:
        self.low, self.high = whole.low(32), whole.bits(32, 32)
        self.base = self.high.bits(24, 8).concat(self.high.low(8)).concat(self.low.bits(16, 16))
        self.attributes = self.high.bits(20, 4).concat(self.high.bits(8, 8))
        self.type = self.high.bits(8, 4)
        self.is_segment = self.high.bit(12)  # S: code or data, not a system descriptor
        self.dpl = self.high.bits(13, 2)
        self.present = self.high.bit(15)

    @property
    def limit(self) -> Bits:
        """The limit in bytes."""
        raw = self.high.bits(16, 4).concat(self.low.low(16)).zext(32)
        return self.high.bit(23).select(raw << 12 | 0xFFF, raw)

    @property
    def is_code(self) -> Bits:
        """A code segment."""
        return self.is_segment & self.type.bit(3)

    @property
    def is_conforming(self) -> Bits:
        """A conforming code segment."""
        return self.is_code & self.type.bit(2)

    @property
    def is_readable(self) -> Bits:
        """A data segment or readable code."""
        return self.is_segment & (~self.type.bit(3) | self.type.bit(1))

    @property
    def is_writable(self) -> Bits:
        """A writable data segment."""
        return self.is_segment & ~self.type.bit(3) & self.type.bit(1)

    def is_type(self, *types: int) -> Bits:
        """A system descriptor of one of the types (SDM volume 3, table 3-2)."""
        found = Bits.of(0, 1)
        for number in types:
            found = found | (self.type == number)
        return ~self.is_segment & found


def read(m: X86Builder, selector: Selector) -> Descriptor:
    """The selector's descriptor; the caller has checked that it lies within its table."""
    return Descriptor(m.load_space("system", selector.address(m), 64))


def mark_accessed(m: X86Builder, selector: Selector, descriptor: Descriptor) -> Bits:
    """Set the accessed bit in memory if it is clear; returns the attributes with it set."""
    with m.when(~descriptor.type.bit(0)):
        m.store_space("system", selector.address(m) + 5, descriptor.high.bits(8, 8) | 1)
    return descriptor.attributes | 1
