"""FXSAVE's image of 512 bytes (SDM volume 1, table 10-2), of which 288 have a meaning."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import Final
from isa.x86 import results
from isa.x86.builder import X86Builder
from isa.x86.registers import (
    FCS,
    FCW,
    FDP,
    FDS,
    FIP,
    FOP,
    FULL,
    ST,
    STX,
    TOP,
    XMM_HIGH,
    XMM_LOW,
)
from isa.x86.sse import mxcsr
from isa.x86.x87.image import Environment, join, put_environment, put_registers
from isa.x86.x87.words import status_word

WHOLE: Final = 512 * 8
HEAD: Final = 32 * 8  # bits: environment, MXCSR and its mask
SLOT: Final = 128  # of a register, x87 or SSE
UNIT: Final = HEAD + 8 * SLOT
SSE: Final = 8 * SLOT
_MXCSR_AT: Final = 24 * 8


def pack_unit(m: X86Builder) -> Bits:
    """The image as far as ST(7): all of it but the XMM registers."""
    tags = results.rotate_left(m.get(FULL), m.get(TOP).zext(8))
    empty = Bits.of(0, 16)
    environment = [
        m.get(FCW), status_word(m), tags.zext(16), m.get(FOP).zext(16),
        m.get(FIP), m.get(FCS), empty, m.get(FDP), m.get(FDS), empty,
    ]  # fmt: skip
    slots = [
        m.get(exponent).concat(m.get(significand)).zext(SLOT)
        for significand, exponent in zip(ST.members, STX.members, strict=True)
    ]
    words = [mxcsr.read(m), Bits.of(mxcsr.known_bits(m), mxcsr.WIDTH)]
    return join([*environment, *words, *slots])


def pack_sse(m: X86Builder) -> Bits:
    """The XMM registers."""
    halves = zip(XMM_LOW.members, XMM_HIGH.members, strict=True)
    return join([m.get(half) for pair in halves for half in pair])


def put_unit(m: X86Builder, image: Bits) -> None:
    """Make the x87 what the image says, but not MXCSR."""
    environment = Environment(
        control=image.low(16),
        status=image.bits(16, 16),
        tags=image.bits(32, 8),
        instruction=(image.bits(96, 16), image.bits(64, 32)),
        operand=(image.bits(160, 16), image.bits(128, 32)),
        opcode=image.bits(48, 11),
    )
    top = put_environment(m, environment)
    m.put(FULL, results.rotate_right(environment.tags, top.zext(8)))
    put_registers(m, image.bits(HEAD, 8 * SLOT), SLOT)


def mxcsr_of(image: Bits) -> Bits:
    """What the image says that MXCSR becomes."""
    return image.bits(_MXCSR_AT, 32)


def put_sse(m: X86Builder, image: Bits) -> None:
    """Make the XMM registers what their part of the image says."""
    for number, (low, high) in enumerate(zip(XMM_LOW.members, XMM_HIGH.members, strict=True)):
        m.put(low, image.bits(number * SLOT, 64))
        m.put(high, image.bits(number * SLOT + 64, 64))
