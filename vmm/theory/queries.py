"""The definitions of the paper as satisfiability questions: "exist two states such that …".

An answer "unsat" is a proof that they do not exist; a model is a pair of states (see `witness`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from isa.ops import z3
from isa.registers import Register
from vmm.theory.model import Condition, Model
from vmm.theory.readings import Reading
from vmm.theory.step import INDEX, Renaming, Step, carry_out, constants

Mode = str
SUPERVISOR: Final = "supervisor"
USER: Final = "user"
MODES: Final = (SUPERVISOR, USER)
SECOND_PLACE: Final = 5
"""Where the other window lies, in granules, unless the question forbids it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A condition on one or two states; `one` and `other` are what it speaks about.

    `besides` are further steps that the condition mentions.
    """

    claim: str
    condition: Condition
    one: Step
    other: Step | None
    wish: Callable[[], list[Condition]]  # what would make a witness easy to read
    besides: tuple[Step, ...] = ()


class Questions:
    """The questions about one instruction, made from one symbolic step."""

    def __init__(self, model: Model, form: str, reading: Reading) -> None:
        self.model, self.form, self.reading = model, form, reading
        self.free = carry_out(model, form, reading)
        registers = self.free.before.registers
        self._apart = _renaming({model.shift: registers[model.shift]}, self.free.before.outside)
        ports = [(a, z3.Const(f"{a}'", a.sort())) for a in self.free.before.ports.values()]
        clock = self.free.before.clock
        resources = {r: registers[r] for r in model.parts.resources}
        self._other_resources = [
            *_renaming(resources), *ports, (clock, z3.BitVec("clock'", clock.size())),
        ]  # fmt: skip
        supervisor = self.free.renamed(constants(model.supervisor, self.free))
        self.here = {SUPERVISOR: supervisor, USER: self._in_user_mode()}
        self.there = {m: step.renamed(self._apart) for m, step in self.here.items()}

    def _in_user_mode(self) -> Step:
        """In u; with more than one such mode, in any of them."""
        modes, registers = self.model.users, self.free.before.registers
        if len(modes) == 1:
            return self.free.renamed(constants(modes[0], self.free))
        one_of = z3.Or([z3.And([registers[r] == v for r, v in mode.items()]) for mode in modes])
        return replace(self.free, stands=z3.And(self.free.stands, one_of))

    def _in_other_user_mode(self, step: Step) -> Step:
        """The same state in a ring of its own."""
        return step.renamed(_renaming({r: self.free.before.registers[r] for r in self._rings}))

    @property
    def _rings(self) -> tuple[Register, ...]:
        return self.model.parts.mode if len(self.model.users) > 1 else ()

    # -- privileged --------------------------------------------------------------------------

    def privileged_fails(self) -> Question:
        """A pair that refutes "traps in u and not in s"."""
        s, u = self.here[SUPERVISOR], self.here[USER]
        counted = [z3.Not(s.memory_traps), z3.Not(u.memory_traps)]
        if self.reading is Reading.REPAIRED:
            counted.append(z3.Not(s.traps))
        return self._question("privileged", s, u, *counted,
                              z3.Not(z3.And(u.traps, z3.Not(s.traps))))  # fmt: skip

    def privileged_shows(self) -> Question:
        """A pair that shows it, as a claim about no pair at all would be empty."""
        s, u = self.here[SUPERVISOR], self.here[USER]
        return self._question("privileged", s, u, z3.Not(s.traps), u.traps, z3.Not(u.memory_traps))

    # -- control sensitive -------------------------------------------------------------------

    def control(self, mode: Mode) -> Question:
        """A state in `mode` whose M or R (or resources) the instruction changes."""
        step = self.here[mode]
        changes = self._changes(step, self.model.parts.mode + self.model.parts.relocation)
        if self.reading is Reading.REPAIRED:
            changes += self._changes(step, self.model.parts.resources)
            changes += [step.leaves_window, step.drives_ports]
        return self._question("control_sensitive", step, None, self._counts(step), z3.Or(changes))

    def _changes(self, step: Step, registers: tuple[Register, ...]) -> list[Condition]:
        return [step.after[r] != step.before.registers[r] for r in registers]

    def _counts(self, step: Step) -> Condition:
        """That the transition is not excluded by the trap it takes."""
        literal = self.reading is Reading.LITERAL
        return z3.Not(step.memory_traps if literal else step.traps)

    # -- behaviour sensitive -----------------------------------------------------------------

    def location(self, mode: Mode) -> Question:
        """Two states in `mode`, their windows apart."""
        return self._behaviour("location_sensitive", self.here[mode], self.there[mode], apart=True)

    def by_mode(self) -> Question:
        """Two states that differ in M only."""
        return self._behaviour("mode_sensitive", self.here[SUPERVISOR], self.here[USER])

    def by_ring(self) -> Question:
        """Two states in different modes that are both u."""
        one = self.here[USER]
        return self._behaviour("mode_sensitive", one, self._in_other_user_mode(one))

    def by_ring_and_place(self) -> Question:
        """The same, their windows apart."""
        one, other = self.here[USER], self._in_other_user_mode(self.there[USER])
        return self._behaviour("behaviour_sensitive", one, other, apart=True)

    def by_both(self) -> Question:
        """Two states in different modes, their windows apart."""
        s, u = self.here[SUPERVISOR], self.there[USER]
        return self._behaviour("behaviour_sensitive", s, u, apart=True)

    def resource(self, mode: Mode) -> Question:
        """Two states that differ in resources only."""
        one = self.here[mode]
        return self._behaviour("resource_sensitive", one, one.renamed(self._other_resources))

    def _behaviour(self, claim: str, one: Step, other: Step, *, apart: bool = False) -> Question:
        parts = self.model.parts
        kept = parts.mode + parts.relocation
        stays = [z3.Not(z3.Or(self._changes(step, kept))) for step in (one, other)]
        before = [step.before.registers[self.model.shift] for step in (one, other)]
        return self._question(
            claim, one, other,
            self._counts(one), self._counts(other), *stays, one.exists, other.exists,
            one.vector == other.vector,  # footnote 4: the states agree on E[1]
            before[0] != before[1] if apart else z3.BoolVal(True),
            self._differs(one, other),
            *self._different_rings(claim, one, other),
        )  # fmt: skip

    def _different_rings(self, claim: str, one: Step, other: Step) -> list[Condition]:
        """For the claims about modes, between two modes that are both u."""
        if claim not in ("mode_sensitive", "behaviour_sensitive"):
            return []
        pairs = [(one.before.registers[r], other.before.registers[r]) for r in self._rings]
        return [z3.Or([a != b for a, b in pairs])] if pairs else []

    def _differs(self, one: Step, other: Step) -> Condition:
        """p1 ≠ p2 or e1|r ≠ e2|r⊕x: some register, or the word of the window at a free index."""
        parts = self.model.parts
        seen = (parts.counter, *parts.data)
        registers = [one.after[r] != other.after[r] for r in seen]
        index = z3.BitVec(INDEX, self.model.address_width)
        size = self.model.window(lambda register: one.before.registers[register]).size
        words = z3.And(z3.ULT(index, size), one.word_after != other.word_after)
        return z3.Or([*registers, words])

    # -- the VM map --------------------------------------------------------------------------

    def disobeys_map(self, mode: Mode, *, relocated: bool) -> Question:
        """A virtual state in `mode` and its image under f, from which i goes on wrongly unseen.

        f makes M = u and, if `relocated`, moves the window by x ≠ 0; what lies outside of it is
        the monitor's. Wrongly: f(i(S)) ≠ i(f(S)). Unseen: i(f(S)) does not trap, or else the
        monitor would interpret i.
        """
        one, shift, parts = self.here[mode], self.model.shift, self.model.parts
        outside = self.free.before.outside
        aside = _renaming({shift: one.before.registers[shift]} if relocated else {}, outside)
        image = constants(self.model.users[-1], self.free)
        other = self.free.renamed(image).renamed(aside)
        base = [step.before.registers[shift] for step in (one, other)]
        wrong = [
            one.traps,
            # direct execution leaves the simulated mode and the simulated resources alone
            *self._changes(one, (*parts.mode, *parts.resources)),
            *self._changes(other, (*parts.mode, *parts.resources)),
            *(one.after[r] != other.after[r] for r in parts.relocation if r is not shift),
            one.after[shift] - base[0] != other.after[shift] - base[1],
            other.leaves_window,
            other.drives_ports,
            self._differs(one, other),
        ]
        return self._question(
            "vm_map", one, other,
            z3.Not(other.traps), one.exists, other.exists,
            base[0] != base[1] if relocated else z3.BoolVal(True),
            z3.Or(wrong),
        )  # fmt: skip

    # -- common ------------------------------------------------------------------------------

    def _question(self, claim: str, one: Step, other: Step | None, *what: Condition) -> Question:
        conditions = [one.stands, *what]
        if other is not None:
            conditions.append(other.stands)
        if self.reading is Reading.LITERAL:
            steps = [one] if other is None else [one, other]
            conditions += [self.model.intended_vector(step.vector, self.reading) for step in steps]
        condition = z3.simplify(z3.And(conditions))
        return Question(claim, condition, one, other, partial(self._wish, one, other))

    def _wish(self, one: Step, other: Step | None) -> list[Condition]:
        """Small numbers and zeros; each wish is dropped if it contradicts the question."""
        parts, registers = self.model.parts, one.before.registers
        wish = [one.exists] if other is None else []
        wish += [registers[r] == n for n, r in enumerate((parts.counter, *parts.relocation), 1)]
        shift = self.model.shift
        if other is not None and not registers[shift].eq(other.before.registers[shift]):
            wish.append(other.before.registers[shift] == SECOND_PLACE)
        for name, operand in one.before.fields.items():
            if name != "word":
                wish += [z3.ULE(operand, 3)]
        wish += [registers[r] == 0 for r in (*parts.resources, *parts.data)]
        wish += [z3.ULT(registers[r], 8) for r in parts.data]
        for step in (one,) if other is None else (one, other):
            wish += [step.before.outside[a] == 0 for a in step.touched[self.model.storage]]
            wish += [step.before.window[a] == 0 for a in step.offsets]
        return wish


def _renaming(registers: dict[Register, object], *others: object) -> Renaming:
    variables = [*registers.values(), *others]
    return [(v, z3.Const(f"{v}'", v.sort())) for v in variables]  # type: ignore[attr-defined]
