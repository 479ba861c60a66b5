"""The toy machine as the theory sees it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from isa.ops import z3
from isa.registers import Register
from isa.smt import Symbols
from isa.toy import Toy
from isa.toy.builder import REGISTER_INDEX_BITS
from isa.toy.registers import SUPERVISOR, USER
from isa.toy.table import Behaviour
from isa.toy.traps import Trap
from isa.trace import Region, Trace
from vmm.theory.model import Condition, Partition, Term, Window
from vmm.theory.readings import Reading

NEW_PSW = 1  # E[1]: where a trap finds the PSW of the dispatcher


class ToyModel:
    """M is `mode`, P is `p`, R is (l, b) in granules; x is a multiple of the granule, as l is."""

    storage = "physical"
    memory_traps = frozenset({int(Trap.MEMORY)})
    privileged_traps = frozenset({int(Trap.PRIVILEGED)})

    def __init__(self, isa: Toy) -> None:
        self._isa = isa
        self.name = isa.name
        self.shape = isa.shape
        self.parts = Partition.of(isa.registers, isa.pc)
        self.shift: Register = isa.known.l
        self.address_width = isa.shape.word

    @property
    def isa(self) -> Toy:
        """The instruction set."""
        return self._isa

    @property
    def supervisor(self) -> dict[Register, int]:
        """Mode s."""
        return {self.isa.known.m: SUPERVISOR}

    @property
    def users(self) -> list[dict[Register, int]]:
        """Mode u, or the outer rings: the binary view of a machine that has more modes."""
        return [{self.isa.known.m: mode} for mode in range(USER, self.shape.modes)]

    def instructions(self) -> Iterable[str]:
        """Every instruction of the configuration, in the table's order."""
        return self.isa.rows

    # -- storage -----------------------------------------------------------------------------

    def _words(self, granules: Term) -> Term:
        wide = z3.ZeroExt(self.shape.word - granules.size(), granules)
        return wide << self.shape.granule_bits

    def window(self, read: Callable[[Register], Term]) -> Window:
        """Words l … l + b - 1."""
        return Window(self._words(read(self.isa.known.l)), self._words(read(self.isa.known.b)))

    def bounds(self, registers: Mapping[Register, int]) -> tuple[int, int]:
        """The same of a state in numbers: (base, size)."""
        granule = self.shape.granule
        return registers[self.isa.known.l] * granule, registers[self.isa.known.b] * granule

    def exists(self, window: Window) -> Condition:
        """l + b ≤ q."""
        return z3.ULE(window.base + window.size, self.shape.storage)

    def standing(self, form: str, state: Symbols) -> tuple[Condition, Term, Term]:
        """P lies in the window and in storage; the word is the form's with the operand fields."""
        word = self._encoded(form, state)
        window = self.window(state.register)
        counter = z3.ZeroExt(
            self.shape.word - self.shape.p_bits, state.register(self.parts.counter)
        )
        real = window.base + counter
        inside = z3.And(z3.ULT(counter, window.size), z3.ULT(real, self.shape.storage))
        return z3.And(inside, state.field("word", self.shape.word) == word), real, word

    def _encoded(self, form: str, state: Symbols) -> Term:
        row = self.isa.rows[form]
        word = z3.BitVecVal(self.isa.encoding.encode(row, dict.fromkeys(row.fields, 0)),
                            self.shape.word)  # fmt: skip
        for name in sorted(row.fields):
            low, _ = self.isa.encoding.places[name]
            width = self.shape.imm_bits if name == "imm" else REGISTER_INDEX_BITS
            operand = state.field(name, width)
            word = word | z3.ZeroExt(self.shape.word - width, operand) << low
        return word

    def intended_vector(self, word: Term, reading: Reading) -> Condition:
        """(s, any dispatcher, (0, q)); literally (0, q - 1), here the largest bound below q."""
        everything = self.shape.all_granules - (reading is Reading.LITERAL)
        wanted = {"mode": SUPERVISOR, "l": 0, "b": everything}
        parts = {
            register.name: z3.Extract(low + register.width - 1, low, word)
            for register, low in self.isa.known.psw.fields
        }
        return z3.And([parts[name] == value for name, value in wanted.items()])

    # -- identity and repair -----------------------------------------------------------------

    def key(self, form: str) -> Hashable:
        """The structure of every trace that the classification looks at."""
        delivery = self.isa.delivery(None)
        assert delivery is not None
        traces = (self.isa.trace(form), self.isa.fetch(None), delivery)
        opcode = self.isa.rows[form].opcode
        return (self.shape, opcode, *(fingerprint(trace) for trace in traces))

    def with_traps(self, forms: Iterable[str]) -> ToyModel:
        """The configuration with `[user] FORM = "traps"` for each."""
        old = self.isa.configuration
        changed = dict(old.behaviours) | dict.fromkeys(forms, Behaviour.TRAPS)
        return ToyModel(Toy(replace(old, behaviours=changed)))


def fingerprint(trace: Trace) -> Hashable:
    """A value equal for traces of equal structure."""
    numbers: dict[int, int] = {}
    rows: list[Any] = []

    def region(part: Region) -> None:
        for node in part.nodes:
            attribute = node.attribute
            if node.op == "when":
                rows.append("when")
                region(attribute.region)
                attribute = tuple(
                    (numbers[id(then)], numbers[id(other)]) for then, other in attribute.yields
                )
            numbers[id(node)] = len(numbers)
            arguments = tuple(numbers[id(a)] for a in node.args)
            rows.append((node.op, node.width, attribute, arguments))

    region(trace.region)
    return tuple(rows)
