"""MMX: MOVD MOVQ EMMS, and operations on packed integers (SDM volume 1, chapter 9).

What is packed is taken apart into lanes, lowest first. An operation is a function of two lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from isa.bits import Bits
from isa.ops import mask
from isa.x86.builder import Operand, X86Builder
from isa.x86.registers import FULL
from isa.x86.table import Meaning, instruction
from isa.x86.x87.multimedia import WIDTH, Multimedia

Combine = Callable[[Bits, Bits], Bits]

SIZES: Final = {"b": 8, "w": 16, "d": 32, "q": 64}
"""Widths of lanes by the letters that end mnemonics."""


def lanes(value: Bits, width: int) -> list[Bits]:
    """The parts of a value, the lowest first."""
    return [value.bits(low, width) for low in range(0, value.width, width)]


def packed(parts: Sequence[Bits]) -> Bits:
    """One value of a power of two of parts, the lowest first."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [high.concat(low) for low, high in pairs]
    return parts[0]


def _enter(mnemonic: str, heading: str, *parameters: object) -> Callable[[Meaning], Meaning]:
    return instruction(
        mnemonic, heading=heading, parameters=parameters, since="pentium2", wide_since="pentium4",
        multimedia=True,
    )  # fmt: skip


# -- moves ---------------------------------------------------------------------------------------


@_enter("emms", "EMMS—Empty MMX Technology State")
def empty(m: X86Builder) -> None:
    Multimedia(m)
    m.put(FULL, Bits.of(0, FULL.width))


@_enter("movd", "MOVD/MOVQ—Move Doubleword/Move Quadword")
@_enter("movq", "MOVQ—Move Quadword")
def move(m: X86Builder, dst: Operand, src: Operand) -> None:
    """The upper half of a register is cleared by a doubleword."""
    unit = Multimedia(m)
    value = unit.read(src)
    unit.write(dst, value.low(dst.width) if dst.width < value.width else value.zext(dst.width))


# -- lane by lane --------------------------------------------------------------------------------


def _clamped(value: Bits, lowest: int, highest: int, width: int) -> Bits:
    """A signed value as the nearest one in a range, `width` bits wide."""
    least, most = (Bits.of(bound & mask(value.width), value.width) for bound in (lowest, highest))
    inside = value.slt(least).select(least, most.slt(value).select(most, value))
    return inside.low(width)


def signed_saturated(value: Bits, width: int) -> Bits:
    """A signed value cut to `width` bits by saturation."""
    return _clamped(value, -(1 << width - 1), (1 << width - 1) - 1, width)


def unsigned_saturated(value: Bits, width: int) -> Bits:
    """A signed value cut to an unsigned one of `width` bits by saturation."""
    return _clamped(value, 0, mask(width), width)


def _add_signed(a: Bits, b: Bits) -> Bits:
    return signed_saturated(a.sext(a.width + 1) + b.sext(a.width + 1), a.width)


def _subtract_signed(a: Bits, b: Bits) -> Bits:
    return signed_saturated(a.sext(a.width + 1) - b.sext(a.width + 1), a.width)


def _add_unsigned(a: Bits, b: Bits) -> Bits:
    return unsigned_saturated(a.zext(a.width + 2) + b.zext(a.width + 2), a.width)


def _subtract_unsigned(a: Bits, b: Bits) -> Bits:
    return unsigned_saturated(a.zext(a.width + 1) - b.zext(a.width + 1), a.width)


def _product(a: Bits, b: Bits) -> Bits:
    """All bits of the signed product."""
    return a.sext(2 * a.width) * b.sext(2 * b.width)


_LANE_BY_LANE: Final[tuple[tuple[str, str, Combine, str], ...]] = (
    ("padd", "bwd", lambda a, b: a + b,
     "PADDB/PADDW/PADDD/PADDQ—Add Packed Integers"),
    ("psub", "bwd", lambda a, b: a - b,
     "PSUBB/PSUBW/PSUBD—Subtract Packed Integers"),
    ("padds", "bw", _add_signed,
     "PADDSB/PADDSW—Add Packed Signed Integers with Signed Saturation"),
    ("paddus", "bw", _add_unsigned,
     "PADDUSB/PADDUSW—Add Packed Unsigned Integers With Unsigned Saturation"),
    ("psubs", "bw", _subtract_signed,
     "PSUBSB/PSUBSW—Subtract Packed Signed Integers With Signed Saturation"),
    ("psubus", "bw", _subtract_unsigned,
     "PSUBUSB/PSUBUSW—Subtract Packed Unsigned Integers With Unsigned Saturation"),
    ("pcmpeq", "bwd", lambda a, b: (a == b).sext(a.width),
     "PCMPEQB/PCMPEQW/PCMPEQD—Compare Packed Data for Equal"),
    ("pcmpgt", "bwd", lambda a, b: b.slt(a).sext(a.width),
     "PCMPGTB/PCMPGTW/PCMPGTD—Compare Packed Signed Integers for Greater Than"),
    ("pmull", "w", lambda a, b: a * b,
     "PMULLW—Multiply Packed Signed Integers and Store Low Result"),
    ("pmulh", "w", lambda a, b: _product(a, b).bits(a.width, a.width),
     "PMULHW—Multiply Packed Signed Integers and Store High Result"),
)  # fmt: skip
"""Beginnings of mnemonics, the sizes that there are, what is done with two lanes."""
_BITWISE: Final[tuple[tuple[str, Combine, str], ...]] = (
    ("pand", lambda a, b: a & b, "PAND—Logical AND"),
    ("pandn", lambda a, b: ~a & b, "PANDN—Logical AND NOT"),
    ("por", lambda a, b: a | b, "POR—Bitwise Logical OR"),
    ("pxor", lambda a, b: a ^ b, "PXOR—Logical Exclusive OR"),
)


def _enter_lane_by_lane(meaning: Meaning) -> Meaning:
    for start, sizes, combine, heading in _LANE_BY_LANE:
        for letter in sizes:
            _enter(start + letter, heading, SIZES[letter], combine)(meaning)
    for mnemonic, combine, heading in _BITWISE:
        _enter(mnemonic, heading, WIDTH, combine)(meaning)
    return meaning


@_enter_lane_by_lane
def lane_by_lane(m: X86Builder, width: int, combine: Combine, dst: Operand, src: Operand) -> None:
    unit = Multimedia(m)
    pairs = zip(lanes(unit.read(dst), width), lanes(unit.read(src), width), strict=True)
    unit.write(dst, packed([combine(a, b) for a, b in pairs]))


@_enter("pmaddwd", "PMADDWD—Multiply and Add Packed Integers")
def multiply_and_add(m: X86Builder, dst: Operand, src: Operand) -> None:
    """The only sum that overflows is that of four times -32768: it is 80000000h."""
    unit = Multimedia(m)
    pairs = zip(lanes(unit.read(dst), 16), lanes(unit.read(src), 16), strict=True)
    products = [_product(a, b) for a, b in pairs]
    sums = [a + b for a, b in zip(products[::2], products[1::2], strict=True)]
    unit.write(dst, packed(sums))


# -- packing and unpacking -----------------------------------------------------------------------

_PACK: Final = "PACKSSWB/PACKSSDW—Pack With Signed Saturation"


@_enter("packsswb", _PACK, 16, signed_saturated)
@_enter("packssdw", _PACK, 32, signed_saturated)
@_enter("packuswb", "PACKUSWB—Pack With Unsigned Saturation", 16, unsigned_saturated)
def pack(
    m: X86Builder, width: int, cut: Callable[[Bits, int], Bits], dst: Operand, src: Operand
) -> None:
    """The destination's lanes, then the source's, at half their width."""
    unit = Multimedia(m)
    wide = lanes(unit.read(dst), width) + lanes(unit.read(src), width)
    unit.write(dst, packed([cut(lane, width // 2) for lane in wide]))


def _enter_unpacking(meaning: Meaning) -> Meaning:
    for half, name in (("l", "Low"), ("h", "High")):
        kinds = "/".join(f"PUNPCK{half}{kind}".upper() for kind in ("bw", "wd", "dq", "qdq"))
        for kind in ("bw", "wd", "dq"):
            heading = f"{kinds}—Unpack {name} Data"
            _enter(f"punpck{half}{kind}", heading, SIZES[kind[0]], half == "h")(meaning)
    return meaning


@_enter_unpacking
def unpack(m: X86Builder, width: int, high: bool, dst: Operand, src: Operand) -> None:
    """Lanes of the destination's half and of the source's, by turns; memory is that half alone."""
    unit = Multimedia(m)
    ours, theirs = unit.read(dst), unit.read(src)
    half = WIDTH // 2
    place = half if high else 0
    theirs = theirs if theirs.width == half else theirs.bits(place, half)
    pairs = zip(lanes(ours.bits(place, half), width), lanes(theirs, width), strict=True)
    unit.write(dst, packed([lane for pair in pairs for lane in pair]))


# -- shifts --------------------------------------------------------------------------------------

_SHIFTS: Final[tuple[tuple[str, str, Combine, str], ...]] = (
    ("psll", "wdq", lambda a, count: a << count,
     "PSLLW/PSLLD/PSLLQ—Shift Packed Data Left Logical"),
    ("psrl", "wdq", lambda a, count: a >> count,
     "PSRLW/PSRLD/PSRLQ—Shift Packed Data Right Logical"),
    ("psra", "wd", lambda a, count: a.ashr(count),
     "PSRAW/PSRAD/PSRAQ—Shift Packed Data Right Arithmetic"),
)  # fmt: skip


def _enter_shifts(meaning: Meaning) -> Meaning:
    for start, sizes, move_by, heading in _SHIFTS:
        for letter in sizes:
            _enter(start + letter, heading, SIZES[letter], move_by)(meaning)
    return meaning


@_enter_shifts
def shift(m: X86Builder, width: int, move_by: Combine, dst: Operand, src: Operand) -> None:
    """All 64 bits of the source count: more than there are bits in a lane shifts all of them."""
    unit = Multimedia(m)
    count = unit.read(src).zext(WIDTH)
    amount = count.ult(width).select(count.low(width), Bits.of(width, width))
    unit.write(dst, packed([move_by(lane, amount) for lane in lanes(unit.read(dst), width)]))
