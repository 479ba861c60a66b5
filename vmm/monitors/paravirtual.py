"""The paravirtual monitor: a kernel ported to it asks for what it may not do, by hypercalls.

A hypercall is an SVC in virtual supervisor mode, with a number from FIRST on. It stands for one
instruction with fixed operands, whose meaning is carried out as always. Hypercalls cure critical
instructions, as a port leaves them out; but the machine has a new interface, so by the paper's
definition of equivalence this is no duplicate of the bare one, and the guest is another guest.
"""

from __future__ import annotations

import difflib
from typing import Final

from emu.exit import Exit
from emu.state import State
from emu.toy.machine import ToyMachine
from isa.definition import Instruction
from isa.fault import Fault
from isa.toy import Toy
from isa.toy.ports import Port
from isa.toy.traps import Trap
from vmm.monitors.allocation import Allocation
from vmm.monitors.direct import TrapAndEmulate
from vmm.monitors.interpreters import carry_out

FIRST: Final = 0x8000
HYPERCALLS: Final[dict[int, tuple[str, dict[str, int]]]] = {
    0x8000: ("LPSW", {"imm": 0}),  # resume from the PSW at address 0, where a trap left it
    0x8001: ("OUT", {"rd": 1, "imm": Port.CONSOLE_DATA}),  # print r1
    0x8002: ("IN", {"rd": 1, "imm": Port.CAUSE}),  # r1 := what trapped
    0x8003: ("IN", {"rd": 1, "imm": Port.INFO}),  # r1 := what it was about
    0x8004: ("STIMER", {"ra": 0}),  # interrupt after r0 instructions
    0x8005: ("HALT", {}),
    0x8006: ("SPLX", {"ra": 1}),  # the bound := r1
    0x8007: ("LR", {"ra": 1, "rb": 2}),  # R := (r1, r2)
    0x8008: ("RDMODE", {"rd": 1}),  # r1 := the mode
}


class Paravirtual(TrapAndEmulate):
    """Trap-and-emulate, and hypercalls for kernels that know of it."""

    name = "paravirtual"

    def __init__(self, below: ToyMachine, allocation: Allocation, isa: Toy) -> None:
        super().__init__(below, allocation, isa)
        self._asked: int | None = None  # the hypercall that waits for its port

    def advance(self, state: State, until: int) -> Exit | None:
        """Run the guest; what it asks for is done when it traps."""
        return self.direct(state, until)

    def interpret(self, state: State) -> Exit | None:
        """After a port was read: the hypercall that reads it, or the instruction."""
        if self._asked is None:
            return super().interpret(state)
        return self._hypercall(state, self._asked)

    def reflect(self, state: State, fault: Fault) -> Exit | None:
        """A supervisor call of the guest's kernel to us, or its own trap."""
        number = fault.code or 0
        if fault.vector == Trap.SVC and self.is_supervisor(state) and number in HYPERCALLS:
            return self._hypercall(state, number)
        return super().reflect(state, fault)

    def _hypercall(self, state: State, number: int) -> Exit | None:
        form, fields = HYPERCALLS[number]
        if form not in self.isa.rows:
            return super().reflect(state, Fault(Trap.SVC, number))
        began = state.count
        instruction = Instruction(form, {**fields, "word": 0}, 1)
        outcome = carry_out(self.isa.trace(form), state, instruction)
        waits = isinstance(outcome, Exit) and outcome.reason == "port_read"
        self._asked = number if waits else None
        return self._interpreted(state, began, outcome)


def ported_lines(original: str, ported: str, comment: str = ";") -> tuple[int, int]:
    """How many lines of a source a port took away or changed, and how many it put in."""
    one, other = ([x.split(comment)[0].split() for x in t.splitlines()] for t in (original, ported))
    found = difflib.SequenceMatcher(
        None, [" ".join(x) for x in one if x], [" ".join(x) for x in other if x], autojunk=False
    )
    changes = [o for o in found.get_opcodes() if o[0] != "equal"]
    return sum(o[2] - o[1] for o in changes), sum(o[4] - o[3] for o in changes)
