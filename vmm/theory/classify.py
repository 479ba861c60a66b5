"""The classification of every instruction of a machine, each claim with its proof or witness."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

from isa.ops import z3
from isa.toy import Toy
from vmm.theory.queries import MODES, SUPERVISOR, USER, Question, Questions
from vmm.theory.readings import Reading, clause
from vmm.theory.shared import Classes, Verdicts, witness_of_sensitivity
from vmm.theory.theorems import Repair, Theorem, repair_of, theorem2
from vmm.theory.timing import Timing, timing
from vmm.theory.toy import ToyModel
from vmm.theory.witness import Witness, witness

PATIENCE: Final = 200_000_000  # z3's resources for a question: no busy machine changes a verdict


class UndecidedError(Exception):
    """z3 gave up on a question: neither proof nor witness."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a claim holds or not: `witness`, or a proof that there is none ("unsat" in that time).

    A claim "exists two states" holds by a witness and fails by a proof. "Privileged" is a claim
    about every pair: it holds by a proof (its witness only shows it) and fails by a witness.
    """

    claim: str
    holds: bool
    clause: str
    milliseconds: float
    witness: Witness | None = None

    @property
    def proved(self) -> bool:
        """Whether it rests on a proof."""
        return self.witness is None or (self.claim == "privileged" and self.holds)

    def __str__(self) -> str:
        how = f"unsat, {self.milliseconds:.0f} ms" if self.proved else "witness"
        return f"{self.claim}: {'yes' if self.holds else 'no'} ({how})"


@dataclass(frozen=True, slots=True)
class InstructionClass(Classes):
    """What one instruction is."""

    name: str
    privileged: bool
    control_sensitive: bool
    location_sensitive: bool
    mode_sensitive: bool
    resource_sensitive: bool
    behaviour_sensitive: bool
    user_sensitive: bool
    supervisor_sensitive: bool
    evidence: Mapping[str, Evidence]

    @property
    def witness(self) -> Witness | None:
        """The witness of its sensitivity; None if it is innocuous."""
        return witness_of_sensitivity(self.evidence)


@dataclass(frozen=True)
class Classification(Verdicts):
    """A machine's instructions by name, and what the theorems say of them."""

    model: ToyModel
    reading: Reading
    instructions: Mapping[str, InstructionClass]
    seconds: float

    @property
    def name(self) -> str:
        """The configuration."""
        return self.model.name

    @property
    def theorem2(self) -> Theorem:
        """Theorem 1, and a monitor without timing dependence."""
        return theorem2(self.instructions.values(), self.timing)

    @cached_property
    def timing(self) -> Timing:
        """What lets a program tell time, for Theorem 2."""
        return timing(self.model, self.reading, self.instructions.values())

    @cached_property
    def repair(self) -> Repair:
        """The fewest instructions to make trap, and what is critical after that."""
        model, reading = self.model, self.reading

        def critical_after(names: Sequence[str]) -> list[str]:
            return classify_model(model.with_traps(names), reading).critical

        return repair_of(self.critical, critical_after)


Watch = Callable[[Sequence[str]], Iterable[str]]


def classify(isa: Toy, *, literal: bool = False, watch: Watch = iter) -> Classification:
    """Derive the class of every instruction of `isa`.

    `watch` sees the instructions go by, for whoever waits. Raises UndecidedError if z3 gives up,
    ReplayError if the reference engine contradicts it.
    """
    return classify_model(ToyModel(isa), Reading.LITERAL if literal else Reading.REPAIRED, watch)


def classify_model(model: ToyModel, reading: Reading, watch: Watch = iter) -> Classification:
    """The same for any model."""
    began = time.perf_counter()
    forms = watch(list(model.instructions()))
    found = {form: classify_one(model, form, reading) for form in forms}
    return Classification(model, reading, found, time.perf_counter() - began)


_KNOWN: dict[Hashable, InstructionClass] = {}
_QUESTIONS: dict[Hashable, Questions] = {}


def classify_one(model: ToyModel, form: str, reading: Reading) -> InstructionClass:
    """One instruction; instructions of equal meaning are asked about once in a process."""
    key = (reading, form, model.key(form))
    if key not in _KNOWN:
        _KNOWN[key] = _Inquiry(model, form, reading).conclude()
    return _KNOWN[key]


def disobedience(model: ToyModel, form: str, *, relocated: bool) -> Evidence:
    """Whether direct execution breaks the VM map unseen: the witness, or the proof that it obeys.

    The map is the standard one, or (not `relocated`) that of a monitor in high storage whose
    virtual machine lies where the real one would.
    """
    inquiry = _Inquiry(model, form, Reading.REPAIRED)
    ask = partial(inquiry.questions.disobeys_map, relocated=relocated)
    parts = [inquiry.exists("vm_map", partial(ask, mode)) for mode in MODES]
    return _any("vm_map", Reading.REPAIRED, *parts)


class _Inquiry:
    """All questions about one instruction."""

    def __init__(self, model: ToyModel, form: str, reading: Reading) -> None:
        self.model, self.form, self.reading = model, form, reading
        key = (reading, form, model.key(form), tuple(model.isa.registers))
        if key not in _QUESTIONS:
            _QUESTIONS[key] = Questions(model, form, reading)
        self.questions = _QUESTIONS[key]

    def conclude(self) -> InstructionClass:
        """Ask everything and put the answers together."""
        ask, q = self.exists, self.questions
        privileged = self._privileged()
        control = {m: ask("control_sensitive", partial(q.control, m)) for m in MODES}
        location = {m: ask("location_sensitive", partial(q.location, m)) for m in MODES}
        by_mode = ask("mode_sensitive", q.by_mode)
        resource = {m: self._resource(m) for m in MODES}
        rings: list[Evidence] = []
        if len(self.model.users) > 1:
            by_ring = ask("mode_sensitive", q.by_ring)
            by_mode = _any("mode_sensitive", self.reading, by_mode, by_ring)
            rings = [by_ring, ask("behaviour_sensitive", q.by_ring_and_place)]
        behaviour = _any("behaviour_sensitive", self.reading, *location.values(), by_mode, *rings,
                         *resource.values())  # fmt: skip
        if not behaviour.holds:
            both = ask("behaviour_sensitive", q.by_both)
            behaviour = _any("behaviour_sensitive", self.reading, behaviour, both)
        of_user = {SUPERVISOR: [], USER: rings}
        by = {
            m: _any(
                f"{m}_sensitive", self.reading, control[m], location[m], resource[m], *of_user[m]
            )
            for m in MODES
        }
        evidence = {
            "privileged": privileged,
            "control_sensitive": _any("control_sensitive", self.reading, *control.values()),
            "location_sensitive": _any("location_sensitive", self.reading, *location.values()),
            "mode_sensitive": by_mode,
            "resource_sensitive": _any("resource_sensitive", self.reading, *resource.values()),
            "behaviour_sensitive": behaviour,
            "user_sensitive": by[USER],
            "supervisor_sensitive": by[SUPERVISOR],
        }
        return InstructionClass(
            self.form, **{c: e.holds for c, e in evidence.items()}, evidence=evidence
        )

    def _privileged(self) -> Evidence:
        q, claim = self.questions, "privileged"
        refuted = self.exists(claim, q.privileged_fails)
        if refuted.holds:
            return Evidence(claim, False, refuted.clause, refuted.milliseconds, refuted.witness)
        shown = self.exists(claim, q.privileged_shows)
        spent = refuted.milliseconds + shown.milliseconds
        return Evidence(claim, shown.holds, refuted.clause, spent, shown.witness)

    def _resource(self, mode: str) -> Evidence:
        if self.reading is Reading.LITERAL:  # the paper's machine has none
            return Evidence("resource_sensitive", False,
                            clause(self.reading, "resource_sensitive"), 0.0)  # fmt: skip
        return self.exists("resource_sensitive", partial(self.questions.resource, mode))

    def exists(self, claim: str, make: Callable[[], Question]) -> Evidence:
        """Whether the states that the question asks for exist."""
        began = time.perf_counter()
        question = make()
        solution = solve(question, f"{self.form}, {claim}")
        spent = (time.perf_counter() - began) * 1000
        why = clause(self.reading, claim)
        if solution is None:
            return Evidence(claim, False, why, spent)
        found = witness(self.model, self.form, question, solution, self.reading)
        return Evidence(claim, True, why, spent, found)


def solve(question: Question, what: str) -> Any | None:
    """A solution, the easiest to read that comes cheaply; None if there is none."""
    if z3.is_false(question.condition):
        return None
    solver = z3.SolverFor("QF_AUFBV")
    solver.set("rlimit", PATIENCE)
    solver.add(question.condition)
    answer = solver.check()
    if answer == z3.unknown:
        raise UndecidedError(f"{what}: z3 says {solver.reason_unknown()}")
    if answer == z3.unsat:
        return None
    solution = solver.model()
    for wish in question.wish():
        if z3.is_true(solution.eval(wish, model_completion=True)):
            solver.add(wish)
            continue
        solver.push()
        solver.add(wish)
        if solver.check() != z3.sat:
            solver.pop()
        else:
            solution = solver.model()
    return solution


def _any(claim: str, reading: Reading, *parts: Evidence) -> Evidence:
    """A claim that holds if one of its parts does: by its witness, or fails by all the proofs."""
    spent = sum(part.milliseconds for part in parts)
    held = next((part for part in parts if part.holds), None)
    found = None if held is None else held.witness
    return Evidence(claim, held is not None, clause(reading, claim), spent, found)
