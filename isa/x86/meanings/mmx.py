"""MMX: MOVD MOVQ EMMS, and operations on packed integers (SDM volume 1, chapter 9).

SSE added a few, and SSE2 made nearly all of them operations on XMM registers, too. An operation is
a function of two lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from isa.bits import Bits
from isa.hints import Final
from isa.words import mask
from isa.x86.builder import Operand, X86Builder
from isa.x86.lanes import at_least, difference, equal, lanes, merged, packed, signed_at_least, total
from isa.x86.registers import FULL
from isa.x86.sse.packed import begin
from isa.x86.table import Meaning, instruction
from isa.x86.x87.multimedia import Multimedia

Combine = Callable[[Bits, Bits], Bits]

SIZES: Final = {"b": 8, "w": 16, "d": 32, "q": 64}
"""Widths of lanes by the letters that end mnemonics."""


MMX, SSE, SSE2 = "pentium2", "pentium3", "pentium4"


def _enter(
    mnemonic: str, heading: str, *parameters: object, since: str = MMX
) -> Callable[[Meaning], Meaning]:
    """An instruction on MMX registers, and since SSE2 on XMM registers."""
    return instruction(
        mnemonic, heading=heading, parameters=parameters, since=since, wide_since=SSE2,
        multimedia=True,
    )  # fmt: skip


def _enter_wide(
    mnemonic: str, heading: str, *parameters: object, since: str
) -> Callable[[Meaning], Meaning]:
    """An instruction on XMM registers only."""
    return instruction(mnemonic, heading=heading, parameters=parameters, since=since)


# -- moves ---------------------------------------------------------------------------------------


@_enter("emms", "EMMS—Empty MMX Technology State")
def empty(m: X86Builder) -> None:
    Multimedia(m)
    m.put(FULL, Bits.of(0, FULL.width))


@_enter("movd", "MOVD/MOVQ—Move Doubleword/Move Quadword", 32)
@_enter("movq", "MOVQ—Move Quadword", 64)
@_enter("movdq2q", "MOVDQ2Q—Move Quadword from XMM to MMX Technology Register", 64, since=SSE2)
@_enter("movq2dq", "MOVQ2DQ—Move Quadword from MMX Technology to XMM Register", 64, since=SSE2)
@_enter("movntq", "MOVNTQ—Store of Quadword Using Non-Temporal Hint", 64, since=SSE)
def move(m: X86Builder, size: int, dst: Operand, src: Operand) -> None:
    """The upper part of a register is cleared."""
    unit = begin(m)
    value = unit.read(src)
    unit.write(dst, value.low(min(size, value.width)).zext(dst.width))


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


def _unsigned_product(a: Bits, b: Bits) -> Bits:
    """All bits of the unsigned product."""
    return a.zext(2 * a.width) * b.zext(2 * b.width)


def _average(a: Bits, b: Bits) -> Bits:
    """Half of the sum, rounded up."""
    return (a.zext(a.width + 1) + b.zext(b.width + 1) + 1).bits(1, a.width)


_Row = tuple[str, str, Combine, str]
_LANE_BY_LANE: Final[tuple[_Row, ...]] = (
    ("padds", "bw", _add_signed,
     "PADDSB/PADDSW—Add Packed Signed Integers with Signed Saturation"),
    ("paddus", "bw", _add_unsigned,
     "PADDUSB/PADDUSW—Add Packed Unsigned Integers With Unsigned Saturation"),
    ("psubs", "bw", _subtract_signed,
     "PSUBSB/PSUBSW—Subtract Packed Signed Integers With Signed Saturation"),
    ("psubus", "bw", _subtract_unsigned,
     "PSUBUSB/PSUBUSW—Subtract Packed Unsigned Integers With Unsigned Saturation"),
    ("pmull", "w", lambda a, b: a * b,
     "PMULLW—Multiply Packed Signed Integers and Store Low Result"),
    ("pmulh", "w", lambda a, b: _product(a, b).bits(a.width, a.width),
     "PMULHW—Multiply Packed Signed Integers and Store High Result"),
)  # fmt: skip
"""Beginnings of mnemonics, the sizes that there are, what is done with two lanes."""
_LANE_BY_LANE_OF_SSE: Final[tuple[_Row, ...]] = (
    ("pavg", "bw", _average, "PAVGB/PAVGW—Average Packed Integers"),
    ("pmulhu", "w", lambda a, b: _unsigned_product(a, b).bits(a.width, a.width),
     "PMULHUW—Multiply Packed Unsigned Integers and Store High Result"),
)  # fmt: skip
_LANE_BY_LANE_OF_SSE2: Final[tuple[_Row, ...]] = (
    ("padd", "q", lambda a, b: a + b, "PADDB/PADDW/PADDD/PADDQ—Add Packed Integers"),
    ("psub", "q", lambda a, b: a - b, "PSUBQ—Subtract Packed Quadword Integers"),
    ("pmulud", "q", lambda a, b: _unsigned_product(a.low(32), b.low(32)),
     "PMULUDQ—Multiply Packed Unsigned Doubleword Integers"),
)  # fmt: skip
_BITWISE: Final[tuple[tuple[str, str, Combine, str], ...]] = (
    ("and", "PAND—Logical AND", lambda a, b: a & b, "Bitwise Logical AND"),
    ("andn", "PANDN—Logical AND NOT", lambda a, b: ~a & b, "Bitwise Logical AND NOT"),
    ("or", "POR—Bitwise Logical OR", lambda a, b: a | b, "Bitwise Logical OR"),
    ("xor", "PXOR—Logical Exclusive OR", lambda a, b: a ^ b, "Bitwise Logical XOR"),
)
_All = Callable[..., Bits]
_ALL_AT_ONCE: Final[tuple[tuple[str, str, str, _All, str], ...]] = (
    ("padd", "bwd", MMX, total, "PADDB/PADDW/PADDD/PADDQ—Add Packed Integers"),
    ("psub", "bwd", MMX, difference, "PSUBB/PSUBW/PSUBD—Subtract Packed Integers"),
    ("pcmpeq", "bwd", MMX, equal, "PCMPEQB/PCMPEQW/PCMPEQD—Compare Packed Data for Equal"),
    ("pcmpgt", "bwd", MMX, lambda a, b, width: ~signed_at_least(b, a, width),
     "PCMPGTB/PCMPGTW/PCMPGTD—Compare Packed Signed Integers for Greater Than"),
    ("pmaxs", "w", SSE, lambda a, b, width: merged(signed_at_least(a, b, width), a, b),
     "PMAXSB/PMAXSW/PMAXSD/PMAXSQ—Maximum of Packed Signed Integers"),
    ("pmaxu", "b", SSE, lambda a, b, width: merged(at_least(a, b, width), a, b),
     "PMAXUB/PMAXUW—Maximum of Packed Unsigned Integers"),
    ("pmins", "w", SSE, lambda a, b, width: merged(signed_at_least(a, b, width), b, a),
     "PMINSB/PMINSW—Minimum of Packed Signed Integers"),
    ("pminu", "b", SSE, lambda a, b, width: merged(at_least(a, b, width), b, a),
     "PMINUB/PMINUW—Minimum of Packed Unsigned Integers"),
)  # fmt: skip
"""The same, what is done with all lanes of two values, and since when."""
_FLOATS: Final = (("ps", SSE, "Single"), ("pd", SSE2, "Double"))


def _enter_lane_by_lane(meaning: Meaning) -> Meaning:
    rows = ((MMX, _LANE_BY_LANE), (SSE, _LANE_BY_LANE_OF_SSE), (SSE2, _LANE_BY_LANE_OF_SSE2))
    for since, table in rows:
        for start, sizes, combine, heading in table:
            for letter in sizes:
                _enter(start + letter, heading, SIZES[letter], combine, since=since)(meaning)
    for start, sizes, since, combine_all, heading in _ALL_AT_ONCE:
        for letter in sizes:
            combine = partial(combine_all, width=SIZES[letter])
            _enter(start + letter, heading, 64, combine, since=since)(meaning)
    for name, heading, combine, words in _BITWISE:
        _enter(f"p{name}", heading, 64, combine)(meaning)
        for kind, since, precision in _FLOATS:
            title = f"{name}{kind}".upper() + f"—{words} of Packed {precision} Precision"
            heading = f"{title} Floating-Point Values"
            _enter_wide(name + kind, heading, 64, combine, since=since)(meaning)
    return meaning


@_enter_lane_by_lane
def lane_by_lane(m: X86Builder, width: int, combine: Combine, dst: Operand, src: Operand) -> None:
    unit = begin(m)
    pairs = zip(lanes(unit.read(dst), width), lanes(unit.read(src), width), strict=True)
    unit.write(dst, packed([combine(a, b) for a, b in pairs]))


@_enter("pmaddwd", "PMADDWD—Multiply and Add Packed Integers")
def multiply_and_add(m: X86Builder, dst: Operand, src: Operand) -> None:
    """The only sum that overflows is that of four times -32768: it is 80000000h."""
    unit = begin(m)
    pairs = zip(lanes(unit.read(dst), 16), lanes(unit.read(src), 16), strict=True)
    products = [_product(a, b) for a, b in pairs]
    sums = [a + b for a, b in zip(products[::2], products[1::2], strict=True)]
    unit.write(dst, packed(sums))


@_enter("psadbw", "PSADBW—Compute Sum of Absolute Differences", since=SSE)
def sum_of_differences(m: X86Builder, dst: Operand, src: Operand) -> None:
    """Of the eight bytes in each quadword."""
    unit = begin(m)
    pairs = zip(lanes(unit.read(dst), 8), lanes(unit.read(src), 8), strict=True)
    parts = [a.ult(b).select(b - a, a - b).zext(16) for a, b in pairs]
    while len(parts) > dst.width // 64:
        parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
    unit.write(dst, packed([part.zext(64) for part in parts]))


# -- packing and unpacking -----------------------------------------------------------------------

_PACK: Final = "PACKSSWB/PACKSSDW—Pack With Signed Saturation"


@_enter("packsswb", _PACK, 16, signed_saturated)
@_enter("packssdw", _PACK, 32, signed_saturated)
@_enter("packuswb", "PACKUSWB—Pack With Unsigned Saturation", 16, unsigned_saturated)
def pack(
    m: X86Builder, width: int, cut: Callable[[Bits, int], Bits], dst: Operand, src: Operand
) -> None:
    """The destination's lanes, then the source's, at half their width."""
    unit = begin(m)
    wide = lanes(unit.read(dst), width) + lanes(unit.read(src), width)
    unit.write(dst, packed([cut(lane, width // 2) for lane in wide]))


def _enter_unpacking(meaning: Meaning) -> Meaning:
    for half, name in (("l", "Low"), ("h", "High")):
        high = half == "h"
        kinds = "/".join(f"PUNPCK{half}{kind}".upper() for kind in ("bw", "wd", "dq", "qdq"))
        for kind in ("bw", "wd", "dq"):
            heading = f"{kinds}—Unpack {name} Data"
            _enter(f"punpck{half}{kind}", heading, SIZES[kind[0]], high)(meaning)
        _enter_wide(f"punpck{half}qdq", f"{kinds}—Unpack {name} Data", 64, high, since=SSE2)(
            meaning
        )
        for kind, since, precision in _FLOATS:
            title = f"UNPCK{half}{kind}".upper() + f"—Unpack and Interleave {name} Packed"
            heading = f"{title} {precision} Precision Floating-Point Values"
            width = 32 if kind == "ps" else 64
            _enter_wide(f"unpck{half}{kind}", heading, width, high, since=since)(meaning)
    return meaning


@_enter_unpacking
def unpack(m: X86Builder, width: int, high: bool, dst: Operand, src: Operand) -> None:
    """Lanes of the destination's half and of the source's, by turns.

    The low half of 64 bits of memory is all that is read.
    """
    unit = begin(m)
    ours, theirs = unit.read(dst), unit.read(src)
    half = ours.width // 2
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
    """64 bits of the source count: more than there are bits in a lane shifts all of them."""
    unit = begin(m)
    source = unit.read(src)
    count = source.zext(64) if source.width < 64 else source.low(64)
    amount = count.ult(width).select(count.low(width), Bits.of(width, width))
    unit.write(dst, packed([move_by(lane, amount) for lane in lanes(unit.read(dst), width)]))


_BYTES: Final = "Shift Double Quadword"


@_enter_wide("pslldq", f"PSLLDQ—{_BYTES} Left Logical", lambda a, n: a << n, since=SSE2)
@_enter_wide("psrldq", f"PSRLDQ—{_BYTES} Right Logical", lambda a, n: a >> n, since=SSE2)
def shift_bytes(m: X86Builder, move_by: Combine, dst: Operand, count: Operand) -> None:
    """By so many bytes; 16 and more leave none."""
    unit = begin(m)
    value = unit.read(dst)
    unit.write(dst, move_by(value, m.read(count).zext(value.width) << 3))
