"""The stack on which a gate leaves its frame: the present one, or an inner level's.

SDM volume 3, sections 5.8.5 and 6.12.1. A frame is checked whole before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from isa.bits import Bits
from isa.x86 import segmentation
from isa.x86.descriptors import Selector, find, mark_accessed
from isa.x86.registers import ESP, SEGMENTS, TR, TR_ATTRIBUTES, TR_BASE, TR_LIMIT
from isa.x86.vectors import INVALID_TSS, STACK_FAULT

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder


@dataclass(slots=True)
class Stack:
    """A stack segment, where its pointer stands, and what is to be pushed.

    `code` is the error code of its #SS; `checked`: no frame can leave the segment.
    """

    selector: Bits
    base: Bits
    limit: Bits
    attributes: Bits
    pointer: Bits
    space: str
    code: Bits
    checked: bool = False
    frame: list[tuple[Bits, Bits, Bits]] = field(default_factory=list)

    def begun(self) -> Stack:
        """The same stack for another frame."""
        return replace(self, frame=[])

    def push(self, value: Bits, condition: Bits | None = None) -> None:
        """Make room for a value, which `write` will store; only if `condition` is 1."""
        condition = Bits.of(1, 1) if condition is None else condition
        self.pointer = condition.select(self._moved(-(value.width // 8)), self.pointer)
        self.frame.append((self._offset, value, condition))

    @property
    def _offset(self) -> Bits:
        return self._is_big.select(self.pointer, self.pointer & 0xFFFF)

    @property
    def _is_big(self) -> Bits:
        return self.attributes.bit(10)

    def _moved(self, by: int) -> Bits:
        moved = self.pointer + by
        narrow = self.pointer.bits(16, 16).concat(moved.low(16))
        return self._is_big.select(moved, narrow)

    def check(self, m: X86Builder) -> None:
        """#SS if the frame does not fit."""
        if self.checked:
            return
        usable = self.attributes.bit(7) & ~self.attributes.bit(3) & self.attributes.bit(1)
        wrong = ~usable
        for offset, value, condition in self.frame:
            size = value.width // 8
            outside = segmentation.beyond(self.attributes, self.limit, offset, size)
            wrong = wrong | condition & outside
        m.fault_when(wrong, STACK_FAULT, self.code)

    def write(self, m: X86Builder) -> None:
        """Store the frame."""
        for offset, value, condition in self.frame:
            with m.when(condition):
                m.store_space(self.space, self.base + offset, value)


def present_stack(m: X86Builder, external: int) -> Stack:
    """The stack as it is."""
    segment, pointer = SEGMENTS["ss"], m.get(ESP)
    flat = "ss" in m.mode.flat
    base = Bits.of(0, 32) if flat else m.get(segment.base)
    attributes = Bits.of(int(m.mode.stack_size == 32) << 10, 12)
    if not flat:
        attributes = m.get(segment.attributes) & 0xBFF | attributes
    limit, code = m.get(segment.limit), Bits.of(external, 32)
    selector = m.get(segment.selector)
    return Stack(selector, base, limit, attributes, pointer, m.data_space, code, checked=flat)


def inner_stack(m: X86Builder, level: Bits, external: int) -> Stack:
    """The stack that the TSS names for a level, or #TS (SDM volume 2, INT n, inter-privilege)."""
    value, pointer = _stack_pointer(m, level, external)
    selector = Selector(value)
    code = selector.error_code | external
    descriptor = find(m, selector, INVALID_TSS, external)
    wrong = (selector.rpl != level) | (descriptor.dpl != level) | ~descriptor.is_writable
    m.fault_when(wrong, INVALID_TSS, code)
    m.fault_when(~descriptor.present, STACK_FAULT, code)
    attributes = mark_accessed(m, selector, descriptor)
    base, limit = descriptor.base, descriptor.limit
    return Stack(selector.value, base, limit, attributes, pointer, "system", code)


def _stack_pointer(m: X86Builder, level: Bits, external: int) -> tuple[Bits, Bits]:
    """SS and ESP of a level from the TSS of 32 or 16 bits."""
    wide = m.get(TR_ATTRIBUTES).bit(3)
    number = level.zext(32)
    place = wide.select((number << 3) + 4, (number << 2) + 2)
    last = place + wide.select(Bits.of(5, 32), 3)
    code = Selector(m.get(TR)).error_code | external
    m.fault_when(m.get(TR_LIMIT).ult(last), INVALID_TSS, code)
    at = m.get(TR_BASE) + place
    pointer = m.load_space("system", at, 32)
    selector = m.load_space("system", at + wide.select(Bits.of(4, 32), 2), 16)
    return selector, wide.select(pointer, pointer & 0xFFFF)
