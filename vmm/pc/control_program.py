"""The control program of a virtual PC, as an engine for a virtual processor.

A monitor has the engine contract (emu/README.md). A virtual PC is therefore an ordinary PcMachine
with a monitor for its engine, a window of the memory below for its memory, and a board of its own.
The machine below runs guest code with every trap intercepted: that is the dispatcher's entry,
which on a real machine is an IDT full of the monitor's gates.
"""

from __future__ import annotations

from collections.abc import Collection

from emu.engines.serve import before, begin, end, offer
from emu.engines.stepper import Stepper
from emu.exit import UNTIL, Exit
from emu.pc.machine import PcMachine
from emu.state import Handler, State
from isa.fault import Fault
from isa.x86.registers import IF
from isa.x86.vectors import NAMES, PAGE_FAULT
from vmm.monitors.efficiency import Efficiency
from vmm.pc.allocation import Allocation
from vmm.pc.processor import Processor
from vmm.pc.shadow import Shadow

_WRITE, _USER = 2, 4  # in a page fault's error code


class _Interpreter(Stepper):
    """One instruction by its own meaning, on the virtual state; counts what was delivered."""

    def __init__(self, efficiency: Efficiency) -> None:
        super().__init__()
        self._efficiency = efficiency

    def deliver(self, state: State, fault: Fault) -> bool:
        """The guest's own delivery, on its own state."""
        self._efficiency.delivered += 1
        return super().deliver(state, fault)


class Monitor:
    """What all monitors share; each says in `advance` what runs how.

    `boundary`, if set, is called with the virtual state whenever the monitor has got control back,
    and may answer with an Exit that ends the run.
    """

    name = ""

    def __init__(self, below: PcMachine, allocation: Allocation, *, umip: bool = False) -> None:
        self.below = below
        self.allocation = allocation
        self.efficiency = Efficiency()
        self.interpreter = _Interpreter(self.efficiency)
        self.shadow = Shadow(below, allocation)
        self.processor = Processor(below, self.shadow, umip=umip)
        self.boundary: Handler | None = None
        below.state.intercept_traps = True

    def attach(self, machine: PcMachine) -> None:
        """The virtual machine is there; a monitor may change how its processor works."""

    def in_control(self) -> bool:
        """Whether the real processor has what the monitor put into it, and the tables that it uses
        lead nowhere but into the allocation."""
        return self.processor.in_control() and self.shadow.is_confined()

    # -- the engine contract -----------------------------------------------------------------

    def run(self, state: State, until: int) -> Exit:
        """Run the virtual processor until its count reaches `until` or something stops it."""
        begin(state)
        try:
            return self._run(state, until)
        finally:
            end(state)

    def _run(self, state: State, until: int) -> Exit:
        first = True
        while state.count < until:
            began = state.count
            stop = before(state, first) or self._continue(state, until)
            if stop is None:
                first = first and state.count == began  # a page table was filled, no more
            else:
                answer, first = offer(state, stop, first)
                if answer is not None:
                    return answer
            if state.count > began and (answer := self._at_boundary(state)) is not None:
                return answer
        return UNTIL

    def _continue(self, state: State, until: int) -> Exit | None:
        if state.reply is not None:  # an IN that stopped for its port; now it can be done
            return self.interpret(state)
        return self.advance(state, until)

    def _at_boundary(self, state: State) -> Exit | None:
        """Not where only a page table was filled: that is in the middle of an instruction."""
        return None if self.boundary is None else self.boundary(state)

    def deliver(self, state: State, fault: Fault) -> bool:
        """Give a trap or an interrupt to the guest."""
        return self.interpreter.deliver(state, fault)

    def advance(self, state: State, until: int) -> Exit | None:
        """Do at least one instruction or fill a page table, or tell why not; None to go on."""
        raise NotImplementedError

    # -- interpretation ----------------------------------------------------------------------

    def interpret(self, state: State) -> Exit | None:
        """One instruction by its meaning; what it causes is delivered to the guest."""
        began = state.count - self.efficiency.delivered
        stop = self.interpreter.step(state)
        self.efficiency.interpreted += state.count - self.efficiency.delivered - began
        return stop

    # -- direct execution --------------------------------------------------------------------

    def direct(self, state: State, until: int, stops: Collection[int] = ()) -> Exit | None:
        """Let the guest have the processor until something traps or its time is up.

        `stops` are program counters at which the monitor wants it back.
        """
        if state.interrupt_requested and state.values[IF.slot]:
            until = state.count + 1  # the window opens behind this instruction
        self.shadow.refresh(state)
        self.processor.enter(state)
        self.below.state.breakpoints = state.breakpoints | set(stops)
        began = state.count
        stop = self._let_run(state, until)
        self.processor.leave(state)
        answer = self._at_boundary(state) if state.count > began else None
        return self.dispatch(state, stop) if answer is None else answer

    def _let_run(self, state: State, until: int) -> Exit:
        machine = self.below.state
        began = machine.count
        stop = self.below.engine.run(machine, began + until - state.count)
        ran = machine.count - began
        state.count += ran
        self.efficiency.direct += ran
        self.efficiency.entries += 1
        return stop

    # -- the dispatcher D --------------------------------------------------------------------

    def dispatch(self, state: State, stop: Exit) -> Exit | None:
        """Why the machine below stopped, and whose business that is.

        A page fault may be for us; anything else is carried out by the instruction's own meaning
        on the virtual state, which tells whether it is a privileged instruction of the guest's
        kernel, or a trap of the guest's.
        """
        if stop.reason == "until":
            return None
        if stop.reason == "breakpoint":
            return stop if state.pc in state.breakpoints else None
        if stop.fault is None:
            self.efficiency.exits[stop.reason] += 1
            return self.interpret(state)
        if self._hidden(state, stop.fault):
            self.efficiency.exits["hidden page fault"] += 1
            return None
        vector = stop.fault.vector
        self.efficiency.exits[NAMES.get(vector, f"vector {vector}").split()[0]] += 1
        return self.interpret(state)

    def _hidden(self, state: State, fault: Fault) -> bool:
        """Whether a page fault told only that the shadow tables lacked something."""
        if fault.vector != PAGE_FAULT or not (fault.code or 0) & _USER:
            return False
        assert fault.address is not None and fault.code is not None
        user = self.is_user(state)
        return self.shadow.fill(state, fault.address, write=bool(fault.code & _WRITE), user=user)

    @staticmethod
    def is_user(state: State) -> bool:
        """Whether the virtual processor has the user's rights."""
        return state["cpl"] == 3
