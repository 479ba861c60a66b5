"""Exchanges with arithmetic: XADD CMPXCHG CMPXCHG8B (SDM volume 1, section 7.3.1.2)."""

from __future__ import annotations

from isa.x86 import flags
from isa.x86.builder import Operand, X86Builder
from isa.x86.registers import EAX, EBX, ECX, EDX
from isa.x86.table import instruction


@instruction("xadd", heading="XADD—Exchange and Add", since="486", lockable=True)
def xadd(m: X86Builder, dst: Operand, src: Operand) -> None:
    a, b = m.read(dst), m.read(src)
    m.write(src, a)
    m.write(dst, a + b)  # last: it stays if both are one register
    m.set_flags(flags.add(a, b))


@instruction("cmpxchg", heading="CMPXCHG—Compare and Exchange", since="486", lockable=True)
def cmpxchg(m: X86Builder, dst: Operand, src: Operand) -> None:
    accumulator, found = m.read_part(EAX, dst.width), m.read(dst)
    equal = accumulator == found
    m.write_part(EAX, equal.select(accumulator, found))
    m.write(dst, equal.select(m.read(src), found))  # a write cycle in either case
    m.set_flags(flags.subtract(accumulator, found))


@instruction(
    "cmpxchg8b",
    heading="CMPXCHG8B/CMPXCHG16B—Compare and Exchange Bytes",
    since="pentium",
    lockable=True,
)
def cmpxchg8b(m: X86Builder, dst: Operand) -> None:
    found = m.read(dst)
    equal = m.get(EDX).concat(m.get(EAX)) == found
    m.write(dst, equal.select(m.get(ECX).concat(m.get(EBX)), found))  # in either case
    m.put(EAX, equal.select(m.get(EAX), found.low(32)))
    m.put(EDX, equal.select(m.get(EDX), found.bits(32, 32)))
    m.set_flags({"zf": equal})
