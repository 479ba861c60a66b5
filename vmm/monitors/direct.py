"""Monitors that execute guest code directly wherever they may."""

from __future__ import annotations

from emu.exit import Exit
from emu.state import State
from vmm.monitors.control_program import Monitor


class TrapAndEmulate(Monitor):
    """The monitor of Theorem 1: everything runs directly, what traps is interpreted."""

    name = "trap-and-emulate"

    def advance(self, state: State, until: int) -> Exit | None:
        """Run the guest, in either of its modes."""
        return self.direct(state, until)


class Hybrid(Monitor):
    """The monitor of Theorem 3: interprets virtual supervisor mode, runs virtual user mode."""

    name = "hybrid"

    def advance(self, state: State, until: int) -> Exit | None:
        """One instruction of the guest's kernel, or as much of a user program as possible."""
        return self.interpret(state) if self.is_supervisor(state) else self.direct(state, until)


class Interpretation(Monitor):
    """The baseline: no instruction runs directly. By the paper's definition it is no monitor."""

    name = "interpretation"

    def advance(self, state: State, until: int) -> Exit | None:
        """One instruction, whatever it is."""
        return self.interpret(state)
