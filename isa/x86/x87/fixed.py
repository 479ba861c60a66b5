"""Fixed-point numbers of 128 places and floating ones of 128 bits, as series need them.

What is cut off is cut downwards, so that a result's error has a known sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isa.bits import Bits
from isa.hints import Final
from isa.x86.x87.division import divide
from isa.x86.x87.number import BIAS, EXPONENT, Number
from isa.x86.x87.result import Result
from isa.x86.x87.rounding import WIDE, Control, finish

TOP: Final = 1 << WIDE - 1
UNIT: Final = 1 << WIDE - 64
"""The last place of a result: the precision control does not count (SDM volume 1, 8.1.5.2)."""


def times(a: Bits, b: Bits) -> Bits:
    """The upper half of a product of 128 bits each: the product of two fractions."""
    return (a.zext(2 * WIDE) * b.zext(2 * WIDE)).bits(WIDE, WIDE)


def alternating(z: Bits, coefficients: Sequence[Bits | int]) -> Bits:
    """c0 - z (c1 - z (c2 - …)) of fractions; each sum is to be positive."""
    return series(z, Bits.of(1, 1), coefficients)


def series(z: Bits, negative: Bits, coefficients: Sequence[Bits | int]) -> Bits:
    """c0 ± z (c1 ± z (c2 ± …)) of fractions; each sum is to be positive and below 1."""
    *others, last = (_fraction(c) for c in coefficients)
    total = last
    for coefficient in reversed(others):
        product = times(z, total)
        total = coefficient + negative.select(-product, product)
    return total


def _fraction(coefficient: Bits | int) -> Bits:
    return Bits.of(coefficient, WIDE) if isinstance(coefficient, int) else coefficient


def lookup(index: Bits, values: Sequence[int]) -> Bits:
    """One of some fractions, by its number."""
    found: list[Bits | int] = list(values)
    for place in range((len(values) - 1).bit_length()):
        chosen = index.bit(place)
        pairs = zip(found[::2], [*found[1::2], found[-1]], strict=False)
        found = [chosen.select(_fraction(b), _fraction(a)) for a, b in pairs]
    return _fraction(found[0])


def reciprocal(divisor: Bits) -> Bits:
    """1 / (2 d) of a fraction d whose highest bit is 1, at most 2^-120 of it too small.

    64 places by division, a little too small, and the others by a step of Newton's.
    """
    low = Bits.of(-1, 64)
    first, _ = divide(low >> 1, low, divisor.bits(64, 64))
    first = (first - 4).zext(2 * WIDE)
    lacking = Bits.of(1 << 191, 2 * WIDE) - divisor.zext(2 * WIDE) * first
    return ((first << 64) + (first * lacking >> 127)).low(WIDE)


@dataclass(frozen=True, slots=True)
class Real:
    """A positive number: significand × 2^(exponent - 127), the significand's highest bit 1.

    A zero's significand is 0.
    """

    exponent: Bits
    significand: Bits

    @staticmethod
    def of(x: Number) -> Real:
        """The magnitude of a finite number."""
        return Real(x.exponent - BIAS, x.significand.concat(Bits.of(0, 64)))

    @staticmethod
    def normal(exponent: Bits | int, significand: Bits) -> Real:
        """The same value with the highest bit where it belongs."""
        places = significand.clz()
        known = Bits.of(exponent, EXPONENT) if isinstance(exponent, int) else exponent
        return Real(known - places.low(EXPONENT), significand << places)

    def times(self, factor: Bits, places: int = WIDE) -> Real:
        """The product with a fixed-point number of `places` places."""
        return Real.normal(self.exponent + (WIDE - places), times(self.significand, factor))

    def over(self, divisor: Real) -> Real:
        """The quotient."""
        inverse = reciprocal(divisor.significand)
        exponent = self.exponent - divisor.exponent
        return Real.normal(exponent, times(self.significand, inverse))

    def fixed(self, places: int = WIDE) -> Bits:
        """In fixed point, if it fits."""
        return self.significand >> (Bits.of(WIDE - 1 - places, EXPONENT) - self.exponent).zext(WIDE)

    def or_else(self, condition: Bits, other: Real) -> Real:
        """`other` if the condition holds, else this."""
        return Real(
            condition.select(other.exponent, self.exponent),
            condition.select(other.significand, self.significand),
        )

    def rounded(self, sign: Bits, control: Control, inexact: Bits | int = 1) -> Result:
        """Rounded to the unit's format; there may be more places than these."""
        sticky = Bits.of(inexact, 1) if isinstance(inexact, int) else inexact
        significand = self.significand | sticky.zext(WIDE)
        return finish(sign, self.exponent + BIAS, significand, Bits.of(UNIT, WIDE), control)


def coefficients(terms: Iterable[tuple[int, int]], largest: tuple[int, int]) -> list[int]:
    """Fractions n / d, as many as a series of powers of at most `largest` needs."""
    found, numerator, denominator = list[int](), 1, 1
    for n, d in terms:
        if (numerator * n << WIDE) // (denominator * d) == 0:
            break
        found.append((n << WIDE) // d)
        numerator, denominator = numerator * largest[0], denominator * largest[1]
    return found
