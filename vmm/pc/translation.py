"""The translating monitor: ring 0 runs as translated code (`translated`), ring 3 directly.

On a machine that is virtual itself, whose engine runs nothing but instructions of a PC, ring 0 runs
by units. A unit is a run of instructions that are innocuous by their meaning (`sensitivity`): each
is identical to its translation, so it runs where it stands, at real CPL 3. It ends with a jump,
with a store (which may change what follows), or before an instruction that must not run: that one
is a call-out, carried out by its own meaning on the virtual state. A unit is looked at again
whenever it is entered, so no page need be write-protected. Ring 3 runs as under the hybrid monitor.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, cast

from emu.engines.facts import facts
from emu.exit import Exit
from emu.memory import PAGE_MASK, PAGE_SIZE, TranslatedMemory
from emu.pc.machine import PcMachine
from emu.state import State
from isa.definition import TruncatedError
from isa.fault import Fault
from isa.x86.form import Form
from isa.x86.mode import Mode
from isa.x86.registers import CPL
from isa.x86.vectors import PAGE_FAULT
from vmm.pc.allocation import Allocation
from vmm.pc.direct import Hybrid, is_protected
from vmm.pc.sensitivity import sensitivity
from vmm.pc.traces import Traces
from vmm.pc.translated import CALL_OUT, Kernel, is_real

LONGEST: Final = 48  # instructions in a unit
MOST_UNITS: Final = 1 << 14  # remembered at a time
_STORES: Final = frozenset({"store", "copy", "fill"})


@dataclass(frozen=True, slots=True)
class Unit:
    """`code` are its bytes; a length of 0 is a call-out; `repeats`: a single repeated string
    operation, which has iterations instead of a length."""

    code: bytes
    length: int
    repeats: bool = False


class Translation(Hybrid):
    """Ring 3 directly, ring 0 by units and call-outs; what is neither is interpreted."""

    name = "translation"

    def __init__(self, below: PcMachine, allocation: Allocation, *, umip: bool = False) -> None:
        super().__init__(below, allocation, umip=umip)
        self._units: dict[tuple[Mode, int], Unit] = {}
        self.scanned = 0  # units
        self._traces = Traces()
        self._clears = 0  # of the shadow tables, when the traces were last looked at
        self.kernel: Kernel | None = None

    def attach(self, machine: PcMachine) -> None:
        """Have a processor for translated code, if the machine below can run it."""
        if is_real(self.below):
            directory = self.shadow.trees[False].directory
            self.kernel = Kernel(machine, self.below, directory, self.allocation.base)

    def advance(self, state: State, until: int) -> Exit | None:
        """A unit or a call-out of the guest's kernel, or as much of a user program as possible."""
        if state.values[CPL.slot] or not is_protected(state):
            return super().advance(state, until)
        mode = cast(Mode, state.isa.mode(state.values))
        if mode.pending or mode.single_step or mode.debugged:
            return self.interpret(state)
        if self.kernel is not None:
            return self._translated(self.kernel, state, until)
        unit = self._unit(state, mode)
        if not unit.length:
            self.efficiency.exits["call-out"] += 1
            return self.interpret(state)
        if unit.repeats:
            return self.direct(state, until, {state.pc + len(unit.code) & 0xFFFFFFFF})
        return self.direct(state, min(until, state.count + unit.length))

    def _translated(self, kernel: Kernel, state: State, until: int) -> Exit | None:
        """Translated code, until it leads elsewhere or does not find a page."""
        self.shadow.refresh(state)
        kernel.forget(self.shadow.clears, self.shadow.unmapped)
        kernel.look_out(kernel.state)
        if self._clears != self.shadow.clears:
            self._clears = self.shadow.clears
            self._traces.clear()
        began = state.count
        stop = kernel.run(state, until, self._traces.sites)
        self.efficiency.direct += state.count - began
        self.efficiency.entries += 1
        answer = self._at_boundary(state) if state.count > began else None
        if answer is not None or stop.reason == "window":
            return answer
        if stop.fault is not None and stop.fault.vector == CALL_OUT:
            self.efficiency.exits["call-out"] += 1
            return self.interpret(state)
        return self.dispatch(state, stop)

    def dispatch(self, state: State, stop: Exit) -> Exit | None:
        """See `Monitor`; a store to a page table is carried out, with a trap or as a call-out."""
        if self.kernel is None or state.values[CPL.slot]:
            return super().dispatch(state, stop)
        if stop.reason == "breakpoint" and state.pc not in state.breakpoints:
            self.efficiency.exits["call-out: page table write"] += 1
            return self.interpret(state)
        fault = stop.fault
        if fault is not None and fault.vector == PAGE_FAULT and (fault.code or 0) & 2:
            assert fault.address is not None
            if self._traces.is_traced(state, fault.address):
                self.efficiency.exits["page table write"] += 1
                self._traces.trapped(state.pc)
                return self.interpret(state)
        return super().dispatch(state, stop)

    def _hidden(self, state: State, fault: Fault) -> bool:
        found = super()._hidden(state, fault)
        if found and self.kernel is not None and not state.values[CPL.slot]:
            assert fault.address is not None
            write = bool((fault.code or 0) & 2)
            self.shadow.unmap(self._traces.mapped(state, fault.address, write=write))
        return found

    def direct(self, state: State, until: int, stops: Collection[int] = ()) -> Exit | None:
        """See `Monitor`."""
        if self.kernel is not None:
            self.kernel.look_out(self.below.state)
        return super().direct(state, until, stops)

    def _unit(self, state: State, mode: Mode) -> Unit:
        """The unit at the program counter, as the code there is now."""
        address = (state["cs_base"] + state.pc) & 0xFFFFFFFF
        linear = cast(TranslatedMemory, state.memory["linear"])
        room = PAGE_SIZE - (address & PAGE_MASK)
        known = self._units.get((mode, address))
        if known is not None and linear.look(address, len(known.code), mode.cpl) == known.code:
            return known
        code = linear.look(address, min(room, LONGEST * state.isa.max_length), mode.cpl)
        if len(self._units) >= MOST_UNITS:
            self._units.clear()
        unit = self._units[mode, address] = self._scan(state, mode, code)
        self.scanned += 1
        return unit

    def _scan(self, state: State, mode: Mode, code: bytes) -> Unit:
        """As many innocuous instructions as stand one after the other."""
        isa, length, size = state.isa, 0, 0
        while length < LONGEST:
            try:
                found = isa.decode(code[size : size + isa.max_length], mode)
            except TruncatedError:  # it goes on in the next page
                break
            form = cast(Form, found.form)
            trace = isa.trace(form)
            repeats = trace.has("retire")
            if sensitivity(form) or trace.has("exit") or (repeats and length):
                break
            length, size = length + 1, size + found.length
            if repeats:
                return Unit(code[:size], 1, repeats=True)
            if trace.has(*_STORES) or facts(isa, form, isa.mode_registers).ends:
                break
        return Unit(code[:size] if length else code[: isa.max_length], length)
