"""What hooks want to be told of a machine, and what they have been told: one for all engines.

An instruction is known by its count and its program counter. It is *announced* once, before it is
carried out; whatever interrupts it (a page that must be made ready, a port that has not answered)
does not make another one of it. Its accesses to memory are told when it has happened, so those that
a fault takes back are not told.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable

from emu.engines.facts import facts
from emu.exit import Exit
from emu.state import State
from isa.definition import InstructionSet
from isa.hints import Final

AGAIN: Final = Exit("again")
"""Something has changed that whoever runs the machine has to look at; nothing has happened."""

Place = tuple[int, int]
"""A count and a program counter."""
NOWHERE: Final[Place] = (-1, -1)

TELLS: Final = frozenset({"port", "physical"})
"""Spaces whose accesses are not told: ports are no memory, and what is physical is the machine's
own (page tables)."""

READ, WRITE = "read", "write"
Access = tuple[str, int, int, int]
"""What an instruction did: READ or WRITE, address, size and value."""

ENDS, REPEATS = 1, 2
"""What a form is to blocks: one ends after it; it may stand for several iterations."""


class Watch:
    """Callbacks by what they are told, each None if nobody wants it.

    `blocks(address)` at the first instruction of each basic block, then `instructions(address)` if
    the address is in [low, high); `accesses(kind, address, size, value, pc)` after an instruction,
    for accesses that touch [access_low, access_high). `changed` is set by whoever changes more than
    registers: the engine leaves then before the next instruction.
    """

    def __init__(self, isa: InstructionSet) -> None:
        self._isa = isa
        self.blocks: Callable[[int], object] | None = None
        self.instructions: Callable[[int], object] | None = None
        self.low, self.high = 0, 0
        self.accesses: Callable[[str, int, int, int, int], object] | None = None
        self.access_low, self.access_high = 0, 0
        self.announced = NOWHERE
        self.inside = NOWHERE  # where execution goes on in the middle of a block
        self.flag = array("Q", [0])
        self.log: list[Access] = []  # of the instruction under way
        self.count: Callable[[], int] | None = None  # the machine's, if `state.count` is old
        self._kinds: dict[Hashable, int] = {}

    @property
    def changed(self) -> bool:
        """Whether the engine has to look before the next instruction."""
        return self.flag[0] != 0

    @changed.setter
    def changed(self, value: bool) -> None:
        self.flag[0] = value

    def here(self, state: State) -> Place:
        """Where a machine is, in callbacks too."""
        return state.count if self.count is None else self.count(), state.pc

    @property
    def is_needed(self) -> bool:
        """Whether somebody wants to be told what only watched code tells."""
        return bool(self.blocks or self.instructions or self.accesses)

    def announce(self, state: State, address: int) -> bool:
        """Tell the instruction at the program counter, fetched at `address`, unless it was told;
        answer whether it must not just be carried out now."""
        pc = state.pc
        here = state.count, pc
        if here == self.announced:
            return self.changed
        self.announced = here
        if self.blocks is not None and here != self.inside:
            self.blocks(address)
            if state.pc != pc:
                return True
        if self.instructions is not None and self.low <= address < self.high:
            self.instructions(address)
        return self.changed or state.pc != pc

    def retired(self, state: State, form: Hashable, pc: int) -> None:
        """An instruction of a form, which stood at a program counter, has happened."""
        kind = self.kind(form)
        leaves = kind & ENDS and not (kind & REPEATS and state.pc == pc)
        self.inside = NOWHERE if leaves else (state.count, state.pc)

    def kind(self, form: Hashable) -> int:
        """ENDS and REPEATS, of a form: a block ends where an instruction may jump or leave."""
        found = self._kinds.get(form)
        if found is None:
            known = facts(self._isa, form, self._isa.mode_registers)
            found = (ENDS if known.ends else 0) | (REPEATS if known.repeats else 0)
            self._kinds[form] = found
        return found

    def tell(self, address: int) -> None:
        """Tell what the instruction at an address has read and written."""
        if not self.log:
            return
        told, self.log[:] = self.log[:], []
        if self.accesses is None:
            return
        for kind, at, size, value in told:
            if at < self.access_high and at + size > self.access_low:
                self.accesses(kind, at, size, value, address)
