"""NaN operands, and operands that are no numbers at all (SDM volume 1, 4.8.3 and table 4-7)."""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.x87.number import Number, quiet
from isa.x86.x87.result import DENORMAL, FLAGS, INVALID, ZERO_DIVIDE, Result, exact
from isa.x86.x87.rounding import EXTENDED, Format


def invalid(to: Format = EXTENDED) -> Result:
    """The masked answer to an invalid operation."""
    return exact(to.indefinite(), Bits.of(INVALID, FLAGS))


def propagate(a: Number, b: Number) -> Bits:
    """The NaN that two operands give, of which one at least is a NaN."""
    mixed = a.signaling ^ b.signaling
    one, other = quiet(a.bits).low(64), quiet(b.bits).low(64)
    first = (one == other).select(~a.sign, other.ult(one))
    both = mixed.select(b.signaling, first)  # the quiet one of a signaling and a quiet one
    return quiet((a.nan & b.nan).select(both, a.nan).select(a.bits, b.bits))


def of_operands(result: Result, a: Number, b: Number, denormal: Bits | None = None) -> Result:
    """`result` of two operands unless one is a NaN or unsupported; denormal ones are told."""
    some_denormal = a.denormal | b.denormal
    if denormal is not None:
        some_denormal = some_denormal | denormal
    counted = told(result, some_denormal)
    signaling = (a.signaling | b.signaling).zext(FLAGS)
    some_nan = exact(propagate(a, b), signaling)
    result = counted.or_else(a.nan | b.nan, some_nan)
    return result.or_else(a.unsupported | b.unsupported, invalid())


def of_operand(result: Result, a: Number) -> Result:
    """The same for one operand."""
    counted = told(result, a.denormal)
    some_nan = exact(quiet(a.bits), a.signaling.zext(FLAGS))
    return counted.or_else(a.nan, some_nan).or_else(a.unsupported, invalid())


def told(result: Result, denormal: Bits) -> Result:
    """The result with the denormal-operand exception, unless a graver one is told (SDM 4.9.2)."""
    graver = (result.flags & (INVALID | ZERO_DIVIDE)) != 0
    raised = (denormal & ~graver).select(Bits.of(DENORMAL, FLAGS), 0)
    return Result(result.value, result.flags | raised, result.up)
