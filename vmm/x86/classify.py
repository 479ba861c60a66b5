"""The class of every instruction of an x86 configuration, each claim with how it was obtained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any, Final

from isa.ops import z3
from vmm.theory.classify import UndecidedError
from vmm.theory.shared import Classes, ReplayError, Verdicts, witness_of_sensitivity
from vmm.x86 import exploration
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import Row, Sample, alternatives, rows
from vmm.x86.questions import Question, Questions
from vmm.x86.states import Parts
from vmm.x86.witness import Witness, witness

CLAUSES: Final[Mapping[str, str]] = {
    "privileged": "definition of privileged: i traps in u in every state, also in one that s "
    "traps in; and it does execute in s",
    "privileged_by_states": "privileged, by states: i leaves u (an exit) from every state from "
    "which it is sensitive, and it does execute in s. The paper asks for a trap from every state: "
    "by its words MOV to CR0, which exits only if a masked bit changes, would be critical",
    "control_sensitive": "definition of control sensitive: i, not trapping, changes M (CPL, PE, "
    "VM), R (segments, tables, control registers) or a resource (IF, IOPL, ports, debugging)",
    "mode_sensitive": "definition of behaviour sensitive, by mode: (e,s,p,r) and (e,u,p,r); i "
    "leaves M and R, and e or p differ after it",
    "location_sensitive": "definition of behaviour sensitive, by location: two states in u that "
    "agree on the program's own part; tables and control registers are others (r⊕x); i leaves M "
    "and R, and e or p differ after it",
    "resource_sensitive": "definition of behaviour sensitive, extended: two states in u that "
    "differ in IF, IOPL, ports, clock or debug registers only; e or p differ after i",
}  # fmt: skip
BEHAVIOUR: Final = ("mode_sensitive", "location_sensitive", "resource_sensitive")
CLAIMS: Final = ("privileged", "control_sensitive", *BEHAVIOUR)


PATIENCE: Final = 12_000_000  # of z3's resources; the largest question that is decided takes 7.6 M
"""z3's resources for a question, which no busy machine changes; 3 million are enough for ia32."""
Ask = Callable[[Questions], Question]


class How(Enum):
    """How a verdict was obtained."""

    PROVED = "proved by z3"
    WITNESSED = "witnessed by execution"
    SOLVED = "z3 has states, not executed"  # of the innocuous, that they are not privileged
    EXPLORED = "explored only"  # no witness in one machine's states, and no proof


@dataclass(frozen=True, slots=True)
class Evidence:
    """A claim, whether it holds, and why. `user`, `supervisor`: from which mode control changes."""

    claim: str
    holds: bool
    how: How
    witness: Witness | None = None
    user: bool = False
    supervisor: bool = False
    rule: str = ""  # the clause, if not the claim's own

    @property
    def clause(self) -> str:
        """The definition that it rests on."""
        return CLAUSES[self.rule or self.claim]


@dataclass(frozen=True, slots=True)
class X86Class(Classes):
    """What one row of instructions is; it has a property if one of its forms has it."""

    row: Row
    evidence: Mapping[str, Evidence]

    @property
    def name(self) -> str:
        """The row's name."""
        return self.row.name

    @property
    def privileged(self) -> bool:
        """Traps in u, always, and executes in s."""
        return self.evidence["privileged"].holds

    @property
    def behaviour_sensitive(self) -> bool:
        """By mode, location or resource."""
        return any(self.evidence[claim].holds for claim in BEHAVIOUR)

    @property
    def control_sensitive(self) -> bool:
        """Changes M, R or a resource."""
        return self.evidence["control_sensitive"].holds

    @property
    def user_sensitive(self) -> bool:
        """Sensitive with all states in u: what Theorem 3 asks about."""
        within = self.evidence["location_sensitive"], self.evidence["resource_sensitive"]
        return self.evidence["control_sensitive"].user or any(e.holds for e in within)

    @property
    def supervisor_sensitive(self) -> bool:
        """Control sensitive from s."""
        return self.evidence["control_sensitive"].supervisor

    @property
    def witness(self) -> Witness | None:
        """The witness of its sensitivity."""
        return witness_of_sensitivity(self.evidence)


@dataclass(frozen=True, slots=True)
class X86Classification(Verdicts):
    """A configuration's instructions by name, and what the theorems say of them."""

    configuration: X86Configuration
    instructions: Mapping[str, X86Class]
    seconds: float

    @property
    def name(self) -> str:
        """The configuration."""
        return self.configuration.name


def classify(
    configuration: X86Configuration,
    names: Sequence[str] = (),
    watch: Callable[[Sequence[Row]], Iterable[Row]] = iter,
) -> X86Classification:
    """Derive the class of every row, or of those named. Raises ReplayError."""
    began = time.perf_counter()
    every = rows(configuration.mode(configuration.user))
    chosen = [every[name] for name in names] if names else list(every.values())
    found = {row.name: classify_row(configuration, row) for row in watch(chosen)}
    return X86Classification(configuration, found, time.perf_counter() - began)


def classify_row(configuration: X86Configuration, row: Row) -> X86Class:
    """All claims about one row. What one form has shown, no other is asked."""
    found = {claim: Evidence(claim, False, How.PROVED) for claim in CLAIMS[1:]}
    privileged: list[Evidence] = []
    for inquiry in _inquiries(configuration, row):
        found = {claim: _joined(e, inquiry) for claim, e in found.items()}
        if not any(e.witness and not e.holds for e in privileged):
            sensitive = any(e.holds for e in found.values())
            privileged += filter(None, [inquiry.privileged(replayed=sensitive)])
    rule = "" if configuration.nonroot is None else "privileged_by_states"
    if rule:
        privileged += [e for e in map(_missed, found.values()) if e is not None]
    return X86Class(row, {"privileged": replace(_every(privileged), rule=rule)} | found)


def _missed(evidence: Evidence) -> Evidence | None:
    """That a claim holds of a state in u, where nothing exits."""
    if not evidence.holds or (evidence.claim == "control_sensitive" and not evidence.user):
        return None
    return Evidence("privileged", False, evidence.how, evidence.witness)


def _inquiries(configuration: X86Configuration, row: Row) -> Iterator[_Inquiry]:
    """Each form, at each level that a guest may have."""
    for variant in configuration.variants():
        yield from (_Inquiry(variant, sample) for sample in row.samples)


def _joined(before: Evidence, inquiry: _Inquiry) -> Evidence:
    """A claim that holds if it holds of one form: by its witness, or fails by all the proofs."""
    control = before.claim == "control_sensitive"
    if before.holds and (not control or (before.user and before.supervisor)):
        return before
    found = inquiry.control() if control else inquiry.behaviour(before.claim)
    best = before if before.holds or (before.how is How.EXPLORED and not found.holds) else found
    if control and found.user and not before.user and found.holds:
        best = found  # a change from u says more
    return replace(best, user=before.user or found.user,
                   supervisor=before.supervisor or found.supervisor)  # fmt: skip


def _every(counted: Sequence[Evidence]) -> Evidence:
    """Privileged: every form that is carried out in s at all. Those that never are count not."""
    if not counted:
        return Evidence("privileged", False, How.PROVED)
    refuted = [e for e in counted if not e.holds]
    witnessed = [e for e in refuted if e.witness is not None]
    return (witnessed or refuted or counted)[0]


class _Inquiry:
    """All questions about one form."""

    def __init__(self, configuration: X86Configuration, sample: Sample) -> None:
        self.configuration, self.sample = configuration, sample
        self.parts = Parts.of(configuration)
        self._questions: dict[tuple[bytes, bool], Questions] = {}
        self.explored = configuration.nonroot is None and exploration.large(configuration, sample)

    @cached_property
    def general(self) -> Questions:
        """Of the form with any operands, whatever its functions compute: for proofs."""
        return Questions(self.configuration, self.sample, fixed=False, opaque=True)

    def behaviour(self, claim: str) -> Evidence:
        """Whether it is behaviour sensitive in one of the ways."""
        return self._exists(claim, _ASK[claim])

    def control(self) -> Evidence:
        """Whether it is control sensitive, from u and from s."""
        ask = Questions.control
        user = self._exists("control_sensitive", lambda q: ask(q, "user"), "user")
        supervisor = self._exists("control_sensitive", lambda q: ask(q, "supervisor"), "supervisor")
        best = user if user.holds else supervisor
        if not best.holds and How.EXPLORED in (user.how, supervisor.how):
            best = replace(best, how=How.EXPLORED)
        return replace(best, user=user.holds, supervisor=supervisor.holds)

    def privileged(self, *, replayed: bool) -> Evidence | None:
        """Whether it is privileged; None if it is never carried out in s."""
        if self.explored:
            return self._privileged_in_states()
        refute = self._refuting()
        if refute is not None:
            shown = self._shown(refute) if replayed else None
            return Evidence("privileged", False, How.WITNESSED if shown else How.SOLVED, shown)
        if self._solver(self.general.privileged_shows()) is None:
            return None
        return Evidence("privileged", True, How.PROVED, self._shown(Questions.privileged_shows))

    def _refuting(self) -> Ask | None:
        """The question that has states in which it is not privileged; None if there is none."""
        if self.configuration.nonroot is not None:
            return Questions.exits_fail if self._has(Questions.exits_fail) else None
        if not self._has(Questions.privileged_misses):  # so that no pair refutes it either
            return None
        pair = self._has(Questions.privileged_fails)
        return Questions.privileged_fails if pair else Questions.privileged_misses

    def _has(self, ask: Ask) -> bool:
        return self._solver(ask(self.general)) is not None

    def _privileged_in_states(self) -> Evidence | None:
        """No proof: a task gate might lead to a task of any level, which z3 does not rule out."""
        for claim, mode in (("not privileged", ""), ("unseen in u", "user")):
            refuted = exploration.tried(claim, self.configuration, self.sample, mode)
            if refuted is not None:
                return Evidence("privileged", False, How.WITNESSED, refuted)
        shown = exploration.tried("privileged", self.configuration, self.sample)
        return None if shown is None else Evidence("privileged", True, How.EXPLORED, shown)

    def _exists(self, claim: str, ask: Ask, mode: str = "") -> Evidence:
        """Whether the states that the question asks for exist."""
        if self.explored:
            found = exploration.tried(claim, self.configuration, self.sample, mode)
            if found is not None:
                return Evidence(claim, True, How.WITNESSED, found)
        try:
            return self._by_solver(claim, ask)
        except UndecidedError:
            return Evidence(claim, False, How.EXPLORED)

    def _by_solver(self, claim: str, ask: Ask) -> Evidence:
        if self._solver(ask(self.general)) is None:
            return Evidence(claim, False, How.PROVED)
        shown = self._shown(ask)
        return Evidence(claim, shown is not None, How.WITNESSED if shown else How.EXPLORED, shown)

    def _shown(self, ask: Ask) -> Witness | None:
        """The witness; None if only other operands than those tried have one."""
        tried = (self._shown_of(s, ask) for s in (self.sample, *alternatives(self.sample)))
        return next((found for found in tried if found is not None), None)

    def _shown_of(self, sample: Sample, ask: Ask) -> Witness | None:
        """Functions are left open first, which is quicker, and mostly does not matter."""
        try:
            return self._replayed(ask(self._particular(sample, opaque=True)))
        except ReplayError:
            return self._replayed(ask(self._particular(sample, opaque=False)))

    def _particular(self, sample: Sample, *, opaque: bool) -> Questions:
        """Of one instruction, for witnesses; in every detail, or with functions left open."""
        key = sample.code, opaque
        if key not in self._questions:
            self._questions[key] = Questions(self.configuration, sample, fixed=True, opaque=opaque)
        return self._questions[key]

    def _replayed(self, question: Question) -> Witness | None:
        solver = self._solver(question)
        processor = self.configuration.processor
        return None if solver is None else witness(question, solver, self.parts, processor)

    def _solver(self, question: Question) -> Any | None:
        """A solver that has a solution; None if there is none. Raises UndecidedError."""
        condition = z3.simplify(z3.And(*question.conditions))
        if z3.is_false(condition):
            return None
        solver = z3.SolverFor("QF_AUFBV")
        solver.set("rlimit", PATIENCE)
        solver.add(condition)
        answer = solver.check()
        if answer == z3.unknown:
            raise UndecidedError(f"{self.sample.form.mnemonic}, {question.claim}: z3 gave up")
        return solver if answer == z3.sat else None


_ASK: Final[Mapping[str, Ask]] = {
    "mode_sensitive": Questions.by_mode,
    "location_sensitive": Questions.location,
    "resource_sensitive": Questions.resource,
}
