"""The unit as an MMX instruction sees it: eight registers of 64 bits, by their physical numbers.

SDM volume 1, section 9.2; volume 3, chapter 12. Every MMX instruction makes ST(0) the register
MM0, and all registers full; what it writes gets a sign and an exponent of ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from isa.bits import Bits
from isa.hints import Final
from isa.registers import Register
from isa.x86.builder import Operand, X86Builder
from isa.x86.form import Mm
from isa.x86.lanes import chosen
from isa.x86.registers import EM, FULL, ST, STX, TOP
from isa.x86.x87.entry import require_unit, wait_for_errors

WIDTH: Final = 64
_ONES: Final = 0xFFFF


def begin(m: X86Builder) -> None:
    """The start of every MMX instruction: the unit is there, and no exception is pending."""
    if m.mode.has_system:
        with m.when(m.get(EM)):
            m.invalid_opcode()
    require_unit(m)
    wait_for_errors(m)


class Multimedia:
    """The registers for one instruction, which may write one of them; `turned` are all of the
    unit's, as they become for whatever MMX instruction.

    They are turned by the bits of TOP, not picked by a number that is computed: in a block TOP is
    known to be 0 after the first MMX instruction, and the others move nothing.
    """

    def __init__(self, m: X86Builder) -> None:
        begin(m)
        self.m = m
        self._values = _turned(list(map(m.get, ST.members)), m.get(TOP))
        exponents = _turned(list(map(m.get, STX.members)), m.get(TOP))
        self.turned: Final[Mapping[Register, Bits]] = {
            **dict(zip(ST.members, self._values, strict=True)),
            **dict(zip(STX.members, exponents, strict=True)),
            TOP: Bits.of(0, TOP.width),
            FULL: Bits.of(0xFF, FULL.width),
        }
        for register, value in self.turned.items():
            m.put(register, value)

    def read(self, operand: Operand) -> Bits:
        """The operand's value, whatever kind of operand it is."""
        if not isinstance(operand.shape, Mm):
            return self.m.read(operand)
        return chosen(self._values, self._index(operand))

    def write(self, operand: Operand, value: Bits) -> None:
        """Make `value` the operand's."""
        if not isinstance(operand.shape, Mm):
            self.m.write(operand, value)
            return
        self.m.put_indexed(ST, self._index(operand), value)
        self.m.put_indexed(STX, self._index(operand), Bits.of(_ONES, STX.width))

    def _index(self, operand: Operand) -> Bits:
        return self.m.field(f"reg{operand.number}", 3)


def _turned(values: list[Bits], top: Bits) -> list[Bits]:
    """By physical number what is kept with ST(0) first."""
    for bit in range(3):
        moved = values[-(1 << bit) :] + values[: -(1 << bit)]
        pairs = zip(moved, values, strict=True)
        values = [top.bit(bit).select(other, same) for other, same in pairs]
    return values
