"""Comparisons of two numbers of 32 or 64 bits (SDM volume 2, CMPPS, COMISS and UCOMISS).

Families with the one result "result": a `Result.pack` whose value is ZF PF CF, or a mask.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import family
from isa.hints import Final
from isa.x86.sse.operands import taken
from isa.x86.sse.settings import Settings
from isa.x86.x87.comparison import EQUAL, LESS, UNORDERED, compare
from isa.x86.x87.conversion import FORMATS
from isa.x86.x87.result import FLAGS, INVALID, Result, exact

PREDICATES: Final = ("eq", "lt", "le", "unord", "neq", "nlt", "nle", "ord")
"""What CMP asks, by the number that its immediate byte gives."""


def _compared(a: Bits, b: Bits, settings: Bits, *, quiet: bool) -> Result:
    control = Settings(settings, FORMATS[a.width])
    found = compare(taken(a, control), taken(b, control), Bits.of(0, 1), quiet=quiet)
    return exact(found["order"], found["flags"])


@family("result")
def ordered(a: Bits, b: Bits, settings: Bits) -> dict[str, Bits]:
    """ZF PF CF of a against b; every NaN is invalid."""
    return {"result": _compared(a, b, settings, quiet=False).pack()}


@family("result")
def unordered(a: Bits, b: Bits, settings: Bits) -> dict[str, Bits]:
    """The same; only signaling NaNs are invalid."""
    return {"result": _compared(a, b, settings, quiet=True).pack()}


@family("result")
def holds(a: Bits, b: Bits, predicate: Bits, settings: Bits) -> dict[str, Bits]:
    """All ones if a and b are as one of 8 predicates says; less and at most want no NaNs."""
    found = _compared(a, b, settings, quiet=True)
    kind, negated = predicate.low(2), predicate.bit(2)
    equal, less, apart = (found.value == order for order in (EQUAL, LESS, UNORDERED))
    truth = (kind == 0).select(equal, (kind == 3).select(apart, less | (kind == 2) & equal))
    wants_numbers = (kind == 1) | (kind == 2)
    flags = (apart & wants_numbers).select(Bits.of(INVALID, FLAGS), found.flags)
    return {"result": exact((truth ^ negated).sext(a.width), flags).pack()}
