"""One instruction carried out on symbols: every part of the state after it, and whether it traps.

Storage is read through the window: a word at real address a is `window[a - l]` if R lets the
program see it, and `outside[a]` if not. Two states with equal window contents then share `window`,
wherever their windows lie, and no quantifier is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from isa.ops import z3
from isa.registers import Register
from isa.smt import Event, Outcome, Symbols, execute
from vmm.theory.model import Condition, Model, Term
from vmm.theory.readings import Reading

Renaming = list[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Before:
    """The variables of a state before the instruction; storage is (window, outside)."""

    registers: dict[Register, Term]
    fields: dict[str, Term]
    window: Any
    outside: Any
    ports: dict[str, Any]
    clock: Term


@dataclass(frozen=True, slots=True)
class Step:
    """A state and what the instruction makes of it; all terms over the variables of `before`."""

    before: Before
    stands: Condition  # the instruction is at P and can be fetched
    exists: Condition  # the whole window lies in storage
    traps: Condition
    memory_traps: Condition
    privileged_traps: Condition
    after: dict[Register, Term]
    word_after: Term  # word `index` of the window, after the instruction
    vector: Term  # E[1], before
    leaves_window: Condition  # it changes storage outside of its window
    drives_ports: Condition  # it writes to a port
    touched: dict[str, list[Term]]  # real addresses (or ports) that it may look at
    offsets: list[Term]  # the former, relative to the window

    def renamed(self, renaming: Renaming) -> Step:
        """The same with other variables: the other state of a pair."""
        found = _substituted(self._terms(), renaming)

        def new(term: Any) -> Any:
            return found[term.get_id()]

        old = self.before
        before = Before(
            {r: new(t) for r, t in old.registers.items()},
            old.fields,
            new(old.window),
            new(old.outside),
            {s: new(a) for s, a in old.ports.items()},
            new(old.clock),
        )
        return replace(
            self,
            before=before,
            stands=new(self.stands),
            exists=new(self.exists),
            traps=new(self.traps),
            memory_traps=new(self.memory_traps),
            privileged_traps=new(self.privileged_traps),
            after={r: new(t) for r, t in self.after.items()},
            word_after=new(self.word_after),
            vector=new(self.vector),
            leaves_window=new(self.leaves_window),
            drives_ports=new(self.drives_ports),
            touched={s: [new(t) for t in terms] for s, terms in self.touched.items()},
            offsets=[new(t) for t in self.offsets],
        )

    def _terms(self) -> list[Any]:
        """Every term."""
        old = self.before
        return [
            *old.registers.values(), old.window, old.outside, *old.ports.values(), old.clock,
            self.stands, self.exists, self.traps, self.memory_traps, self.privileged_traps,
            *self.after.values(), self.word_after, self.vector, self.leaves_window,
            self.drives_ports,
            *(term for terms in self.touched.values() for term in terms), *self.offsets,
        ]  # fmt: skip


def _substituted(terms: list[Any], renaming: Renaming) -> dict[int, Any]:
    """What becomes of each term, by its number: one substitution, as each takes time of its own."""
    together = z3.Function("together", *[term.sort() for term in terms], z3.BoolSort())
    after = z3.substitute(together(*terms), *renaming).children()
    return {term.get_id(): new for term, new in zip(terms, after, strict=True)}


INDEX = "index"
"""The variable that stands for any word of the window."""


def carry_out(model: Model, form: str, reading: Reading) -> Step:
    """The instruction on any state; in the literal reading traps are delivered."""
    return _Stepper(model, form, reading).step()


class _Stepper:
    def __init__(self, model: Model, form: str, reading: Reading) -> None:
        self.model, self.form, self.reading = model, form, reading
        self.state = Symbols(model.isa.spaces)
        for register in model.isa.registers:
            self.state.register(register)
        self.window = model.window(self.state.register)
        words = z3.BitVecSort(model.address_width), z3.BitVecSort(self._unit)
        self.inside, self.outside = z3.Array("window", *words), z3.Array("outside", *words)
        self.storage = self.state.space(model.storage, model.address_width)
        self._rewritten: dict[int, Any] = {}
        self._kept: list[Any] = []

    @property
    def _unit(self) -> int:
        return self.model.isa.spaces[self.model.storage]

    def step(self) -> Step:
        model, state = self.model, self.state
        stands, real, word = model.standing(self.form, state)
        outcome = execute(model.isa.trace(self.form), state)
        traps = outcome.faulted
        registers, storage = self._after(outcome)
        index = z3.BitVec(INDEX, model.address_width)
        at_index = z3.Select(storage, self.window.base + index)
        vector = z3.Select(self.storage, z3.BitVecVal(1, model.address_width))
        touched = self._touched(outcome, real)
        stores = [e for e in outcome.accesses if e.what[0] != "load"]
        return Step(
            before=Before(
                dict(state.registers), dict(state.fields), self.inside, self.outside,
                {s: a for s, a in state.memory.items() if s != model.storage}, state.clock,
            ),
            stands=self._finish(z3.And(stands, z3.Select(self.storage, real) == word)),
            exists=self._finish(model.exists(self.window)),
            traps=self._finish(traps),
            memory_traps=self._finish(_trapping(outcome, model.memory_traps)),
            privileged_traps=self._finish(_trapping(outcome, model.privileged_traps)),
            after={r: self._finish(t) for r, t in registers.items()},
            word_after=self._finish(at_index),
            vector=self._finish(vector),
            leaves_window=self._finish(z3.Or([self._outside(e, storage) for e in stores])),
            drives_ports=self._finish(
                z3.Or([e.condition for e in stores if e.what[1] != model.storage])
            ),
            touched=touched,
            offsets=[z3.simplify(a - self.window.base) for a in touched[model.storage]],
        )  # fmt: skip

    def _outside(self, event: Event, storage: Any) -> Condition:
        """That a store changes a word outside of the window."""
        if event.what[1] != self.model.storage:
            return z3.BoolVal(False)
        (address,) = event.values
        out = z3.UGE(address - self.window.base, self.window.size)
        changed = z3.Select(storage, address) != z3.Select(self.storage, address)
        return z3.And(event.condition, out, changed)

    def _touched(self, outcome: Outcome, real: Term) -> dict[str, list[Term]]:
        """Addresses looked at; conditions do not matter, more than enough is no harm."""
        storage = self.model.storage
        first_words = [z3.BitVecVal(n, self.model.address_width) for n in (0, 1)]
        touched: dict[str, list[Term]] = {storage: [real, *first_words]}
        for event in outcome.accesses:
            touched.setdefault(event.what[1], []).append(event.values[0])
        return {s: [self._finish(t) for t in terms] for s, terms in touched.items()}

    # -- what a trap does, literally ---------------------------------------------------------

    def _after(self, outcome: Outcome) -> tuple[dict[Register, Term], Any]:
        registers = {
            r: outcome.registers.get(r, self.state.register(r)) for r in self.model.isa.registers
        }
        storage = outcome.memory.get(self.model.storage, self.storage)
        if self.reading is Reading.REPAIRED or not outcome.faults:
            return registers, storage
        delivered = self._delivered(outcome)
        traps = outcome.faulted
        for register, value in delivered.registers.items():
            registers[register] = z3.If(traps, value, registers[register])
        new = delivered.memory.get(self.model.storage, self.storage)
        return registers, z3.If(traps, new, storage)

    def _delivered(self, outcome: Outcome) -> Outcome:
        trace = self.model.isa.delivery(None)
        assert trace is not None, "a machine that leaves its traps to others has no literal reading"
        twin = Symbols(self.model.isa.spaces)
        twin.registers, twin.memory = self.state.registers, dict(self.state.memory)
        width = self.model.address_width
        twin.fields = {name: z3.BitVecVal(0, width) for name in ("vector", "code", "address")}
        for fault in outcome.faults:
            code, address = fault.values
            found = {"vector": z3.BitVecVal(fault.what, width), "code": code, "address": address}
            for name, value in found.items():
                if value is not None:
                    wide = _fit(value, width)
                    twin.fields[name] = z3.If(fault.condition, wide, twin.fields[name])
        return execute(trace, twin)

    # -- reading storage through the window --------------------------------------------------

    def _finish(self, term: Any) -> Any:
        return z3.simplify(self._through_window(term))

    def _through_window(self, term: Any) -> Any:
        known = self._rewritten.get(term.get_id())
        if known is None:
            known = self._rewrite(term)
            self._kept.append(term)
            self._rewritten[term.get_id()] = known
        return known

    def _rewrite(self, term: Any) -> Any:
        if term.num_args() == 0:
            return term
        if z3.is_select(term):
            array, address = term.children()
            return self._word(array, self._through_window(address))
        children = [self._through_window(child) for child in term.children()]
        if all(a.eq(b) for a, b in zip(children, term.children(), strict=True)):
            return term
        return _rebuilt(term, children)

    def _word(self, array: Any, address: Term) -> Term:
        """The word of a stored-to array, as nested choices down to the state before."""
        if z3.is_store(array):
            before, at, value = array.children()
            at, value = self._through_window(at), self._through_window(value)
            return z3.If(address == at, value, self._word(before, address))
        if z3.is_app_of(array, z3.Z3_OP_ITE):
            condition, then, otherwise = array.children()
            return z3.If(
                self._through_window(condition),
                self._word(then, address),
                self._word(otherwise, address),
            )
        if not array.eq(self.storage):
            return z3.Select(array, address)
        offset = address - self.window.base
        visible = z3.ULT(offset, self.window.size)
        return z3.If(visible, z3.Select(self.inside, offset), z3.Select(self.outside, address))


def _trapping(outcome: Outcome, vectors: frozenset[int]) -> Condition:
    """That the instruction takes one of these traps."""
    return z3.Or([fault.condition for fault in outcome.faults if fault.what in vectors])


def _rebuilt(term: Any, children: list[Any]) -> Any:
    kind = term.decl().kind()
    if kind == z3.Z3_OP_AND:
        return z3.And(children)
    if kind == z3.Z3_OP_OR:
        return z3.Or(children)
    return term.decl()(*children) if kind != z3.Z3_OP_DISTINCT else z3.Distinct(children)


def _fit(value: Term, width: int) -> Term:
    if value.size() < width:
        return z3.ZeroExt(width - value.size(), value)
    return z3.Extract(width - 1, 0, value) if value.size() > width else value


def constants(values: Mapping[Register, int], step: Step) -> Renaming:
    """A renaming that fixes registers to numbers."""
    return [(step.before.registers[r], z3.BitVecVal(v, r.width)) for r, v in values.items()]
