"""Instructions on flags alone, and those that do nothing (SDM volume 1, sections 7.3.13–14)."""

from __future__ import annotations

from isa.bits import Bits
from isa.registers import Register
from isa.x86.builder import Operand, X86Builder, insert
from isa.x86.registers import AF, CF, DF, EAX, PF, SF, ZF
from isa.x86.table import instruction

_IN_AH = {CF: 0, PF: 2, AF: 4, ZF: 6, SF: 7}


@instruction("lahf", heading="LAHF—Load Status Flags Into AH Register")
def lahf(m: X86Builder) -> None:
    image = Bits.of(0b10, 8)  # bit 1 is always 1
    for flag, position in _IN_AH.items():
        image = image | m.flag(flag).zext(8) << position
    m.put(EAX, insert(m.get(EAX), 8, image))


@instruction("sahf", heading="SAHF—Store AH Into Flags")
def sahf(m: X86Builder) -> None:
    for flag, position in _IN_AH.items():
        m.put(flag, m.get(EAX).bit(8 + position))


@instruction("clc", heading="CLC—Clear Carry Flag", parameters=(CF, 0))
@instruction("stc", heading="STC—Set Carry Flag", parameters=(CF, 1))
@instruction("cld", heading="CLD—Clear Direction Flag", parameters=(DF, 0))
@instruction("std", heading="STD—Set Direction Flag", parameters=(DF, 1))
def put_flag(m: X86Builder, flag: Register, value: int) -> None:
    m.put(flag, Bits.of(value, 1))


@instruction("cmc", heading="CMC—Complement Carry Flag")
def cmc(m: X86Builder) -> None:
    m.put(CF, ~m.flag(CF))


@instruction("nop", heading="NOP—No Operation", escaped_since="pentium2")
def nop(m: X86Builder, *hints: Operand) -> None:
    """Hints and reserved NOPs touch no memory."""


@instruction("pause", heading="PAUSE—Spin Loop Hint")
def pause(m: X86Builder) -> None:
    """F3 90 is NOP before the Pentium 4."""


@instruction("ud0", "ud1", "ud2", heading="UD—Undefined Instruction")
def ud(m: X86Builder, *_: Operand) -> None:
    m.invalid_opcode()
