"""Segment descriptors and selectors (SDM volume 3, sections 3.4.2 and 3.4.5)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import X86Builder
from isa.x86.registers import CPL, GDT_BASE, GDT_LIMIT, LDT_BASE, LDT_LIMIT, SEGMENTS


class Selector:
    """A segment selector."""

    def __init__(self, value: Bits) -> None:
        self.value = value.low(16)
        self.rpl = value.low(2)
        self.is_local = value.bit(2)
        self.is_null = value.bits(2, 14) == 0

    @property
    def error_code(self) -> Bits:
        """As it stands in an error code: without its RPL."""
        return (self.value & 0xFFFC).zext(32)

    def table(self, m: X86Builder) -> tuple[Bits, Bits]:
        """Base and limit of the descriptor table that the selector names.

        A task switch has just loaded LDTR itself.
        """
        base = self.is_local.select(m.so_far(LDT_BASE), m.get(GDT_BASE))
        return base, self.is_local.select(m.so_far(LDT_LIMIT), m.get(GDT_LIMIT).zext(32))

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


class Gate:
    """A gate: the same 64 bits as they stand in a call, task, interrupt or trap gate."""

    def __init__(self, descriptor: Descriptor) -> None:
        low, high = descriptor.low, descriptor.high
        self.selector = Selector(low.bits(16, 16))
        self.is_wide = descriptor.type.bit(3)  # a 386's gate, of 32 bits
        whole = high.bits(16, 16).concat(low.low(16))
        self.offset = self.is_wide.select(whole, low.low(16).zext(32))
        self.parameters = high.low(5)

    def has_width(self, width: int) -> Bits:
        """Whether the gate is one of 32 or of 16 bits."""
        return self.is_wide if width == 32 else ~self.is_wide


def read(m: X86Builder, selector: Selector) -> Descriptor:
    """The selector's descriptor; the caller has checked that it lies within its table."""
    return Descriptor(m.load_space("system", selector.address(m), 64))


def find(m: X86Builder, selector: Selector, vector: int, external: int = 0) -> Descriptor:
    """The selector's descriptor, or a fault: without a code if null, else with the selector.

    `external` is the error code's EXT bit.
    """
    m.fault_when(selector.is_null, vector, external)
    m.fault_when(selector.outside(m), vector, selector.error_code | external)
    return read(m, selector)


def find_global(m: X86Builder, selector: Selector, vector: int, external: int = 0) -> Descriptor:
    """The same for LDTs and TSSs, which the global table alone describes; null is in no table."""
    outside = selector.is_null | selector.is_local | selector.outside(m)
    m.fault_when(outside, vector, selector.error_code | external)
    return read(m, selector)


def mark_accessed(m: X86Builder, selector: Selector, descriptor: Descriptor) -> Bits:
    """Set the accessed bit in memory if it is clear; returns the attributes with it set."""
    with m.when(~descriptor.type.bit(0)):
        m.store_space("system", selector.address(m) + 5, descriptor.high.bits(8, 8) | 1)
    return descriptor.attributes | 1


def fill(
    m: X86Builder, name: str, selector: Bits, base: Bits, limit: Bits, attributes: Bits
) -> None:
    """Put a segment register and what it caches."""
    segment = SEGMENTS[name]
    m.put(segment.selector, selector)
    m.put(segment.base, base)
    m.put(segment.limit, limit)
    m.put(segment.attributes, attributes)


def nullify(m: X86Builder, name: str) -> None:
    """Leave a segment register null."""
    fill(m, name, Bits.of(0, 16), Bits.of(0, 32), Bits.of(0, 32), Bits.of(0, 12))


def enter_code(
    m: X86Builder, selector: Selector, descriptor: Descriptor, offset: Bits, level: Bits
) -> None:
    """Load CS, with CPL as its RPL, and EIP."""
    attributes = mark_accessed(m, selector, descriptor)
    value = selector.value.bits(2, 14).concat(level)
    fill(m, "cs", value, descriptor.base, descriptor.limit, attributes)
    m.put(CPL, level)
    m.go(offset)
