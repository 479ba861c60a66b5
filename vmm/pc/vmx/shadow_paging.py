"""Shadow paging in non-root operation, as the first monitors with VT-x had to do it.

The processor walks the monitor's tables only. They hold no more than the virtual processor's TLB
does, which is an ordinary `emu.pc.paging` on the guest's tables, and are filled from it at a hidden
page fault. Pages in which the walks have met the guest's tables are mapped read-only: a store to
one exits (a *trace*), and the monitor carries it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

from emu.memory import PAGE_BITS, PAGE_MASK, PAGE_SIZE, WRITE, Mark
from emu.pc.machine import PcMachine
from emu.pc.memory import PhysicalMap
from emu.pc.paging import PAGE_ONLY, LinearMemory, UserMemory, WalkEvaluation
from emu.state import State
from isa.fault import Fault
from isa.x86.paging import ACCESSED, DIRTY, PRESENT, USER, WRITABLE, walk
from isa.x86.registers import CR3, PG, WP
from isa.x86.vectors import PAGE_FAULT
from vmm.pc.shadow import ENTRIES, MARKED, Frames, OutOfFramesError
from vmm.pc.vmx.memory import GuestUserMemory
from vmm.pc.vmx.nested_paging import OnExit
from vmm.pc.vmx.reasons import Reason

_PRESENT, _WRITE, _USER = 1, 2, 4  # of a page fault's error code
_FRAME: Final = 0xFFFFF000
assert MARKED == 1 << PRESENT | 1 << ACCESSED | 1 << DIRTY


class ShadowTables:
    """A page directory and its tables, with the user's and the supervisor's rights."""

    def __init__(self, below: PcMachine, frames: Frames) -> None:
        self._memory = below.memory
        self._frames = frames
        self.root = frames.take()
        self._tables: dict[int, int] = {}

    def map(self, address: int, where: int, *, user: bool, writable: bool) -> None:
        """Let a linear page be the host's page there. Raises OutOfFramesError."""
        rights = int(user) << USER | int(writable) << WRITABLE
        place = self._place(address)
        if place is None:
            table = self._tables[address >> 22] = self._frames.take()
            everything = 1 << USER | 1 << WRITABLE
            self._memory.store(self.root + 4 * (address >> 22), 4, table | MARKED | everything)
            place = cast(int, self._place(address))
        self._memory.store(place, 4, where & ~PAGE_MASK | MARKED | rights)

    def _place(self, address: int) -> int | None:
        table = self._tables.get(address >> 22)
        return None if table is None else table + 4 * (address >> PAGE_BITS & ENTRIES - 1)

    def entry(self, address: int) -> int:
        """What a page's entry is; 0 if it is not mapped."""
        place = self._place(address)
        return 0 if place is None else cast(int, self._memory.load(place, 4))

    def put(self, address: int, entry: int) -> None:
        """Change the entry of a page, if its table is there."""
        place = self._place(address)
        if place is not None:
            self._memory.store(place, 4, entry)

    def clear(self) -> None:
        """Map nothing."""
        for index, table in self._tables.items():
            self._memory.store(self.root + 4 * index, 4, 0)
            self._frames.give_back(table)
        self._tables.clear()

    def pages(self) -> Iterator[int]:
        """Where the pages lie that are mapped now."""
        for table in self._tables.values():
            for place in range(table, table + PAGE_SIZE, 4):
                entry = cast(int, self._memory.load(place, 4))
                if entry & 1 << PRESENT:
                    yield entry & _FRAME


class ShadowPaging:
    """The processor's walk of the shadow tables (`Walks`), and the monitor's service of its faults.

    `virtual` is the virtual processor's memory; `memory`, once attached, what engines see.
    """

    own_cr3 = False
    memory: GuestUserMemory

    def __init__(
        self, state: State, physical: PhysicalMap, below: PcMachine, base: int,
        tables: ShadowTables,
    ) -> None:  # fmt: skip
        self._state = state
        self._physical = physical
        self._base = base
        self.tables = tables
        self._own = cast(UserMemory, state.memory["linear"])
        self.virtual = {True: self._own, False: cast(LinearMemory, state.memory["system"])}
        self._host = State(state.isa, {"physical": below.memory})
        for register, value in ((CR3, tables.root), (PG, 1), (WP, 1)):
            self._host.write(register, value)
        self.on_exit: OnExit = lambda *_: None
        self.at_work = False  # the monitor itself accesses the guest's memory
        self.walks = self.references = 0
        self.traced: set[int] = set()  # frames in which the guest's tables were met
        self._writers: dict[int, set[int]] = {}  # frame -> linear pages that may be written there
        self._again = False  # a fault was only to have the engine forget a page
        self._once = False
        self._mark: Mark = self._own.changes_since((0, 0))[0]

    # -- walks -------------------------------------------------------------------------------

    def translated(self, address: int, access: int, *, user: bool) -> int | Fault:
        """See `Walks`."""
        while True:
            fields = {"linear": address, "write": int(access == WRITE), "user": int(user)}
            evaluation, trace = WalkEvaluation(self._host, fields), walk()
            fault = evaluation.region(trace.region)
            self.walks += 1
            self.references += len(evaluation.entries)
            assert trace.value is not None
            if fault is None:
                return evaluation.values[id(trace.value)]
            answer = self._serve(address, access, user)
            if answer is not None:
                return answer

    def remembered(self, address: int, access: int, *, user: bool) -> int | None:
        """See `Walks`: an engine shall ask again."""
        return None

    def place(self, found: int, access: int) -> int:
        """See `Walks`."""
        return (found & 0xFFFFFFFF) - self._base

    # -- the monitor's -----------------------------------------------------------------------

    def _serve(self, address: int, access: int, user: bool) -> int | Fault | None:
        """The exit at a page fault: None if the page is mapped by now, else the guest's own fault,
        that of a trace, or where an access that nobody can map leads."""
        where = self.virtual[user].translate(address, access)
        if isinstance(where, Fault):
            return where
        fresh = self._trace(address)
        if access == WRITE and not self._is_plain(where):
            self.on_exit(Reason.EXCEPTION, address, "access to no memory")
            self._once = True
            return self._base + where
        if access == WRITE and where >> PAGE_BITS in self.traced:
            if not self.at_work:
                return Fault(PAGE_FAULT, _PRESENT | _WRITE | (_USER if user else 0), address)
            self.memory.tell_changed([address >> PAGE_BITS])
            self._once = True
            return self._base + where
        self.on_exit(Reason.EXCEPTION, address, "hidden page fault")
        self._map(address, where, access == WRITE, user)
        if fresh and not self.at_work:
            self._again = True
            return Fault(PAGE_FAULT, _PRESENT, address)
        return None

    def _is_plain(self, where: int) -> bool:
        memory, page = self._physical, where >> PAGE_BITS
        return where < memory.ram and page not in memory.readable and page not in memory.writable

    def _map(self, address: int, where: int, writable: bool, user: bool) -> None:
        """Rights are those that this access has shown; a supervisor's writing to what a user may
        not write (WP is 0) takes the page away from the user."""
        old = self.tables.entry(address)
        both = user or bool(old & 1 << USER and not writable)
        kept = old & 1 << WRITABLE and (not user or old & 1 << USER)
        if (old ^ self._base + where) & _FRAME:
            both, kept = user, False
        writable = (writable or bool(kept)) and where >> PAGE_BITS not in self.traced
        try:
            self.tables.map(address, self._base + where, user=both, writable=writable)
        except OutOfFramesError:
            self._clear()
            self.tables.map(address, self._base + where, user=user, writable=writable)
        if old:
            self._forget({address >> PAGE_BITS})
        if writable:
            self._writers.setdefault(where >> PAGE_BITS, set()).add(address >> PAGE_BITS)

    def _trace(self, address: int) -> bool:
        """Protect the tables by which a page was found; whether an engine has to forget that it
        may write to one."""
        if not self._state.values[PG.slot]:
            return False
        frames = {at >> PAGE_BITS for at in self.virtual[False].tables_of(address)} - self.traced
        self.traced |= frames
        pages = set().union(*(self._writers.pop(frame, set()) for frame in frames))
        for page in pages:
            entry = self.tables.entry(page << PAGE_BITS)
            self.tables.put(page << PAGE_BITS, entry & ~(1 << WRITABLE))
        self._forget(pages)
        return bool(pages)

    def _forget(self, pages: set[int]) -> None:
        """Have the processor's TLB forget pages."""
        if pages:
            self.memory.forget(pages)

    def is_trace(self, fault: Fault, *, user: bool) -> bool:
        """Whether a page fault is a trace; its instruction is then to be carried out."""
        if fault.vector != PAGE_FAULT or not (fault.code or 0) & _WRITE:
            return False
        assert fault.address is not None
        where = self.virtual[user].translate(fault.address, WRITE)
        return not isinstance(where, Fault) and where >> PAGE_BITS in self.traced

    def only_once(self) -> bool:
        """See `Walks`."""
        once, self._once = self._once, False
        return once

    def passes(self) -> bool:
        """Whether the last fault was nobody's: it only had an engine forget something."""
        again, self._again = self._again, False
        return again

    def invalidated(self, address: int, what: int) -> None:
        """The guest's INVLPG, CR3, CR0 or CR4: what its TLB forgets is taken out of the tables."""
        self._own.invalidate(address, what)
        self._mark, pages = self._own.changes_since(self._mark)
        if what != PAGE_ONLY:
            self.traced.clear()
        if pages is None:
            self._clear()
            return
        for page in pages:
            self.tables.put(page << PAGE_BITS, 0)
        self._forget(set(pages))

    def _clear(self) -> None:
        self.tables.clear()
        self.traced.clear()
        self._writers.clear()
        self.memory.invalidate(0, 2)

    def changed(self) -> None:
        """What lies where has changed: A20, shadow RAM."""
        self._clear()

    def is_confined(self) -> bool:
        """Whether whatever the guest can reach lies in its storage."""
        end = self._base + len(self._physical.physical.array)
        return all(self._base <= page < end for page in self.tables.pages())
