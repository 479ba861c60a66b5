"""The allocator A: what of the machine below a virtual PC gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from emu.errors import GuestFileError
from emu.memory import PAGE_MASK, PAGE_SIZE
from emu.pc.memory import storage_for
from vmm.monitors.allocation import AllocationError

OWN: Final = 4 << 20  # bytes at the bottom that a monitor keeps for itself
POISONED: Final = 1 << 18  # behind the allocation, for the audit: nobody's
LEAST: Final = 1 << 20
MOST: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Allocation:
    """Bytes base .. end - 1 of the machine below: a virtual PC's `memory` bytes of RAM, its ROM.

    From `own` to `base` lie the pages of its monitor: others' lie elsewhere.
    """

    base: int
    memory: int
    own: int = PAGE_SIZE

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.base + storage_for(self.memory)

    def check(self, below: int) -> None:
        """Raise AllocationError if a machine with so many bytes cannot give it away."""
        if self.base & PAGE_MASK or self.base - self.own < OWN // 4 - PAGE_SIZE:
            raise AllocationError(
                f"{self}: it must begin at a page, {OWN // 4:#x} or above: below it are the "
                "monitor's page tables"
            )
        if self.memory < LEAST or self.end > below:
            raise AllocationError(
                f"{self}: it must have {LEAST:#x} bytes or more, and with its ROM end within the "
                f"machine's {below:#x} bytes"
            )

    def __str__(self) -> str:
        return f"{self.memory:#x} bytes at {self.base:#x}"


def allocation_for(memory: int) -> tuple[Allocation, int]:
    """Where a guest of so much memory lies if nobody says, and how much the machine below needs.

    Raises GuestFileError.
    """
    if not LEAST <= memory <= MOST:
        raise GuestFileError(
            f"{memory} bytes of memory are not for a virtual PC",
            advice=f"Choose {LEAST >> 20}M to {MOST >> 20}M",
        )
    allocation = Allocation(OWN, memory)
    return allocation, allocation.end + POISONED
