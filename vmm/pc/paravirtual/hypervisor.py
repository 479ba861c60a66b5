"""The paravirtual monitor: domains on a PC, whose kernels run in ring 1 and ask by hypercalls.

The machine below runs guest code with the guest's own segments and page tables, which were
validated. Every trap comes here (an IDT full of the monitor's gates, on a real machine) and is
given to the guest by the processor's own delivery, through a gate made from the guest's trap table.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Final, cast

from emu.devices.ns16550 import SerialBackend
from emu.engines.fetch import decode_at
from emu.engines.reference import Evaluation, Reference, delivery_of, evaluate
from emu.exit import UNTIL, Exit
from emu.memory import PAGE_BITS
from emu.pc.machine import PcMachine
from emu.pc.paging import ALL
from emu.state import State
from isa.fault import Fault
from isa.x86 import registers as r
from isa.x86.mode import ATTRIBUTE_BIG, Mode
from isa.x86.vectors import DEVICE_NOT_AVAILABLE, GENERAL_PROTECTION, NAMES, PAGE_FAULT
from vmm.pc.allocation import Allocation
from vmm.pc.paravirtual import calls_of_devices, calls_of_memory, calls_of_processor
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.clock import NEVER, VirtualClock
from vmm.pc.paravirtual.domain import Domain
from vmm.pc.paravirtual.frames import FrameTable
from vmm.pc.paravirtual.hypercalls import Again, Done, perform
from vmm.pc.paravirtual.own_pages import (
    EVENT_VECTOR,
    FAST_IDT_PAGE,
    GDT_LIMIT,
    GDT_PAGE,
    IDT_PAGE,
    LDT_PAGE,
    TSS_PAGE,
)
from vmm.pc.paravirtual.refusal import Refusal
from vmm.pc.shadow import Frames

CALLS: Final = calls_of_devices, calls_of_memory, calls_of_processor
"""Where hypercalls are; they enter themselves into the table."""
_SOFTWARE: Final = 2  # in an error code: it is about a gate, so an INT n has met no gate
_IDT_LIMIT: Final = 0x7FF
_FAST_LIMIT: Final = xen.FAST_VECTOR * 8 + 7
_KERNEL: Final = 1  # the ring of a guest's kernel
_64_BITS: Final = (1 << 64) - 1
BUSY_TASK: Final = 0x8B
CONTROL: Final = {
    r.PE: 1, r.PG: 1, r.WP: 1, r.NE: 1, r.ET: 1, r.MP: 1, r.EM: 0, r.TS: 0, r.AM: 0, r.NW: 0,
    r.CD: 0, r.VME: 0, r.PVI: 0, r.PSE: 0, r.PAE: 0, r.MCE: 0, r.PGE: 0, r.PCE: 0, r.TSD: 0,
    r.DE: 0, r.IF: 1, r.IOPL: 0, r.VM: 0, r.ARRIVAL: 0, r.ARRIVAL_CODE: 0, r.SYSENTER_CS: 0,
    r.TR: 0xFFF8, r.TR_LIMIT: 103, r.TR_ATTRIBUTES: BUSY_TASK, r.GDT_LIMIT: GDT_LIMIT,
    r.IDT_LIMIT: _FAST_LIMIT,
}  # fmt: skip
"""What the monitor has set up, and no guest changes, but TS by fpu_taskswitch."""


class Hypervisor:
    """A PC and the domains on it; one of them runs at a time."""

    def __init__(self, below: PcMachine) -> None:
        self.below = below
        self.state: State = below.state
        self.frames = FrameTable(below.memory.ram >> PAGE_BITS)
        self.domains: dict[int, Domain] = {}
        self.calls: Counter[str] = Counter()  # hypercalls by name
        self.current: Domain | None = None
        self._interpreter = Reference()
        below.state.intercept_traps = True

    def add(
        self,
        allocation: Allocation,
        console: SerialBackend,
        clock: VirtualClock,
        number: int | None = None,
    ) -> Domain:
        """A domain that has this memory and no program yet."""
        number = len(self.domains) if number is None else number
        pages = Frames(self.below, allocation.base, allocation.own)
        domain = Domain(
            number, self.below, self.frames, pages, frames_of(allocation), self.domains, console,
            clock,
        )  # fmt: skip
        self.domains[number] = domain
        self._set_up(domain)
        return domain

    def _set_up(self, domain: Domain) -> None:
        values = domain.values
        for register in r.REGISTERS:
            values[register.slot] = 0
        for register, value in CONTROL.items():
            values[register.slot] = value
        values[r.FCW.slot] = r.FCW_INITIAL
        values[r.GDT_BASE.slot] = domain.own.linear(GDT_PAGE)
        values[r.LDT_BASE.slot] = domain.own.linear(LDT_PAGE)
        values[r.IDT_BASE.slot] = domain.own.linear(FAST_IDT_PAGE)
        values[r.TR_BASE.slot] = domain.own.linear(TSS_PAGE)

    # -- running -----------------------------------------------------------------------------

    def run(self, domain: Domain, until: int) -> Exit:
        """Run a domain until its count reaches `until`, exactly, or it stops.

        The exits: "until"; "blocked" (only another domain could wake it); "off" and "crash".
        """
        while domain.count < until:
            if domain.ended is not None:
                return Exit("crash" if domain.ended == "crash" else "off")
            self._fire(domain)
            if domain.blocked:
                if not self._sleep(domain, until):
                    return Exit("blocked")
                continue
            self.switch_to(domain)
            if domain.noticed and self._event(domain):
                continue
            self._direct(domain, min(until, domain.clock.next()))
        return UNTIL

    def switch_to(self, domain: Domain) -> None:
        """Let the processor have a domain's registers, if it has not."""
        if self.current is domain:
            return
        if self.current is not None:
            self.current.values[:] = self.state.values
        self.current = domain
        self.state.values[:] = domain.values
        self.below.linear.invalidate(0, ALL)

    def _fire(self, domain: Domain) -> None:
        clock = domain.clock
        if clock.poll is not None and domain.count >= clock.poll:
            domain.notice()
        if clock.fire(domain.count):
            domain.raise_virq(xen.Virq.TIMER)

    def _sleep(self, domain: Domain, until: int) -> bool:
        """Move a blocked domain's time on; False if nothing of its own will wake it."""
        due = domain.clock.next()
        if due == NEVER:
            return False
        wakes = max(domain.count, min(due, until))
        domain.count = wakes
        return True

    def _direct(self, domain: Domain, until: int) -> None:
        """Let the guest have the processor until something traps."""
        state = self.state
        state.values[r.TSC_OFFSET.slot] = domain.count - state.count & _64_BITS
        began = state.count
        stop = self.below.engine.run(state, began + until - domain.count)
        ran = state.count - began
        domain.count += ran
        domain.efficiency.direct += ran
        domain.efficiency.entries += 1
        if stop.reason != "until":
            self._dispatch(domain, stop)

    # -- traps -------------------------------------------------------------------------------

    def _dispatch(self, domain: Domain, stop: Exit) -> None:
        """What trapped: a hypercall, or something for the guest's kernel."""
        domain.noticed = True
        fault = stop.fault
        if fault is None:
            domain.end("crash", f"{stop.reason} is nothing that a guest can do")
            return
        vector, code = fault.vector, fault.code or 0
        if vector == GENERAL_PROTECTION and code & _SOFTWARE:
            if code >> 3 == xen.VECTOR and self.state.values[r.CPL.slot] == _KERNEL:
                self._hypercall(domain)
            else:
                domain.efficiency.exits[f"INT {code >> 3:X}h"] += 1
                self._software(domain, fault)
            return
        domain.efficiency.exits[NAMES.get(vector, f"vector {vector}").split()[0]] += 1
        if vector == DEVICE_NOT_AVAILABLE:
            self.state.values[r.TS.slot] = 0
        self._deliver(domain, fault)

    def _hypercall(self, domain: Domain) -> None:
        state = self.state
        name = xen.HYPERCALLS.get(state["eax"], "unknown")
        domain.efficiency.exits[name] += 1
        address = evaluate(state, state.isa.fetch(state.isa.mode(state.values)))
        assert isinstance(address, int)
        instruction = decode_at(state, address)
        assert not isinstance(instruction, Fault)
        self._retire(domain)
        after = state.pc + instruction.length & 0xFFFFFFFF
        outcome = self.call(domain, state["eax"], [state[name] for name in xen.ARGUMENTS])
        if isinstance(outcome, Again):
            for register, value in zip(xen.ARGUMENTS, outcome.arguments, strict=True):
                state[register] = value
        elif isinstance(outcome, int):
            state.pc = after
            state["eax"] = outcome & 0xFFFFFFFF

    def _retire(self, domain: Domain) -> None:
        """A hypercall, or a part of one, counts as one instruction."""
        self.state.count += 1
        domain.count += 1
        domain.efficiency.interpreted += 1

    def call(self, domain: Domain, number: int, arguments: list[int]) -> int | Again | Done:
        """A hypercall of the domain that runs: its result, or -errno."""
        return perform(self, domain, number, arguments)

    def _software(self, domain: Domain, fault: Fault) -> None:
        """INT n by its own meaning, with the guest's gates; or the fault that it meets there."""
        with _GuestGates(self.state, domain):
            began = self.state.count
            stop = self._interpreter.step(self.state)
            domain.count += self.state.count - began
            domain.efficiency.delivered += self.state.count - began
        if stop is None:
            self._entered(domain, (fault.code or 0) >> 3, coded=False)
        elif stop.fault is not None and domain.ended is None:
            self._deliver(domain, stop.fault)

    def _deliver(self, domain: Domain, fault: Fault) -> None:
        """Enter the guest's handler as the processor does, or end a guest that cannot take it."""
        if fault.vector not in domain.traps:
            domain.end("crash", f"no handler for {_named(fault)}")
            return
        if fault.vector == PAGE_FAULT and fault.address is not None:
            domain.shared.put_word(xen.VCPU_CR2, fault.address)
        if self._enter(domain, fault):
            self._entered(domain, fault.vector, coded=fault.code is not None)

    def _enter(self, domain: Domain, fault: Fault) -> bool:
        """Push the frame and go to the handler; the domain is at an end if that faults."""
        state = self.state
        with _GuestGates(state, domain):
            trace = delivery_of(state)
            assert trace is not None
            began = state.count
            code, coded = fault.code or 0, int(fault.code is not None)
            fields = {"vector": fault.vector, "code": code, "coded": coded,
                      "address": fault.address or 0}  # fmt: skip
            outcome = self._interpreter.enter_handler(state, trace, fields)
            domain.count += state.count - began
        domain.efficiency.delivered += 1
        if outcome is None:
            return True
        met = _named(outcome) if isinstance(outcome, Fault) else outcome.reason
        domain.end("crash", f"{met} where the frame of {_named(fault)} was to be pushed")
        return False

    def _entered(self, domain: Domain, vector: int, *, coded: bool) -> None:
        """Above CS the frame tells whether events were masked; some handlers begin masked."""
        state, shared = self.state, domain.shared
        pointer = state["esp"] + 6 + 4 * coded
        if not state["ss_attributes"] & ATTRIBUTE_BIG:
            pointer &= 0xFFFF
        with contextlib.suppress(Refusal):  # pushed a moment ago, unless by a gate of 16 bits
            domain.guest.write(state["ss_base"] + pointer & 0xFFFFFFFF, bytes([shared.masked]))
        if vector == EVENT_VECTOR or domain.traps[vector].flags & xen.TRAP_MASKS:
            shared.masked = True

    def _event(self, domain: Domain) -> bool:
        """Enter the event callback, if an event waits and is let through."""
        domain.noticed = False
        shared = domain.shared
        if shared.masked or not shared.pending or domain.event_callback is None:
            return False
        domain.efficiency.exits["event"] += 1
        if self._enter(domain, Fault(EVENT_VECTOR)):
            self._entered(domain, EVENT_VECTOR, coded=False)
        return True

    # -- what hypercalls need ----------------------------------------------------------------

    def set_directory(self, domain: Domain, frame: int) -> None:
        """Load CR3."""
        old = domain.directory
        domain.tables.enter(frame)
        domain.directory = frame
        self.state.values[r.CR3.slot] = frame << PAGE_BITS
        domain.tables.flush()
        if old:
            domain.tables.leave(old)

    def carry_out(self, code: bytes) -> Fault | Exit | None:
        """An instruction of 32-bit code by its meaning, as a part of a hypercall."""
        state = self.state
        mode = cast(Mode, state.isa.mode(state.values))._replace(code_size=32)
        instruction = state.isa.decode(code, mode)
        count = state.count
        outcome = Evaluation(state, instruction.fields).carry_out(state.isa.trace(instruction.form))
        state.count = count
        return outcome

    def refuse(self, domain: Domain, fault: Fault) -> None:
        """Let a hypercall's instruction fault."""
        self._deliver(domain, fault)


def frames_of(allocation: Allocation) -> range:
    """The machine frames of an allocation's memory."""
    first = allocation.base >> PAGE_BITS
    return range(first, first + (allocation.memory >> PAGE_BITS))


class _GuestGates:
    """While it lasts, the IDT is the guest's, and IF what the guest thinks that it is."""

    def __init__(self, state: State, domain: Domain) -> None:
        self._state = state
        self._domain = domain

    def __enter__(self) -> None:
        values = self._state.values
        values[r.IDT_BASE.slot] = self._domain.own.linear(IDT_PAGE)
        values[r.IDT_LIMIT.slot] = _IDT_LIMIT
        values[r.IF.slot] = int(not self._domain.shared.masked)

    def __exit__(self, *_: object) -> None:
        values = self._state.values
        values[r.IDT_BASE.slot] = self._domain.own.linear(FAST_IDT_PAGE)
        values[r.IDT_LIMIT.slot] = _FAST_LIMIT
        values[r.IF.slot] = 1


def _named(fault: Fault) -> str:
    name = NAMES.get(fault.vector, f"vector {fault.vector:#x}")
    code = "" if fault.code is None else f", error code {fault.code:#x}"
    address = "" if fault.address is None else f", address {fault.address:#x}"
    return name + code + address
