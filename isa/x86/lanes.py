"""Packed values: what is packed is taken apart into lanes, the lowest first.

Where a word of 64 bits can do what its lanes do, without taking them apart, it does so: compiled
code has no other way to do it with all lanes at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from isa.bits import Bits
from isa.words import mask


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


def total(a: Bits, b: Bits, width: int) -> Bits:
    """The sums of lanes: no carry leaves its lane, as the highest bits are added without one."""
    low, high = _low_and_high(a, width)
    return (a & low) + (b & low) ^ (a ^ b) & high


def difference(a: Bits, b: Bits, width: int) -> Bits:
    """The differences of lanes, likewise."""
    low, high = _low_and_high(a, width)
    return (a | high) - (b & low) ^ ~(a ^ b) & high


def equal(a: Bits, b: Bits, width: int) -> Bits:
    """Ones in each lane in which two values are the same.

    The sum has a lane's highest bit if anything below it differs; it never leaves its lane.
    """
    low, high = _low_and_high(a, width)
    differing = a ^ b
    return _spread(~((differing & low) + low | differing) & high, width)


def at_least(a: Bits, b: Bits, width: int) -> Bits:
    """Ones in each lane in which one value is not below the other, both unsigned.

    Where the highest bits are the same, the difference of the others tells.
    """
    low, high = _low_and_high(a, width)
    rest = (a | high) - (b & low)
    return _spread((a & ~b | ~(a ^ b) & rest) & high, width)


def signed_at_least(a: Bits, b: Bits, width: int) -> Bits:
    """The same of signed values."""
    _, high = _low_and_high(a, width)
    return at_least(a ^ high, b ^ high, width)


def merged(where: Bits, ones: Bits, zeros: Bits) -> Bits:
    """By bits of `where`: those of one value or of the other."""
    return ones & where | zeros & ~where


def _low_and_high(value: Bits, width: int) -> tuple[int, int]:
    """All bits of lanes but their highest, and those."""
    parts = mask(width - 1), 1 << width - 1
    low, high = (repeated(part, width, value.width) for part in parts)
    return low, high


def _spread(high: Bits, width: int) -> Bits:
    """Lanes full of what their highest bits are, where all others are 0."""
    return (high << 1) - (high >> width - 1)


def signs(value: Bits, width: int) -> Bits:
    """The highest bits of lanes, the lowest first. Those of eight bytes are done at once.

    Byte n's sign is moved by 8n bits down to bit 0, and by the product from there to bit 56 + n.
    """
    if width != 8:
        return packed([lane.sign for lane in lanes(value, width)])
    steps = sum(1 << 7 * n for n in range(1, 9))
    eights = [half >> 7 & repeated(1, 8, 64) for half in lanes(value, 64)]
    return packed([(half * steps).bits(56, 8) for half in eights])
