"""Shadow page tables: what the machine below translates with while a guest runs directly.

They hold no more than the virtual processor's TLB does (`emu.pc.paging`), moved by the
allocation, and are filled from it when the machine below faults: the walk of the guest's tables,
with its accessed and dirty bits, is the virtual processor's own. Whatever INVLPG, CR3 or the A20
gate make that TLB forget is forgotten here too; the guest's tables are not write-protected.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, cast

from emu.memory import PAGE_BITS, PAGE_MASK, PAGE_SIZE, READ, WRITE, Mark, TranslatedMemory
from emu.pc.machine import PcMachine
from emu.pc.paging import ALL, PAGE_ONLY, LinearMemory, UserMemory
from emu.state import State
from isa.fault import Fault
from isa.x86.paging import ACCESSED, DIRTY, PRESENT, USER, WRITABLE
from vmm.pc.allocation import Allocation

OWN_LINEAR: Final = 0xFFC00000  # linear addresses from here on are the monitor's
MARKED: Final = 1 << PRESENT | 1 << ACCESSED | 1 << DIRTY
ENTRIES: Final = 1024
FEW: Final = 256  # pages that are forgotten one by one


class OutOfFramesError(Exception):
    """The monitor's own memory is used up."""


class Frames:
    """The pages of the monitor's own memory, for page tables."""

    def __init__(self, below: PcMachine, end: int, first: int = PAGE_SIZE) -> None:
        self._physical = below.memory
        self._free = list(range(end - PAGE_SIZE, first - PAGE_SIZE, -PAGE_SIZE))

    def take(self) -> int:
        """The address of a page of zeros; raises OutOfFramesError."""
        if not self._free:
            raise OutOfFramesError
        address = self._free.pop()
        self._physical.write(address, bytes(PAGE_SIZE))
        return address

    def give_back(self, address: int) -> None:
        """A page is not needed any more."""
        self._free.append(address)


class Tree:
    """A page directory and its tables, in the machine below."""

    def __init__(self, below: PcMachine, frames: Frames, own_table: int) -> None:
        self._below = below
        self._frames = frames
        self._own = own_table | MARKED | 1 << WRITABLE
        self.directory = frames.take()
        self._tables: dict[int, int] = {}
        self._put(self.directory + 4 * (ENTRIES - 1), self._own)

    def _put(self, address: int, entry: int) -> None:
        self._below.memory.store(address, 4, entry)

    def map(self, address: int, where: int, *, writable: bool) -> None:
        """Let a linear page, other than the monitor's, be the page of the machine below there."""
        directory_index, index = address >> 22, address >> PAGE_BITS & ENTRIES - 1
        table = self._tables.get(directory_index)
        if table is None:
            table = self._tables[directory_index] = self._frames.take()
            rights = 1 << USER | 1 << WRITABLE
            self._put(self.directory + 4 * directory_index, table | MARKED | rights)
        entry = where & ~PAGE_MASK | MARKED | 1 << USER | int(writable) << WRITABLE
        old = cast(int, self._below.memory.load(table + 4 * index, 4))
        self._put(table + 4 * index, entry)
        if old & 1 << PRESENT and (old ^ entry) & ~PAGE_MASK:
            self._below.linear.invalidate(address, PAGE_ONLY)

    def unmap(self, address: int) -> None:
        """A page is not mapped any more; the processor must be told."""
        table = self._tables.get(address >> 22)
        if table is not None:
            self._put(table + 4 * (address >> PAGE_BITS & ENTRIES - 1), 0)

    def pages(self) -> Iterator[int]:
        """Where the pages lie that are mapped now, but for the monitor's."""
        for table in self._tables.values():
            data = self._below.memory.read(table, PAGE_SIZE)
            assert isinstance(data, bytes)
            for (entry,) in struct.iter_unpack("<I", data):
                if entry & 1 << PRESENT:
                    yield entry & ~PAGE_MASK

    def clear(self) -> None:
        """Map nothing but the monitor's own."""
        for index, table in self._tables.items():
            self._put(self.directory + 4 * index, 0)
            self._frames.give_back(table)
        self._tables.clear()


class Shadow:
    """Two trees, for the virtual user's and the virtual supervisor's rights, and the monitor's own
    pages: the guest's descriptor tables, which the machine below reads there and cannot write."""

    def __init__(self, below: PcMachine, allocation: Allocation) -> None:
        self._below = below
        self._allocation = allocation
        self._frames = Frames(below, allocation.base, allocation.own)
        self._own = self._frames.take()
        self._shown: dict[int, int] = {}  # own page's number -> its entry
        self.trees = {user: Tree(below, self._frames, self._own) for user in (False, True)}
        self._mark: Mark = (-1, 0)
        self._held: frozenset[int] = frozenset()
        self.clears = 0
        self.unmapped: list[int] = []  # pages since the last look at them

    # -- the guest's pages -------------------------------------------------------------------

    def refresh(self, state: State) -> None:
        """Forget what the virtual TLB has forgotten."""
        linear = cast(UserMemory, state.memory["linear"])
        mark, pages = linear.changes_since(self._mark)
        self._mark = mark
        if pages is None or len(pages) > FEW:
            self._clear()
            return
        self.unmap(pages)

    def unmap(self, pages: Iterable[int]) -> None:
        """Map some pages no longer, in either tree."""
        for page in pages:
            for tree in self.trees.values():
                tree.unmap(page << PAGE_BITS)
            self._below.linear.invalidate(page << PAGE_BITS, PAGE_ONLY)
            self.unmapped.append(page << PAGE_BITS)

    def _clear(self) -> None:
        self.clears += 1
        for tree in self.trees.values():
            tree.clear()
        self._below.linear.invalidate(0, ALL)

    def fill(self, state: State, address: int, *, write: bool, user: bool) -> bool:
        """Map a page that the virtual processor may access; False: that is not for us to do.

        It is the virtual processor's fault if it may not. Interpreted are accesses to linear
        addresses that the monitor has, and stores to pages that are held or where reads find
        something else: ROM, or a page whose entry has changed since reads were translated.
        """
        if address >= OWN_LINEAR:
            return False
        memory = cast(LinearMemory, state.memory["linear" if user else "system"])
        where = memory.translate(address, WRITE if write else READ)
        if isinstance(where, Fault):
            return False
        if write and (memory.is_split(address) or where >> PAGE_BITS in self._held):
            return False
        self._map(user, address, self._allocation.base + where, write)
        return True

    def _map(self, user: bool, address: int, where: int, writable: bool) -> None:
        try:
            self.trees[user].map(address, where, writable=writable)
        except OutOfFramesError:
            self._clear()
            self.trees[user].map(address, where, writable=writable)

    def hold(self, frames: frozenset[int]) -> None:
        """Let the guest write to these pages of its memory, and to no others, only by us."""
        if frames != self._held:
            self._held = frames
            self._clear()

    def is_confined(self) -> bool:
        """Whether whatever the guest can reach lies in its allocation."""
        first, end = self._allocation.base, self._allocation.end
        pages = [page for tree in self.trees.values() for page in tree.pages()]
        return all(first <= page < end for page in pages)

    # -- its descriptor tables ---------------------------------------------------------------

    def show(self, state: State, first: int, base: int, limit: int) -> int:
        """Let the machine below find a descriptor table at the monitor's page number `first`.

        Returns its linear address there. A page that the guest has not got yet stays missing, so
        that what refers to it faults and is interpreted.
        """
        start = base & ~PAGE_MASK
        linear = cast(TranslatedMemory, state.memory["linear"])
        for number in range((base + limit >> PAGE_BITS) - (base >> PAGE_BITS) + 1):
            where = linear.still(start + number * PAGE_SIZE & 0xFFFFFFFF, 0)
            entry = 0
            if not isinstance(where, Fault):
                entry = self._allocation.base + (where & ~PAGE_MASK) | MARKED
            self._show(first + number, entry)
        return OWN_LINEAR + first * PAGE_SIZE + (base & PAGE_MASK)

    def own_page(self, number: int) -> tuple[int, int]:
        """A page of the monitor's own: where it is in the machine below, and at which linear
        address."""
        frame = self._frames.take()
        self._show(number, frame | MARKED)
        return frame, OWN_LINEAR + number * PAGE_SIZE

    def _show(self, number: int, entry: int) -> None:
        if self._shown.get(number, 0) == entry:
            return
        self._shown[number] = entry
        self._below.memory.store(self._own + 4 * number, 4, entry)
        self._below.linear.invalidate(OWN_LINEAR + number * PAGE_SIZE, PAGE_ONLY)
