"""Far returns of protected mode: RETF and IRET, to the same or to an outer level.

SDM volume 3, sections 5.8.6 and 6.12; volume 2, RET and IRET.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import X86Builder, insert
from isa.x86.descriptors import (
    Descriptor,
    Selector,
    enter_code,
    fill,
    find,
    mark_accessed,
    nullify,
)
from isa.x86.registers import ESP, SEGMENTS
from isa.x86.vectors import GENERAL_PROTECTION, SEGMENT_NOT_PRESENT, STACK_FAULT

DATA_SEGMENTS = "es", "ds", "fs", "gs"


def far_return(m: X86Builder, selector: Selector, offset: Bits, release: Bits) -> None:
    """Go back to a code segment; to an outer level, `release` bytes are dropped there too."""
    descriptor = find(m, selector, GENERAL_PROTECTION)
    _check_code(m, selector, descriptor)
    outer = selector.rpl != m.mode.cpl if m.mode.cpl < 3 else Bits.of(0, 1)
    with m.when(~outer):
        check_target(m, descriptor, offset)
        enter_code(m, selector, descriptor, offset, Bits.of(m.mode.cpl, 2))
    with m.when(outer):
        _to_outer(m, selector, descriptor, offset, release)


def _check_code(m: X86Builder, selector: Selector, descriptor: Descriptor) -> None:
    dpl, rpl = descriptor.dpl, selector.rpl
    level_wrong = descriptor.is_conforming.select(rpl.ult(dpl), dpl != rpl)
    wrong = ~descriptor.is_code | rpl.ult(Bits.of(m.mode.cpl, 2)) | level_wrong
    m.fault_when(wrong, GENERAL_PROTECTION, selector.error_code)
    m.fault_when(~descriptor.present, SEGMENT_NOT_PRESENT, selector.error_code)


def check_target(m: X86Builder, descriptor: Descriptor, offset: Bits) -> None:
    """#GP(0) if a target lies beyond its code segment's limit."""
    m.fault_when(descriptor.limit.ult(offset), GENERAL_PROTECTION, 0)


def _to_outer(
    m: X86Builder, code: Selector, code_descriptor: Descriptor, offset: Bits, release: Bits
) -> None:
    """Pop the outer level's stack, and take away what it may not have."""
    pointer = m.pop(m.form.operand_size).zext(32)
    selector = Selector(m.pop(m.form.operand_size).low(16))
    descriptor = _outer_stack(m, selector, code.rpl)
    check_target(m, code_descriptor, offset)
    attributes = mark_accessed(m, selector, descriptor)
    fill(m, "ss", selector.value, descriptor.base, descriptor.limit, attributes)
    moved = pointer + release
    narrow = insert(m.stack_pointer, 0, moved.low(16))
    m.put(ESP, attributes.bit(10).select(moved, narrow))
    enter_code(m, code, code_descriptor, offset, code.rpl)
    for name in DATA_SEGMENTS:
        _take_away(m, name, code.rpl)


def _outer_stack(m: X86Builder, selector: Selector, level: Bits) -> Descriptor:
    descriptor = find(m, selector, GENERAL_PROTECTION)
    wrong = (selector.rpl != level) | (descriptor.dpl != level) | ~descriptor.is_writable
    m.fault_when(wrong, GENERAL_PROTECTION, selector.error_code)
    m.fault_when(~descriptor.present, STACK_FAULT, selector.error_code)
    return descriptor


def _take_away(m: X86Builder, name: str, level: Bits) -> None:
    """Null a segment of more privilege than the level has; conforming code has none."""
    attributes = m.get(SEGMENTS[name].attributes)
    conforming = attributes.bit(3) & attributes.bit(2)
    with m.when(attributes.bits(5, 2).ult(level) & ~conforming):
        nullify(m, name)
