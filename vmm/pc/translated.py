"""What the translating monitor makes of ring 0's code, as an instruction set of its own.

Each instruction is translated by its meaning. Most are *identical*. What only reads or changes
flags, selectors and tables that the monitor keeps for the virtual processor is done *inline*, on
the virtual registers. What leads elsewhere (another ring, a device, other translations) is a
*call-out*: it ends the translated code, by the fault `CALL_OUT`, and the monitor carries it out.
The engine below keeps and chains translated code as it does any other.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from functools import cache
from typing import Final, cast

from emu.engines.reference import Evaluation
from emu.exit import Exit
from emu.memory import WRITE
from emu.pc.machine import PcMachine
from emu.state import State
from isa.fault import Fault
from isa.registers import Register
from isa.trace import Trace
from isa.x86 import registers as r
from isa.x86.form import Form
from isa.x86.machine import X86
from isa.x86.paging import walk
from isa.x86.tracing import faulting, trace
from vmm.pc.processor import KEPT
from vmm.pc.sensitivity import sensitivity
from vmm.pc.vmx.memory import attach
from vmm.pc.window import PhysicalWindow

CALL_OUT: Final = 0x102
"""The fault with which translated code leaves: no exception has that number."""
IDENTICAL, INLINE, CALLED = "identical", "inline", "call-out"
_FLAGS: Final = frozenset({r.IF, r.IOPL})
_LEADING: Final = (KEPT - _FLAGS) | {r.DR7, r.TF, r.PENDING}
"""Registers whose change leads elsewhere."""


@cache
def kind(form: Form) -> str:
    """How a form is translated."""
    found = trace(form)
    ports = any(n.op in ("load", "store") and n.attribute[0] == "port" for n in found.walk())
    changed: set[Register] = found.written()
    if ports or found.has("exit") or changed & (_LEADING - _popped(form)):
        return CALLED
    return INLINE if sensitivity(form) else IDENTICAL


def _popped(form: Form) -> frozenset[Register]:
    """POPF's TF is looked at when the next instruction is translated."""
    return frozenset({r.TF}) if form.mnemonic.startswith("popf") else frozenset()


class Translated(X86):
    """The x86 of translated code."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.fingerprint = f"{self.fingerprint} translated"
        self.forms: dict[Form, str] = {}  # that occurred, and how they were translated

    def trace(self, form: Hashable) -> Trace:
        """The form's translation."""
        found = cast(Form, form)
        how = self.forms[found] = kind(found)
        return faulting(found, CALL_OUT) if how is CALLED else trace(found)


class _Tree:
    """The walk of the shadow tables that stand for the supervisor's rights, at CPL 3 (`Walks`)."""

    def __init__(self, below: PcMachine, directory: int, base: int) -> None:
        self._base = base
        self._host = State(below.isa, {"physical": below.memory})
        for register, value in ((r.CR3, directory), (r.PG, 1), (r.WP, 1)):
            self._host.write(register, value)

    def translated(self, address: int, access: int, *, user: bool) -> int | Fault:
        """See `Walks`."""
        fields = {"linear": address, "write": int(access == WRITE), "user": 1}
        evaluation, meaning = Evaluation(self._host, fields), walk()
        fault = evaluation.region(meaning.region)
        assert meaning.value is not None
        return evaluation.values[id(meaning.value)] if fault is None else fault

    def remembered(self, address: int, access: int, *, user: bool) -> int | None:
        """See `Walks`: an engine shall ask."""
        return None

    def place(self, found: int, access: int) -> int:
        """See `Walks`."""
        return (found & 0xFFFFFFFF) - self._base

    def only_once(self) -> bool:
        """See `Walks`."""
        return False


class Kernel:
    """The processor that runs translated code: its registers are the virtual ones, its memory what
    the supervisor's shadow tables show."""

    def __init__(self, machine: PcMachine, below: PcMachine, directory: int, base: int) -> None:
        self._below = below
        self.isa = Translated(machine.isa.model)
        self.state = State(self.isa, {"physical": machine.memory})
        self.state.values = machine.state.values
        self.state.intercept_traps = True
        self._memory = attach(self.state, machine.memory, _Tree(below, directory, base))
        self._clears = 0
        self._frames: dict[int, set[int]] = {}  # frames with code when a state was last run

    def forget(self, clears: int, unmapped: list[int]) -> None:
        """Forget what the shadow tables do not show any more."""
        if clears != self._clears:
            self._clears = clears
            self._memory.invalidate(0, 2)
        elif unmapped:
            self._memory.forget({address >> 12 for address in unmapped})
        unmapped.clear()

    def look_out(self, state: State) -> None:
        """Tell the engine if other code was translated since it last ran a state: it may know pages
        as data in which there is code now."""
        storage = self._below.memory.physical
        frames = storage.code_frames
        if self._frames.get(id(state)) != frames:
            self._frames[id(state)] = set(frames)
            elsewhere = getattr(self._below.engine, "elsewhere", None)
            if elsewhere is not None:
                elsewhere(state)

    def run(self, state: State, until: int, sites: Collection[int]) -> Exit:
        """Run translated code in the virtual processor's time. `sites` are stores that were
        translated as call-outs."""
        kernel = self.state
        kernel.values, kernel.count = state.values, state.count
        kernel.breakpoints = state.breakpoints.union(sites) if sites else state.breakpoints
        kernel.interrupt_requested = state.interrupt_requested
        if state.pc in kernel.breakpoints and state.pc not in state.breakpoints:
            return Exit("breakpoint")
        stop = self._below.engine.run(kernel, until)
        state.count = kernel.count
        return stop


def is_real(machine: PcMachine) -> bool:
    """Whether a machine is none of a monitor's: only its engine runs translated code."""
    return not isinstance(machine.memory.physical, PhysicalWindow)
