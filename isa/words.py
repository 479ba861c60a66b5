"""Unsigned numbers of some width, read as two's complement."""

from __future__ import annotations


def signed(width: int, value: int) -> int:
    """Read an unsigned number of `width` bits as two's complement."""
    return (value ^ (1 << width - 1)) - (1 << width - 1)


def mask(width: int) -> int:
    """The largest number of `width` bits."""
    return (1 << width) - 1


def sdiv(w: int, a: int, b: int) -> int:
    """Signed quotient rounded toward zero; by zero: -1 or 1, as SMT-LIB defines bvsdiv."""
    x, y = signed(w, a), signed(w, b)
    if y == 0:
        return 1 if x < 0 else mask(w)
    quotient = abs(x) // abs(y)
    return (quotient if (x < 0) == (y < 0) else -quotient) & mask(w)


def srem(w: int, a: int, b: int) -> int:
    """Remainder with the sign of the dividend; by zero: the dividend."""
    x, y = signed(w, a), signed(w, b)
    if y == 0:
        return a
    return (abs(x) % abs(y) if x >= 0 else -(abs(x) % abs(y))) & mask(w)
