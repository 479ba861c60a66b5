"""CPUID: what the processor says of itself follows from what the table contains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from isa.bits import Bits
from isa.x86.builder import X86Builder
from isa.x86.registers import EAX, EBX, ECX, EDX
from isa.x86.table import INSTRUCTIONS, instruction

Answer = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

_FEATURES: Final = {"fld": 0, "rdtsc": 4, "cmpxchg8b": 8, "cmove": 15, "emms": 23, "fxsave": 24}
"""An instruction, and the bit of EDX that promises it and its like (SDM 2, CPUID, leaf 1)."""


@dataclass(frozen=True, slots=True)
class Model:
    """What CPUID tells besides the features: a Pentium II with 512 KiB of second-level cache.

    `caches` are the descriptor bytes of leaf 2 by register (SDM 2, CPUID, table 3-12): 4 KiB and
    4 MiB TLBs, L1 of 16 + 16 KiB and L2 of 512 KiB, 4-way, 32-byte lines.
    """

    vendor: bytes = b"GenuineIntel"
    family: int = 6
    model: int = 3
    stepping: int = 4
    caches: Answer = (0x03020101, 0, 0, 0x0C040843)

    @property
    def signature(self) -> int:
        """Leaf 1's EAX."""
        return self.family << 8 | self.model << 4 | self.stepping

    def leaves(self) -> dict[int, Answer]:
        """The basic leaves, and the first extended one, which says that there are no more."""
        first, second, third = (int.from_bytes(self.vendor[n : n + 4], "little") for n in (0, 4, 8))
        return {
            0: (2, first, third, second),
            1: (self.signature, 0, 0, features()),
            0x80000000: (0x80000000, 0, 0, 0),
            2: self.caches,
        }


MODEL: Final = Model()


def features() -> int:
    """The feature bits of leaf 1, EDX."""
    return sum(1 << bit for name, bit in _FEATURES.items() if name in INSTRUCTIONS)


@instruction("cpuid", heading="CPUID—CPU Identification")
def cpuid(m: X86Builder) -> None:
    """A leaf that does not exist answers as the highest basic one does."""
    leaf = m.get(EAX)
    *others, (_, last) = MODEL.leaves().items()
    for number, register in enumerate((EAX, EBX, ECX, EDX)):
        value = Bits.of(last[number], 32)
        for key, answer in others:
            value = (leaf == key).select(answer[number], value)
        m.put(register, value)
