"""The allocator A: what of the machine below a virtual machine gets, and every change of R."""

from __future__ import annotations

from dataclasses import dataclass

from emu.state import State
from isa.toy import Toy


class AllocationError(ValueError):
    """An allocation does not fit the machine: the text says why and what would."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Words base .. base + words - 1 of the machine below."""

    base: int
    words: int

    @property
    def end(self) -> int:
        """The first word behind it."""
        return self.base + self.words

    def check(self, isa: Toy) -> None:
        """Raise AllocationError if a machine of this shape cannot give it away."""
        granule, storage = isa.shape.granule, isa.shape.storage
        if self.base % granule or self.words % granule:
            raise AllocationError(
                f"{self}: base and size must be multiples of the granule, {granule} words"
            )
        if self.words < max(granule, 2) or not 0 <= self.base <= self.end <= storage:
            raise AllocationError(
                f"{self}: it must have {max(granule, 2)} words or more and end within the "
                f"machine's {storage} words"
            )

    def __str__(self) -> str:
        return f"words {self.base}..{self.end - 1}"


class Allocator:
    """Decides what R the processor really gets when a virtual machine believes in its own.

    Real R = virtual R moved by the allocation and clipped to it. A memory trap then occurs for
    exactly the addresses for which it occurs on a bare machine with as many words: a >= b, or
    a + l >= q. `changes` counts how often a guest asked for another R.
    """

    def __init__(self, isa: Toy, allocation: Allocation) -> None:
        allocation.check(isa)
        self.allocation = allocation
        self._first = allocation.base // isa.shape.granule
        self._granules = allocation.words // isa.shape.granule
        self._virtual = (0, 0)
        self._real = (self._first, 0)
        self.changes = 0

    def real(self, virtual: State) -> tuple[int, int]:
        """R = (l, b) for the processor, from the R that the virtual machine has."""
        wanted = virtual["l"], virtual["b"]
        if wanted != self._virtual:
            self.changes += 1
            self._virtual, self._real = wanted, self._moved_and_clipped(*wanted)
        return self._real

    def _moved_and_clipped(self, base: int, bound: int) -> tuple[int, int]:
        room = self._granules - base
        return (self._first + base, min(bound, room)) if room > 0 else (self._first, 0)

    def observe(self, virtual: State, base: int, bound: int) -> None:
        """The guest ran and R is now (base, bound): what it changed itself, it changed for itself.

        Only an instruction that may change R without a trap can do that (DECB).
        """
        if (base, bound) != self._real:
            virtual["l"], virtual["b"] = base - self._first, bound
