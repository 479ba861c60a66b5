"""Results of shifts, rotates and decimal adjustments: pure functions that meanings and flags share.

Counts are masked to 5 bits and as wide as the operand.
"""

from __future__ import annotations

from isa.bits import Bits


def rotate_left(a: Bits, count: Bits) -> Bits:
    """`a` rotated left by `count` modulo its width."""
    places = count & a.width - 1
    return a << places | a >> (Bits.of(a.width, a.width) - places)


def rotate_right(a: Bits, count: Bits) -> Bits:
    """`a` rotated right by `count` modulo its width."""
    places = count & a.width - 1
    return a >> places | a << (Bits.of(a.width, a.width) - places)


def rotate_left_through_carry(a: Bits, carry: Bits, count: Bits) -> Bits:
    """CF above `a`, rotated left as one number: CF is the highest bit of the answer."""
    whole, places, size = _through_carry(a, carry, count)
    return whole << places | whole >> (size - places)


def rotate_right_through_carry(a: Bits, carry: Bits, count: Bits) -> Bits:
    """CF above `a`, rotated right as one number: CF is the highest bit of the answer."""
    whole, places, size = _through_carry(a, carry, count)
    return whole >> places | whole << (size - places)


def _through_carry(a: Bits, carry: Bits, count: Bits) -> tuple[Bits, Bits, Bits]:
    """The number to rotate, by how many places, and its size."""
    whole = carry.concat(a)
    size = Bits.of(whole.width, whole.width)
    places = count.zext(whole.width)
    return whole, places.urem(size) if a.width < 32 else places, size


def double_shift_left(a: Bits, filler: Bits, count: Bits) -> Bits:
    """`a` shifted left, bits of `filler` coming in from the right."""
    wide = a.concat(filler)
    return (wide << count.zext(wide.width)).bits(a.width, a.width)


def double_shift_right(a: Bits, filler: Bits, count: Bits) -> Bits:
    """`a` shifted right, bits of `filler` coming in from the left."""
    wide = filler.concat(a)
    return (wide >> count.zext(wide.width)).low(a.width)


def needs_adjustment(al: Bits, af: Bits) -> Bits:
    """Whether the low decimal digit of AL ran over (AAA, AAS, DAA, DAS)."""
    return Bits.of(9, 4).ult(al.low(4)) | af


def high_digit_overflowed(al: Bits, cf: Bits) -> Bits:
    """Whether the high decimal digit of AL ran over (DAA, DAS)."""
    return Bits.of(0x99, 8).ult(al) | cf


def decimal_adjustment(al: Bits, cf: Bits, af: Bits) -> Bits:
    """What DAA adds to AL and DAS subtracts from it."""
    low = needs_adjustment(al, af).select(Bits.of(6, 8), Bits.of(0, 8))
    high = high_digit_overflowed(al, cf).select(Bits.of(0x60, 8), Bits.of(0, 8))
    return low + high
