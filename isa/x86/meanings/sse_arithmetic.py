"""SSE's arithmetic: ADD SUB MUL DIV SQRT MIN MAX, RCP RSQRT (SDM 1, 10.4.1.2 and 11.4.1.2)."""

from __future__ import annotations

from isa.functions import Family
from isa.x86.builder import Operand, X86Builder
from isa.x86.lanes import lanes, packed
from isa.x86.sse import approximation, arithmetic, entry
from isa.x86.sse.exceptions import settle
from isa.x86.sse.kinds import KINDS, Kind
from isa.x86.sse.settings import settings
from isa.x86.table import Meaning, instruction
from isa.x86.x87.result import Result

_BINARY = (
    ("add", arithmetic.add, "Add"),
    ("sub", arithmetic.subtract, "Subtract"),
    ("mul", arithmetic.multiply, "Multiply"),
    ("div", arithmetic.divide, "Divide"),
    ("min", arithmetic.minimum, "Minimum of"),
    ("max", arithmetic.maximum, "Maximum of"),
)
_APPROXIMATE = (
    ("rcp", approximation.reciprocal, "Compute Reciprocals of"),
    ("rsqrt", approximation.reciprocal_square_root, "Compute Reciprocals of Square Roots of"),
)


def _enter_binary(meaning: Meaning) -> Meaning:
    for kind in KINDS:
        for name, operation, verb in _BINARY:
            mnemonic = name + kind.suffix
            heading = f"{mnemonic.upper()}—{verb} {kind.words}"
            parameters = (operation, kind)
            instruction(mnemonic, heading=heading, parameters=parameters, since=kind.since)(meaning)
    return meaning


@_enter_binary
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


def _enter_roots(meaning: Meaning) -> Meaning:
    for kind in KINDS:
        mnemonic = f"sqrt{kind.suffix}"
        heading = f"{mnemonic.upper()}—Square Root of {kind.words}"
        instruction(mnemonic, heading=heading, parameters=(kind,), since=kind.since)(meaning)
    return meaning


@_enter_roots
def square_root(m: X86Builder, kind: Kind, dst: Operand, src: Operand) -> None:
    entry.begin(m)
    word = settings(m)
    results = [
        Result.unpack(arithmetic.square_root(lane, word)["result"])
        for lane in lanes(entry.read(m, src, kind.whole), kind.width)
    ]
    settle(m, results)
    entry.write(m, dst, packed([result.value for result in results]))


def _enter_approximate(meaning: Meaning) -> Meaning:
    for kind in KINDS[:2]:
        for name, operation, verb in _APPROXIMATE:
            mnemonic = name + kind.suffix
            heading = f"{mnemonic.upper()}—{verb} {kind.words}"
            parameters = (operation, kind)
            instruction(mnemonic, heading=heading, parameters=parameters, since=kind.since)(meaning)
    return meaning


@_enter_approximate
def approximate(m: X86Builder, operation: Family, kind: Kind, dst: Operand, src: Operand) -> None:
    """No exception is raised, whatever the operand is."""
    entry.begin(m)
    parts = lanes(entry.read(m, src, kind.whole), kind.width)
    entry.write(m, dst, packed([operation(lane)["value"] for lane in parts]))
