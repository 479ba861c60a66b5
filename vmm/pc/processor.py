"""What of a virtual processor the real one holds while the guest runs directly: de-privileged.

Virtual rings 0 and 3 both run at real CPL 3. So paging protects the monitor from either, and
nothing needs segment limits; a ring 0 at CPL 1 would have the supervisor's rights to pages. The
virtual supervisor has shadow tables of its own, in which its pages are a user's.
"""

from __future__ import annotations

from typing import Final

from emu.memory import PAGE_SIZE
from emu.pc.machine import PcMachine
from emu.room import copy_of, words_of
from emu.state import State
from isa.registers import Register
from isa.x86 import registers as r
from vmm.pc.gates import Gates
from vmm.pc.shadow import OWN_LINEAR, Shadow

REAL_CPL: Final = 3
GDT_PAGE, LDT_PAGE = 0, 32  # among the monitor's own linear pages
TSS: Final = OWN_LINEAR + 1000 * PAGE_SIZE  # where no page is: nothing is ever found there
TASK, LOCAL = 0xFFF8, 0xFFF0  # selectors that the real processor has in TR and LDTR
BUSY_TASK: Final = 0x8B
LAST: Final = 0xFFFF  # a selector reaches no more of a table

CONSTANT: Final[dict[Register, int]] = {
    # What keeps the monitor in control: interrupts are its own, and CLI STI IN OUT trap.
    r.IF: 1, r.IOPL: 0, r.VM: 0, r.CPL: REAL_CPL,
    r.PE: 1, r.PG: 1, r.WP: 1, r.NW: 0, r.CD: 0,
    r.VME: 0, r.PVI: 0, r.PSE: 0, r.PAE: 0, r.MCE: 0, r.PGE: 0, r.PCE: 0,
    # No gate is within the table's limit: each INT n is #GP; but see `Gates`.
    r.IDT_BASE: 0, r.IDT_LIMIT: 0,
    # No inner stack is within the segment's limit, nor any I/O permission bit.
    r.TR: TASK, r.TR_BASE: TSS, r.TR_LIMIT: 0, r.TR_ATTRIBUTES: BUSY_TASK,
    r.LDTR: LOCAL, r.SYSENTER_CS: 0, r.SYSENTER_ESP: 0, r.SYSENTER_EIP: 0,
    r.ARRIVAL: 0, r.ARRIVAL_CODE: 0,
}  # fmt: skip
COMPUTED: Final = (
    r.CR3, r.GDT_BASE, r.GDT_LIMIT, r.LDT_BASE, r.LDT_LIMIT, r.LDT_ATTRIBUTES, r.AM, r.UMIP,
    r.TSC_OFFSET,
)  # fmt: skip
KEPT: Final = frozenset(CONSTANT) | frozenset(COMPUTED)
"""Registers in which the real processor has something of the monitor's."""
_CONSTANT_SLOTS: Final = [(register.slot, value) for register, value in CONSTANT.items()]
_KEPT_SLOTS: Final = sorted(register.slot for register in KEPT)
_SELECTORS: Final = [r.SEGMENTS[name].selector.slot for name in ("cs", "ss")]
_64_BITS: Final = (1 << 64) - 1


class Processor:
    """The real processor, entered and left. `umip`: it has UMIP, and the monitor switches it on.

    `gates`: those of the guest's that it may go through.
    """

    def __init__(
        self, below: PcMachine, shadow: Shadow, *, umip: bool, gates: Gates | None = None
    ) -> None:
        self._below = below
        self._machine = below.state
        self._shadow = shadow
        self._umip = int(umip)
        self._gates = gates
        self._loaded = words_of([])
        self._virtual = words_of([])

    def enter(self, state: State) -> None:
        """Load the virtual state, but for what the monitor keeps."""
        self._virtual = state.save()
        user = state.values[r.CPL.slot] == 3
        values = copy_of(self._virtual)
        for slot, value in _CONSTANT_SLOTS:
            values[slot] = value
        for register, value in self._computed(state, user).items():
            values[register.slot] = value
        if self._gates is not None:
            for register, value in self._gates.registers(state).items():
                values[register.slot] = value
        for slot in _SELECTORS:
            values[slot] |= REAL_CPL
        before = self._machine.values[r.CR3.slot]  # perhaps another virtual processor's
        self._machine.values[:] = self._loaded = values
        self._switch(before, values[r.CR3.slot])

    def _computed(self, state: State, user: bool) -> dict[Register, int]:
        values, show = state.values, self._shadow.show
        base, limit = values[r.GDT_BASE.slot], values[r.GDT_LIMIT.slot]
        local, local_limit = values[r.LDT_BASE.slot], min(values[r.LDT_LIMIT.slot], LAST)
        offset = values[r.TSC_OFFSET.slot] + state.count - self._machine.count
        return {
            r.CR3: self._shadow.trees[user].directory,
            r.GDT_BASE: show(state, GDT_PAGE, base, limit), r.GDT_LIMIT: limit,
            r.LDT_BASE: show(state, LDT_PAGE, local, local_limit), r.LDT_LIMIT: local_limit,
            r.LDT_ATTRIBUTES: values[r.LDT_ATTRIBUTES.slot],
            r.AM: values[r.AM.slot] if user else 0,
            r.UMIP: values[r.UMIP.slot] | self._umip,
            r.TSC_OFFSET: offset & _64_BITS,
        }  # fmt: skip

    def _switch(self, before: int, tree: int) -> None:
        """Nothing that was translated by another tree holds."""
        if tree != before:
            self._below.linear.invalidate(0, 2)

    def leave(self, state: State) -> None:
        """Store what the guest may change; what the monitor keeps stays the virtual processor's."""
        values, virtual = self._machine.save(), self._virtual
        for slot in _KEPT_SLOTS:
            values[slot] = virtual[slot]
        for slot in _SELECTORS:
            if values[slot] == self._loaded[slot]:
                values[slot] = virtual[slot]
        state.values[:] = values

    def in_control(self) -> bool:
        """Whether everything that the monitor keeps is as it was when it entered the guest."""
        if not self._loaded:
            return True
        return all(self._machine.values[slot] == self._loaded[slot] for slot in _KEPT_SLOTS)
