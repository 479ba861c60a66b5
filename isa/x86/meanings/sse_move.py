"""SSE's moves (SDM volume 1, sections 10.4.1.1, 10.4.6, 11.4.1.1 and 11.4.4)."""

from __future__ import annotations

from collections.abc import Callable

from isa.hints import Final
from isa.x86.builder import Operand, X86Builder
from isa.x86.lanes import lanes, packed, signs
from isa.x86.sse import entry
from isa.x86.sse.packed import begin
from isa.x86.table import Meaning, instruction

SSE, SSE2 = "pentium3", "pentium4"
_HALF: Final = entry.WIDTH // 2
_FLOATS: Final = "Floating-Point Values"
_NON_TEMPORAL: Final = "Using Non-Temporal Hint"


def _enter(
    mnemonic: str, heading: str, *parameters: object, since: str = SSE
) -> Callable[[Meaning], Meaning]:
    return instruction(mnemonic, heading=heading, parameters=parameters, since=since)


# -- whole registers -----------------------------------------------------------------------------


@_enter("movaps", f"MOVAPS—Move Aligned Packed Single Precision {_FLOATS}", True)
@_enter("movups", f"MOVUPS—Move Unaligned Packed Single Precision {_FLOATS}", False)
@_enter("movapd", f"MOVAPD—Move Aligned Packed Double Precision {_FLOATS}", True, since=SSE2)
@_enter("movupd", f"MOVUPD—Move Unaligned Packed Double Precision {_FLOATS}", False, since=SSE2)
@_enter("movdqa", "MOVDQA—Move Aligned Packed Integer Values", True, since=SSE2)
@_enter("movdqu", "MOVDQU—Move Unaligned Packed Integer Values", False, since=SSE2)
@_enter("movntps", f"MOVNTPS—Store Packed Single Precision {_FLOATS} {_NON_TEMPORAL}", True)
@_enter(
    "movntpd", f"MOVNTPD—Store Packed Double Precision {_FLOATS} {_NON_TEMPORAL}", True, since=SSE2
)
@_enter("movntdq", f"MOVNTDQ—Store Packed Integers {_NON_TEMPORAL}", True, since=SSE2)
def move(m: X86Builder, aligned: bool, dst: Operand, src: Operand) -> None:
    entry.begin(m)
    entry.write(m, dst, entry.read(m, src, aligned=aligned), aligned=aligned)


# -- parts of registers --------------------------------------------------------------------------


@_enter("movss", "MOVSS—Move or Merge Scalar Single Precision Floating-Point Value", 32)
@_enter(
    "movsd_xmm", "MOVSD—Move or Merge Scalar Double Precision Floating-Point Value", 64, since=SSE2
)
def move_scalar(m: X86Builder, width: int, dst: Operand, src: Operand) -> None:
    """From memory: the register's other bits are cleared; from a register: they stay."""
    entry.begin(m)
    value = entry.read(m, src, width)
    entry.write(m, dst, value.zext(entry.WIDTH) if src.is_memory else value)


@_enter("movlps", f"MOVLPS—Move Low Packed Single Precision {_FLOATS}", 0, 0)
@_enter("movhps", f"MOVHPS—Move High Packed Single Precision {_FLOATS}", 1, 1)
@_enter("movlpd", "MOVLPD—Move Low Packed Double Precision Floating-Point Value", 0, 0, since=SSE2)
@_enter("movhpd", "MOVHPD—Move High Packed Double Precision Floating-Point Value", 1, 1, since=SSE2)
@_enter("movhlps", f"MOVHLPS—Move Packed Single Precision {_FLOATS} High to Low", 0, 1)
@_enter("movlhps", f"MOVLHPS—Move Packed Single Precision {_FLOATS} Low to High", 1, 0)
def move_half(m: X86Builder, to: int, source: int, dst: Operand, src: Operand) -> None:
    """Half a register (0: the low one) or 64 bits of memory; the destination's other half stays."""
    entry.begin(m)
    value = m.read(src) if src.is_memory else lanes(m.read(src), _HALF)[source]
    if dst.is_memory:
        m.write(dst, value)
        return
    halves = lanes(m.read(dst), _HALF)
    halves[to] = value
    m.write(dst, packed(halves))


# -- signs, masks, and past the caches -----------------------------------------------------------


@_enter("movmskps", "MOVMSKPS—Extract Packed Single Precision Floating-Point Sign Mask", 32)
@_enter(
    "movmskpd", "MOVMSKPD—Extract Packed Double Precision Floating-Point Sign Mask", 64, since=SSE2
)
def move_signs(m: X86Builder, width: int, dst: Operand, src: Operand) -> None:
    """The sign of each lane, as bits of a number."""
    unit = begin(m)
    unit.write(dst, signs(unit.read(src), width).zext(dst.width))


instruction(
    "pmovmskb", heading="PMOVMSKB—Move Byte Mask", parameters=(8,), since=SSE, wide_since=SSE2,
    multimedia=True,
)(move_signs)  # fmt: skip


def _enter_masked(meaning: Meaning) -> Meaning:
    instruction(
        "maskmovq", heading="MASKMOVQ—Store Selected Bytes of Quadword", since=SSE, multimedia=True
    )(meaning)
    instruction(
        "maskmovdqu", heading="MASKMOVDQU—Store Selected Bytes of Double Quadword", since=SSE2
    )(meaning)
    return meaning


@_enter_masked
def store_selected(m: X86Builder, src: Operand, selection: Operand, dst: Operand) -> None:
    """The bytes whose signs are set in the selection.

    All of the memory has to be there and to be writable, even if nothing is selected: the manual
    leaves that open, processors do it.
    """
    unit = begin(m)
    new, selecting, old = (
        lanes(value, 8) for value in (unit.read(src), unit.read(selection), m.read(dst))
    )
    chosen = zip(selecting, new, old, strict=True)
    m.write(dst, packed([chooser.sign.select(ours, theirs) for chooser, ours, theirs in chosen]))


@_enter("movnti", f"MOVNTI—Store Doubleword {_NON_TEMPORAL}", since=SSE2)
def store_past_caches(m: X86Builder, dst: Operand, src: Operand) -> None:
    """Of general registers: neither CR0 nor CR4 matters."""
    m.write(dst, m.read(src))
