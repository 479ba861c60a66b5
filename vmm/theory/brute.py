"""The same classification by trying everything on a very small machine: no solver, no symbols.

Eight words of storage, a granule of one word, three values for each word and register. Every pair
of states that the definitions speak about is looked at, as far as these values go; the reference
engine's evaluation of the traces says what a step does. It must agree with `classify`.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from emu.engines.reference import Evaluation
from emu.state import State
from isa.fault import Fault
from isa.toy import Toy
from isa.toy.registers import SUPERVISOR, USER
from isa.toy.shape import Shape
from isa.toy.traps import Trap
from isa.trace import Trace
from isa.words import mask
from vmm.theory.readings import Reading
from vmm.theory.toy import ToyModel

SMALL: Final = Shape(words=8, granule=1, word=20)
ONES: Final = (1 << SMALL.word) - 1
VALUES: Final = (0, 2, ONES)
RESOURCES: Final = (0, 1, 2, 3)  # all 0; all ones; 1, but single bits 0; all 1
IMMEDIATES: Final = (0, 1, 2, 15)  # 15 is -1 for those that read it signed
BASES: Final = (0, 2, 5)
PLACES: Final = ((0, 2), (1, 3))  # (p, b): where the instruction stands in windows of which size
UNMAPPED: Final = 5  # a word in one of the windows, and outside of others
PLACES_OF_FRAMES: Final = (*PLACES, (3, 4))  # for instructions that load three words
DISPATCHER: Final = 4  # the entry in E[1]
CLAIMS: Final = (
    "privileged", "control_sensitive", "location_sensitive", "mode_sensitive",
    "resource_sensitive", "behaviour_sensitive", "user_sensitive", "supervisor_sensitive",
)  # fmt: skip

Answers = dict[str, bool]


class SmallMemory:
    """Storage of eight words."""

    def __init__(self) -> None:
        self.words = [0] * SMALL.words

    def load(self, address: int, size: int) -> int | Fault:
        """Read a word."""
        if address >= len(self.words):
            return Fault(Trap.MEMORY, address=address)
        return self.words[address]

    load_for_write = load

    def store(self, address: int, size: int, value: int) -> Fault | None:
        """Write a word."""
        if address >= len(self.words):
            return Fault(Trap.MEMORY, address=address)
        self.words[address] = value
        return None

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """Not used: the instruction is known."""
        raise AssertionError("brute force carries out forms, it does not fetch")


@dataclass(frozen=True, slots=True)
class Result:
    """A step, as far as the definitions look at it."""

    trap: int  # 0 if none
    controls: bool
    stays: bool
    visible: Hashable  # p, the data registers and e|r after it


@dataclass(frozen=True, slots=True)
class Program:
    """What states that behaviour sensitivity compares have in common."""

    fields: dict[str, int]
    registers: tuple[tuple[int, int], ...]  # (slot, value)
    p: int
    b: int
    window: tuple[int, ...]


Variant = tuple[int, int, int]  # mode, base, which resources


def brute_force(isa: Toy, reading: Reading) -> dict[str, Answers]:
    """The class of every instruction of a configuration, tried on the small machine."""
    shape = replace(SMALL, modes=isa.shape.modes, unmapped=isa.shape.unmapped)
    small = Toy(replace(isa.configuration, shape=shape))
    model = ToyModel(small)
    return {form: _answers(model, form, reading) for form in small.rows}


_KNOWN: dict[Hashable, Answers] = {}


def _answers(model: ToyModel, form: str, reading: Reading) -> Answers:
    key = (reading, form, model.key(form))
    if key not in _KNOWN:
        _KNOWN[key] = _Trial(model, form, reading).answers()
    return _KNOWN[key]


class _Trial:
    """All states of one instruction."""

    def __init__(self, model: ToyModel, form: str, reading: Reading) -> None:
        self.model, self.isa, self.reading = model, model.isa, reading
        self.row = model.isa.rows[form]
        self.trace: Trace = model.isa.trace(form)
        delivery = model.isa.delivery(None)
        assert delivery is not None
        self.delivery = delivery
        self.known = model.isa.known
        self.data = [r.slot for r in model.parts.data]
        self.resources = RESOURCES if self._sees_resources() else RESOURCES[:1]
        self.memory = SmallMemory()
        self.state = State(model.isa, {"physical": self.memory})
        self.executes = False
        self.found = dict.fromkeys(
            ["not privileged", "location s", "location u", "mode", "mode u", "both", "both u",
             "control s", "control u", "resource s", "resource u"], False
        )  # fmt: skip

    def answers(self) -> Answers:
        """Try everything, then say what is so."""
        for program in self.programs():
            self.look_at(program)
        f = self.found
        location = f["location s"] or f["location u"]
        resource = f["resource s"] or f["resource u"]
        return {
            "privileged": self.executes and not f["not privileged"],
            "control_sensitive": f["control s"] or f["control u"],
            "location_sensitive": location,
            "mode_sensitive": f["mode"],
            "resource_sensitive": resource,
            "behaviour_sensitive": location or f["mode"] or resource or f["both"],
            "user_sensitive": f["control u"]
            or f["location u"]
            or f["resource u"]
            or f["mode u"]
            or f["both u"],
            "supervisor_sensitive": f["control s"] or f["location s"] or f["resource s"],
        }

    # -- the states --------------------------------------------------------------------------

    def programs(self) -> Iterator[Program]:
        """Operands, registers and window contents in every combination."""
        numbers = {"rd": 1, "ra": 2, "rb": 3}
        used = [numbers[f] for f in numbers if f in self.row.fields] + [7] * self._uses_stack()
        general = self.known.general.members
        declared = [r for r in self.known.declared.values() if r in self.model.parts.data]
        immediates = IMMEDIATES if "imm" in self.row.fields else (0,)
        for imm, values in itertools.product(
            immediates, itertools.product(self._values, repeat=len(used))
        ):
            fields = {f: imm if f == "imm" else numbers[f] for f in self.row.fields}
            word = self.isa.encoding.encode(self.row, fields)
            slots = tuple((general[n].slot, v) for n, v in zip(used, values, strict=True))
            # never what the operand holds: or copying it there would change nothing
            slots += tuple((r.slot, (values[0] ^ 1) & mask(r.width)) for r in declared if values)
            for p, b in self._places:
                for others in itertools.product(self._words(p, b), repeat=b - 1):
                    window = (*others[:p], word, *others[p:])
                    yield Program({**fields, "word": word}, slots, p, b, window)

    def _sees_resources(self) -> bool:
        """Whether the trace reads or writes any; if not, one value of each is enough."""
        touched = self.trace.read() | self.trace.written()
        return not touched.isdisjoint(self.model.parts.resources) or any(
            node.op == "clock" or (node.op == "load" and node.attribute[0] != self.model.storage)
            for node in self.trace.walk()
        )

    @property
    def _values(self) -> tuple[int, ...]:
        """Three values of a register; with an unmapped segment, one is an address in it."""
        if self.isa.shape.unmapped:
            return (0, 1, 1 << SMALL.word - 1 | UNMAPPED)
        return VALUES

    @property
    def _places(self) -> tuple[tuple[int, int], ...]:
        loads = sum(node.op == "load" for node in self.trace.walk())
        return PLACES if loads < 3 else PLACES_OF_FRAMES

    def _uses_stack(self) -> bool:
        stack = self.known.general.members[7]
        return stack in self.trace.read()

    def _words(self, p: int, b: int) -> Sequence[int]:
        """Three values of a word: the last is a PSW that keeps M = s and R, in the middle base.

        6 is a mode in either of its halves.
        """
        values = [0] * len(self.isa.registers)
        values[self.known.b.slot], values[self.known.l.slot] = b, BASES[1]
        values[self.known.p.slot] = p + 2
        return (6, ONES, self.known.psw.pack(values))

    def variants(self, program: Program) -> Iterator[Variant]:
        """Modes, places and resources."""
        for base in BASES:
            if base + program.b <= SMALL.words:
                yield from itertools.product(range(self.isa.shape.modes), (base,), self.resources)

    def result(self, program: Program, variant: Variant) -> Result:
        """The step from one state."""
        mode, base, resources = variant
        state, known, words = self.state, self.known, self.memory.words
        words[:] = [3, self._vector(), 5, 6, 7, 8, 9, 10]
        words[base : base + program.b] = program.window
        state.set_values([0] * len(state.values))
        for slot, value in program.registers:
            state.values[slot] = value
        for register in self.model.parts.resources:
            value = (0, ONES, int(register.width > 1), 1)[resources]
            state.values[register.slot] = value & mask(register.width)
        state.values[known.m.slot], state.values[known.p.slot] = mode, program.p
        state.values[known.l.slot], state.values[known.b.slot] = base, program.b
        state.count, state.reply = resources, resources
        return self._step(program, variant)

    def _vector(self) -> int:
        values = [0] * len(self.isa.registers)
        values[self.known.p.slot] = DISPATCHER
        values[self.known.b.slot] = SMALL.all_granules - (self.reading is Reading.LITERAL)
        return self.known.psw.pack(values)

    def _step(self, program: Program, variant: Variant) -> Result:
        state, known, words = self.state, self.known, self.memory.words
        before, base = list(state.values), variant[1]
        outside = words[:base] + words[base + program.b :]
        evaluation = Evaluation(state, program.fields)
        stop = evaluation.carry_out(self.trace)
        trap = stop.vector if isinstance(stop, Fault) else 0
        if isinstance(stop, Fault) and self.reading is Reading.LITERAL:
            code, address = stop.code or 0, stop.address or 0
            fields = {"vector": trap, "code": code, "address": address}
            Evaluation(state, fields).carry_out(self.delivery)
        after = state.values
        stays = all(after[r.slot] == before[r.slot] for r in (known.m, known.l, known.b))
        controls = not stays
        if self.reading is Reading.REPAIRED:
            driven = not isinstance(stop, Fault) and stop is not None
            controls = controls or (driven and stop.reason == "port_write")  # type: ignore[union-attr]
            controls = controls or any(
                after[r.slot] != before[r.slot] for r in self.model.parts.resources
            )
            controls = controls or outside != words[:base] + words[base + program.b :]
        visible = (after[known.p.slot], *(after[s] for s in self.data),
                   *words[base : base + program.b])  # fmt: skip
        return Result(trap, controls, stays, visible)

    # -- the definitions ---------------------------------------------------------------------

    def look_at(self, program: Program) -> None:
        """Every pair of states of one program."""
        results = {v: self.result(program, v) for v in self.variants(program)}
        for (mode, base, resources), result in results.items():
            if mode == SUPERVISOR:
                for user in range(USER, self.isa.shape.modes):
                    self._privileged(result, results[user, base, resources])
            if self._counts(result) and result.controls:
                self.found["control u" if mode else "control s"] = True
        counted = {v: r for v, r in results.items() if self._counts(r) and r.stays}
        for (one, a), (other, b) in itertools.combinations(counted.items(), 2):
            if a.visible != b.visible:
                self._behaves_differently(one, other)

    def _counts(self, result: Result) -> bool:
        if self.reading is Reading.LITERAL:
            return result.trap not in self.model.memory_traps
        return result.trap == 0

    def _privileged(self, supervisor: Result, user: Result) -> None:
        memory = self.model.memory_traps
        if supervisor.trap in memory or user.trap in memory:
            return
        if supervisor.trap and self.reading is Reading.REPAIRED:
            return
        self.executes = self.executes or not supervisor.trap
        if supervisor.trap or not user.trap:
            self.found["not privileged"] = True

    def _behaves_differently(self, one: Variant, other: Variant) -> None:
        letter = "u" if one[0] else "s"
        if one[2] != other[2]:
            if one[:2] == other[:2] and self.reading is Reading.REPAIRED:
                self.found[f"resource {letter}"] = True
        elif one[1] == other[1]:
            self.found["mode"] = True
            self.found["mode u"] |= one[0] != SUPERVISOR != other[0]
        elif one[0] == other[0]:
            self.found[f"location {letter}"] = True
        else:
            self.found["both"] = True
            self.found["both u"] |= one[0] != SUPERVISOR != other[0]
