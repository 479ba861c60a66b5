"""SSE's arithmetic once more, on exact fractions: what tests hold the meanings against."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from tests.x87_oracle import exponent_of, power, to_grid

IE, DE, ZE, OE, UE, PE = (1 << n for n in range(6))
DAZ, FTZ = 1 << 6, 1 << 15


class Short(NamedTuple):
    """A format: bits of significand with the one that is not stored, and of the exponent."""

    places: int
    exponent_bits: int

    @property
    def bias(self) -> int:
        return (1 << self.exponent_bits - 1) - 1

    @property
    def least(self) -> int:
        """The exponent of the smallest normal number."""
        return 1 - self.bias


FORMATS = {32: Short(24, 8), 64: Short(53, 11)}


def is_finite(bits: int, width: int) -> bool:
    form = FORMATS[width]
    most = (1 << form.exponent_bits) - 1
    return bits >> form.places - 1 & most != most


def is_denormal(bits: int, width: int) -> bool:
    form = FORMATS[width]
    magnitude = bits & (1 << width - 1) - 1
    return 0 < magnitude < 1 << form.places - 1


def value(bits: int, width: int) -> Fraction:
    """A finite number."""
    form = FORMATS[width]
    biased = bits >> form.places - 1 & (1 << form.exponent_bits) - 1
    significand = bits & (1 << form.places - 1) - 1 | (biased > 0) << form.places - 1
    magnitude = significand * power(max(biased, 1) - form.bias - form.places + 1)
    return -magnitude if bits >> width - 1 else magnitude


def encode(x: Fraction, sign: int, width: int) -> int:
    """The bits of a representable number, or of an infinity."""
    form = FORMATS[width]
    if abs(x) >= power(form.bias + 1):
        return sign << width - 1 | ((1 << form.exponent_bits) - 1) << form.places - 1
    exponent = max(exponent_of(x), form.least) if x else form.least
    significand = abs(x) / power(exponent - form.places + 1)
    assert significand.denominator == 1
    biased = exponent + form.bias - (significand < 1 << form.places - 1)
    return sign << width - 1 | (biased << form.places - 1) + (
        int(significand) & (1 << form.places - 1) - 1
    )


def rounded(x: Fraction, width: int, mxcsr: int) -> tuple[int, int]:
    """Bits and flags of a number other than 0, if none of its exceptions is unmasked."""
    form, mode, sign = FORMATS[width], mxcsr >> 13 & 3, int(x < 0)
    masked = mxcsr >> 7
    full = to_grid(x, power(exponent_of(x) - form.places + 1), mode)
    tiny = abs(full) < power(form.least)
    if tiny and masked & UE:
        if mxcsr & FTZ:
            return sign << width - 1, UE | PE
        found = to_grid(x, power(form.least - form.places + 1), mode)
        return encode(found, sign, width), UE | PE if found != x else 0
    flags = (PE if full != x else 0) | (UE if tiny else 0)
    if abs(full) < power(form.bias + 1):
        return (0 if tiny else encode(full, sign, width)), flags
    flags |= OE | (PE if masked & OE else 0)
    largest = power(form.bias + 1) - power(form.bias - form.places + 1)
    up = mode == 0 or mode == (1 if sign else 2)
    return encode(full if up else largest, sign, width), flags


def binary(
    operation: Callable[[Fraction, Fraction], Fraction], a: int, b: int, width: int, mxcsr: int
) -> tuple[int, int] | None:
    """An operation on finite numbers; None if its result is 0 or there is none."""
    if mxcsr & DAZ:
        a, b = (n & 1 << width - 1 if is_denormal(n, width) else n for n in (a, b))
    try:
        x = operation(value(a, width), value(b, width))
    except ZeroDivisionError:
        return None
    if not x:
        return None
    bits, flags = rounded(x, width, mxcsr)
    return bits, flags | (DE if is_denormal(a, width) or is_denormal(b, width) else 0)
