"""Packed values: what is packed is taken apart into lanes, the lowest first."""

from __future__ import annotations

from collections.abc import Sequence

from isa.bits import Bits


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
