"""From z3's model to states in numbers, and their steps: a witness is what happened in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from isa.ops import z3
from isa.registers import Role
from isa.x86.registers import (
    EIP,
    ESP,
    FLAT_DATA,
    GDT_BASE,
    GDT_LIMIT,
    IDT_BASE,
    IDT_LIMIT,
    LDT_BASE,
    LDT_LIMIT,
    PE,
    REGISTERS,
    SEGMENTS,
    TR_BASE,
    VM,
)  # fmt: skip
from vmm.theory.shared import ReplayError, Steps
from vmm.x86.questions import Question, Step
from vmm.x86.replay import (
    Concrete,
    Difference,
    Found,
    Ran,
    behaves,
    controls,
    misses,
    refutes_privileged,
    shows_privileged,
)
from vmm.x86.states import BORDER, Condition, Parts


class Witness(Steps[Ran, Difference]):
    """One or two states, the step from each, and what differed."""

    __slots__ = ()


Check = Callable[[Ran, Ran | None, Parts], Found]
CHECKS: Final[Mapping[str, Check]] = {
    "not privileged": refutes_privileged,
    "unseen in u": misses,
    "privileged": shows_privileged,
    "control_sensitive": controls,
    "mode_sensitive": behaves,
    "location_sensitive": behaves,
    "resource_sensitive": behaves,
}


def witness(question: Question, solver: Any, parts: Parts, processor: str) -> Witness | None:
    """Let z3 find states that can be carried out, and carry them out; None if there are none.

    Raises ReplayError if the engine does not do what z3 says.
    """
    steps = [step for step in (question.one, question.other) if step is not None]
    for step in steps:
        solver.add(*step.side.stands(step.code), *step.placed())
    if solver.check() != z3.sat:
        return None
    model = _readable(solver, steps)
    runs = [step.ran(concrete(step, model), processor) for step in steps]
    return checked(question.claim, runs, parts)


def checked(claim: str, runs: Sequence[Ran], parts: Parts) -> Witness:
    """The witness that the runs are. Raises ReplayError if they are none."""
    other = runs[1] if len(runs) > 1 else None
    differences = CHECKS[claim](runs[0], other, parts)
    if differences is None:
        raise ReplayError(f"{runs[0].text}: {claim} does not hold of {runs}")
    return Witness(claim, runs[0], other, tuple(differences))


def _readable(solver: Any, steps: Sequence[Step]) -> Any:
    """A model, with as many round numbers as go with the question."""
    model = solver.model()
    for wishes in _wishes(steps):
        solver.push()
        solver.add(*wishes)
        if solver.check() == z3.sat:
            model = solver.model()
        else:
            solver.pop()
    return model


def _wishes(steps: Sequence[Step]) -> Iterator[list[Condition]]:
    """Groups of wishes: flat segments, small numbers, tables at round places."""
    registers = steps[0].side.registers
    if steps[-1].side.mode[PE] and not steps[-1].side.mode[VM]:
        for name, segment in SEGMENTS.items():
            wish = [registers[segment.base] == 0, registers[segment.limit] == 0xFFFFFFFF]
            if name not in ("cs", "ss"):
                wish.append(registers[segment.attributes] == FLAT_DATA)
            yield wish
    yield [registers[EIP] == 0x1000]
    yield [registers[ESP] == 0x2000]
    for number, step in enumerate(steps):
        tables = (GDT_BASE, IDT_BASE, LDT_BASE, TR_BASE)
        for place, base in enumerate(tables, 1):
            at = BORDER + 0x10000 * number + 0x1000 * place
            yield [step.side.registers[base] == at]
        limits = (GDT_LIMIT, IDT_LIMIT, LDT_LIMIT)
        yield [step.side.registers[limit] == 0xFFF for limit in limits]
    for register in REGISTERS.with_role(Role.FLAG):
        yield [registers[register] == 0]
    yield [registers[r] == 0x3000 for r in REGISTERS.with_role(Role.GENERAL)
           if r.slot < 8 and r is not ESP]  # fmt: skip


def concrete(step: Step, model: Any) -> Concrete:
    """The state before a step, in numbers; of memory what the step looks at, and its code."""

    def number(term: Any) -> int:
        return int(model.eval(term, model_completion=True).as_long())

    side = step.side
    registers = {r: number(t) for r, t in side.registers.items()}
    memory: dict[int, int] = {}
    ports = 0
    for event in step.outcome.accesses:
        _, space, width = event.what
        address = number(event.values[0])
        if not z3.is_true(model.eval(event.condition, model_completion=True)):
            continue
        cells = [(address + n) & 0xFFFFFFFF for n in range(width // 8)]
        found = {a: number(z3.Select(side.symbols.memory[space], a)) for a in cells}
        if space == "port":
            ports = sum(byte << 8 * n for n, byte in enumerate(found.values()))
        else:
            memory |= found
    at = registers[SEGMENTS["cs"].base] + registers[EIP]
    memory |= {at + n: byte for n, byte in enumerate(step.code)}
    return Concrete(registers, memory, ports, number(side.symbols.clock))
