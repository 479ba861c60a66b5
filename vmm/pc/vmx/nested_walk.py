"""Nested paging's two-dimensional walk, as a meaning (SDM volume 3, section 28.2.3).

A guest's page tables lie at guest-physical addresses. So each entry that a walk of M levels reads
takes a walk of the host's N levels first, and the address that comes out takes one more: altogether
(M + 1)(N + 1) - 1 loads. Here nothing counts them: they are the loads of the trace.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from isa.bits import Bits
from isa.trace import Trace
from isa.x86.paging import Walk, translation
from vmm.pc.vmx.ept import INDEX_BITS, READ, WRITE

EPT_VIOLATION: Final = 0x100
"""The fault of a trace that met what the host's tables do not map; its address is the
guest-physical one, its code 1 if a page table's entry was to be read, and 2 to write."""
_FRAME: Final = 0xFFFFF000


class NestedWalk(Walk):
    """The builder of a walk whose physical addresses are a guest's. `root` is a field: where the
    host's tables of `levels` levels are."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self._levels = levels
        self._root = self.field("root", 32)
        self._leaves: dict[int, Bits] = {}  # by the identity of a guest-physical address

    def load_space(self, space: str, address: Bits, width: int) -> Bits:
        """An entry of the guest's tables, at the place that the host gave it."""
        return super().load_space(space, self._hosts_of(address), width)

    def store_space(self, space: str, address: Bits, value: Bits) -> None:
        """Mark an entry of the guest's tables, which was read before; in ROM nothing changes."""
        with self.when((self._leaf_of(address) & WRITE) != 0):
            super().store_space(space, self._hosts_of(address), value)

    def _hosts_of(self, address: Bits) -> Bits:
        return _inside(self._leaf_of(address), address)

    def _leaf_of(self, address: Bits) -> Bits:
        found = self._leaves.get(id(address))
        if found is None:
            found = self._leaves[id(address)] = self._leaf(address, Bits.of(READ, 64))
        return found

    def host(self, address: Bits, rights: Bits) -> Bits:
        """A guest-physical address' host-physical one: a walk of the host's tables."""
        return _inside(self._leaf(address, rights), address)

    def _leaf(self, address: Bits, rights: Bits) -> Bits:
        """The last entry of a walk of the host's tables."""
        table = self._root.zext(64)
        wide = address.zext(64)
        for level in range(self._levels - 1, -1, -1):
            index = wide >> 12 + INDEX_BITS * level & (1 << INDEX_BITS) - 1
            place = (table & _FRAME) + (index << 3)
            table = super().load_space("physical", place.low(32), 64)
            with self.when((table & rights) != rights):
                self.fault(EPT_VIOLATION, rights.low(32), address.low(32))
        return table


def _inside(leaf: Bits, address: Bits) -> Bits:
    return (leaf.low(32) & _FRAME) + (address & 0xFFF)


@cache
def nested(levels: int) -> Trace:
    """The walk of a 32-bit guest's two levels over the host's. Its value is that of
    `isa.x86.paging.walk`, and above it the host's page (20 bits)."""
    m = NestedWalk(levels)
    found = translation(m)
    return m.finish("nested walk", _host_page(m, found.low(32)).concat(found))


@cache
def unpaged(levels: int) -> Trace:
    """The same while the guest has no paging: its linear addresses are guest-physical."""
    m = NestedWalk(levels)
    found = Bits.of(0, 2).concat(m.linear)
    return m.finish("unpaged walk", _host_page(m, m.linear).concat(found))


def _host_page(m: NestedWalk, address: Bits) -> Bits:
    """The last walk: of what the guest's tables lead to."""
    rights = m.write.select(Bits.of(READ | WRITE, 64), Bits.of(READ, 64))
    return m.host(address, rights).bits(12, 20)


@cache
def radix(guest_levels: int, host_levels: int) -> Trace:
    """A walk of any number of levels over any number, all of 512 entries of eight bytes.

    Fields: `linear`, of 32 bits, so that the indices of upper levels are small; `table`, the
    guest's root. Its value is the host-physical address.
    """
    m = NestedWalk(host_levels)
    table = m.field("table", 32)
    for level in range(guest_levels - 1, -1, -1):
        index = m.linear.zext(64) >> 12 + INDEX_BITS * level & (1 << INDEX_BITS) - 1
        place = (table & _FRAME) + (index << 3).low(32)
        table = m.load_space("physical", place, 64).low(32)
    return m.finish("radix walk", m.host((table & _FRAME) + (m.linear & 0xFFF), Bits.of(READ, 64)))
