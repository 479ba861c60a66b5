"""Paging: from linear to physical addresses (SDM volume 3, sections 4.3 and 4.6–4.8).

32-bit paging with 4 KiB pages and, with CR4.PSE, 4 MiB pages. What a TLB caches is the value of
this trace; it defines no translation of its own.
"""

from __future__ import annotations

from functools import cache

from isa.bits import Bits
from isa.semantics import Builder
from isa.trace import Trace
from isa.x86.registers import CR3, PGE, PSE, WP
from isa.x86.vectors import PAGE_FAULT

PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = 0, 1, 2, 5, 6, 7, 8
"""Bits of a page directory entry and of a page table entry (SDM volume 3, figure 4-4)."""


class Walk(Builder):
    """The builder of a walk, with the fields `linear`, `write` and `user` (CPL is 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = self.field("linear", 32)
        self.write, self.user = self.field("write", 1), self.field("user", 1)

    def entry(self, address: Bits) -> Bits:
        """A table's entry, which must be present."""
        found = self.load_space("physical", address, 32)
        with self.when(~found.bit(PRESENT)):
            self.page_fault(present=0)
        return found

    def page_fault(self, present: int) -> None:
        """The error code: P, W/R, U/S (SDM volume 3, figure 4-12)."""
        code = Bits.of(present, 1).zext(32) | self.write.zext(32) << 1 | self.user.zext(32) << 2
        self.fault(PAGE_FAULT, code, self.linear)

    def check(self, writable: Bits, user: Bits) -> None:
        """The rights of both levels together (SDM volume 3, section 4.6)."""
        read_only = self.write & ~writable & (self.user | self.get(WP))
        with self.when((self.user & ~user) | read_only):
            self.page_fault(present=1)

    def mark(self, address: Bits, entry: Bits, dirty: Bits) -> None:
        """Set the accessed bit, and the dirty bit if `dirty`."""
        marked = entry | 1 << ACCESSED | dirty.zext(32) << DIRTY
        with self.when(marked != entry):
            self.store_space("physical", address, marked)


@cache
def walk() -> Trace:
    """The trace of a walk; its value is the physical address (32 bits), above it two bits: global,
    and large for a page of 4 MiB.

    A directory entry that maps 4 MiB is its own last level.
    """
    m = Walk()
    return m.finish("walk", translation(m))


def translation(m: Walk) -> Bits:
    """The meaning of a walk, on a builder that says where physical addresses lead."""
    directory_address = _place(m.get(CR3), m.linear.bits(22, 10))
    directory = m.entry(directory_address)
    large = directory.bit(LARGE) & m.get(PSE)
    address = large.select(directory_address, _place(directory, m.linear.bits(12, 10)))
    page = m.entry(address)
    both = directory & page
    m.check(both.bit(WRITABLE), both.bit(USER))
    m.mark(directory_address, directory, m.write & large)
    m.mark(address, page, m.write)
    small_frame = page.bits(12, 20).concat(m.linear.low(12))
    large_frame = page.bits(22, 10).concat(m.linear.low(22))
    physical = large.select(large_frame, small_frame)
    kind = large.concat(page.bit(GLOBAL) & m.get(PGE))
    return kind.concat(physical)


def _place(table: Bits, index: Bits) -> Bits:
    """The physical address of a table's entry."""
    return (table & 0xFFFFF000) + (index.zext(32) << 2)
