"""Logic: AND OR XOR NOT TEST (SDM volume 1, sections 7.3.5 and 7.3.6)."""

from __future__ import annotations

from isa.x86 import flags
from isa.x86.builder import Operand, X86Builder
from isa.x86.table import instruction


@instruction("and", heading="AND—Logical AND", lockable=True)
def and_(m: X86Builder, dst: Operand, src: Operand) -> None:
    result = m.read(dst) & m.read(src)
    m.write(dst, result)
    m.set_flags(flags.logic(result), undefined="af")


@instruction("or", heading="OR—Logical Inclusive OR", lockable=True)
def or_(m: X86Builder, dst: Operand, src: Operand) -> None:
    result = m.read(dst) | m.read(src)
    m.write(dst, result)
    m.set_flags(flags.logic(result), undefined="af")


@instruction("xor", heading="XOR—Logical Exclusive OR", lockable=True)
def xor(m: X86Builder, dst: Operand, src: Operand) -> None:
    result = m.read(dst) ^ m.read(src)
    m.write(dst, result)
    m.set_flags(flags.logic(result), undefined="af")


@instruction("not", heading="NOT—One's Complement Negation", lockable=True)
def not_(m: X86Builder, dst: Operand) -> None:
    m.write(dst, ~m.read(dst))


@instruction("test", heading="TEST—Logical Compare")
def test(m: X86Builder, first: Operand, second: Operand) -> None:
    m.set_flags(flags.logic(m.read(first) & m.read(second)), undefined="af")
