"""Bits: BT BTS BTR BTC BSF BSR (SDM volume 1, section 7.3.7)."""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder
from isa.x86.form import Mem, Reg
from isa.x86.table import instruction

Change = Callable[[Bits, Bits], Bits]


def _set(whole: Bits, chosen: Bits) -> Bits:
    return whole | chosen


def _reset(whole: Bits, chosen: Bits) -> Bits:
    return whole & ~chosen


def _complement(whole: Bits, chosen: Bits) -> Bits:
    return whole ^ chosen


@instruction("bt", heading="BT—Bit Test", since="386", parameters=(None,))
@instruction("bts", heading="BTS—Bit Test and Set", since="386", parameters=(_set,), lockable=True)
@instruction(
    "btr", heading="BTR—Bit Test and Reset", since="386", parameters=(_reset,), lockable=True
)
@instruction(
    "btc",
    heading="BTC—Bit Test and Complement",
    since="386",
    parameters=(_complement,),
    lockable=True,
)
def bit_test(m: X86Builder, change: Change | None, base: Operand, offset: Operand) -> None:
    index, width = m.read(offset), base.width
    places = index.low(width.bit_length() - 1).zext(width)  # modulo the width
    element = _element(m, base, offset, index)
    if element is None:
        whole = m.read(base)
    else:
        whole = m.load(*element, width, for_write=change is not None)
    m.set_flags({"cf": (whole >> places).bit(0)}, undefined="pf af sf of")
    if change is None:
        return
    result = change(whole, Bits.of(1, width) << places)
    if element is None:
        m.write(base, result)
    else:
        m.store(*element, result)


def _element(m: X86Builder, base: Operand, offset: Operand, index: Bits) -> tuple[str, Bits] | None:
    """Segment and offset of the element that holds the bit, if `base` is a bit string.

    A register's bit offset is signed and reaches beyond the operand (SDM volume 2, section 3.1.1.9,
    figure 3-2); an immediate's is taken modulo the width.
    """
    if not (isinstance(base.shape, Mem) and isinstance(offset.shape, Reg)):
        return None
    size = base.width // 8
    elements = index.sext(32).ashr(base.width.bit_length() - 1)
    return base.shape.segment, m.wrap(m.address(base) + elements * size)


def _lowest(a: Bits) -> Bits:
    return a.ctz()


def _highest(a: Bits) -> Bits:
    return Bits.of(a.width - 1, a.width) - a.clz()


@instruction("bsf", heading="BSF—Bit Scan Forward", since="386", parameters=(_lowest,))
@instruction("bsr", heading="BSR—Bit Scan Reverse", since="386", parameters=(_highest,))
def bit_scan(m: X86Builder, scan: Callable[[Bits], Bits], dst: Operand, src: Operand) -> None:
    a = m.read(src)
    zero = a == 0
    m.undefined("operand", zero)
    m.write(dst, zero.select(m.read(dst), scan(a)))  # processors leave it; AMD's manual says so
    m.set_flags({"zf": zero}, undefined="cf pf af sf of")
