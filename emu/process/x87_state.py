"""The x87 state as the kernel keeps it in memory: the image of FSAVE with 32 bits, which programs
find in the frames of signals, and that of FXSAVE, which has SSE's as well. What an image means is
the ISA's business (`isa.x86.x87.image`, `fast_image`).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from types import SimpleNamespace

from isa.bits import Bits
from isa.hints import Any, Protocol
from isa.registers import Register
from isa.x86.models import MODELS, Model
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
    MXCSR,
    MXCSR_INITIAL,
    ST,
    STX,
    TOP,
    XMM,
)

SIZE = 28 + 8 * 10  # bytes: environment and registers
_ONES = 0xFFFF_0000
INITIAL = struct.pack("<7I", _ONES | FCW_INITIAL, _ONES, 0xFFFF_FFFF, 0, 0, 0, _ONES) + bytes(80)
"""Linux's init_fpstate: what FINIT leaves, and zeros in the registers."""

_REGISTERS: tuple[Register, ...] = (
    FCW, FPU_FLAGS, C0, C1, C2, C3, TOP, FULL, FOP, FIP, FCS, FDP, FDS, *ST.members, *STX.members,
)  # fmt: skip
FAST_SIZE = 512  # bytes of FXSAVE's image
_UNIT_SIZE, _MXCSR_AT, _XMM_SIZE = 160, 24, 16  # bytes in it
_PARTS: tuple[Register, ...] = (*_REGISTERS, *(part for part, _ in MXCSR.fields))
_MOST = 256  # images and states that are remembered: most programs have few


class Registers(Protocol):
    """A processor's, by name."""

    def __getitem__(self, name: str, /) -> int:
        """Read a register."""

    def __setitem__(self, name: str, value: int, /) -> None:
        """Write a register."""


class _Known:
    """Stands for a builder whose registers have values: what a meaning makes of them has, too."""

    mode = SimpleNamespace(segments_are_paragraphs=False)
    form = SimpleNamespace(operand_size=32)

    def __init__(
        self, values: dict[Register, int] | None = None, model: Model | None = None
    ) -> None:
        self.values = {} if values is None else values
        self.model = model

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


def pack_fast(state: Registers, model: Model) -> bytes:
    """The image that FXSAVE makes of a processor's state; what is reserved in it is 0."""
    unit = _fast_image(tuple([state[register.name] for register in _PARTS]), model.name)
    registers = (state[register.name].to_bytes(_XMM_SIZE, "little") for register in XMM)
    return (unit + b"".join(registers)).ljust(FAST_SIZE, b"\0")


def put_sse(state: Registers, image: bytes, model: Model) -> None:
    """Load SSE's registers from FXSAVE's image, without bits of MXCSR that there are not."""
    from isa.x86.sse.mxcsr import known_bits

    known: Any = _Known(model=model)
    (word,) = struct.unpack_from("<I", image, _MXCSR_AT)
    state["mxcsr"] = word & known_bits(known)
    for number, register in enumerate(XMM):
        start = _UNIT_SIZE + number * _XMM_SIZE
        state[register.name] = int.from_bytes(image[start : start + _XMM_SIZE], "little")


def reset_sse(state: Registers) -> None:
    """Make SSE's registers what they are in Linux's init_fpstate."""
    state["mxcsr"] = MXCSR_INITIAL
    for register in XMM:
        state[register.name] = 0


@lru_cache(_MOST)
def _fast_image(values: tuple[int, ...], model: str) -> bytes:
    from isa.x86.x87 import fast_image

    known: Any = _Known(dict(zip(_PARTS, values, strict=True)), MODELS[model])
    return fast_image.pack_unit(known).value.to_bytes(_UNIT_SIZE, "little")


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
