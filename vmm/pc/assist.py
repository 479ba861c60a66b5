"""The monitor that has hardware assistance: the processor below in VMX non-root operation.

Its processor has a second set of all registers, of which no instruction can see that it is the
second one (SDM volume 3, section 24.1): the virtual state is that set, and the engine of the
machine below works on it with the instruction set `NonRoot`, in which the controls of a VMCS decide
what exits. Exceptions go through the guest's own IDT unless the exception bitmap says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from emu.engines.reference import Reference, window_open
from emu.engines.serve import offer
from emu.exit import Exit
from emu.memory import PAGE_SIZE
from emu.pc.machine import PcMachine
from emu.state import Handler, State
from isa.fault import Fault
from isa.x86.registers import PE
from isa.x86.vectors import NMI, PAGE_FAULT
from vmm.monitors.efficiency import Efficiency
from vmm.pc.control_program import Monitor
from vmm.pc.shadow import Frames
from vmm.pc.vmx import io, reasons
from vmm.pc.vmx.calls import ENTRY_FAILED, Vmx
from vmm.pc.vmx.controls import (
    CAPABILITIES,
    CR0_FIXED,
    CR4_FIXED,
    REVISION,
    Pin,
    Primary,
    Secondary,
)
from vmm.pc.vmx.ept import Ept
from vmm.pc.vmx.errors import SUCCEED, VmxError
from vmm.pc.vmx.fields import Field
from vmm.pc.vmx.guest_area import GuestArea
from vmm.pc.vmx.memory import attach
from vmm.pc.vmx.nested_paging import NestedPaging
from vmm.pc.vmx.nonroot import VM_EXIT, Controls, NonRoot
from vmm.pc.vmx.reasons import Reason
from vmm.pc.vmx.shadow_paging import ShadowPaging, ShadowTables
from vmm.pc.vmx.vmcs import Vmcs

SHADOWS: Final = 15 * PAGE_SIZE  # of the monitor's own memory: `Shadow` has its pages there
LEAVE: Final = Exit("left")  # the guest is in a mode that this processor cannot enter
_PG, _WP, _NE, _PE = 1 << 31, 1 << 16, 1 << 5, 1
_PSE, _PAE, _PGE = 1 << 4, 1 << 5, 1 << 7
_HOST: Final = {
    Field.HOST_CR0: CR0_FIXED | _WP, Field.HOST_CR4: CR4_FIXED, Field.HOST_CS_SELECTOR: 8,
    Field.HOST_SS_SELECTOR: 16, Field.HOST_DS_SELECTOR: 16, Field.HOST_ES_SELECTOR: 16,
    Field.HOST_TR_SELECTOR: 24,
}  # fmt: skip


class _Root(Reference):
    """One instruction by its meaning in root operation; counts what was delivered."""

    def __init__(self, efficiency: Efficiency) -> None:
        super().__init__()
        self._efficiency = efficiency

    def trap(self, state: State, fault: Fault) -> Exit | None:
        """The guest's own fault, given to it."""
        self._efficiency.delivered += 1
        return super().trap(state, fault)


class HardwareAssist(Monitor):
    """Everything runs directly, in every mode; what the controls say exits. Nested paging."""

    name = "hardware-assist"
    paging_kind = "nested"
    pin = int(Pin.EXTERNAL_INTERRUPT_EXITING)
    primary = int(
        Primary.HLT_EXITING | Primary.UNCONDITIONAL_IO_EXITING | Primary.ACTIVATE_SECONDARY
    )
    secondary = int(Secondary.ENABLE_EPT | Secondary.UNRESTRICTED_GUEST)
    exception_bitmap = 0
    cr0_owned, cr4_owned = _NE, CR4_FIXED

    # -- setting up --------------------------------------------------------------------------

    def attach(self, machine: PcMachine) -> None:
        """Make the virtual processor one in non-root operation."""
        state = machine.state
        self._interpreter = _Root(self.efficiency)
        self._root_isa = state.isa
        self._outside = True  # the guest-state area is not what the registers hold
        self._interpreting = False
        self._first = self.allocation.own + SHADOWS
        frames = Frames(self.below, self.allocation.base, self._first)
        self.paging = self._paging(machine, frames)
        self.paging.on_exit = partial(self._note, state)
        self._virtual = {name: state.memory[name] for name in ("linear", "system")}
        machine.linear = memory = attach(state, machine.memory, self.paging)
        if isinstance(self.paging, ShadowPaging):
            self.paging.memory = memory
        machine.memory.listeners.append(self.paging.changed)
        controls = Controls(self.primary, self.secondary, self.cr0_owned, self.cr4_owned)
        state.isa = NonRoot(machine.isa.model, controls)
        self._set_up(state, frames)
        state.handlers |= {
            "invalidate": self._invalidated(memory.invalidate), "fault": partial(self._fault, state)
        }  # fmt: skip

    def _paging(self, machine: PcMachine, frames: Frames) -> NestedPaging | ShadowPaging:
        tables = Ept(self.below, frames)
        base = self.allocation.base
        return NestedPaging(machine.state, machine.memory, self.below, base, tables)

    def _invalidated(self, mine: Callable[[int, int], None]) -> Handler:
        def invalidate(address: int, what: int) -> None:
            mine(address, what)
            self.paging.invalidated(address, what)

        return invalidate

    def _set_up(self, state: State, frames: Frames) -> None:
        """VMXON, and a VMCS with its controls and the host's state."""
        memory = self.below.memory
        self._area = GuestArea(state, own_cr3=self.paging.own_cr3)
        self.vmx = Vmx(memory, self._first, self.allocation.base, self._area)
        root, region = frames.take(), frames.take()
        for address in (root, region):
            memory.store(address, 4, REVISION)
        self._vmcs = Vmcs(memory, region)
        self._check("VMXON", self.vmx.vmxon(root))
        self._check("VMCLEAR", self.vmx.vmclear(region))
        self._check("VMPTRLD", self.vmx.vmptrld(region))
        for field, value in (self._controls() | _HOST).items():
            self._write(field, value)
        for half in (0, 1):
            self._check("VMWRITE", self.vmx.vmwrite(Field.LINK_POINTER + half, 0xFFFFFFFF))

    def _controls(self) -> dict[Field, int]:
        wanted = {
            Field.PIN_BASED_CONTROLS: self.pin, Field.PROCESSOR_BASED_CONTROLS: self.primary,
            Field.SECONDARY_CONTROLS: self.secondary, Field.EXIT_CONTROLS: 0,
            Field.ENTRY_CONTROLS: 0,
        }  # fmt: skip
        found = {field: CAPABILITIES[field].adjusted(value) for field, value in wanted.items()}
        found |= {
            Field.EXCEPTION_BITMAP: self.exception_bitmap, Field.CR0_MASK: self.cr0_owned,
            Field.CR4_MASK: self.cr4_owned,
        }  # fmt: skip
        return found | self._roots()

    def _roots(self) -> dict[Field, int]:
        assert isinstance(self.paging, NestedPaging)
        return {Field.EPT_POINTER: self.paging.tables.pointer}

    def _check(self, call: str, outcome: int) -> None:
        if outcome != SUCCEED:
            raise VmxError(call, outcome)

    def _write(self, field: Field, value: int) -> None:
        self._check("VMWRITE", self.vmx.vmwrite(field, value))

    # -- entries -----------------------------------------------------------------------------

    def run(self, state: State, until: int) -> Exit:
        """See the engine contract."""
        self._watch(state)
        while True:
            if state.interrupt_requested and window_open(state):
                answer = self._window(state)
            elif self._enters(state):
                answer = self._entered(state, until)
            else:
                answer = super().run(state, until)
            if answer is not None and answer is not LEAVE:
                return answer

    def _window(self, state: State) -> Exit | None:
        """An interrupt that can be taken is injected at the entry that comes."""
        return _own(state.handlers["window"])()

    def _enters(self, state: State) -> bool:
        """Enter the guest, if its state is one that the processor enters."""
        if self.vmx.entered:
            return True
        if not self.secondary and not state.values[PE.slot]:
            self._outside = True
            return False
        if state.interrupt_requested:
            self._want_window(True)
        if self._outside:
            self._write_guest(state)
        enter = self.vmx.vmresume if self._vmcs.launched else self.vmx.vmlaunch
        outcome = enter()
        if outcome == ENTRY_FAILED:
            self.efficiency.exits[reasons.name(Reason.INVALID_GUEST_STATE)] += 1
            self._outside = True
            return False
        self._check("VMRESUME", outcome)
        self._outside = False
        self.efficiency.entries += 1
        return True

    def _write_guest(self, state: State) -> None:
        self._write(Field.ENTRY_INTERRUPTION, 0)
        self._show_controls(state)
        owned = {Field.GUEST_CR0: (self.cr0_owned, CR0_FIXED | _WP),
                 Field.GUEST_CR4: (self.cr4_owned, CR4_FIXED)}  # fmt: skip
        for field, value in self._area.fields():
            mask, fixed = owned.get(field, (0, 0))
            self._write(field, value & ~mask | fixed & mask)

    def _show_controls(self, state: State) -> None:
        """What the guest reads of the bits that the host owns."""
        self._write(Field.CR0_READ_SHADOW, state["cr0"])
        self._write(Field.CR4_READ_SHADOW, state["cr4"])

    def _want_window(self, wanted: bool) -> None:
        bit = Primary.INTERRUPT_WINDOW_EXITING
        old = self._vmcs.read(Field.PROCESSOR_BASED_CONTROLS)
        new = old | bit if wanted else old & ~bit
        if new != old:
            self._write(Field.PROCESSOR_BASED_CONTROLS, new)

    def _entered(self, state: State, until: int) -> Exit:
        counts = self.efficiency
        began, elsewhere = state.count, counts.delivered + counts.interpreted
        state.intercept_traps = True
        try:
            stop = self.below.engine.run(state, until)
        finally:
            state.intercept_traps = False
        elsewhere = counts.delivered + counts.interpreted - elsewhere
        counts.direct += state.count - began - elsewhere
        if self.vmx.entered:
            self._stopped(state, stop)
        return stop

    def _stopped(self, state: State, stop: Exit) -> None:
        """The engine has stopped in the guest: the host's timer, or the guest's end."""
        if stop.reason == "shutdown":
            self._leave(state, Reason.TRIPLE_FAULT)
        elif stop.reason == "until":
            self._leave(state, Reason.EXTERNAL_INTERRUPT)
        else:  # whoever looks on (a breakpoint)
            self.vmx.exit(Reason.EXTERNAL_INTERRUPT)

    def advance(self, state: State, until: int) -> Exit | None:
        """One instruction of a mode that the processor does not enter."""
        return LEAVE if self._enters(state) else self.interpret(state)

    # -- exits -------------------------------------------------------------------------------

    def _leave(
        self, state: State, reason: Reason, qualification: int = 0, why: str = "",
        fault: Fault | None = None,
    ) -> None:  # fmt: skip
        """The processor exits; the monitor reads why."""
        told, code = 0, 0
        if fault is not None:
            code = fault.code or 0
            told = reasons.interruption(fault.vector, reasons.HARDWARE_EXCEPTION, fault.code)
        self.vmx.exit(reason, qualification, told, code)
        self._count(self._vmcs.read(Field.EXIT_REASON), why)

    def _count(self, reason: int, why: str) -> None:
        self.efficiency.exits[reasons.name(reason) + (f": {why}" if why else "")] += 1

    def _note(self, state: State, reason: Reason, qualification: int, why: str) -> None:
        """An exit in the middle of an instruction, which then begins anew."""
        if self.vmx.entered:
            self._leave(state, reason, qualification, why)
            self._check("VMRESUME", self.vmx.vmresume())
            self.efficiency.entries += 1
        elif not self._interpreting:
            self._count(reason, why)

    def _back(self, state: State, answer: Exit | None) -> Exit | None:
        """To the guest, unless an exit's service ends the run."""
        if answer is None and self.boundary is not None:
            answer = self.boundary(state)
        if answer is None and not self._enters(state):
            answer = LEAVE
        return answer

    def _watch(self, state: State) -> None:
        """Stand between the processor and whoever serves its exits."""
        serves = {
            "port_read": partial(self._port, state, True),
            "port_write": partial(self._port, state, False),
            "halt": partial(self._simple, state, Reason.HLT),
            "window": partial(self._opened, state),
        }  # fmt: skip
        for reason, serve in serves.items():
            handler = state.handlers.get(reason)
            if handler is not None and not isinstance(handler, _Exiting):
                state.handlers[reason] = _Exiting(self.vmx, handler, serve)

    def _port(
        self, state: State, reads: bool, handler: Handler, port: int, *rest: int
    ) -> Exit | None:
        size = rest[0]
        if not io.exits(self._vmcs.read, self.below.memory, port, size):
            return self._real_port(state, reads, port, *rest)
        self._leave(state, Reason.IO, reasons.io(port, size, reads=reads))
        return self._back(state, handler(port, *rest))

    def _real_port(self, state: State, reads: bool, port: int, *rest: int) -> Exit | None:
        """An access that the monitor lets through to the machine below."""
        board = self.below.board
        if reads:
            state.reply = board.read_port(port, rest[0], state.count)
        else:
            board.write_port(port, rest[0], rest[1], state.count)
        return None

    def _simple(self, state: State, reason: Reason, handler: Handler) -> Exit | None:
        self._leave(state, reason)
        return self._back(state, handler())

    def _opened(self, state: State, handler: Handler) -> Exit | None:
        """The window for which an interrupt has waited."""
        self._leave(state, Reason.INTERRUPT_WINDOW)
        self._want_window(False)
        state.intercept_traps = False  # the board's interrupt is no trap of the guest's
        return handler()

    def _fault(self, state: State, fault: Fault) -> Exit | None:
        """An instruction that exits, or an exception of the guest's."""
        if fault.vector == VM_EXIT:
            return self._instruction(state, Reason(fault.code or 0), fault.address or 0)
        if isinstance(self.paging, ShadowPaging):
            if self.paging.passes():
                return None
            if self.paging.is_trace(fault, user=bool((fault.code or 0) & 4)):
                self._leave(state, Reason.EXCEPTION, fault.address or 0, "page table write", fault)
                return self._back(state, self._carry_out(state))
        if not self.exception_bitmap >> fault.vector & 1:
            self.efficiency.delivered += 1
            self._inject(state, fault)
            return None
        why = "true page fault" if fault.vector == PAGE_FAULT else ""
        self._leave(state, Reason.EXCEPTION, fault.address or 0, why, fault)
        self._inject_at_entry(state, fault, reasons.HARDWARE_EXCEPTION)
        return self._back(state, None)

    def _instruction(self, state: State, reason: Reason, qualification: int) -> Exit | None:
        self._leave(state, reason, qualification)
        answer = self._carry_out(state)
        if reason is Reason.CR_ACCESS:
            self._show_controls(state)
        return self._back(state, answer)

    # -- what the monitor does for the guest -------------------------------------------------

    def deliver(self, state: State, fault: Fault) -> bool:
        """Give an interrupt to the guest."""
        kind = reasons.NMI if fault.vector == NMI else reasons.EXTERNAL
        return self._inject_at_entry(state, fault, kind)

    def _inject_at_entry(self, state: State, fault: Fault, kind: int) -> bool:
        self.efficiency.delivered += 1
        if not self.vmx.entered and not self._outside:
            told = reasons.interruption(fault.vector, kind, fault.code)
            self._write(Field.ENTRY_INTERRUPTION, told)
            self._write(Field.ENTRY_EXCEPTION_CODE, fault.code or 0)
        return self._inject(state, fault)

    def _inject(self, state: State, fault: Fault) -> bool:
        trapping, state.intercept_traps = state.intercept_traps, False
        paging = self.paging
        if isinstance(paging, ShadowPaging):
            paging.at_work = True
        try:
            return self.below.engine.deliver(state, fault)
        finally:
            state.intercept_traps = trapping
            if isinstance(paging, ShadowPaging):
                paging.at_work = False

    def _carry_out(self, state: State) -> Exit | None:
        """The instruction that exited, whatever it asks of devices."""
        while (stop := self.interpret(state)) is not None:
            answer, _ = offer(state, stop, first=False)
            if answer is not None or state.reply is None:
                return answer
        return None

    def interpret(self, state: State) -> Exit | None:
        """One instruction by its meaning in root operation, on the virtual processor's memory."""
        isa, trapping = state.isa, state.intercept_traps
        mine = {name: state.memory[name] for name in self._virtual}
        state.isa, state.intercept_traps = self._root_isa, False
        self._interpreting = True
        if isinstance(self.paging, ShadowPaging):
            state.memory |= self._virtual
        began = state.count - self.efficiency.delivered
        try:
            return self._interpreter.step(state)
        finally:
            self.efficiency.interpreted += state.count - self.efficiency.delivered - began
            state.isa, state.intercept_traps = isa, trapping
            state.memory |= mine
            self._interpreting = False

    def in_control(self) -> bool:
        """See `Monitor`; the tables lead nowhere but into the guest's storage."""
        return super().in_control() and self.paging.is_confined()


class ShadowedAssist(HardwareAssist):
    """The same as the first processors had it: no EPT, so the guest's page tables are shadowed, and
    real-address mode is interpreted."""

    paging_kind = "shadow"
    primary = int(
        Primary.HLT_EXITING | Primary.UNCONDITIONAL_IO_EXITING | Primary.INVLPG_EXITING
        | Primary.CR3_LOAD_EXITING | Primary.CR3_STORE_EXITING
    )  # fmt: skip
    secondary = 0
    exception_bitmap = 1 << PAGE_FAULT
    cr0_owned = _NE | _PG | _WP | _PE
    cr4_owned = CR4_FIXED | _PSE | _PAE | _PGE

    def _paging(self, machine: PcMachine, frames: Frames) -> NestedPaging | ShadowPaging:
        tables = ShadowTables(self.below, frames)
        base = self.allocation.base
        return ShadowPaging(machine.state, machine.memory, self.below, base, tables)

    def _roots(self) -> dict[Field, int]:
        return {Field.GUEST_CR3: self.paging.tables.root}


class _Exiting:
    """A handler behind what its exit does first."""

    def __init__(self, vmx: Vmx, handler: Handler, serve: Callable[..., Exit | None]) -> None:
        self.handler = handler
        self._vmx = vmx
        self._serve = serve

    def __call__(self, *values: int) -> Exit | None:
        if not self._vmx.entered:  # the monitor carries the instruction out
            return self.handler(*values)
        return self._serve(self.handler, *values)


def _own(handler: Handler) -> Handler:
    """The handler itself, without an exit before it."""
    return handler.handler if isinstance(handler, _Exiting) else handler
