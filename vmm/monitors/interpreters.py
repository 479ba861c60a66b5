"""The interpreter routines v_i, one for each instruction that may trap as privileged.

None is written here: a routine carries out the instruction's own meaning, as `isa` defines it, on
the virtual machine's state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from emu.engines.reference import Evaluation
from emu.exit import Exit
from emu.state import State
from isa.definition import Instruction
from isa.fault import Fault
from isa.toy import Toy
from isa.toy.traps import Trap
from isa.trace import Trace

Routine = Callable[[State, Instruction], Exit | Fault | None]


def interpreter_routines(isa: Toy) -> dict[str, Routine]:
    """v_i by the instruction's name, for every instruction that can raise the privileged trap."""
    traces = {name: isa.trace(name) for name in isa.rows}
    return {n: partial(carry_out, t) for n, t in traces.items() if may_be_privileged(t)}


def may_be_privileged(trace: Trace) -> bool:
    """Whether the meaning can raise the privileged-instruction trap."""
    return any(n.op == "fault" and n.attribute[0] == Trap.PRIVILEGED for n in trace.walk())


def carry_out(trace: Trace, state: State, instruction: Instruction) -> Exit | Fault | None:
    """The meaning on a virtual state; a fault of it is the virtual machine's own trap."""
    return Evaluation(state, instruction.fields).carry_out(trace)
