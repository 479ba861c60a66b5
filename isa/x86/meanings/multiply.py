"""Multiplication: MUL IMUL (SDM volume 1, section 7.3.2.4)."""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.functions import Family
from isa.hints import Final
from isa.x86 import flags
from isa.x86.builder import Operand, X86Builder
from isa.x86.meanings.accumulator import write_double
from isa.x86.registers import EAX
from isa.x86.table import instruction

Extend = Callable[[Bits, int], Bits]
UNDEFINED: Final = "pf af zf sf"


@instruction("mul", heading="MUL—Unsigned Multiply")
def mul(m: X86Builder, src: Operand) -> None:
    _multiply_accumulator(m, src, Bits.zext, flags.multiply)


@instruction("imul", heading="IMUL—Signed Multiply", escaped_since="386")
def imul(m: X86Builder, *operands: Operand) -> None:
    if len(operands) == 1:
        _multiply_accumulator(m, operands[0], Bits.sext, flags.multiply_signed)
        return
    a, b = (m.read(o) for o in operands[-2:])  # the first of three is written only
    m.write(operands[0], a * b)
    m.set_flags(flags.multiply_signed(a, b), UNDEFINED)


def _multiply_accumulator(m: X86Builder, src: Operand, extend: Extend, left: Family) -> None:
    a, b = m.read_part(EAX, src.width), m.read(src)
    product = extend(a, 2 * a.width) * extend(b, 2 * a.width)
    write_double(m, product.bits(a.width, a.width), product.low(a.width))
    m.set_flags(left(a, b), UNDEFINED)
