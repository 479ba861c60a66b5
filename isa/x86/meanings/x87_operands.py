"""Operands of x87 instructions: stack registers, and numbers in memory."""

from __future__ import annotations

from dataclasses import dataclass

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder
from isa.x86.form import St
from isa.x86.registers import C0, C2, C3
from isa.x86.x87 import conversion
from isa.x86.x87.number import WIDTH
from isa.x86.x87.unit import Unit


@dataclass(frozen=True, slots=True)
class Source:
    """A number to compute with, whether it is there, and whether memory holds it denormal."""

    value: Bits
    full: Bits
    denormal: Bits


def register(m: X86Builder, operand: Operand) -> Bits:
    """The number of a stack register."""
    assert isinstance(operand.shape, St)
    return m.field(f"reg{operand.number}", 3)


def source(m: X86Builder, unit: Unit, operand: Operand, *, integer: bool = False) -> Source:
    """What an operand holds."""
    one, none = Bits.of(1, 1), Bits.of(0, 1)
    if not operand.is_memory:
        index = register(m, operand)
        return Source(unit.value(index), unit.full(index), none)
    found = m.read(operand)
    if integer:
        return Source(conversion.from_integer(found)["value"], one, none)
    if operand.width == WIDTH:
        return Source(found, one, none)
    wide = conversion.widen(found)
    return Source(wide["value"], one, wide["denormal"])


def top(unit: Unit) -> Source:
    """ST(0)."""
    return Source(unit.value(0), unit.full(0), Bits.of(0, 1))


def leave_codes_undefined(m: X86Builder) -> None:
    """C0, C2 and C3, which most instructions leave so; processors leave them as they were."""
    for code in (C0, C2, C3):
        m.undefined(code)
