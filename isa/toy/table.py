"""The table of toy instructions: one row each, filled by the decorator `instruction`.

A row holds everything about an instruction: name, opcode, operands as they are written in assembly
language, its meaning, and what it does in user mode unless a configuration says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from isa.hints import Final
from isa.named import Enum
from isa.toy.builder import ToyBuilder

Meaning = Callable[[ToyBuilder], None]


class Behaviour(Enum):
    """What an instruction does in user mode; in supervisor mode it always has its meaning."""

    EXECUTES = "executes"  # the same as in supervisor mode
    TRAPS = "traps"  # privileged-instruction trap
    IGNORED = "ignored"  # nothing, and no trap
    PARTLY = "partly"  # a meaning of its own, which may trap


@dataclass(frozen=True, slots=True)
class Operand:
    """A kind of operand: the fields of the instruction it fills, and how its number is read."""

    fields: tuple[str, ...]
    signed: bool = False


OPERANDS: Final[dict[str, Operand]] = {
    "rd": Operand(("rd",)),
    "ra": Operand(("ra",)),
    "rb": Operand(("rb",)),
    "number": Operand(("imm",), signed=True),
    "natural": Operand(("imm",)),
    "address": Operand(("imm",)),
    "port": Operand(("imm",)),
    "[ra+offset]": Operand(("ra", "imm"), signed=True),
}


@dataclass(slots=True, eq=False)
class Row:
    """One instruction."""

    name: str
    opcode: int
    operands: tuple[str, ...]
    meaning: Meaning
    user: Behaviour
    registers: tuple[str, ...] = ()  # that a configuration has to declare for it
    user_meaning: Meaning | None = None  # what PARTLY does
    fields: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        used = [f for kind in self.operands for f in OPERANDS[kind].fields]
        self.fields = frozenset(used)
        if len(used) != len(self.fields) or {"rb", "imm"} <= self.fields:
            raise TypeError(f"{self.name}: the operands {self.operands} overlap in the word")

    @property
    def mnemonic(self) -> str:
        """The name as assembly language writes it."""
        return self.name.lower()

    @property
    def doc(self) -> str:
        """What the instruction does, in words."""
        return (self.meaning.__doc__ or "").strip()

    def __call__(self, m: ToyBuilder) -> None:
        """Carry out the meaning, for rows that share one."""
        self.meaning(m)

    def partly(self, meaning: Meaning) -> Meaning:
        """Decorator: what the instruction does in user mode if its behaviour is PARTLY."""
        self.user_meaning = meaning
        return meaning

    def carry_out(self, m: ToyBuilder, behaviour: Behaviour) -> None:
        """The meaning in both modes: written once, wrapped as the configuration says."""
        if behaviour is Behaviour.EXECUTES:
            self.meaning(m)
        elif behaviour is Behaviour.TRAPS:
            m.refuse_when(m.in_user_mode)
            self.meaning(m)
        else:
            with m.when(m.in_supervisor_mode):
                self.meaning(m)
            if behaviour is Behaviour.PARTLY and self.user_meaning is not None:
                with m.when(m.in_user_mode):
                    self.user_meaning(m)


INSTRUCTIONS: Final[dict[str, Row]] = {}
"""Every toy instruction there is, by name; a configuration chooses among them."""


def instruction(
    name: str, opcode: int, syntax: str = "", *, user: str = "executes", registers: str = ""
) -> Callable[[Meaning], Row]:
    """Decorator: enter a meaning into the table.

    `syntax` lists operand kinds (OPERANDS), `registers` what it needs beyond the clean machine's.
    """

    def enter(meaning: Meaning) -> Row:
        operands = tuple(part.strip() for part in syntax.split(",")) if syntax else ()
        needed = tuple(registers.split())
        row = Row(name, opcode, operands, meaning, Behaviour(user), needed)
        taken = [r.name for r in INSTRUCTIONS.values() if r.opcode == opcode]
        if name in INSTRUCTIONS or taken:
            raise TypeError(f"{name}: the name or the opcode {opcode:#x} is taken {taken}")
        INSTRUCTIONS[name] = row
        return row

    return enter
