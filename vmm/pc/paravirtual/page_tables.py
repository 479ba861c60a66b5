"""Direct paging: the guest's page tables are the processor's, and hold machine frames.

The guest reads them and never writes; each change is a request that is validated here. What a
table refers to is counted in the frame table when the table begins to be one, and when it changes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, cast

from emu.memory import PAGE_BITS, PAGE_MASK, PAGE_SIZE
from emu.pc.machine import PcMachine
from emu.pc.paging import ALL
from isa.x86.paging import ACCESSED, DIRTY, PRESENT, WRITABLE
from vmm.pc.paravirtual.frames import TABLES, FrameTable, Kind
from vmm.pc.paravirtual.interface import VIRTUAL_START
from vmm.pc.paravirtual.refusal import Errno, Refusal

ENTRIES: Final = 1024
MONITORS: Final = VIRTUAL_START >> 22  # the first directory entry that is the monitor's
DISALLOWED: Final = 0x198  # PWT, PCD, 4 MiB or PAT, global (Xen: L1_DISALLOW_MASK)
_PRESENT, _WRITABLE = 1 << PRESENT, 1 << WRITABLE
_KEPT: Final = 1 << ACCESSED | 1 << DIRTY
_WHOLE: Final = struct.Struct(f"<{ENTRIES}I")


class PageTables:
    """One domain's tables. `own` are the directory entries of the monitor's part.

    `granted` has the addresses of entries that lead to another domain's frames: these end by the
    grant-table interface only, or with their table, when `torn_down` is called.
    """

    def __init__(self, below: PcMachine, frames: FrameTable, domain: int, own: list[int]) -> None:
        self._below = below
        self._frames = frames
        self._domain = domain
        self.own = own
        self.granted: set[int] = set()
        self.torn_down: Callable[[int], None] = self.granted.discard

    # -- entries -----------------------------------------------------------------------------

    def _load(self, address: int) -> int:
        return cast(int, self._below.memory.load(address, 4))

    def store(self, address: int, entry: int) -> None:
        """Put an entry; nothing that was translated before holds."""
        self._below.memory.store(address, 4, entry)
        self.flush()

    def flush(self) -> None:
        """Forget all translations."""
        self._below.linear.invalidate(0, ALL)

    def _take(self, entry: int, kind: Kind) -> None:
        """Count what an entry of such a table refers to, or refuse it."""
        if not entry & _PRESENT:
            return
        if entry & DISALLOWED:
            raise Refusal(Errno.EINVAL, f"entry {entry:#x} asks for what no guest gets")
        number = entry >> PAGE_BITS
        frame = self._frames.of(self._domain, number)
        if kind is Kind.PAGE_DIRECTORY:
            self.take(number, Kind.PAGE_TABLE)
        elif entry & _WRITABLE:
            self.take(number, Kind.WRITABLE)
        frame.references += 1

    def _release(self, entry: int, kind: Kind) -> None:
        if not entry & _PRESENT:
            return
        number = entry >> PAGE_BITS
        self._frames[number].references -= 1
        if kind is Kind.PAGE_DIRECTORY or entry & _WRITABLE:
            self.give_back(number)

    # -- whole tables ------------------------------------------------------------------------

    def take(self, number: int, kind: Kind) -> None:
        """Use a frame as a table or to be written; a new table is validated."""
        self._frames.take(number, kind, self._validate if kind in TABLES else None)

    def give_back(self, number: int) -> None:
        """One use less."""
        kind = self._frames[number].kind
        self._frames.give_back(number, self._invalidate if kind in TABLES else None)

    def entries(self, number: int) -> tuple[int, ...]:
        """A table's words."""
        where = number << PAGE_BITS
        return _WHOLE.unpack(self._below.memory.physical.read(where, PAGE_SIZE))

    def _guests(self, number: int, kind: Kind) -> tuple[int, ...]:
        """The entries of a table that are the guest's to choose."""
        entries = self.entries(number)
        return entries[:MONITORS] if kind is Kind.PAGE_DIRECTORY else entries

    def _validate(self, number: int, kind: Kind) -> None:
        taken = []
        try:
            for entry in self._guests(number, kind):
                if entry & _PRESENT:
                    self._take(entry, kind)
                    taken.append(entry)
        except Refusal:
            for entry in taken:
                self._release(entry, kind)
            raise
        if kind is Kind.PAGE_DIRECTORY:
            self._put_own(number, self.own)
        self.flush()

    def _invalidate(self, number: int, kind: Kind) -> None:
        where = number << PAGE_BITS
        for index, entry in enumerate(self._guests(number, kind)):
            if not entry & _PRESENT:
                continue
            if self.granted and where + 4 * index in self.granted:
                self.torn_down(where + 4 * index)
            else:
                self._release(entry, kind)
        if kind is Kind.PAGE_DIRECTORY:
            self._put_own(number, [0] * len(self.own))
        self.flush()

    def _put_own(self, number: int, entries: list[int]) -> None:
        where = (number << PAGE_BITS) + 4 * MONITORS
        for index, entry in enumerate(entries):
            self._below.memory.store(where + 4 * index, 4, entry)

    # -- requests ----------------------------------------------------------------------------

    def update(self, address: int, entry: int, *, keep_marks: bool = False) -> None:
        """Change the entry at a machine address; `keep_marks`: accessed and dirty bits stay."""
        number, place = address >> PAGE_BITS, address & PAGE_MASK
        frame = self._frames.of(self._domain, number)
        if frame.typed and frame.kind in TABLES:
            if frame.kind is Kind.PAGE_DIRECTORY and place >> 2 >= MONITORS:
                raise Refusal(Errno.EINVAL, "the entry is the monitor's")
            self._change(address, entry, frame.kind, keep_marks=keep_marks)
            return
        self.take(number, Kind.WRITABLE)  # no table: it could have been written directly
        self._below.memory.store(address, 4, entry)
        self.give_back(number)

    def _change(self, address: int, entry: int, kind: Kind, *, keep_marks: bool) -> None:
        old = self._load(address)
        if address in self.granted:
            raise Refusal(Errno.EINVAL, "a grant is mapped there")
        if keep_marks:
            entry |= old & _KEPT
        self._take(entry, kind)
        self.store(address, entry)
        self._release(old, kind)

    def entry_of(self, directory: int, address: int) -> int:
        """The machine address of a linear page's entry; refused if no table is there."""
        if address >= VIRTUAL_START:
            raise Refusal(Errno.EINVAL, "the address is the monitor's")
        above = self._load(directory + (address >> 22) * 4)
        if not above & _PRESENT:
            raise Refusal(Errno.EINVAL, f"no page table for {address:#x}")
        return (above & ~PAGE_MASK) + (address >> PAGE_BITS & ENTRIES - 1) * 4

    def put_granted(self, address: int, entry: int) -> None:
        """Let an entry of a page table, which was checked, lead to another domain's frame."""
        self._release(self._load(address), Kind.PAGE_TABLE)
        self.granted.add(address)
        self.store(address, entry)

    def end_granted(self, address: int) -> None:
        """Map nothing there any more."""
        self.granted.discard(address)
        self.store(address, 0)

    def is_table_entry(self, address: int) -> bool:
        """Whether a word of a page table that is the domain's, and leads to nothing granted."""
        number = address >> PAGE_BITS
        if number >= len(self._frames.frames) or address & 3:
            return False
        frame = self._frames[number]
        return (
            frame.owner == self._domain
            and bool(frame.typed)
            and frame.kind is Kind.PAGE_TABLE
            and address not in self.granted
        )

    # -- pins --------------------------------------------------------------------------------

    def pin(self, number: int, kind: Kind) -> None:
        """Let a frame stay a table also while nothing uses it."""
        frame = self._frames.of(self._domain, number)
        if frame.pinned:
            raise Refusal(Errno.EINVAL, f"frame {number:#x} is pinned")
        self.take(number, kind)
        frame.pinned = True
        frame.references += 1

    def unpin(self, number: int) -> None:
        """The contrary."""
        frame = self._frames.of(self._domain, number)
        if not frame.pinned:
            raise Refusal(Errno.EINVAL, f"frame {number:#x} is not pinned")
        frame.pinned = False
        frame.references -= 1
        self.give_back(number)

    def enter(self, number: int) -> None:
        """Use a frame as the directory that CR3 leads to."""
        frame = self._frames.of(self._domain, number)
        self.take(number, Kind.PAGE_DIRECTORY)
        frame.references += 1

    def leave(self, number: int) -> None:
        """The contrary."""
        self._frames[number].references -= 1
        self.give_back(number)
