"""Segment registers: MOV, POP and LDS LES LFS LGS LSS; LAR LSL VERR VERW ARPL.

What loading one checks and does: SDM volume 2, MOV; volume 3, sections 5.5 and 5.6.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.x86 import real
from isa.x86.builder import Operand, X86Builder, segment_name
from isa.x86.descriptors import Descriptor, Selector, fill, mark_accessed, read
from isa.x86.meanings.privilege import forbid_without_segments
from isa.x86.registers import SHADOW, ZF
from isa.x86.table import instruction
from isa.x86.vectors import GENERAL_PROTECTION, SEGMENT_NOT_PRESENT, STACK_FAULT


def mov_from(m: X86Builder, dst: Operand, src: Operand) -> None:
    """MOV r/m, Sreg: 16 bits to memory, zero-extended to a register (SDM volume 2, MOV)."""
    selector = m.read(src)
    if dst.is_memory:
        m.store(m.segment_of(dst), m.address(dst), selector)
    else:
        m.write(dst, selector.zext(dst.width))


def mov_to(m: X86Builder, dst: Operand, src: Operand) -> None:
    """MOV Sreg, r/m: 16 bits whatever the operand size; CS is #UD."""
    name = segment_name(dst)
    if name == "cs":
        m.invalid_opcode()
    else:
        load(m, name, m.read_selector(src))
        hold_interrupts_back(m, name)


def hold_interrupts_back(m: X86Builder, name: str) -> None:
    """After MOV or POP to SS there is one instruction more before an interrupt, to load ESP.

    Only the first of several in a row does so (SDM volume 3, section 6.8.3).
    """
    if name == "ss" and m.mode.has_system and not m.mode.shadow:
        m.put(SHADOW, Bits.of(1, 1))


def load(m: X86Builder, name: str, value: Bits) -> None:
    """Load a data or stack segment register, with all checks."""
    if m.mode.segments_are_paragraphs:
        real.load(m, name, value)
        return
    selector = Selector(value)
    if name == "ss":
        m.fault_when(selector.is_null, GENERAL_PROTECTION, 0)
        _load(m, name, selector)
        return
    with m.when(~selector.is_null):
        _load(m, name, selector)
    with m.when(selector.is_null):
        fill(m, name, selector.value, Bits.of(0, 32), Bits.of(0, 32), Bits.of(0, 12))


def _load(m: X86Builder, name: str, selector: Selector) -> None:
    m.fault_when(selector.outside(m), GENERAL_PROTECTION, selector.error_code)
    descriptor = read(m, selector)
    check = _check_stack if name == "ss" else _check_data
    check(m, selector, descriptor)
    attributes = mark_accessed(m, selector, descriptor)
    fill(m, name, selector.value, descriptor.base, descriptor.limit, attributes)


def _check_stack(m: X86Builder, selector: Selector, descriptor: Descriptor) -> None:
    cpl = m.mode.cpl
    wrong = (selector.rpl != cpl) | ~descriptor.is_writable | (descriptor.dpl != cpl)
    m.fault_when(wrong, GENERAL_PROTECTION, selector.error_code)
    m.fault_when(~descriptor.present, STACK_FAULT, selector.error_code)


def _check_data(m: X86Builder, selector: Selector, descriptor: Descriptor) -> None:
    forbidden = ~descriptor.is_conforming & out_of_reach(m, selector, descriptor)
    wrong = ~descriptor.is_readable | forbidden
    m.fault_when(wrong, GENERAL_PROTECTION, selector.error_code)
    m.fault_when(~descriptor.present, SEGMENT_NOT_PRESENT, selector.error_code)


def out_of_reach(m: X86Builder, selector: Selector, descriptor: Descriptor) -> Bits:
    """Whether CPL or RPL is less privileged than the descriptor (SDM volume 3, section 5.6)."""
    cpl = Bits.of(m.mode.cpl, 2)
    return descriptor.dpl.ult(cpl) | descriptor.dpl.ult(selector.rpl)


_LOAD_FAR_POINTER = "LDS/LES/LFS/LGS/LSS—Load Far Pointer"


@instruction("les", heading=_LOAD_FAR_POINTER, parameters=("es",))
@instruction("lss", heading=_LOAD_FAR_POINTER, since="386", parameters=("ss",))
@instruction("lds", heading=_LOAD_FAR_POINTER, parameters=("ds",))
@instruction("lfs", heading=_LOAD_FAR_POINTER, since="386", parameters=("fs",))
@instruction("lgs", heading=_LOAD_FAR_POINTER, since="386", parameters=("gs",))
def load_far_pointer(m: X86Builder, name: str, dst: Operand, src: Operand) -> None:
    if not src.is_memory:
        m.invalid_opcode()
        return
    selector, offset = far_pointer(m, src)
    load(m, name, selector)
    m.write(dst, offset)


def far_pointer(m: X86Builder, src: Operand) -> tuple[Bits, Bits]:
    """Selector and offset (as wide as the operand size) of a far pointer in memory."""
    width, segment, address = m.form.operand_size, m.segment_of(src), m.address(src)
    offset = m.load(segment, address, width)
    return m.load(segment, m.wrap(address + width // 8), 16), offset


# -- looking at descriptors without loading them --------------------------------------------------


@instruction("lar", heading="LAR—Load Access Rights Byte", since="286", parameters=("lar",))
@instruction("lsl", heading="LSL—Load Segment Limit", since="286", parameters=("lsl",))
def look(m: X86Builder, which: str, dst: Operand, src: Operand) -> None:
    """ZF tells whether the descriptor may be looked at; the destination stays if not."""
    if forbid_without_segments(m):
        return
    selector = Selector(m.read_selector(src))
    m.put(ZF, Bits.of(0, 1))
    with m.when(~selector.is_null & ~selector.outside(m)):
        descriptor = read(m, selector)
        # Types that the instruction knows (SDM volume 2, LAR and LSL).
        types = (1, 2, 3, 4, 5, 9, 11, 12) if which == "lar" else (1, 2, 3, 9, 11)
        known = descriptor.is_segment | descriptor.is_type(*types)
        forbidden = ~descriptor.is_conforming & out_of_reach(m, selector, descriptor)
        valid = known & ~forbidden
        # "Bits 19:16 are undefined" (SDM volume 2, LAR): processors leave in them what is there.
        found = descriptor.high & 0x00FFFF00 if which == "lar" else descriptor.limit
        m.put(ZF, valid)
        m.write(dst, valid.select(found.low(dst.width), m.read(dst)))


_VERIFY = "VERR/VERW—Verify a Segment for Reading or Writing"


@instruction("verr", heading=_VERIFY, since="286", parameters=(False,))
@instruction("verw", heading=_VERIFY, since="286", parameters=(True,))
def verify(m: X86Builder, write: bool, src: Operand) -> None:
    if forbid_without_segments(m):
        return
    selector = Selector(m.read_selector(src))
    m.put(ZF, Bits.of(0, 1))
    with m.when(~selector.is_null & ~selector.outside(m)):
        descriptor = read(m, selector)
        fit = descriptor.is_writable if write else descriptor.is_readable
        forbidden = ~descriptor.is_conforming & out_of_reach(m, selector, descriptor)
        m.put(ZF, fit & ~forbidden)


@instruction("arpl", heading="ARPL—Adjust RPL Field of Segment Selector", since="286")
def arpl(m: X86Builder, dst: Operand, src: Operand) -> None:
    if forbid_without_segments(m):
        return
    selector, wanted = m.read(dst, modify=False), m.read(src).low(2)
    lower = selector.low(2).ult(wanted)
    with m.when(lower):
        m.write(dst, selector.bits(2, 14).concat(wanted))
    m.put(ZF, lower)
