"""What the theory asks of a machine: its state as (E, M, P, R), and how R makes a window of E."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from isa.definition import InstructionSet
from isa.registers import Register, RegisterSet, Role
from isa.smt import Symbols
from vmm.theory.readings import Reading

Term = Any
Condition = Any


class RolesError(Exception):
    """A machine whose registers' roles do not make an (E, M, P, R): nothing can be derived."""


@dataclass(frozen=True, slots=True)
class Partition:
    """An instruction set's registers by what they are to the theory.

    `data` (general registers and flags) is a part of E: whatever holds of a word of storage holds
    of it. `resources` are what the paper leaves out: timers, latches. They belong neither to the
    program's own state nor to what two states agree on; see `Reading.REPAIRED`.
    """

    mode: tuple[Register, ...]
    counter: Register
    relocation: tuple[Register, ...]
    data: tuple[Register, ...]
    resources: tuple[Register, ...]

    @staticmethod
    def of(registers: RegisterSet, counter: Register) -> Partition:
        """Read the roles; raises RolesError naming the part that is missing."""
        for role in (Role.MODE, Role.RELOCATION):
            if not registers.with_role(role):
                raise RolesError(
                    f"no register has the role {role.value!r}: without M and R there is nothing "
                    "to be sensitive to; give the roles where the registers are declared"
                )
        return Partition(
            registers.with_role(Role.MODE),
            counter,
            registers.with_role(Role.RELOCATION),
            registers.with_role(Role.GENERAL, Role.FLAG),
            registers.with_role(Role.RESOURCE),
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Where R lets a program look: real address of its word 0, and how many words."""

    base: Term
    size: Term


class Model(Protocol):
    """One machine, for the theory.

    `storage` is the address space that is E, `shift` the register of R that r ⊕ x moves,
    `memory_traps` the vectors of the paper's memory trap, `privileged_traps` those of the
    privileged-instruction trap.
    """

    name: str
    parts: Partition
    storage: str
    shift: Register
    memory_traps: frozenset[int]
    privileged_traps: frozenset[int]
    address_width: int

    @property
    def isa(self) -> InstructionSet:
        """The instruction set."""

    @property
    def supervisor(self) -> Mapping[Register, int]:
        """The mode registers in the paper's mode s."""

    @property
    def users(self) -> Sequence[Mapping[Register, int]]:
        """The same for u: one, or every mode but s on a machine with rings; virtual machines run
        in the last.
        """

    def instructions(self) -> Iterable[str]:
        """The forms to classify."""

    def window(self, read: Callable[[Register], Term]) -> Window:
        """The window that R makes, of address width."""

    def exists(self, window: Window) -> Condition:
        """Whether all of the window lies in storage, so that e|r is defined."""

    def standing(self, form: str, state: Symbols) -> tuple[Condition, Term, Term]:
        """That `form` is about to be carried out: (condition, its real address, its word)."""

    def intended_vector(self, word: Term, reading: Reading) -> Condition:
        """That E[1] holds what the paper wants there: (s, dispatcher, all of storage)."""

    def key(self, form: str) -> Hashable:
        """Equal for forms of equal meaning, whatever the configuration."""
