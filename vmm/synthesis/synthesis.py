"""From a critical instruction's witness to a guest that diverges under trap-and-emulate.

The witness that classification found shows what the instruction *is*. For a guest there is more to
ask of its first state S: that f(S) is executed directly without a privileged-instruction trap and
ends elsewhere than S does, that a program can bring it about, and that it leaves that program room.
So the solver is asked again for a witness of the same claim, with these conditions added; it is
replayed like any other, and what remains is to write the program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from isa.ops import z3
from isa.toy import Toy
from isa.toy.source import AssemblyError
from vmm.compare import POISON, Guest, allocation_for
from vmm.monitors import smaller
from vmm.synthesis.direct import DirectExecution
from vmm.synthesis.preparation import preparations, prepared
from vmm.synthesis.source import KERNEL_WORDS, Preparation, Start, kernel_address, source, trap_psw
from vmm.theory import InstructionClass, Witness
from vmm.theory.classify import solve
from vmm.theory.model import Condition, Term
from vmm.theory.queries import MODES, SUPERVISOR, Question, Questions
from vmm.theory.readings import Reading, clause
from vmm.theory.step import Step
from vmm.theory.toy import ToyModel
from vmm.theory.witness import witness


class NoGuestError(Exception):
    """No program of this form makes a monitor diverge by the instruction: the text says more."""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """A guest, and the witness whose first state it brings about in `mode`."""

    instruction: str
    mode: str  # "supervisor" or "user", of the virtual machine
    witness: Witness
    text: str
    isa: Toy

    @property
    def claim(self) -> str:
        """What the witness shows of the instruction, e.g. "mode_sensitive"."""
        return self.witness.claim

    @property
    def clause(self) -> str:
        """The definition that the claim rests on."""
        return clause(Reading.REPAIRED, self.claim)

    @property
    def address(self) -> int:
        """The real address of the instruction, on a bare machine."""
        model, registers = self.witness.one.model, self.witness.one.before.registers
        return model.bounds(registers)[0] + registers[model.parts.counter]

    def guest(self, isa: Toy | None = None, engine: str = "auto") -> Guest:
        """The program, for its machine or for another with the same instructions (a repair)."""
        path = Path(f"{self.instruction.lower()}.asm")
        return Guest(path, self.text, self.isa if isa is None else isa, engine=engine)


def synthesize(isa: Toy, found: InstructionClass, mode: str | None = None) -> Synthesis:
    """A guest that diverges by an instruction of `isa`, which was found critical.

    `mode` is the virtual machine's, "supervisor" or "user"; without it, the first that has a guest.
    Raises NoGuestError.
    """
    try:
        guest = _first_guest(isa, found, MODES if mode is None else (mode,))
    except AssemblyError as error:
        raise NoGuestError(f"{isa.name}: no guest can be written for it: {error}") from None
    if guest is not None:
        return guest
    raise NoGuestError(
        f"{isa.name}: no guest found that diverges by {found.name} in virtual "
        f"{mode or 'supervisor or user'} mode: in each state that a program can prepare by one "
        "instruction, either direct execution agrees or the monitor is told"
    )


def _first_guest(isa: Toy, found: InstructionClass, modes: Sequence[str]) -> Synthesis | None:
    if allocation_for(isa).words <= KERNEL_WORDS:
        raise NoGuestError(f"{isa.name}: its storage has no room for a guest's kernel")
    search = _Search(isa, found)
    attempts = ((mode, preparation) for preparation in _preparations(isa) for mode in modes)
    guests = (search.guest(*attempt) for attempt in attempts)
    return next((guest for guest in guests if guest is not None), None)


class _Preparations:
    """The ways to prepare a machine, found as far as somebody asks, and kept."""

    def __init__(self, isa: Toy) -> None:
        self._source = preparations(isa, allocation_for(isa), POISON)
        self._found: list[Preparation | None] = []

    def __iter__(self) -> Iterator[Preparation | None]:
        yield from self._found
        for one in self._source:
            self._found.append(one)
            yield one


_preparations = lru_cache(maxsize=32)(_Preparations)


class _Search:
    """The claims about one instruction, asked with what a guest needs."""

    def __init__(self, isa: Toy, found: InstructionClass) -> None:
        self.isa, self.found, self.name = isa, found, found.name
        allocation = allocation_for(isa)
        self.model = ToyModel(smaller(isa, allocation.words))
        self.questions = Questions(self.model, found.name, Reading.REPAIRED)
        self.direct = DirectExecution(isa, found.name, allocation, POISON)

    def guest(self, mode: str, preparation: Preparation | None) -> Synthesis | None:
        """The guest for the first claim that yields one."""
        for question in self._claims(mode):
            asked = self._with_needs(question, preparation)
            solution = solve(asked, f"{self.name}, guest")
            if solution is not None:
                return self._written(asked, solution, mode, preparation)
        return None

    def _claims(self, mode: str) -> Iterator[Question]:
        """What classification asks about states in `mode`, as far as its claims hold."""
        q, evidence = self.questions, self.found.evidence
        if evidence["control_sensitive"].holds:
            yield q.control(mode)
        if evidence["mode_sensitive"].holds:
            yield from self._about_modes(mode)
        if evidence["location_sensitive"].holds:
            yield q.location(mode)
        if evidence["resource_sensitive"].holds:
            yield q.resource(mode)
        if evidence["behaviour_sensitive"].holds and mode == SUPERVISOR:
            yield q.by_both()

    def _about_modes(self, mode: str) -> Iterator[Question]:
        if mode == SUPERVISOR:
            yield self.questions.by_mode()
        elif len(self.model.users) > 1:
            yield self.questions.by_ring()

    # -- what a guest needs ------------------------------------------------------------------

    def _with_needs(self, question: Question, preparation: Preparation | None) -> Question:
        one = question.one
        image = self.direct.image(one)
        steps = [step for step in (one, question.other, image) if step is not None]
        condition = z3.And(
            question.condition, self.direct.diverges(one, image), self.direct.begins_inside(one),
            one.vector == trap_psw(self.model.isa), self._reached(one, preparation),
            self._leaves_room(one, steps),
        )  # fmt: skip

        def wish() -> list[Condition]:
            return [z3.Not(image.traps), *question.wish()]

        return replace(question, condition=z3.simplify(condition), wish=wish, besides=(image,))

    def _reached(self, one: Step, preparation: Preparation | None) -> Condition:
        """Registers that the program cannot load are as it leaves them."""
        values = prepared(self.model.isa, preparation)
        return z3.And([one.before.registers[r] == value for r, value in values.items()])

    def _leaves_room(self, one: Step, steps: list[Step]) -> Condition:
        """No word that a step looks at is the kernel's."""
        base = self.model.window(lambda register: one.before.registers[register]).base
        touched = [*one.touched[self.model.storage]]
        touched += [base + offset for step in steps for offset in step.offsets]
        return z3.And([self._is_free(address) for address in touched])

    def _is_free(self, address: Term) -> Condition:
        words = self.model.shape.storage
        return z3.Or(z3.ULT(address, kernel_address(self.model.isa)), z3.UGE(address, words))

    # -- the program -------------------------------------------------------------------------

    def _written(
        self, asked: Question, solution: Any, mode: str, preparation: Preparation | None
    ) -> Synthesis:
        shown = witness(self.model, self.name, asked, solution, Reading.REPAIRED)
        before = shown.one.before
        start = Start({r.name: v for r, v in before.registers.items()}, before.storage)
        text = source(self.model.isa, start, preparation)
        return Synthesis(self.name, mode, shown, text, self.isa)
