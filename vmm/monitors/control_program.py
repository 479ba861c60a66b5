"""The control program CP = (D, A, {v_i}) of the paper, as an engine for a virtual processor.

A monitor has the engine contract (emu/README.md): it runs a virtual state, and does so by running
the guest on the machine below, with real M = u and the R that the allocator chose. A virtual
machine is therefore an ordinary ToyMachine with a monitor for its engine, a window of the storage
below for its memory, devices of its own and a time of its own, the count of its instructions. The
machine below may itself be such a virtual machine.

What a monitor uses of the machine below is what a control program could: its supervisor state, its
traps, its storage, and how long it lets the guest have the processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from emu.engines.reference import Reference
from emu.engines.serve import before
from emu.exit import Exit
from emu.state import State
from emu.toy.machine import ToyMachine
from isa.fault import Fault
from isa.registers import Role
from isa.toy import Toy
from isa.toy.registers import SUPERVISOR, USER
from isa.toy.traps import TITLES, Trap
from vmm.monitors.allocation import Allocation, Allocator
from vmm.monitors.efficiency import Efficiency
from vmm.monitors.interpreters import Routine, interpreter_routines

ENTRY_OPERATIONS: Final = 2  # STIMER and LPSW
TRAP_OPERATIONS: Final = 2  # IN CAUSE and IN INFO


class _Interpreter(Reference):
    """The reference engine, but whose a trap is is for the dispatcher to say."""

    def trap(self, state: State, fault: Fault) -> Exit:
        """Leave with every fault."""
        return Exit("fault", fault)


_INTERPRETER = _Interpreter()


class Monitor:
    """What all monitors share; each says in `advance` what runs how.

    `own` are the words of the machine below that the control program keeps for itself.
    """

    name: str = ""
    kept_granules: ClassVar[int] = 1  # that a level of recursion needs for its control program
    keeps_words: ClassVar[bool] = False  # whether it stores anything in its own words

    def __init__(self, below: ToyMachine, allocation: Allocation, isa: Toy) -> None:
        self.below = below
        self.allocator = Allocator(below.isa, allocation)
        self.own = Allocation(0, allocation.base)
        self.interpreters: Mapping[str, Routine] = interpreter_routines(isa)
        self.isa = isa
        self.efficiency = Efficiency()
        self._slots = [r.slot for r in isa.registers.with_role(Role.GENERAL, Role.FLAG)]
        below.state.intercept_traps = True

    # -- the engine contract -----------------------------------------------------------------

    def run(self, state: State, until: int) -> Exit:
        """Run the virtual processor until its count reaches `until` or something stops it."""
        first = True
        while state.count < until:
            stop = before(state, first)
            if stop is None:
                stop = self._continue(state, until)
            if stop is not None:
                return stop
            first = False
        return Exit("until")

    def _continue(self, state: State, until: int) -> Exit | None:
        if state.reply is not None:  # an IN that stopped for its port; now it can be done
            return self.interpret(state)
        return self.advance(state, until)

    def deliver(self, state: State, fault: Fault) -> bool:
        """Give a trap or an interrupt to the guest: its own delivery, on its own state."""
        self.efficiency.delivered += 1
        return Reference().deliver(state, fault)

    def advance(self, state: State, until: int) -> Exit | None:
        """Do at least one instruction, or tell why not; None to go on."""
        raise NotImplementedError

    # -- direct execution --------------------------------------------------------------------

    def direct(self, state: State, until: int) -> Exit | None:
        """Let the guest have the processor until something traps or its time is up."""
        machine = self.below.state
        self._enter(state, machine)
        stop = self._let_run(state, until)
        self._leave(state, machine)
        return self.dispatch(state, stop)

    def _let_run(self, state: State, until: int) -> Exit:
        """Run the machine below for as long as the guest may; its time is the guest's."""
        began = self.below.state.count
        stop = self.below.run(began + until - state.count)
        ran = self.below.state.count - began
        state.count += ran
        self.efficiency.direct += ran
        self.efficiency.entries += 1
        self.efficiency.operations += ENTRY_OPERATIONS
        if stop.fault is not None:
            self.efficiency.operations += TRAP_OPERATIONS
        return stop

    def _enter(self, state: State, machine: State) -> None:
        """Load registers, then (M, P, R) with M = u."""
        self._load(state, machine)
        machine["mode"] = self._real_mode(state)
        machine["p"] = state["p"]
        machine["l"], machine["b"] = self.allocator.real(state)
        machine.breakpoints = state.breakpoints

    def _leave(self, state: State, machine: State) -> None:
        """Store registers and P; the mode that the guest believes in is ours, not the machine's."""
        self._store(state, machine)
        state["p"] = machine["p"]
        if machine["mode"] != self._real_mode(state):
            state["mode"] = machine["mode"]
        self.allocator.observe(state, machine["l"], machine["b"])

    def _load(self, state: State, machine: State) -> None:
        """Registers that are part of E, to the processor."""
        for slot in self._slots:
            machine.values[slot] = state.values[slot]

    def _store(self, state: State, machine: State) -> None:
        """Registers that are part of E, from the processor."""
        for slot in self._slots:
            state.values[slot] = machine.values[slot]

    @staticmethod
    def _real_mode(state: State) -> int:
        """u, and where there are more modes than two the guest's own, if it is not s."""
        return max(state["mode"], USER)

    # -- the dispatcher D --------------------------------------------------------------------

    def dispatch(self, state: State, stop: Exit) -> Exit | None:
        """Why the machine below stopped, and whose business that is."""
        fault = stop.fault
        if fault is None:
            return None if stop.reason == "until" else stop
        self.efficiency.exits[TITLES.get(fault.vector, f"trap {fault.vector}")] += 1
        if fault.vector >= Trap.TIMER:  # an interrupt of the machine below; the guest's come
            self.below.acknowledge(fault)  # from its own devices
            return None
        if fault.vector == Trap.PRIVILEGED:
            return self.privileged(state, fault)
        return self.reflect(state, fault)

    def privileged(self, state: State, fault: Fault) -> Exit | None:
        """Call the interpreter routine of the instruction that trapped.

        Its meaning looks at the virtual mode: in virtual user mode it is the guest's own trap.
        """
        assert fault.code is not None, "the trap tells the instruction"
        instruction = self.isa.decode_word(fault.code)
        routine = self.interpreters[str(instruction.form)]
        return self._interpreted(state, state.count, routine(state, instruction))

    def _interpreted(self, state: State, began: int, outcome: Exit | Fault | None) -> Exit | None:
        if isinstance(outcome, Fault):
            return self.reflect(state, outcome)
        self.efficiency.interpreted += state.count - began
        return outcome

    def reflect(self, state: State, fault: Fault) -> Exit | None:
        """The trap is the guest's: to its own handler, or to a monitor that runs in the guest."""
        if state.intercept_traps:
            return Exit("fault", fault)
        self.deliver(state, fault)
        return None

    # -- interpretation ----------------------------------------------------------------------

    def interpret(self, state: State) -> Exit | None:
        """One instruction by its meaning, fetched from the virtual machine's memory."""
        began = state.count
        stop = _INTERPRETER.step(state)
        fault = None if stop is None else stop.fault
        return self._interpreted(state, began, stop if fault is None else fault)

    @staticmethod
    def is_supervisor(state: State) -> bool:
        """The virtual mode."""
        return state["mode"] == SUPERVISOR
