"""Registers: name, width and role. Classification, snapshots and debuggers read the roles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What part of the machine's state a register is (Popek and Goldberg's E, M, P, R and more)."""

    GENERAL = "general"  # holds a program's data; counts as part of E (theory.md 1.8)
    FLAG = "flag"  # a condition that arithmetic leaves; counts as part of E
    PROGRAM_COUNTER = "program counter"  # P
    MODE = "mode"  # M
    RELOCATION = "relocation"  # R: what decides which memory an address means
    RESOURCE = "resource"  # anything else that is shared: timers, masks, device state


@dataclass(frozen=True, slots=True)
class Register:
    """One register; `slot` is its place in a machine state, counted from 0."""

    name: str
    width: int
    role: Role
    slot: int
    doc: str = ""

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class RegisterFile:
    """Registers that an operand field selects among; they have one width and adjoining slots."""

    name: str
    members: tuple[Register, ...]

    @property
    def width(self) -> int:
        """Width of each member in bits."""
        return self.members[0].width

    def __repr__(self) -> str:
        return self.name


class RegisterSet:
    """All registers of an instruction set, in slot order."""

    def __init__(self) -> None:
        self._by_name: dict[str, Register] = {}

    def add(self, name: str, width: int, role: Role, doc: str = "") -> Register:
        """Declare one register; raises ValueError if the name is taken."""
        if name in self._by_name:
            raise ValueError(f"register {name} is declared twice")
        register = Register(name, width, role, len(self._by_name), doc)
        self._by_name[name] = register
        return register

    def add_file(
        self, name: str, members: tuple[str, ...], width: int, role: Role, doc: str = ""
    ) -> RegisterFile:
        """Declare the members of a register file."""
        return RegisterFile(name, tuple(self.add(m, width, role, doc) for m in members))

    def __getitem__(self, name: str) -> Register:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Register]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def with_role(self, *roles: Role) -> tuple[Register, ...]:
        """The registers that have one of the roles, in slot order."""
        return tuple(r for r in self if r.role in roles)
