"""What the x87's arithmetic should give, by plain integers and fractions, without the IR.

Numbers are fractions, computed with exactly, and rounded to the grid of representable numbers by
comparing fractions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import floor, isqrt

BIAS = 0x3FFF
NEAREST, DOWN, UP, CHOP = range(4)
IE, DE, ZE, OE, UE, PE = (1 << n for n in range(6))
INDEFINITE = 0xFFFFC000000000000000
PRECISIONS = {0: 24, 1: 64, 2: 53, 3: 64}
MASKED = 0x3F


@dataclass(frozen=True)
class Outcome:
    """Value, flags, and C1."""

    value: int
    flags: int
    up: int


def is_unsupported(bits: int) -> bool:
    """Unnormals, pseudo-infinities and pseudo-NaNs."""
    return bool(bits >> 64 & 0x7FFF) and not bits >> 63 & 1


def is_nan(bits: int) -> bool:
    return bits >> 64 & 0x7FFF == 0x7FFF and bool(bits & (1 << 63) - 1) and bool(bits >> 63 & 1)


def is_infinite(bits: int) -> bool:
    return bits & (1 << 79) - 1 == 0x7FFF << 64 | 1 << 63


def is_zero(bits: int) -> bool:
    return not bits & (1 << 79) - 1


def is_denormal(bits: int) -> bool:
    return not bits >> 64 & 0x7FFF and not is_zero(bits)


def negative(bits: int) -> bool:
    return bool(bits >> 79)


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def value(bits: int) -> Fraction:
    """A finite number."""
    exponent = max(bits >> 64 & 0x7FFF, 1) - BIAS - 63
    magnitude = (bits & (1 << 64) - 1) * power(exponent)
    return -magnitude if negative(bits) else magnitude


def exponent_of(x: Fraction) -> int:
    """The e with 2^e <= |x| < 2^(e + 1)."""
    x = abs(x)
    guess = x.numerator.bit_length() - x.denominator.bit_length()
    return guess if power(guess) <= x else guess - 1


def to_grid(x: Fraction, step: Fraction, mode: int) -> Fraction:
    """x rounded to a multiple of `step`."""
    below = floor(x / step)
    rest = x / step - below
    if mode == UP:
        up = rest > 0
    elif mode == CHOP:
        up = rest > 0 and x < 0
    else:
        half = rest == Fraction(1, 2)
        up = mode == NEAREST and (rest > Fraction(1, 2) or (half and below % 2 == 1))
    return (below + up) * step


def encode(x: Fraction, sign: int) -> int:
    """The bits of a representable number."""
    if not x:
        return sign << 79
    exponent = max(exponent_of(x), 1 - BIAS)
    significand = abs(x) / power(exponent - 63)
    assert significand.denominator == 1
    biased = exponent + BIAS if significand >= 1 << 63 else 0
    return sign << 79 | biased << 64 | int(significand)


def rounded(x: Fraction, control: int) -> Outcome:
    """A number other than 0, rounded to the unit's format."""
    mode, precision = control >> 10 & 3, PRECISIONS[control >> 8 & 3]
    sign = int(x < 0)
    unbounded = to_grid(x, power(exponent_of(x) - precision + 1), mode)
    tiny = abs(unbounded) < power(1 - BIAS)
    huge = abs(unbounded) >= power(BIAS + 1)
    scale = 0
    if tiny and not control & UE:
        scale = 0x6000
    if huge and not control & OE:
        scale = -0x6000
    if huge and not scale:
        return _overflow(sign, mode, precision)
    least = 1 - BIAS - scale
    exponent = max(exponent_of(x), least)
    result = to_grid(x, power(exponent - precision + 1), mode)
    inexact = result != x
    flags = (OE if huge else 0) | (PE if inexact else 0)
    flags |= UE if tiny and (inexact or not control & UE) else 0
    return Outcome(encode(result * power(scale), sign), flags, int(abs(result) > abs(x)))


def _overflow(sign: int, mode: int, precision: int) -> Outcome:
    if mode == NEAREST or mode == (DOWN if sign else UP):
        return Outcome(sign << 79 | 0x7FFF << 64 | 1 << 63, OE | PE, 1)
    most = (1 << 64) - (1 << 64 - precision)
    return Outcome(sign << 79 | 0x7FFE << 64 | most, OE | PE, 0)


def quiet(bits: int) -> int:
    return bits | 1 << 62


def nan_of(a: int, b: int) -> int:
    """SDM volume 1, table 4-7."""
    nans = [x for x in (a, b) if is_nan(x)]
    if len(nans) == 2:
        quiets = [x for x in nans if x >> 62 & 1]
        nans = quiets if len(quiets) == 1 else nans
    low = (1 << 64) - 1
    return max((quiet(x) for x in nans), key=lambda x: (x & low, -(x >> 79)))


def signaling(bits: int) -> bool:
    return is_nan(bits) and not bits >> 62 & 1


def binary(operation: Callable[[int, int, int], Outcome], a: int, b: int, control: int) -> Outcome:
    """An operation on two operands: special ones first."""
    if is_unsupported(a) or is_unsupported(b):
        return Outcome(INDEFINITE, IE, 0)
    if is_nan(a) or is_nan(b):
        return Outcome(nan_of(a, b), IE if signaling(a) or signaling(b) else 0, 0)
    found = operation(a, b, control)
    denormal = is_denormal(a) or is_denormal(b)
    return found if found.flags & (IE | ZE) or not denormal else _with(found, DE)


def _with(found: Outcome, flag: int) -> Outcome:
    return Outcome(found.value, found.flags | flag, found.up)


def infinity(sign: int) -> Outcome:
    return Outcome(sign << 79 | 0x7FFF << 64 | 1 << 63, 0, 0)


INVALID = Outcome(INDEFINITE, IE, 0)


def add(a: int, b: int, control: int) -> Outcome:
    if is_infinite(a) and is_infinite(b):
        return INVALID if (a ^ b) >> 79 else infinity(a >> 79)
    if is_infinite(a) or is_infinite(b):
        return infinity((a if is_infinite(a) else b) >> 79)
    x, y = value(a), value(b)
    if x + y:
        return rounded(x + y, control)
    same = a >> 79 == b >> 79
    return Outcome((a >> 79 if same else int(control >> 10 & 3 == DOWN)) << 79, 0, 0)


def multiply(a: int, b: int, control: int) -> Outcome:
    sign = (a ^ b) >> 79
    if is_infinite(a) or is_infinite(b):
        return INVALID if is_zero(a) or is_zero(b) else infinity(sign)
    product = value(a) * value(b)
    return rounded(product, control) if product else Outcome(sign << 79, 0, 0)


def divide(a: int, b: int, control: int) -> Outcome:
    sign = (a ^ b) >> 79
    if (is_infinite(a) and is_infinite(b)) or (is_zero(a) and is_zero(b)):
        return INVALID
    if is_infinite(a):
        return infinity(sign)
    if is_zero(b):
        return _with(infinity(sign), ZE)
    if is_infinite(b) or is_zero(a):
        return Outcome(sign << 79, 0, 0)
    return rounded(value(a) / value(b), control)


def square_root(a: int, control: int) -> Outcome:
    """Of one operand."""
    if is_unsupported(a):
        return INVALID
    if is_nan(a):
        return Outcome(quiet(a), IE if signaling(a) else 0, 0)
    if is_zero(a) or a == infinity(0).value:
        return Outcome(a, 0, 0)
    if negative(a):
        return INVALID
    x = value(a)
    shift = 2 * (140 - exponent_of(x) // 2)  # 140 places and a sticky one: enough for 64 of them
    scaled = floor(x * power(shift))
    root = isqrt(scaled)
    exact = Fraction(root) + (Fraction(1, 4) if root * root != x * power(shift) else 0)
    found = rounded(exact * power(-shift // 2), control)
    return _with(found, DE) if is_denormal(a) else found


def to_integer(a: int, width: int, control: int) -> Outcome:
    """FIST."""
    indefinite = Outcome(1 << width - 1, IE, 0)
    if is_unsupported(a) or is_nan(a) or is_infinite(a):
        return indefinite
    x = value(a)
    whole = to_grid(x, Fraction(1), control >> 10 & 3)
    if not -(1 << width - 1) <= whole < 1 << width - 1:
        return indefinite
    flags = PE if whole != x else 0
    return Outcome(int(whole) % (1 << width), flags, int(abs(whole) > abs(x)))
