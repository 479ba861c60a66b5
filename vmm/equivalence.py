"""Lock-step: the bare machine and a virtual one must pass through the same states.

The paper's VM map f takes a state S of the bare machine to the state of the machine below in which
the virtual machine stands for S; equivalence is f(e(S)) = e'(f(S)) for every instruction e. Since
the virtual machine's state is kept whole (what the processor holds of it, and what the monitor
keeps), the comparison is made on the side of S, with f's left inverse: M, P, R, registers, timer,
latches, all of storage, devices and output, at every instruction boundary.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from emu.engines.reference import Evaluation
from emu.exit import Exit
from emu.state import State
from emu.toy.machine import ToyMachine
from isa.fault import Fault
from isa.registers import Role
from isa.toy.traps import TITLES, Trap
from vmm.divergence import Divergence

CLAUSES = {
    "control": "control sensitive: it may change M, R or a resource without a trap (section 3)",
    "mode": "behaviour sensitive, by mode: what it does depends on M (section 3)",
    "location": "behaviour sensitive, by location: what it does depends on R's place (section 3)",
    "resource": "behaviour sensitive, by resource: what it does depends on a timer, mask or latch",
    "trap": "carried out by a supervisor and trapping for a user, but not as a privileged "
    "instruction would: no monitor is told, and the guest takes the trap for its own",
    "none": "innocuous for all that this state shows: the monitor itself is at fault",
}


@dataclass(slots=True)
class Observed:
    """A machine, and where its console prints."""

    machine: ToyMachine
    output: io.BytesIO = field(default_factory=io.BytesIO)


_PARTS = {"mode": "M", "p": "P", "l": "R (l)", "b": "R (b)"}


def differences(bare: Observed, virtual: Observed) -> Iterator[tuple[str, str, str]]:
    """(part, expected, actual), M, P and R first; nothing if the states are the same."""
    one, other = bare.machine, virtual.machine
    if one.state.values != other.state.values:
        for register in one.isa.registers.with_role(Role.MODE, Role.RELOCATION):
            yield from _register(one, other, register.name)
        for register in one.isa.registers:
            if register.role not in (Role.MODE, Role.RELOCATION):
                yield from _register(one, other, register.name)
    if one.state.count != other.state.count:
        yield "time", str(one.state.count), str(other.state.count)
    if not np.array_equal(one.memory.array, other.memory.array):
        for address in np.nonzero(one.memory.array != other.memory.array)[0].tolist():
            yield f"E[{address}]", hex(one.memory.view[address]), hex(other.memory.view[address])
    if bare.output.getvalue() != virtual.output.getvalue():
        yield "output", repr(bare.output.getvalue()[-16:]), repr(virtual.output.getvalue()[-16:])
    for mine, its in zip(one.devices, other.devices, strict=True):
        expected, actual = dict(mine.snapshot()), dict(its.snapshot())
        if expected != actual:
            name = type(mine).__name__.removeprefix("Toy").lower()
            key = next(k for k in expected if expected[k] != actual[k])
            yield f"{name}'s {key}", str(expected[key])[:40], str(actual[key])[:40]


def _register(one: ToyMachine, other: ToyMachine, name: str) -> Iterator[tuple[str, str, str]]:
    expected, actual = one.state[name], other.state[name]
    if expected != actual:
        yield _PARTS.get(name, name), hex(expected), hex(actual)


Pair = tuple[Observed, Observed]


def lockstep(pair: Pair, limit: int, every: int = 1) -> Divergence | None:
    """Run both machines `every` instructions at a time until they stop; the first difference.

    With `every` greater than 1 the boundaries in between are passed without a look, so what is
    found is a difference, but perhaps not the first (see `first_divergence`).
    """
    bare, virtual = pair
    one, other = bare.machine, virtual.machine
    while one.state.count < limit:
        step = _Step(one)
        until = min(one.state.count + every, limit)
        expected, actual = one.run(until), other.run(until)
        found = next(differences(bare, virtual), None)
        if found is None and _differ(expected, actual):
            found = "stop", _stop(expected), _stop(actual)
        if found is not None:
            return step.divergence(other, *found)
        if expected.reason != "until":
            return None
    return None


def first_divergence(make: Callable[[], Pair], limit: int, every: int = 64) -> Divergence | None:
    """Look every few instructions, and at each one of those before a difference."""
    pair = make()
    if lockstep(pair, limit, every) is None:
        return None
    agreed = max(pair[0].machine.state.count - 1, 0) // every * every
    pair = make()
    for observed in pair:
        observed.machine.run(agreed)
    return lockstep(pair, limit, 1)


def _differ(one: Exit, other: Exit) -> bool:
    return (one.reason, one.fault) != (other.reason, other.fault)


def _stop(stop: Exit) -> str:
    return stop.reason if stop.fault is None else f"{stop.reason} {stop.fault}"


class _Step:
    """What is about to happen on the bare machine, in case it has to be explained."""

    def __init__(self, machine: ToyMachine) -> None:
        self.machine = machine
        self.values = list(machine.state.values)
        self.count = machine.state.count
        known, shape = machine.isa.known, machine.isa.shape
        self.address = self.values[known.p.slot] + self.values[known.l.slot] * shape.granule
        self.code, _ = machine.memory.fetch(self.address, 1)

    def divergence(self, virtual: ToyMachine, part: str, expected: str, actual: str) -> Divergence:
        """Name the instruction and the clause of the definition that it meets."""
        isa = self.machine.isa
        text = isa.text(self.code, self.address) if self.code else "outside of storage"
        why = f"is {CLAUSES[self._clause()]}"
        count, trap = self.machine.state.count, self._trap(virtual)
        return Divergence(count, text, self.address, part, expected, actual, why, trap)

    def _trap(self, virtual: ToyMachine) -> str:
        """Which trap one machine took and the other did not, if the latches tell."""
        latches = [r.slot for r in (self.machine.isa.known.cause, self.machine.isa.known.info)]
        trapped = [
            any(machine.state.values[slot] != self.values[slot] for slot in latches)
            for machine in (self.machine, virtual)
        ]
        if trapped[0] == trapped[1]:
            return ""
        machine, who = (
            (self.machine, "only the bare") if trapped[0] else (virtual, "only the virtual")
        )
        title = TITLES.get(machine.state["cause"], f"trap {machine.state['cause']}")
        return f" ({who} machine took a {title})"

    def _clause(self) -> str:
        """Replay the meaning in the two modes, moved, with other resources: what matters?"""
        if not self.code:
            return "none"
        here, user, supervisor = self._replay(), self._replay(mode=1), self._replay(mode=0)
        if isinstance(user.fault, Fault) and user.fault.vector == Trap.PRIVILEGED:
            return "none"
        if any(end.changes_control for end in (supervisor, user)):
            return "control"
        if supervisor.apart(user):
            return "mode"
        if here.apart(self._replay(shift=1)):
            return "location"
        if here.apart(self._replay(other_resources=True)):
            return "resource"
        return "none" if supervisor.fault or not user.fault else "trap"

    def _replay(
        self, mode: int | None = None, shift: int = 0, other_resources: bool = False
    ) -> _Replay:
        """The instruction again, in another mode or place, or all resources' bits turned."""
        isa = self.machine.isa
        memory = _Moved(self.machine, shift * isa.shape.granule)
        state = State(isa, {"physical": memory})  # type: ignore[dict-item]
        state.set_values(self.values)
        state.count = self.count
        state["l"] = state["l"] + shift
        if mode is not None:
            state["mode"] = mode
        for register in isa.registers.with_role(Role.RESOURCE) if other_resources else ():
            state.write(register, ~self.values[register.slot])
        before = list(state.values)
        instruction = isa.decode(self.code, None)
        state.reply = 0
        outcome = Evaluation(state, instruction.fields).carry_out(isa.trace(instruction.form))
        fault = outcome if isinstance(outcome, Fault) else None
        return _Replay(fault, before, state, memory.stores, self._window)

    @property
    def _window(self) -> range:
        """The real addresses that R shows."""
        known, granule = self.machine.isa.known, self.machine.isa.shape.granule
        first, bound = self.values[known.l.slot] * granule, self.values[known.b.slot] * granule
        return range(first, first + bound)


@dataclass(slots=True)
class _Replay:
    """How an instruction ended; `stores` by address relative to where the window was moved."""

    fault: Fault | None
    before: list[int]
    after: State
    stores: list[tuple[int, int]]
    window: range

    @property
    def changes_control(self) -> bool:
        """Whether M, R, another resource or storage outside of the window changed, untrapped."""
        wanted = self.after.isa.registers.with_role(Role.MODE, Role.RELOCATION, Role.RESOURCE)
        changed = any(self.before[r.slot] != self.after.values[r.slot] for r in wanted)
        outside = any(address not in self.window for address, _ in self.stores)
        return (changed or outside) and self.fault is None

    def apart(self, other: _Replay) -> bool:
        """Whether registers, P or stores differ; traps are excluded, as the definitions say."""
        if self.fault or other.fault:
            return False
        wanted = self.after.isa.registers.with_role(Role.GENERAL, Role.FLAG, Role.PROGRAM_COUNTER)
        return self.stores != other.stores or any(
            self.after.values[r.slot] != other.after.values[r.slot] for r in wanted
        )


class _Moved:
    """Storage as an instruction finds it whose window was moved up; writes are only noted."""

    def __init__(self, machine: ToyMachine, by: int) -> None:
        self._memory = machine.memory
        self._by = by
        self.stores: list[tuple[int, int]] = []

    def load(self, address: int, size: int) -> int | Fault:
        """What lies where the window was."""
        return self._memory.load(max(address - self._by, 0), size)

    load_for_write = load

    def store(self, address: int, size: int, value: int) -> None:
        """Note it."""
        self.stores.append((address - self._by, value))
