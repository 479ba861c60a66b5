"""A guest of the PC, made of a state that z3 finds: one instruction makes a monitor diverge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from emu.pc.choose import assembled
from emu.pc.guest import Choice
from isa.ops import z3
from isa.registers import Role
from isa.x86 import registers as r
from isa.x86.tracing import trace
from vmm.pc.direct import DirectGates
from vmm.pc.guest import Guest
from vmm.pc.processor import KEPT
from vmm.theory.shared import ReplayError
from vmm.x86.classify import PATIENCE
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import Row, Sample
from vmm.x86.guests.image import CLAIM, MEMORY, SELECTORS, TRAP, Image, real_registers
from vmm.x86.guests.layout import CRITICAL, DATA, OPEN_GATES, SELECTOR, STACK, TRANSFERS
from vmm.x86.guests.source import source
from vmm.x86.questions import Question
from vmm.x86.replay import FILL, Difference, Ran, run
from vmm.x86.story import outcome
from vmm.x86.witness import Witness, concrete

WISH: Final = 2_000_000  # z3's resources for each register that is to be a round number
Offer = Mapping[int, int]
ORDER: Final[tuple[tuple[Offer, bool], ...]] = (
    (TRANSFERS, False), (SELECTOR, False), (SELECTOR, True), ({}, False), ({}, True),
)  # fmt: skip
"""Which questions are asked: the memory offered, and whether the kernel's own step traps."""


def _order(gates: str) -> tuple[tuple[Offer, bool], ...]:
    has_gates = real_registers(gates)[r.IDT_LIMIT] > 0
    return ((OPEN_GATES, False), *ORDER) if has_gates else ORDER


class NoGuestError(Exception):
    """No program of this form makes the monitor diverge by the instruction: the text says more."""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """A guest, and the witness whose first state it brings about in ring 0."""

    row: Row
    witness: Witness
    heading: tuple[str, ...]
    text: str
    gates: str = TRAP

    @property
    def address(self) -> int:
        """Where the instruction is."""
        return CRITICAL

    def guest(self, *, engine: str = "reference", umip: bool = False) -> Guest:
        """The program on a small PC."""
        path = Path(f"{self.row.name.lower().replace(' ', '-')}.asm")
        data = assembled(self.text, path)
        choice = Choice(engine=engine, memory=MEMORY, kernel=data, kernel_name=path.name)
        return Guest(path, choice, umip)


def synthesize(configuration: X86Configuration, row: Row, gates: str = TRAP) -> Synthesis:
    """A guest that diverges by a row's instruction, with such gates. Raises NoGuestError.

    Small questions come first: with memory offered, and of a kernel whose own step does not trap.
    """
    proved = True
    for offered, by_trap in _order(gates):
        for sample in row.samples:
            question = Image(configuration, sample, offered, gates).diverges(by_trap=by_trap)
            answer = _answer(question)
            if answer == z3.unknown:
                proved = proved and bool(offered)  # what is not offered is asked about later
            elif answer is not None:
                return replace(_written(configuration, row, question, answer), gates=gates)
    how = (
        "z3 proves that from every state of such a kernel its image traps, or goes on rightly"
        if proved
        else "none was found, and z3 gave up on a question"
    )
    raise NoGuestError(f"{configuration.name}: no guest of ring 0 diverges by {row.name}: {how}")


def synthesize_any(configuration: X86Configuration, row: Row) -> Synthesis:
    """A guest that diverges under trap-and-emulate as it is or, if there is none and the kernel's
    step looks into the interrupt table, with the guest's gates in the real one. NoGuestError."""
    try:
        return synthesize(configuration, row)
    except NoGuestError:
        if not any(_uses_gates(sample) for sample in row.samples):
            raise
        return synthesize(configuration, row, DirectGates.gates_kind)


def _uses_gates(sample: Sample) -> bool:
    return r.IDT_LIMIT in trace(sample.form).read()


def _answer(question: Question) -> Any:
    """A model that is easy to read, None if there is none, or z3's "unknown"."""
    condition = z3.simplify(z3.And(*question.conditions))
    if z3.is_false(condition):
        return None
    solver = z3.SolverFor("QF_AUFBV")
    solver.set("rlimit", PATIENCE)
    solver.add(condition)
    answer = solver.check()
    if answer != z3.sat:
        return None if answer == z3.unsat else answer
    return _readable(solver, question)


def _readable(solver: Any, question: Question) -> Any:
    """A model with round numbers in registers, as far as they go with the question."""
    model, registers = solver.model(), question.one.side.registers
    solver.set("rlimit", WISH)
    flags = [(flag, (0,)) for flag in (*r.REGISTERS.with_role(Role.FLAG), r.IF)]
    general = [(x, (STACK,) if x is r.ESP else (0, DATA)) for x in r.GPR.members]
    for register, values in flags + general:
        for value in values:
            solver.push()
            solver.add(registers[register] == value)
            if solver.check() == z3.sat:
                model = solver.model()
                break
            solver.pop()
    return model


def _written(
    configuration: X86Configuration, row: Row, question: Question, model: Any
) -> Synthesis:
    """The witness in numbers, carried out, and the program. Raises ReplayError."""
    assert question.other is not None
    virtual, real = concrete(question.one, model), concrete(question.other, model)
    runs = run(virtual, configuration.processor), run(real, configuration.processor)
    differences = brought_back(*runs)
    if runs[1].trapped or not differences:
        raise ReplayError(f"{row.name}: the steps from {virtual} and {real} agree")
    found = Witness(CLAIM, *runs, tuple(differences))
    text = source(found.text, question.one.code, virtual.registers, virtual.memory)
    return Synthesis(row, found, tuple(_heading(configuration, row, found)), text)


def _heading(configuration: X86Configuration, row: Row, found: Witness) -> Iterator[str]:
    """What the state and its image make of the instruction."""
    assert found.other is not None
    yield (
        f"{row.name} is critical on {configuration.name}: in ring 0 of a virtual PC, which runs "
        "at CPL 3, it goes on otherwise than on the bare one, and nothing traps."
    )
    yield f"on the bare PC: {outcome(found.one)}"
    yield f"run directly: {outcome(found.other)}"
    yield f"which differs in {'; '.join(map(str, found.differences))}"


def brought_back(virtual: Ran, real: Ran) -> list[Difference]:
    """What the monitor finds changed after direct execution, where the kernel's step has it."""
    found = []
    for register in r.REGISTERS:
        wanted, before = virtual.after.registers[register], virtual.before.registers[register]
        after, entered = real.after.registers[register], real.before.registers[register]
        kept = register in KEPT or (register in SELECTORS and after == entered)
        got = before if kept else after
        if wanted != got:
            found.append(Difference(register.name, wanted, got))
    for address in sorted(virtual.stored | real.stored):
        wanted, got = (ran.after.memory.get(address, FILL) for ran in (virtual, real))
        if wanted != got:
            found.append(Difference(f"memory {address:#x}", wanted, got))
    return found
