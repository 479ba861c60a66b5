"""What a guest may do first: set registers that no load reaches, by instructions that obey.

Resources and flags have instructions of their own, if any. An instruction is fit to prepare if
direct execution agrees with the bare machine on it, or if the monitor interprets it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from emu.engines.reference import Reference
from emu.toy.machine import ToyMachine
from isa.ops import z3
from isa.registers import Register
from isa.toy import Toy
from isa.toy.assembler import assemble
from vmm.monitors import Allocation, smaller
from vmm.synthesis.direct import DirectExecution
from vmm.synthesis.source import BYTES, ENTER, Preparation, Start, source
from vmm.theory.classify import solve
from vmm.theory.model import Condition
from vmm.theory.queries import SUPERVISOR, Question, Questions
from vmm.theory.readings import Reading
from vmm.theory.shared import ReplayError
from vmm.theory.step import Step
from vmm.theory.toy import ToyModel

LATER: Final = 1 << 30
"""A large number: what is prepared may be a time, which should not come meanwhile."""
LIMIT: Final = 100  # instructions of a kernel before it enters


def settled(isa: Toy) -> list[Register]:
    """The registers that only instructions of their own set: neither r0 to r7 nor in the PSW."""
    packed = {register for register, _ in isa.known.psw.fields}
    return [r for r in isa.registers if r not in packed and r not in isa.known.general.members]


def preparations(isa: Toy, allocation: Allocation, poison: int) -> Iterator[Preparation | None]:
    """Nothing; then, for each register, an instruction that makes it other than 0."""
    yield None
    for register in settled(isa):
        setters = (_Setter(isa, form, allocation, poison) for form in isa.rows)
        found = (preparation for one in setters if (preparation := one.sets(register)))
        yield from itertools.islice(found, 1)


def prepared(isa: Toy, preparation: Preparation | None) -> dict[Register, int]:
    """What `settled` registers hold behind the preparation, as the reference engine has it."""
    start = Start({"mode": 0, "p": 2, "l": 0, "b": 0}, {2: 0})
    program = assemble(source(isa, start, preparation), isa=isa)
    machine = ToyMachine(isa, program.image, engine=Reference(), entry=program.entry)
    while machine.state.pc != program.symbols[ENTER]:
        if machine.state.count == LIMIT:
            raise ReplayError(f"{isa.name}: {preparation} does not go on as z3 says it does")
        machine.run(machine.state.count + 1)
    return {register: machine.state.values[register.slot] for register in settled(isa)}


class _Setter:
    """One instruction, asked whether it sets registers."""

    def __init__(self, isa: Toy, form: str, allocation: Allocation, poison: int) -> None:
        self._isa, self._form = isa, form
        self._allocation, self._poison = allocation, poison
        self._model = ToyModel(smaller(isa, allocation.words))

    def sets(self, register: Register) -> Preparation | None:
        """How it makes the register other than 0, from a state that has 0 in it."""
        trace = self._isa.trace(self._form)
        if register not in trace.written() or trace.has("load", "store"):
            return None
        one = Questions(self._model, self._form, Reading.REPAIRED).here[SUPERVISOR]
        direct = DirectExecution(self._isa, self._form, self._allocation, self._poison)
        condition = z3.And(
            one.stands, self._begins(one), self._goes_on(one),
            direct.agrees(one, direct.image(one)), one.after[register] != 0,
        )  # fmt: skip
        question = Question(
            "preparation", z3.simplify(condition), one, None, partial(self._wish, one)
        )
        solution = solve(question, f"{self._form}, preparation")
        return None if solution is None else self._read(one, solution)

    def _begins(self, one: Step) -> Condition:
        known, registers = self._model.isa.known, one.before.registers
        zero = [registers[r] == 0 for r in (known.l, *settled(self._model.isa))]
        return z3.And(*zero, registers[known.b] == self._model.shape.all_granules)

    def _goes_on(self, one: Step) -> Condition:
        """The next instruction follows, under the same M and R."""
        parts, before = self._model.parts, one.before.registers
        kept = [one.after[r] == before[r] for r in (*parts.mode, *parts.relocation)]
        return z3.And(*kept, one.after[parts.counter] == before[parts.counter] + 1)

    def _wish(self, one: Step) -> list[Condition]:
        """Registers that do not matter hold 0, the others a large number."""
        data = [one.before.registers[r] for r in self._model.isa.known.general.members]
        return [*(d == 0 for d in data), *(d == LATER for d in data)]

    def _read(self, one: Step, solution: Any) -> Preparation:
        def number(term: Any) -> int:
            return int(solution.eval(term, model_completion=True).as_long())

        word = number(one.before.fields["word"])
        text = self._isa.text(word.to_bytes(BYTES, "little"), 0)
        members = self._model.isa.known.general.members
        loaded = {r.name: number(one.before.registers[r]) for r in members}
        written = {r.name for r in self._isa.trace(self._form).written() if r in members}
        return Preparation(text, loaded, frozenset(written))
