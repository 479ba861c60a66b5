"""From a solver's model to two states in numbers, replayed on the reference engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isa.ops import z3
from isa.registers import Register
from vmm.theory.concrete import (
    Concrete,
    Difference,
    Ran,
    behaves_differently,
    form_at,
    run,
    same_program,
)
from vmm.theory.queries import Question
from vmm.theory.readings import Reading
from vmm.theory.shared import ReplayError, Steps
from vmm.theory.step import Step
from vmm.theory.toy import ToyModel


class Witness(Steps[Ran, Difference]):
    """One or two states, the step from each, and what differed."""

    __slots__ = ()


def witness(
    model: ToyModel, form: str, question: Question, solution: Any, reading: Reading
) -> Witness:
    """Replay a solution; raises ReplayError if the step does not do what z3 says it does.

    The states name all words that the steps, or those that the question has `besides`, look at.
    """
    steps = [step for step in (question.one, question.other) if step is not None]
    states = _states(model, [*steps, *question.besides], solution)
    runs = [run(model, state) for state in states[: len(steps)]]
    for ran in runs:
        if form_at(model, ran.before) != form:
            raise ReplayError(f"{form}: the state is about to carry out {ran.text!r} instead")
    one, other = runs[0], runs[1] if len(runs) > 1 else None
    differences = CHECKS[question.claim](one, other, reading)
    if differences is None:
        raise ReplayError(f"{form}: {question.claim} does not hold of {one} and {other}")
    return Witness(question.claim, one, other, tuple(differences))


def _states(model: ToyModel, steps: list[Step], solution: Any) -> list[Concrete]:
    """The states in numbers. Each names every word that the step from any of them may look at."""

    def number(term: Any) -> int:
        return int(solution.eval(term, model_completion=True).as_long())

    registers = [{r: number(t) for r, t in s.before.registers.items()} for s in steps]
    windows = [model.bounds(values) for values in registers]
    touched = [{number(t) for t in step.touched[model.storage]} for step in steps]
    offsets = {
        address - base
        for addresses, (base, size) in zip(touched, windows, strict=True)
        for address in addresses
        if base <= address < base + size
    }
    states = []
    for step, values, (base, size) in zip(steps, registers, windows, strict=True):
        storage = {
            address: number(z3.Select(step.before.outside, address))
            for address in set.union(*touched)
            if not base <= address < base + size
        }
        storage |= {base + at: number(z3.Select(step.before.window, at)) for at in offsets}
        existing = {a: word for a, word in sorted(storage.items()) if a < model.shape.storage}
        ports = _ports(step, number)
        states.append(Concrete(values, existing, ports, number(step.before.clock)))
    return states


def _ports(step: Step, number: Callable[[Any], int]) -> dict[int, int]:
    return {
        port: number(z3.Select(array, port))
        for space, array in step.before.ports.items()
        for port in {number(t) for t in step.touched.get(space, ())}
    }


# -- the definitions on two runs ------------------------------------------------------------------

Found = list[Difference] | None


def _privileged(one: Ran, other: Ran | None, reading: Reading) -> Found:
    """A pair equal but for M. Both what shows the claim and what refutes it is a finding."""
    assert other is not None
    parts = one.model.parts
    equal = all(
        one.before.registers[r] == other.before.registers[r]
        for r in one.model.isa.registers
        if r not in parts.mode
    )
    if not equal or one.before.storage != other.before.storage:
        return None
    if one.memory_trapped or other.memory_trapped:
        return None
    return []


def _control(one: Ran, _: Ran | None, reading: Reading) -> Found:
    return (one.controls(reading) or None) if one.counts(reading) else None


def _behaviour(allowed: Callable[[Ran, Ran], bool]) -> Callable[..., Found]:
    def check(one: Ran, other: Ran | None, reading: Reading) -> Found:
        assert other is not None
        fair = all(r.counts(reading) and r.stays and r.window_exists for r in (one, other))
        if not (fair and same_program(one, other) and allowed(one, other)):
            return None
        return behaves_differently(one, other) or None

    return check


def _equal(one: Ran, other: Ran, registers: tuple[Register, ...]) -> bool:
    return all(one.before.registers[r] == other.before.registers[r] for r in registers)


def _same_mode(one: Ran, other: Ran) -> bool:
    return _equal(one, other, one.model.parts.mode)


def _same_place(one: Ran, other: Ran) -> bool:
    return _equal(one, other, one.model.parts.relocation)


def _same_resources(one: Ran, other: Ran) -> bool:
    a, b = one.before, other.before
    return _equal(one, other, one.model.parts.resources) and (a.ports, a.clock) == (
        b.ports,
        b.clock,
    )


def _map(one: Ran, other: Ran | None, reading: Reading) -> Found:
    """A virtual state and its image, after which f(i(S)) ≠ i(f(S)) and nobody was told."""
    assert other is not None
    if other.trap is not None or not same_program(one, other):
        return None
    parts, shift = one.model.parts, one.model.shift
    found = one.changed(parts.mode, "M") + other.changed((*parts.mode, *parts.resources), "M")
    found += one.changed(parts.resources, "resource")
    moved = [r.after.registers[shift] - r.before.registers[shift] for r in (one, other)]
    if moved[0] != moved[1]:
        found.append(Difference("R", f"{shift} moves by", moved[0], moved[1]))
    found += [
        Difference("R", r.name, one.after.registers[r], other.after.registers[r])
        for r in parts.relocation
        if r is not shift and one.after.registers[r] != other.after.registers[r]
    ]
    found += behaves_differently(one, other)
    found += [d for d in other.controls(Reading.REPAIRED) if d.part == "resource"]
    if one.trap is not None:
        found.append(Difference("P", "trap, that does not happen to the image", one.trap.vector, 0))
    return found or None


CHECKS: dict[str, Callable[[Ran, Ran | None, Reading], Found]] = {
    "privileged": _privileged,
    "control_sensitive": _control,
    "location_sensitive": _behaviour(
        lambda a, b: _same_mode(a, b) and not _same_place(a, b) and _same_resources(a, b)
    ),
    "mode_sensitive": _behaviour(
        lambda a, b: (
            not _same_mode(a, b)
            and _same_place(a, b)
            and _same_resources(a, b)
            and a.before.storage == b.before.storage
        )
    ),
    "behaviour_sensitive": _behaviour(
        lambda a, b: not _same_mode(a, b) and not _same_place(a, b) and _same_resources(a, b)
    ),
    "vm_map": _map,
    "resource_sensitive": _behaviour(lambda a, b: _same_mode(a, b) and _same_place(a, b)),
}
