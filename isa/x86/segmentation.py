"""Segmentation: from segment and offset to linear address (SDM volume 3, sections 3.4 and 5.3)."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.x86.registers import SEGMENTS
from isa.x86.vectors import ALIGNMENT_CHECK

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder


def linear(m: X86Builder, segment: str, offset: Bits, size: int, *, write: bool) -> Bits:
    """The linear address of `size` bytes, after the segment's and the alignment checks."""
    address = offset
    if segment not in m.mode.flat or (write and segment == "cs"):  # code is never written
        _check_segment(m, segment, offset, size, write=write)
        address = m.get(SEGMENTS[segment].base) + offset
    if m.mode.alignment and size in (2, 4, 8):
        m.fault_when((address & size - 1) != 0, ALIGNMENT_CHECK, 0)
    return address


def _check_segment(m: X86Builder, name: str, offset: Bits, size: int, *, write: bool) -> None:
    """#GP(0) or #SS(0) if the segment does not allow the access (SDM volume 3, section 5.3)."""
    segment = SEGMENTS[name]
    attributes = m.get(segment.attributes)
    present, code = attributes.bit(7), attributes.bit(3)
    if write:
        allowed = present & ~code & attributes.bit(1)
    else:
        allowed = present & (~code | attributes.bit(1))
    m.segment_fault(name, ~allowed | beyond(attributes, m.get(segment.limit), offset, size))


def beyond(attributes: Bits, limit: Bits, offset: Bits, size: Bits | int) -> Bits:
    """Whether part of an access lies beyond the limit; expand-down segments begin above it."""
    last = offset + (size - 1)
    wraps = last.ult(offset)
    top = attributes.bit(10).select(Bits.of(0xFFFFFFFF, 32), Bits.of(0xFFFF, 32))
    expand_down = attributes.bit(2) & ~attributes.bit(3)
    down = offset.ule(limit) | top.ult(last) | wraps
    up = limit.ult(last) | wraps
    return expand_down.select(down, up)
