"""SSE's comparisons: CMP makes masks, COMI and UCOMI set EFLAGS (SDM 1, 10.4.1.3 and 11.4.1.3)."""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import Family
from isa.x86.builder import Operand, X86Builder
from isa.x86.lanes import lanes, packed
from isa.x86.sse import comparison, entry
from isa.x86.sse.exceptions import settle
from isa.x86.sse.kinds import SCALAR, Kind, each_kind
from isa.x86.sse.settings import settings
from isa.x86.x87.result import Result

_ORDERED = "Compare Scalar Ordered # Values and Set EFLAGS"
_UNORDERED = "Unordered Compare Scalar # Values and Set EFLAGS"


@each_kind("cmp", "Compare Packed # Values", "Compare Scalar # Value")
def compare(m: X86Builder, kind: Kind, dst: Operand, src: Operand, predicate: Operand) -> None:
    """Ones where the predicate holds of destination and source, else zeros."""
    entry.begin(m)
    ours, theirs = (lanes(entry.read(m, x, kind.whole), kind.width) for x in (dst, src))
    asked, word = m.read(predicate).low(3), settings(m)
    results = [
        Result.unpack(comparison.holds(a, b, asked, word)["result"])
        for a, b in zip(ours, theirs, strict=True)
    ]
    settle(m, results)
    entry.write(m, dst, packed([result.value for result in results]))


@each_kind("comi", "", _ORDERED, comparison.ordered, kinds=SCALAR)
@each_kind("ucomi", "", _UNORDERED, comparison.unordered, kinds=SCALAR)
def compare_to_flags(
    m: X86Builder, operation: Family, kind: Kind, one: Operand, other: Operand
) -> None:
    """ZF PF CF; the other status flags are cleared."""
    entry.begin(m)
    a, b = (entry.read(m, x, kind.whole) for x in (one, other))
    result = Result.unpack(operation(a, b, settings(m))["result"])
    settle(m, [result])
    found = {name: result.value.bit(place) for place, name in enumerate(("cf", "pf", "zf"))}
    m.set_flags(found | dict.fromkeys(("of", "sf", "af"), Bits.of(0, 1)))
