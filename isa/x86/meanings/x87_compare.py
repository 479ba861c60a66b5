"""x87 comparisons and classification: FCOM FUCOM FCOMI FUCOMI FICOM FTST FXAM (SDM 1, 8.3.6)."""

from __future__ import annotations

from isa.bits import Bits
from isa.functions import Family
from isa.hints import Final
from isa.x86.builder import Operand, X86Builder
from isa.x86.meanings.x87_operands import Source, source, top
from isa.x86.registers import C0, C1, C2, C3
from isa.x86.table import instruction
from isa.x86.x87 import comparison, number
from isa.x86.x87.entry import begin
from isa.x86.x87.unit import Unit

_COM: Final = "FCOM/FCOMP/FCOMPP—Compare Floating-Point Values"
_UCOM: Final = "FUCOM/FUCOMP/FUCOMPP—Unordered Compare Floating-Point Values"
_COMI: Final = "FCOMI/FCOMIP/FUCOMI/FUCOMIP—Compare Floating-Point Values and Set EFLAGS"
_ICOM: Final = "FICOM/FICOMP—Compare Integer"


def _order(unit: Unit, family: Family, other: Source) -> Bits:
    """C3 C2 C0 of ST(0) against a source; exceptions are raised."""
    missing = unit.require(unit.full(0), other.full)
    found = family(unit.value(0), other.value, other.denormal)
    unit.raise_flags(missing.select(0, found["flags"]))
    return missing.select(comparison.UNORDERED, found["order"])


def _put_codes(m: X86Builder, order: Bits) -> None:
    """The answer is there even if an exception is not masked; only pops do not happen then."""
    for code, bit in ((C0, 0), (C2, 1), (C3, 2)):
        m.put(code, order.bit(bit))


@instruction("fcom", heading=_COM, parameters=(comparison.ordered, False, 0))
@instruction("fcomp", heading=_COM, parameters=(comparison.ordered, False, 1))
@instruction("fucom", heading=_UCOM, parameters=(comparison.unordered, False, 0))
@instruction("fucomp", heading=_UCOM, parameters=(comparison.unordered, False, 1))
@instruction("ficom", heading=_ICOM, parameters=(comparison.ordered, True, 0))
@instruction("ficomp", heading=_ICOM, parameters=(comparison.ordered, True, 1))
def compare(m: X86Builder, family: Family, integer: bool, pops: int, other: Operand) -> None:
    begin(m, other)
    unit = Unit(m)
    order = _order(unit, family, source(m, unit, other, integer=integer))
    _put_codes(m, order)
    unit.pop(pops)
    unit.commit()


@instruction("fcompp", heading=_COM, parameters=(comparison.ordered,))
@instruction("fucompp", heading=_UCOM, parameters=(comparison.unordered,))
def compare_and_pop_both(m: X86Builder, family: Family) -> None:
    begin(m)
    unit = Unit(m)
    second = Source(unit.value(1), unit.full(1), Bits.of(0, 1))
    _put_codes(m, _order(unit, family, second))
    unit.pop(2)
    unit.commit()


@instruction("ftst", heading="FTST—TEST")
def test(m: X86Builder) -> None:
    begin(m)
    unit = Unit(m)
    nothing = Source(number.zero(Bits.of(0, 1)), Bits.of(1, 1), Bits.of(0, 1))
    _put_codes(m, _order(unit, comparison.ordered, nothing))
    unit.commit()


@instruction("fcomi", heading=_COMI, parameters=(comparison.ordered, 0), since="pentium2")
@instruction("fcompi", heading=_COMI, parameters=(comparison.ordered, 1), since="pentium2")
@instruction("fucomi", heading=_COMI, parameters=(comparison.unordered, 0), since="pentium2")
@instruction("fucompi", heading=_COMI, parameters=(comparison.unordered, 1), since="pentium2")
def compare_to_flags(m: X86Builder, family: Family, pops: int, other: Operand) -> None:
    """ZF PF CF as C3 C2 C0; the other status flags are cleared."""
    begin(m)
    unit = Unit(m)
    order = _order(unit, family, source(m, unit, other))
    zero = Bits.of(0, 1)
    codes = {"cf": order.bit(0), "pf": order.bit(1), "zf": order.bit(2)}
    m.set_flags(codes | {"of": zero, "sf": zero, "af": zero})
    unit.pop(pops)
    unit.commit()
    m.undefined(C1)  # 0 by the manual, but isa/DIVERGENCES.md


@instruction("fxam", heading="FXAM—Examine Floating-Point")
def examine(m: X86Builder) -> None:
    """C1 is the sign, of an empty register too."""
    begin(m)
    unit = Unit(m)
    found = comparison.classify(unit.value(0), ~unit.full(0))["class"]
    _put_codes(m, found)
    m.put(C1, top(unit).value.sign)
