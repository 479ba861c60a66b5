"""Packed values: what is packed is taken apart into lanes, the lowest first."""

from __future__ import annotations

from collections.abc import Sequence

from isa.bits import Bits
from isa.ops import mask


def lanes(value: Bits, width: int) -> list[Bits]:
    """The parts of a value, the lowest first."""
    return [value.bits(low, width) for low in range(0, value.width, width)]


def packed(parts: Sequence[Bits]) -> Bits:
    """One value of a power of two of parts, the lowest first."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [high.concat(low) for low, high in pairs]
    return parts[0]


def chosen(parts: Sequence[Bits], index: Bits) -> Bits:
    """The part, of a power of two of them, that the low bits of a number choose."""
    number = 0
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [index.bit(number).select(odd, even) for even, odd in pairs]
        number += 1
    return parts[0]


def repeated(part: int, width: int, whole: int) -> int:
    """A constant of `whole` bits of which each lane of `width` bits is `part`."""
    return part * (mask(whole) // mask(width))


def equal(a: Bits, b: Bits, width: int) -> Bits:
    """Ones in each lane in which two values are the same, done with all lanes at once.

    The sum has a lane's highest bit if anything below it differs; it never leaves its lane.
    """
    low, high = (repeated(n, width, a.width) for n in (mask(width - 1), 1 << width - 1))
    differing = a ^ b
    same = ~((differing & low) + low | differing) & high
    return (same << 1) - (same >> width - 1)


def signs(value: Bits, width: int) -> Bits:
    """The highest bits of lanes, the lowest first. Those of eight bytes are done at once.

    Byte n's sign is moved by 8n bits down to bit 0, and by the product from there to bit 56 + n.
    """
    if width != 8:
        return packed([lane.sign for lane in lanes(value, width)])
    steps = sum(1 << 7 * n for n in range(1, 9))
    eights = [half >> 7 & repeated(1, 8, 64) for half in lanes(value, 64)]
    return packed([(half * steps).bits(56, 8) for half in eights])
