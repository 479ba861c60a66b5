"""Quotients and roots of wide numbers out of divisions of 64 bits, which every engine has."""

from __future__ import annotations

from isa.bits import Bits

WIDE = 128


def divide(high: Bits, low: Bits, divisor: Bits) -> tuple[Bits, Bits]:
    """Quotient and remainder of high:low, all 64 bits wide; high < divisor, whose highest bit is 1.

    Two digits of 32 bits, each estimated from the divisor's upper half (Knuth, volume 2, 4.3.1).
    """
    first, rest = _digit(high, low.bits(32, 32), divisor)
    second, remainder = _digit(rest, low.low(32), divisor)
    return (first << 32) + second, remainder


def _digit(rest: Bits, following: Bits, divisor: Bits) -> tuple[Bits, Bits]:
    """One digit of a quotient, which may be estimated 2 too large, and what remains."""
    digit = rest.udiv(divisor.bits(32, 32).zext(64))
    whole = divisor.zext(WIDE)
    left = rest.concat(following).zext(WIDE) - digit.zext(WIDE) * whole
    for _ in range(2):
        too_large = left.sign
        left = too_large.select(left + whole, left)
        digit = digit - too_large.zext(64)
    return digit, left.low(64)


def square_root(number: Bits) -> tuple[Bits, Bits]:
    """The root of a number of 128 bits, one of its two highest being 1, and the remainder.

    Both 128 bits wide. Each step doubles the digits (Zimmermann, "Karatsuba Square Root").
    """
    two = number.bits(WIDE - 2, 2).zext(WIDE)
    root, rest = Bits.of(1, WIDE), two - 1
    width = 4
    while width <= WIDE:
        root, rest = _more_digits(number.bits(WIDE - width, width), root, rest)
        width *= 2
    return root, rest


def _more_digits(head: Bits, root: Bits, rest: Bits) -> tuple[Bits, Bits]:
    """Root and remainder of `head` from those of its upper half."""
    quarter = head.width // 4
    upper, lower = head.bits(quarter, quarter).zext(WIDE), head.low(quarter).zext(WIDE)
    dividend = (rest << quarter) + upper
    digits = (dividend >> 1).low(64).udiv(root.low(64)).zext(WIDE)
    root, rest = (
        (root << quarter) + digits,
        ((dividend - digits * (root << 1)) << quarter) + lower - digits * digits,
    )
    negative = rest.sign
    return root - negative.zext(WIDE), negative.select(rest + (root << 1) - 1, rest)
