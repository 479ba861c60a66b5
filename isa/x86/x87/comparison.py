"""Comparisons and classes (SDM volume 2, FCOM, FCOMI, FUCOM and FXAM)."""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.x86.x87.number import Number, unpack
from isa.x86.x87.result import DENORMAL, FLAGS

GREATER, LESS, EQUAL, UNORDERED = 0b000, 0b001, 0b100, 0b111  # C3 C2 C0, or ZF PF CF


def order(a: Number, b: Number) -> Bits:
    """C3 C2 C0 of two numbers that are no NaNs."""
    equal = a.zero & b.zero | _same_value(a, b)
    smaller = a.exponent.slt(b.exponent) | (a.exponent == b.exponent) & a.significand.ult(
        b.significand
    )
    opposite = a.sign ^ b.sign
    less = opposite.select(a.sign, a.sign ^ smaller)
    code = less.select(Bits.of(LESS, 3), GREATER)
    return equal.select(EQUAL, code)


def _same_value(a: Number, b: Number) -> Bits:
    """Whether both are one number; a pseudo-denormal equals a normal one."""
    return (a.sign == b.sign) & (a.exponent == b.exponent) & (a.significand == b.significand)


def compare(a: Number, b: Number, denormal: Bits, *, quiet: bool) -> dict[str, Bits]:
    """Their order, and the flags raised; `quiet`: by signaling NaNs only."""
    unordered = a.nan | b.nan | a.unsupported | b.unsupported
    invalid = unordered
    if quiet:
        invalid = a.signaling | b.signaling | a.unsupported | b.unsupported
    some_denormal = (a.denormal | b.denormal | denormal) & ~unordered
    return {
        "order": unordered.select(UNORDERED, order(a, b)),
        "flags": invalid.zext(FLAGS) | some_denormal.select(Bits.of(DENORMAL, FLAGS), 0),
    }


@family("order", "flags")
def ordered(a: Bits, b: Bits, denormal: Bits) -> dict[str, Bits]:
    """C3 C2 C0 of a against b; every NaN is invalid."""
    return compare(unpack(a), unpack(b), denormal, quiet=False)


@family("order", "flags")
def unordered(a: Bits, b: Bits, denormal: Bits) -> dict[str, Bits]:
    """The same; only signaling NaNs are invalid."""
    return compare(unpack(a), unpack(b), denormal, quiet=True)


@family("class")
def classify(a: Bits, empty: Bits) -> dict[str, Bits]:
    """C3 C2 C0 of FXAM (SDM volume 2, table 3-42)."""
    x = unpack(a)
    code = Bits.of(0b010, 3)  # normal
    for condition, number in (
        (x.unsupported, 0b000), (x.nan, 0b001), (x.infinite, 0b011), (x.zero, 0b100),
        (x.denormal, 0b110), (empty, 0b101),
    ):  # fmt: skip
        code = condition.select(number, code)
    return {"class": code}
