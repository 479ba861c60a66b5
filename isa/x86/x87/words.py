"""Status, control and tag words (SDM volume 1, sections 8.1.3, 8.1.5 and 8.1.7)."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import Final
from isa.x86 import results
from isa.x86.builder import X86Builder
from isa.x86.registers import C0, C1, C2, C3, FCW, FPU_FLAGS, FULL, ST, STX, TOP
from isa.x86.x87.entry import pending
from isa.x86.x87.number import MAXIMUM

_WRITABLE: Final = 0x1F3F  # masks, precision, rounding, infinity control
_WIRED: Final = 0x0040
VALID, ZERO, SPECIAL, EMPTY = range(4)


def status_word(m: X86Builder) -> Bits:
    """The status word, with ES and B."""
    error = pending(m)
    codes = m.get(C2).concat(m.get(C1)).concat(m.get(C0))
    low = codes.concat(error).concat(m.get(FPU_FLAGS))
    return error.concat(m.get(C3)).concat(m.get(TOP)).concat(low)


def put_status_word(m: X86Builder, word: Bits) -> None:
    """All of the status word but TOP; ES and B follow from the rest."""
    m.put(FPU_FLAGS, word.low(7))
    for code, number in ((C0, 8), (C1, 9), (C2, 10), (C3, 14)):
        m.put(code, word.bit(number))


def put_control_word(m: X86Builder, word: Bits) -> None:
    """The control word, reserved bits as they are wired."""
    m.put(FCW, word & _WRITABLE | _WIRED)


def tag_word(m: X86Builder) -> Bits:
    """Two bits for each register by its physical number, from what it holds."""
    tags = _tag(m, 0)
    for number in range(1, 8):
        tags = _tag(m, number).concat(tags)
    return results.rotate_left(tags, m.get(TOP).zext(16) << 1)


def _tag(m: X86Builder, number: int) -> Bits:
    significand, exponent = m.get(ST.members[number]), m.get(STX.members[number]).low(15)
    zero = (exponent == 0) & (significand == 0)
    special = (exponent == 0) | (exponent == MAXIMUM) | ~significand.sign
    kind = zero.select(Bits.of(ZERO, 2), special.select(Bits.of(SPECIAL, 2), VALID))
    return m.get(FULL).bit(number).select(kind, EMPTY)


def full_of(tags: Bits, top: Bits) -> Bits:
    """FULL from a tag word, for the TOP that goes with it."""
    turned = results.rotate_right(tags, top.zext(16) << 1)
    full = turned.low(2) != EMPTY
    for number in range(1, 8):
        full = (turned.bits(2 * number, 2) != EMPTY).concat(full)
    return full
