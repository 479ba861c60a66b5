"""Nested paging: the guest's own tables over the monitor's. Changes of the former do not exit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from emu.memory import PAGE_BITS, PAGE_MASK, READ, WRITE
from emu.pc.machine import PcMachine
from emu.pc.memory import PhysicalMap
from emu.pc.paging import WalkEvaluation
from emu.state import State
from isa.fault import Fault
from isa.trace import Trace
from isa.x86.registers import CR3, PG, PGE, PSE, WP
from vmm.pc.vmx import ept
from vmm.pc.vmx.controls import EPT_WALK_LENGTH
from vmm.pc.vmx.ept import Ept
from vmm.pc.vmx.nested_walk import EPT_VIOLATION, nested, unpaged
from vmm.pc.vmx.reasons import Reason, ept_violation

OnExit = Callable[[Reason, int, str], None]
"""Told of an exit that is served in the middle of an instruction: reason, qualification, why."""
MOST_WALKS: Final = 1 << 16  # remembered at a time
_CONTROLS: Final = (CR3.slot, PG.slot, WP.slot, PSE.slot, PGE.slot)
_HOST_PAGE: Final = 34  # its lowest bit in a walk's value


class CountingEvaluation(WalkEvaluation):
    """A walk that counts its loads, and keeps what it has read of the guest's tables."""

    def __init__(self, state: State, fields: dict[str, int]) -> None:
        super().__init__(state, fields)
        self.references = 0

    def do_load(self, node: Any, address: int) -> int | Fault | None:
        """Loads are counted, those of the monitor's wider entries too."""
        self.references += 1
        return super().do_load(node, address)


class NestedPaging:
    """The two-dimensional walk (`Walks`), and the monitor's service of EPT violations.

    A walk whose entries are as they were need not be evaluated again; its loads are counted.
    """

    own_cr3 = True

    def __init__(
        self, state: State, physical: PhysicalMap, below: PcMachine, base: int, tables: Ept
    ) -> None:
        self._state = state
        self._physical = physical
        self._host = State(state.isa, {"physical": below.memory})
        self._memory = below.memory
        self._base = base
        self.tables = tables
        self.on_exit: OnExit = lambda *_: None
        self.walks = self.references = 0
        self._once = False
        self._known: dict[Hashable, tuple[tuple[tuple[int, int], ...], int, int]] = {}

    # -- walks -------------------------------------------------------------------------------

    def translated(self, address: int, access: int, *, user: bool) -> int | Fault:
        """See `Walks`."""
        known = self._remembered(address, access, user)
        if known is not None:
            value, references = known
            self._count(references)
            return value
        while True:
            evaluation, value_or_fault = self._evaluated(address, access, user)
            if not isinstance(value_or_fault, Fault):
                self._count(evaluation.references)
                self._remember(address, access, user, evaluation, value_or_fault)
                return value_or_fault
            if value_or_fault.vector != EPT_VIOLATION:
                evaluation.take_back()
                return value_or_fault
            emulated = self._violation(value_or_fault)
            if emulated is not None:
                return emulated  # the walk is done: what it marked stays
            evaluation.take_back()

    def _count(self, references: int) -> None:
        self.walks += 1
        self.references += references

    def _evaluated(
        self, address: int, access: int, user: bool
    ) -> tuple[CountingEvaluation, int | Fault]:
        self._host.values = self._state.values
        make = nested if self._state.values[PG.slot] else unpaged
        trace: Trace = make(EPT_WALK_LENGTH)
        fields = {
            "linear": address, "write": int(access == WRITE), "user": int(user),
            "root": self.tables.root,
        }  # fmt: skip
        evaluation = CountingEvaluation(self._host, fields)
        fault = evaluation.region(trace.region)
        assert trace.value is not None
        return evaluation, evaluation.values[id(trace.value)] if fault is None else fault

    def remembered(self, address: int, access: int, *, user: bool) -> int | None:
        """See `Walks`."""
        known = self._remembered(address, access, user)
        return None if known is None else known[0]

    def _key(self, address: int, access: int, user: bool) -> Hashable:
        controls = [self._state.values[slot] for slot in _CONTROLS]
        return address >> PAGE_BITS, access == WRITE, user, *controls

    def _remember(
        self, address: int, access: int, user: bool, found: CountingEvaluation, value: int
    ) -> None:
        if found.wrote:
            return
        if len(self._known) >= MOST_WALKS:
            self._known.clear()
        key = self._key(address, access, user)
        self._known[key] = tuple(found.entries), value & ~PAGE_MASK, found.references

    def _remembered(self, address: int, access: int, user: bool) -> tuple[int, int] | None:
        known = self._known.get(self._key(address, access, user))
        if known is None or any(self._memory.load(at, 4) != word for at, word in known[0]):
            return None
        return known[1] | address & PAGE_MASK, known[2]

    def place(self, found: int, access: int) -> int:
        """See `Walks`."""
        return (found >> _HOST_PAGE << PAGE_BITS) - self._base + (found & PAGE_MASK)

    def only_once(self) -> bool:
        """See `Walks`."""
        once, self._once = self._once, False
        return once

    # -- the monitor's -----------------------------------------------------------------------

    def _violation(self, fault: Fault) -> int | None:
        """Map what the guest may reach; what is read and written in different places (ROM) is
        read there, and writes to it are the monitor's to emulate."""
        assert fault.address is not None and fault.code is not None
        address = fault.address & ~PAGE_MASK
        allowed = self.tables.rights(address) & (ept.READ | ept.WRITE)
        self.on_exit(Reason.EPT_VIOLATION, ept_violation(fault.code, allowed), "")
        where = self._physical.place(address, READ)
        written = self._physical.place(address, WRITE)
        rights = ept.READ | ept.EXECUTE | (ept.WRITE if written == where else 0)
        self.tables.map(address, self._base + where, rights)
        self._known.clear()
        if fault.code & ept.WRITE and written != where:
            self._once = True
            return self._base + written >> PAGE_BITS << _HOST_PAGE | fault.address
        return None

    def changed(self) -> None:
        """What lies where has changed: A20, shadow RAM."""
        self.tables.clear()
        self._known.clear()

    def invalidated(self, address: int, what: int) -> None:
        """The guest's INVLPG and its like need nothing of us."""

    def is_confined(self) -> bool:
        """Whether whatever the guest can reach lies in its storage."""
        end = self._base + len(self._physical.physical.array)
        return all(self._base <= page < end for page in self.tables.pages())
