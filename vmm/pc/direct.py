"""Monitors that execute guest code directly wherever they may."""

from __future__ import annotations

from emu.exit import Exit
from emu.pc.machine import PcMachine
from emu.state import State
from isa.x86.registers import ARRIVAL, CPL, IF, IOPL, PE, VM
from vmm.pc.allocation import Allocation
from vmm.pc.control_program import Monitor
from vmm.pc.gates import Gates
from vmm.pc.processor import Processor


def is_protected(state: State) -> bool:
    """Whether the virtual processor is in a mode that CPL 3 can stand for: not real, not V86."""
    values = state.values
    return bool(values[PE.slot] and not values[VM.slot] and not values[ARRIVAL.slot])


def looks_alike(state: State) -> bool:
    """Whether EFLAGS would tell the guest the truth: IF and IOPL are as the real ones."""
    return state.values[IF.slot] == 1 and state.values[IOPL.slot] == 0


class Interpretation(Monitor):
    """The baseline: no instruction runs directly. By the paper's definition it is no monitor."""

    name = "interpretation"

    def advance(self, state: State, until: int) -> Exit | None:
        """One instruction, whatever it is."""
        return self.interpret(state)


class TrapAndEmulate(Monitor):
    """The monitor of Theorem 1: rings 0 and 3 run directly, what traps is interpreted.

    On IA-32 it fails where the guest's ring 0 executes a critical instruction. Real and
    virtual-8086 mode and rings 1 and 2 are interpreted.
    """

    name = "trap-and-emulate"
    gates_kind = "trap"

    def advance(self, state: State, until: int) -> Exit | None:
        """Run the guest, in either of its rings."""
        if is_protected(state) and state.values[CPL.slot] in (0, 3):
            return self.direct(state, until)
        return self.interpret(state)


class DirectGates(TrapAndEmulate):
    """The same with the guest's trap gates in the real IDT: its INT n need not trap."""

    gates_kind = "direct"

    def __init__(self, below: PcMachine, allocation: Allocation, *, umip: bool = False) -> None:
        super().__init__(below, allocation, umip=umip)
        gates = Gates(below, self.shadow, allocation)
        self.processor = Processor(below, self.shadow, umip=umip, gates=gates)


class Hybrid(Monitor):
    """The monitor of Theorem 3: interprets ring 0, runs ring 3.

    A ring 3 with IOPL 3 or without interrupts is interpreted too, as PUSHF would show the real
    flags.
    """

    name = "hybrid"

    def advance(self, state: State, until: int) -> Exit | None:
        """One instruction of the guest's kernel, or as much of a user program as possible."""
        if is_protected(state) and state.values[CPL.slot] == 3 and looks_alike(state):
            return self.direct(state, until)
        return self.interpret(state)
