"""Registers: name, width and role. Classification, snapshots and debuggers read the roles."""

from __future__ import annotations

from isa.hints import Iterator, Sequence
from isa.named import Enum


class Role(Enum):
    """What part of the machine's state a register is (Popek and Goldberg's E, M, P, R and more)."""

    GENERAL = "general"  # holds a program's data; counts as part of E (theory.md 1.8)
    FLAG = "flag"  # a condition that arithmetic leaves; counts as part of E
    PROGRAM_COUNTER = "program counter"  # P
    MODE = "mode"  # M
    RELOCATION = "relocation"  # R: what decides which memory an address means
    RESOURCE = "resource"  # anything else that is shared: timers, masks, device state


class Register:
    """One register; `slot` is its place in a machine state, counted from 0."""

    __slots__ = ("doc", "name", "role", "slot", "width")

    def __init__(self, name: str, width: int, role: Role, slot: int, doc: str = "") -> None:
        self.name = name
        self.width = width
        self.role = role
        self.slot = slot
        self.doc = doc

    def __eq__(self, other: object) -> bool:
        """Whether both are declared alike, perhaps by two machines."""
        if not isinstance(other, Register):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        """Engines look registers up millions of times, and no machine has two of one slot."""
        return self.slot

    def __repr__(self) -> str:
        return self.name


class RegisterFile:
    """Registers that an operand field selects among; they have one width and adjoining slots."""

    __slots__ = ("members", "name")

    def __init__(self, name: str, members: tuple[Register, ...]) -> None:
        self.name = name
        self.members = members

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RegisterFile):
            return NotImplemented
        return (self.name, self.members) == (other.name, other.members)

    def __hash__(self) -> int:
        return hash(self.members)

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
        self.packed: dict[str, PackedRegister] = {}

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

    def pack(self, name: str, width: int, fields: dict[str, int], fixed: int = 0) -> PackedRegister:
        """Declare a whole made of registers declared before, each with its lowest bit's number."""
        pairs = tuple((self[member], low) for member, low in fields.items())
        self.packed[name] = PackedRegister(name, width, pairs, fixed)
        return self.packed[name]

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


class PackedRegister:
    """A register that the manual shows whole but whose fields are registers of their own (EFLAGS).

    `fields` pairs each register with the number of its lowest bit; `fixed` are bits always 1.
    """

    def __init__(
        self, name: str, width: int, fields: tuple[tuple[Register, int], ...], fixed: int = 0
    ) -> None:
        self.name = name
        self.width = width
        self.fields = fields
        self.fixed = fixed

    def pack(self, values: Sequence[int]) -> int:
        """The whole, from register values by slot."""
        whole = self.fixed
        for register, low in self.fields:
            whole |= values[register.slot] << low
        return whole

    def unpack(self, whole: int) -> dict[Register, int]:
        """The fields of `whole`; bits that belong to no field are dropped."""
        return {r: whole >> low & (1 << r.width) - 1 for r, low in self.fields}
