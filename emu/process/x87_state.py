"""The x87 state as the kernel keeps it in memory: the image of FSAVE with 32 bits, which programs
find in the frames of signals. What an image means is the ISA's business (`isa.x86.x87.image`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Protocol

from isa.bits import Bits
from isa.registers import Register
from isa.x86.registers import (
    C0,
    C1,
    C2,
    C3,
    FCS,
    FCW,
    FCW_INITIAL,
    FDP,
    FDS,
    FIP,
    FOP,
    FPU_FLAGS,
    FULL,
    ST,
    STX,
    TOP,
)

SIZE = 28 + 8 * 10  # bytes: environment and registers
_ONES = 0xFFFF_0000
INITIAL = struct.pack("<7I", _ONES | FCW_INITIAL, _ONES, 0xFFFF_FFFF, 0, 0, 0, _ONES) + bytes(80)
"""Linux's init_fpstate: what FINIT leaves, and zeros in the registers."""

_REGISTERS: tuple[Register, ...] = (
    FCW, FPU_FLAGS, C0, C1, C2, C3, TOP, FULL, FOP, FIP, FCS, FDP, FDS, *ST.members, *STX.members,
)  # fmt: skip
_MOST = 256  # images and states that are remembered: most programs have few


class Registers(Protocol):
    """A processor's, by name."""

    def __getitem__(self, name: str, /) -> int:
        """Read a register."""

    def __setitem__(self, name: str, value: int, /) -> None:
        """Write a register."""


@dataclass
class _Known:
    """Stands for a builder whose registers have values: what a meaning makes of them has, too."""

    values: dict[Register, int] = field(default_factory=dict)
    mode = SimpleNamespace(segments_are_paragraphs=False)
    form = SimpleNamespace(operand_size=32)

    def get(self, register: Register) -> Bits:
        return Bits.of(self.values[register], register.width)

    def put(self, register: Register, value: Bits) -> None:
        self.values[register] = value.value


def pack(state: Registers) -> bytes:
    """The image of a processor's x87 state, which it keeps (FSAVE would initialise it)."""
    return _image(tuple([state[register.name] for register in _REGISTERS]))


def put(state: Registers, image: bytes) -> None:
    """Load a processor's x87 state from an image, as FRSTOR does."""
    for register, value in zip(_REGISTERS, _values(image), strict=True):
        state[register.name] = value


@lru_cache(_MOST)
def _image(values: tuple[int, ...]) -> bytes:
    from isa.x86.x87 import image  # what most programs do not need

    known: Any = _Known(dict(zip(_REGISTERS, values, strict=True)))
    return image.pack_all(known).value.to_bytes(SIZE, "little")


@lru_cache(_MOST)
def _values(content: bytes) -> tuple[int, ...]:
    from isa.x86.x87 import image

    known: Any = _Known()
    image.put_all(known, Bits.of(int.from_bytes(content, "little"), 8 * SIZE))
    return tuple([known.values[register] for register in _REGISTERS])
