"""SSE's arithmetic: ADD SUB MUL DIV SQRT MIN MAX, RCP RSQRT (SDM 1, 10.4.1.2 and 11.4.1.2)."""

from __future__ import annotations

from isa.functions import Family
from isa.x86.builder import Operand, X86Builder
from isa.x86.lanes import lanes, packed
from isa.x86.sse import approximation, arithmetic, entry
from isa.x86.sse.exceptions import settle
from isa.x86.sse.kinds import SINGLES, Kind, each_kind
from isa.x86.sse.settings import settings
from isa.x86.x87.result import Result


@each_kind("add", "Add Packed # Values", "Add Scalar # Values", arithmetic.add)
@each_kind("sub", "Subtract Packed # Values", "Subtract Scalar # Value", arithmetic.subtract)
@each_kind("mul", "Multiply Packed # Values", "Multiply Scalar # Values", arithmetic.multiply)
@each_kind("div", "Divide Packed # Values", "Divide Scalar # Values", arithmetic.divide)
@each_kind("min", "Minimum of Packed # Values", "Return Minimum Scalar # Value", arithmetic.minimum)
@each_kind("max", "Maximum of Packed # Values", "Return Maximum Scalar # Value", arithmetic.maximum)
def compute(m: X86Builder, operation: Family, kind: Kind, dst: Operand, src: Operand) -> None:
    """Destination op source, lane by lane."""
    entry.begin(m)
    ours, theirs = (lanes(entry.read(m, x, kind.whole), kind.width) for x in (dst, src))
    word = settings(m)
    results = [
        Result.unpack(operation(a, b, word)["result"]) for a, b in zip(ours, theirs, strict=True)
    ]
    settle(m, results)
    entry.write(m, dst, packed([result.value for result in results]))


@each_kind("sqrt", "Square Root of # Values", "Compute Square Root of Scalar # Value")
def square_root(m: X86Builder, kind: Kind, dst: Operand, src: Operand) -> None:
    entry.begin(m)
    word = settings(m)
    results = [
        Result.unpack(arithmetic.square_root(lane, word)["result"])
        for lane in lanes(entry.read(m, src, kind.whole), kind.width)
    ]
    settle(m, results)
    entry.write(m, dst, packed([result.value for result in results]))


@each_kind(
    "rcp", "Compute Reciprocals of Packed # Values", "Compute Reciprocal of Scalar # Values",
    approximation.reciprocal, kinds=SINGLES,
)  # fmt: skip
@each_kind(
    "rsqrt", "Compute Reciprocals of Square Roots of Packed # Values",
    "Compute Reciprocal of Square Root of Scalar # Value", approximation.reciprocal_square_root,
    kinds=SINGLES,
)  # fmt: skip
def approximate(m: X86Builder, operation: Family, kind: Kind, dst: Operand, src: Operand) -> None:
    """No exception is raised, whatever the operand is."""
    entry.begin(m)
    parts = lanes(entry.read(m, src, kind.whole), kind.width)
    entry.write(m, dst, packed([operation(lane)["value"] for lane in parts]))
