"""States of the x87 that bite: numbers of all classes, near each other and near every edge."""

from __future__ import annotations

import random
import struct

from .native import TILE, Fpu, Sse

BIAS = 0x3FFF
EXPONENTS = (0, 1, 2, 0x7FFE, 0x7FFF, BIAS, BIAS - 1, BIAS + 1, BIAS + 63, BIAS + 62, BIAS + 64,
             BIAS + 31, BIAS + 15, BIAS - 126, BIAS - 127, BIAS - 150, BIAS + 127, BIAS + 128,
             BIAS - 1022, BIAS - 1023, BIAS - 1074, BIAS + 1023, BIAS + 1024)  # fmt: skip
FRACTIONS = (0, 1, 2, (1 << 63) - 1, (1 << 63) - 2, 1 << 62, (1 << 62) - 1, (1 << 62) + 1, 1 << 39,
             1 << 40, (1 << 39) - 1, 1 << 10, 1 << 11, (1 << 10) - 1, 3 << 10, 3 << 39)  # fmt: skip
FORMATS = {4: (8, 23), 8: (11, 52)}
ALL_MASKED = 0x3F


def extended(rng: random.Random) -> int:
    """80 bits: mostly numbers that meet others, some of every other kind."""
    kind = rng.random()
    exponent = BIAS + rng.randrange(-70, 70)
    if kind < 0.3:
        exponent = rng.choice(EXPONENTS)
    elif kind < 0.4:
        exponent = rng.randrange(0x8000)
    elif kind < 0.45:
        exponent = rng.choice((rng.randrange(70), 0x7FFF - rng.randrange(70)))
    return rng.getrandbits(1) << 79 | exponent << 64 | _significand(rng, exponent)


def _significand(rng: random.Random, exponent: int) -> int:
    fraction = rng.getrandbits(63)
    kind = rng.random()
    if kind < 0.4:
        fraction = rng.choice(FRACTIONS)
    elif kind < 0.55:
        places = rng.randrange(1, 63)
        fraction = fraction >> places << places
    elif kind < 0.6:
        fraction >>= rng.randrange(63)
    integer = exponent > 0 if rng.random() < 0.96 else exponent == 0
    return int(integer) << 63 | fraction


def near(rng: random.Random, value: int) -> int:
    """A number related to another one: the same, its negative, a neighbour, another exponent."""
    kind = rng.randrange(5)
    if kind == 0:
        return value ^ rng.getrandbits(1) << 79
    if kind == 1:
        return value ^ 1 << rng.randrange(80)
    if kind == 2:
        return (value + rng.randrange(-2, 3)) % (1 << 80)
    exponent = (value >> 64) + rng.randrange(-66, 67)
    return (exponent & 0x7FFF) << 64 | rng.getrandbits(1) << 79 | value & (1 << 64) - 1


def short(rng: random.Random, size: int) -> bytes:
    """4 or 8 bytes of a number in the shorter formats."""
    exponent_bits, fraction_bits = FORMATS[size]
    most = (1 << exponent_bits) - 1
    exponent = rng.choice((0, 1, most, most - 1, most // 2, most // 2 + rng.randrange(-40, 40)))
    fraction = rng.choice((0, 1, (1 << fraction_bits) - 1, 1 << fraction_bits - 1))
    if rng.random() < 0.5:
        fraction = rng.getrandbits(fraction_bits)
    sign = rng.getrandbits(1)
    number = (sign << exponent_bits | exponent) << fraction_bits | fraction
    return number.to_bytes(size, "little")


def control(rng: random.Random) -> int:
    """A control word; three of four mask everything."""
    masks = ALL_MASKED if rng.random() < 0.75 else rng.getrandbits(6)
    precision = rng.choice((0, 2, 3, 3, 3, 1))
    return 0x40 | masks | precision << 8 | rng.randrange(4) << 10 | (rng.random() < 0.05) << 12


def fpu(rng: random.Random) -> Fpu:
    """A whole state; rarely with an exception pending."""
    word = control(rng)
    flags = rng.getrandbits(7) if rng.random() < 0.2 else 0
    if rng.random() < 0.9:
        flags &= word & ALL_MASKED | 0x40
    error = 0x8080 if flags & ~word & ALL_MASKED else 0
    status = flags | error | rng.getrandbits(16) & 0x7F00
    first = extended(rng)
    second = near(rng, first) if rng.random() < 0.3 else extended(rng)
    stack = first, second, *(extended(rng) for _ in range(6))
    return Fpu(word, status, rng.choice((0xFF, 0xFF, 0x7F, rng.getrandbits(8))), stack)


def tile(rng: random.Random) -> bytes:
    """Memory full of numbers of one format."""
    kind = rng.randrange(6)
    if kind < 2:
        size = (4, 8)[kind]
        return b"".join(short(rng, size) for _ in range(TILE // size))
    if kind == 2:
        return extended(rng).to_bytes(16, "little") * (TILE // 16)
    if kind == 3:
        return b"".join(struct.pack("<i", rng.randrange(-9, 9)) for _ in range(TILE // 4))
    if kind == 4:
        digits = "".join(rng.choice("0123456789") for _ in range(18))
        return (bytes.fromhex(digits) + bytes([rng.choice((0, 0x80))])).ljust(16, b"\0") * 8
    return rng.randbytes(TILE)


XMM = 16  # bytes of a register
SSE_MASKED = 0x1F80


def packed(rng: random.Random, like: bytes = b"") -> bytes:
    """What an XMM register holds: numbers of one format, words that saturate, or anything.

    Given another one's bytes, some of them are often related to those.
    """
    kind = rng.randrange(8)
    size = 4 if kind < 3 else 8
    if kind == 6:
        return b"".join(rng.choice(WORDS).to_bytes(2, "little") for _ in range(XMM // 2))
    if kind == 7:
        return rng.randbytes(XMM)
    parts = [short(rng, size) for _ in range(XMM // size)]
    for number in range(len(parts) if like else 0):
        same = int.from_bytes(like[number * size : (number + 1) * size], "little")
        parts[number] = relative(rng, same, size) if rng.random() < 0.3 else parts[number]
    return b"".join(parts)


WORDS = (0, 1, 0x7F, 0x80, 0x81, 0xFF, 0x100, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0xFF80, 0x8080)


def relative(rng: random.Random, value: int, size: int) -> bytes:
    """The same number, its negative, a neighbour, or one of another exponent."""
    kind, bits = rng.randrange(4), 8 * size
    if kind == 0:
        value ^= rng.getrandbits(1) << bits - 1
    elif kind == 1:
        value ^= 1 << rng.randrange(bits)
    elif kind == 2:
        value += rng.randrange(-2, 3)
    else:
        value += rng.randrange(-30, 31) << FORMATS[size][1]
    return (value % (1 << bits)).to_bytes(size, "little")


def mxcsr(rng: random.Random, *, masked: float = 0.75) -> int:
    """MXCSR; in `masked` of all cases it masks every exception."""
    masks = SSE_MASKED if rng.random() < masked else rng.getrandbits(6) << 7
    flags = rng.getrandbits(6) if rng.random() < 0.3 else 0
    zeros = rng.choice((0, 0, 0, 1 << 6, 1 << 15, 1 << 6 | 1 << 15))
    return flags | masks | zeros | rng.randrange(4) << 13


def xmm(rng: random.Random) -> tuple[int, ...]:
    """Eight registers, some of them related to the first."""
    first = packed(rng)
    others = [packed(rng, first if rng.random() < 0.5 else b"") for _ in range(7)]
    return tuple(int.from_bytes(value, "little") for value in (first, *others))


def sse(rng: random.Random) -> Sse:
    """All of SSE's registers."""
    return Sse(mxcsr(rng), xmm(rng))


def sse_tile(rng: random.Random) -> bytes:
    """Memory full of what registers hold."""
    return b"".join(packed(rng) for _ in range(TILE // XMM))
