"""Concrete states, the step on the reference engine, and the definitions checked on numbers.

This is a second, independent reading of the definitions: witnesses are replayed through it, and
brute force uses it; it knows nothing of z3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from emu.engines.fetch import decode_at
from emu.engines.reference import Reference
from emu.state import State
from emu.toy.memory import WordMemory
from isa.fault import Fault
from isa.registers import Register
from vmm.theory.readings import Reading
from vmm.theory.toy import ToyModel


@dataclass(frozen=True, slots=True)
class Concrete:
    """A state in numbers. Words of storage and ports that are not named hold 0."""

    registers: Mapping[Register, int]
    storage: Mapping[int, int]
    ports: Mapping[int, int] = field(default_factory=dict)
    clock: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One part of two states that is not equal: `part` is "M", "R", "P", "E" or "resource"."""

    part: str
    name: str
    one: int
    other: int

    changed: bool = False  # by one step: `one` before it, `other` after it

    def __str__(self) -> str:
        if self.name.startswith("port"):
            return f"{self.name} := {self.other:#x}"
        return f"{self.name}: {self.one:#x} {'→' if self.changed else '≠'} {self.other:#x}"


@dataclass(frozen=True, slots=True)
class Ran:
    """A state and what one step made of it; if it trapped, what the trap's delivery made of it."""

    model: ToyModel
    before: Concrete
    after: Concrete
    text: str
    trap: Fault | None = None
    driven: tuple[int, int] | None = None  # (port, value) that it wrote

    @property
    def memory_trapped(self) -> bool:
        """Whether it took a memory trap."""
        return self.trap is not None and self.trap.vector in self.model.memory_traps

    def counts(self, reading: Reading) -> bool:
        """Whether the definitions look at the transition, given the trap it took."""
        return not (self.memory_trapped if reading is Reading.LITERAL else self.trap)

    def changed(self, registers: tuple[Register, ...], part: str) -> list[Difference]:
        """The registers that the step changed."""
        before, after = self.before.registers, self.after.registers
        return [Difference(part, r.name, before[r], after[r], True) for r in registers
                if before[r] != after[r]]  # fmt: skip

    def controls(self, reading: Reading) -> list[Difference]:
        """What makes the transition control sensitive."""
        parts = self.model.parts
        found = self.changed(parts.mode, "M") + self.changed(parts.relocation, "R")
        if reading is Reading.REPAIRED:
            found += self.changed(parts.resources, "resource")
            if self.driven is not None:
                port, value = self.driven
                found.append(Difference("resource", f"port {port}", 0, value, True))
            found += self._stored_outside()
        return found

    def _stored_outside(self) -> list[Difference]:
        base, size = self.model.bounds(self.before.registers)
        old, new = self.before.storage, self.after.storage
        return [
            Difference("resource", f"outside word {a:#x}", old.get(a, 0), new[a], True)
            for a in new
            if not base <= a < base + size and new[a] != old.get(a, 0)
        ]

    @property
    def stays(self) -> bool:
        """Whether M and R are as they were."""
        parts = self.model.parts
        return not self.changed(parts.mode + parts.relocation, "")

    @property
    def window_exists(self) -> bool:
        """Whether all of the window lies in storage."""
        base, size = self.model.bounds(self.before.registers)
        return base + size <= self.model.shape.storage


def window(
    model: ToyModel, registers: Mapping[Register, int], storage: Mapping[int, int]
) -> list[int]:
    """e|r: the words that R shows."""
    base, size = model.bounds(registers)
    return [storage.get(address, 0) for address in range(base, base + size)]


def same_program(one: Ran, other: Ran) -> bool:
    """Whether two states agree on what behaviour sensitivity wants equal: e|r, p, b, E[1]."""
    model, parts = one.model, one.model.parts
    fixed = [r for r in (*parts.data, parts.counter, *parts.relocation) if r is not model.shift]
    a, b = one.before, other.before
    return (
        all(a.registers[r] == b.registers[r] for r in fixed)
        and window(model, a.registers, a.storage) == window(model, b.registers, b.storage)
        and a.storage.get(1, 0) == b.storage.get(1, 0)
    )


def behaves_differently(one: Ran, other: Ran) -> list[Difference]:
    """What differs after the step: p, and e|r (with the general registers and flags)."""
    model, parts = one.model, one.model.parts
    a, b = one.after, other.after
    found = [
        Difference("P" if r is parts.counter else "E", r.name, a.registers[r], b.registers[r])
        for r in (parts.counter, *parts.data)
        if a.registers[r] != b.registers[r]
    ]
    words = zip(
        window(model, one.before.registers, a.storage),
        window(model, other.before.registers, b.storage),
        strict=True,
    )
    return found + [
        Difference("E", f"word {n:#x} of the window", x, y)
        for n, (x, y) in enumerate(words)
        if x != y
    ]


def run(model: ToyModel, before: Concrete) -> Ran:
    """One step of the reference engine: fetch, decode, carry out, and take the trap if it traps."""
    state = _state(model, before)
    base, _ = model.bounds(before.registers)
    address = base + before.registers[model.parts.counter]
    code = state.memory[model.storage].fetch(address, 1)[0]
    text = model.isa.text(code, address) if code else "outside of storage"
    engine = Reference()
    state.intercept_traps = True
    stop = engine.step(state)
    while stop is not None and stop.reason == "port_read":
        state.reply = before.ports.get(stop.values[0], 0)
        stop = engine.step(state)
    trap = stop.fault if stop is not None and stop.reason == "fault" else None
    if trap is not None:
        engine.deliver(state, trap)
    driven = None
    if stop is not None and stop.reason == "port_write":
        driven = (stop.values[0], stop.values[2])
    return Ran(model, before, _read(model, state, before), text, trap, driven)


def form_at(model: ToyModel, before: Concrete) -> object:
    """The form of the instruction that a state is about to carry out."""
    state = _state(model, before)
    base, _ = model.bounds(before.registers)
    found = decode_at(state, base + before.registers[model.parts.counter])
    return None if isinstance(found, Fault) else found.form


def _state(model: ToyModel, concrete: Concrete) -> State:
    memory = WordMemory(model.shape.storage, model.shape.word)
    for address, word in concrete.storage.items():
        memory.view[address] = word
    state = State(model.isa, {model.storage: memory})
    for register, value in concrete.registers.items():
        state.write(register, value)
    state.count = concrete.clock
    return state


def _read(model: ToyModel, state: State, before: Concrete) -> Concrete:
    memory = state.memory[model.storage]
    assert isinstance(memory, WordMemory)
    named = set(before.storage) | set(map(int, np.nonzero(memory.array)[0]))
    return Concrete(
        {r: int(state.values[r.slot]) for r in model.isa.registers},
        {address: int(memory.view[address]) for address in sorted(named)},
        before.ports,
        state.count,
    )
