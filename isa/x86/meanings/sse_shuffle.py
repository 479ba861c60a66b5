"""Lanes put elsewhere: shuffles, PINSRW, PEXTRW (SDM volume 1, sections 10.4.4 and 11.4.2)."""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.hints import Final
from isa.x86.builder import Operand, X86Builder
from isa.x86.lanes import chosen, lanes, packed
from isa.x86.sse.packed import begin
from isa.x86.table import Meaning, instruction

SSE, SSE2 = "pentium3", "pentium4"
_FLOATS: Final = "Floating-Point Values"
_SHUFPS: Final = "SHUFPS—Packed Interleave Shuffle of"
_SHUFPD: Final = "SHUFPD—Packed Interleave Shuffle of"


def _enter(
    mnemonic: str, heading: str, *parameters: object, since: str = SSE2
) -> Callable[[Meaning], Meaning]:
    """An instruction on XMM registers only."""
    return instruction(mnemonic, heading=heading, parameters=parameters, since=since)


def _enter_both(mnemonic: str, heading: str, *parameters: object) -> Callable[[Meaning], Meaning]:
    """An instruction on MMX registers, and since SSE2 on XMM registers."""
    return instruction(
        mnemonic, heading=heading, parameters=parameters, since=SSE, wide_since=SSE2,
        multimedia=True,
    )  # fmt: skip


def _picked(parts: list[Bits], order: Bits) -> list[Bits]:
    """A part for each two bits of the order, which choose among four."""
    return [chosen(parts, index) for index in lanes(order, 2)]


@_enter_both("pshufw", "PSHUFW—Shuffle Packed Words", 16, 0)
@_enter("pshufd", "PSHUFD—Shuffle Packed Doublewords", 32, 0)
@_enter("pshuflw", "PSHUFLW—Shuffle Packed Low Words", 16, 0)
@_enter("pshufhw", "PSHUFHW—Shuffle Packed High Words", 16, 4)
def shuffle(
    m: X86Builder, width: int, first: int, dst: Operand, src: Operand, order: Operand
) -> None:
    """Four lanes from the first one on, anew; the others are copied."""
    unit = begin(m)
    parts = lanes(unit.read(src), width)
    parts[first : first + 4] = _picked(parts[first : first + 4], m.read(order))
    unit.write(dst, packed(parts))


@_enter("shufps", f"{_SHUFPS} Quadruplets of Single Precision {_FLOATS}", since=SSE)
def shuffle_singles(m: X86Builder, dst: Operand, src: Operand, order: Operand) -> None:
    """Two lanes of the destination, then two of the source."""
    unit = begin(m)
    ours, theirs, places = lanes(unit.read(dst), 32), lanes(unit.read(src), 32), m.read(order)
    unit.write(dst, packed(_picked(ours, places.low(4)) + _picked(theirs, places.bits(4, 4))))


@_enter("shufpd", f"{_SHUFPD} Pairs of Double Precision {_FLOATS}", since=SSE2)
def shuffle_doubles(m: X86Builder, dst: Operand, src: Operand, order: Operand) -> None:
    """A lane of the destination, then one of the source."""
    unit = begin(m)
    ours, theirs, places = lanes(unit.read(dst), 64), lanes(unit.read(src), 64), m.read(order)
    unit.write(dst, packed([chosen(ours, places.bit(0)), chosen(theirs, places.bit(1))]))


@_enter_both("pinsrw", "PINSRW—Insert Word")
def insert_word(m: X86Builder, dst: Operand, src: Operand, place: Operand) -> None:
    """The low word of a register, or one of memory."""
    unit = begin(m)
    words, value = lanes(unit.read(dst), 16), m.read(src).low(16)
    number = m.read(place).low(len(words).bit_length() - 1)
    parts = [(number == n).select(value, word) for n, word in enumerate(words)]
    unit.write(dst, packed(parts))


@_enter_both("pextrw", "PEXTRW—Extract Word")
def extract_word(m: X86Builder, dst: Operand, src: Operand, place: Operand) -> None:
    """Zero-extended."""
    unit = begin(m)
    unit.write(dst, chosen(lanes(unit.read(src), 16), m.read(place)).zext(dst.width))
