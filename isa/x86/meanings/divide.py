"""Division: DIV IDIV (SDM volume 1, section 7.3.2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder
from isa.x86.delivery import deliver, software_event
from isa.x86.flags import STATUS_FLAGS
from isa.x86.meanings.accumulator import read_double, write_double
from isa.x86.table import instruction
from isa.x86.vectors import DIVIDE_ERROR


@contextmanager
def dividing(m: X86Builder, impossible: Bits) -> Iterator[None]:
    """#DE if a division is impossible; else what the body does.

    An 8086 takes it as an interrupt after the instruction (SDM volume 3, section 22.18.6).
    """
    if m.model.is_8086:
        with m.when(impossible):
            deliver(m, software_event(m, Bits.of(DIVIDE_ERROR, 8)))
        with m.when(~impossible):
            yield
    else:
        m.fault_when(impossible, DIVIDE_ERROR)
        yield


@instruction("div", heading="DIV—Unsigned Divide")
def div(m: X86Builder, src: Operand) -> None:
    divisor = m.read(src).zext(2 * src.width)
    dividend = read_double(m, src.width)
    quotient = dividend.udiv(divisor)
    fits = quotient.low(src.width).zext(2 * src.width) == quotient
    _finish(m, divisor, fits, quotient.low(src.width), dividend.urem(divisor).low(src.width))


@instruction("idiv", heading="IDIV—Signed Divide", negatable=True)
def idiv(m: X86Builder, src: Operand) -> None:
    divisor = m.read(src).sext(2 * src.width)
    dividend = read_double(m, src.width)
    quotient = dividend.sdiv(divisor)
    fits = quotient.low(src.width).sext(2 * src.width) == quotient
    if m.model.is_8086:  # the sign comes last, and F2 or F3 turn it around
        fits = fits & (quotient.low(src.width) != 1 << src.width - 1)
        quotient = -quotient if m.form.repeat else quotient
    _finish(m, divisor, fits, quotient.low(src.width), dividend.srem(divisor).low(src.width))


def _finish(m: X86Builder, divisor: Bits, fits: Bits, quotient: Bits, remainder: Bits) -> None:
    """#DE, or quotient and remainder in the double accumulator."""
    with dividing(m, (divisor == 0) | ~fits):
        write_double(m, remainder, quotient)
    for flag in STATUS_FLAGS.values():
        m.undefined(flag)
