"""Descriptor tables and the task register: LGDT LIDT SGDT SIDT, LLDT LTR SLDT STR.

SDM volume 3, section 2.4; volume 2, the instructions' own sections.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.registers import Register
from isa.x86 import tss
from isa.x86.builder import Operand, X86Builder
from isa.x86.descriptors import Selector, find_global
from isa.x86.meanings.privilege import (
    forbid_without_segments,
    require_level_0,
    require_visible,
    unimplemented_in_process,
)
from isa.x86.registers import GDT_BASE, GDT_LIMIT, IDT_BASE, IDT_LIMIT, LDTR, TR
from isa.x86.table import instruction
from isa.x86.vectors import GENERAL_PROTECTION, SEGMENT_NOT_PRESENT

_LOAD = "LGDT/LIDT—Load Global/Interrupt Descriptor Table Register"


@instruction("lgdt", heading=_LOAD, since="286", parameters=(GDT_BASE, GDT_LIMIT))
@instruction("lidt", heading=_LOAD, since="286", parameters=(IDT_BASE, IDT_LIMIT))
def load_table(m: X86Builder, base: Register, limit: Register, src: Operand) -> None:
    if not src.is_memory:
        m.invalid_opcode()
        return
    require_level_0(m)
    segment, address = m.segment_of(src), m.address(src)
    m.put(limit, m.load(segment, address, 16))
    found = m.load(segment, m.wrap(address + 2), 32)
    m.put(base, found if m.form.operand_size == 32 else found & 0xFFFFFF)


@instruction(
    "sgdt",
    heading="SGDT—Store Global Descriptor Table Register",
    parameters=(GDT_BASE, GDT_LIMIT),
    since="286",
)
@instruction(
    "sidt",
    heading="SIDT—Store Interrupt Descriptor Table Register",
    parameters=(IDT_BASE, IDT_LIMIT),
    since="286",
)
def store_table(m: X86Builder, base: Register, limit: Register, dst: Operand) -> None:
    """The whole base is stored, whatever the operand size."""
    if unimplemented_in_process(m):
        return
    if not dst.is_memory:
        m.invalid_opcode()
        return
    require_visible(m)
    segment, address = m.segment_of(dst), m.address(dst)
    m.store(segment, address, m.get(limit))
    m.store(segment, m.wrap(address + 2), m.get(base))


@instruction(
    "sldt", heading="SLDT—Store Local Descriptor Table Register", since="286", parameters=(LDTR,)
)
@instruction("str", heading="STR—Store Task Register", since="286", parameters=(TR,))
def store_selector(m: X86Builder, register: Register, dst: Operand) -> None:
    if unimplemented_in_process(m) or forbid_without_segments(m):
        return
    require_visible(m)
    store_word(m, dst, m.get(register).zext(32))


def store_word(m: X86Builder, dst: Operand, value: Bits) -> None:
    """16 bits to memory; as many as the operand size says to a register."""
    if dst.is_memory:
        m.store(m.segment_of(dst), m.address(dst), value.low(16))
    else:
        m.write(dst, value.low(dst.width))


@instruction("lldt", heading="LLDT—Load Local Descriptor Table Register", since="286")
def lldt(m: X86Builder, src: Operand) -> None:
    """A null selector leaves no table: every local selector is then outside it."""
    if forbid_without_segments(m):
        return
    require_level_0(m)
    selector = Selector(m.read_selector(src))
    tss.forget_ldt(m)
    m.put(LDTR, selector.value)
    with m.when(~selector.is_null):
        descriptor = find_global(m, selector, GENERAL_PROTECTION)
        m.fault_when(~descriptor.is_type(tss.LDT), GENERAL_PROTECTION, selector.error_code)
        m.fault_when(~descriptor.present, SEGMENT_NOT_PRESENT, selector.error_code)
        tss.put_ldt(m, descriptor)


@instruction("ltr", heading="LTR—Load Task Register", since="286")
def ltr(m: X86Builder, src: Operand) -> None:
    if forbid_without_segments(m):
        return
    require_level_0(m)
    selector = Selector(m.read_selector(src))
    m.fault_when(selector.is_null, GENERAL_PROTECTION, 0)
    descriptor = find_global(m, selector, GENERAL_PROTECTION)
    m.fault_when(~descriptor.is_type(*tss.AVAILABLE), GENERAL_PROTECTION, selector.error_code)
    m.fault_when(~descriptor.present, SEGMENT_NOT_PRESENT, selector.error_code)
    tss.mark_busy(m, selector, descriptor)
    tss.put_task(m, selector.value, descriptor)
