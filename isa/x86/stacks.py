"""The stack on which a gate leaves its frame: the present one, or an inner level's.

SDM volume 3, sections 5.8.5 and 6.12.1. A frame is checked whole before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.record import NamedTuple
from isa.x86 import debug, segmentation
from isa.x86.descriptors import Selector, find, mark_accessed
from isa.x86.registers import ESP, SEGMENTS, TR, TR_ATTRIBUTES, TR_BASE, TR_LIMIT
from isa.x86.vectors import INVALID_TSS, STACK_FAULT

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder


class Item(NamedTuple):
    """A value to be pushed at an offset if the condition holds; `make` is asked only then."""

    offset: Bits
    make: Callable[[], Bits]
    condition: Bits


class Room(NamedTuple):
    """Bytes that a frame needs if the condition holds."""

    offset: Bits
    size: Bits
    condition: Bits


@dataclass(slots=True)
class Stack:
    """A stack segment, where its pointer stands, and what is to be pushed.

    `is_new`: it is not the present one, so its selector stands in the error codes of its #SS.
    `external` is their EXT bit. `flat`: no frame can leave the segment.
    """

    selector: Bits
    base: Bits
    limit: Bits
    attributes: Bits
    pointer: Bits
    space: str
    external: int
    is_new: bool
    flat: bool = False
    frame: list[Item] = field(default_factory=list)
    rooms: list[Room] = field(default_factory=list)

    def begun(self) -> Stack:
        """The same stack for a frame."""
        return replace(self, frame=[], rooms=[])

    def push(self, value: Bits, condition: Bits | None = None) -> None:
        """Make room for a value, which `write` will store; only if `condition` is 1."""
        condition = Bits.of(1, 1) if condition is None else condition
        size = Bits.of(value.width // 8, 32)
        self.pointer = condition.select(self._moved(size), self.pointer)
        self.rooms.append(Room(self._offset(0), size, condition))
        self.frame.append(Item(self._offset(0), lambda: value, condition))

    def push_all(self, width: int, count: Bits, values: Sequence[Callable[[], Bits]]) -> None:
        """Make room for the first `count` values, the first of them at the lowest address."""
        size = width // 8
        whole = count.zext(32) * size
        self.pointer = self._moved(whole)
        self.rooms.append(Room(self._offset(0), whole, count != 0))
        for number, make in reversed(list(enumerate(values))):
            condition = Bits.of(number, count.width).ult(count)
            self.frame.append(Item(self._offset(number * size), make, condition))

    def _offset(self, above: int) -> Bits:
        offset = self.pointer + above
        return self._is_big.select(offset, offset & 0xFFFF)

    @property
    def _is_big(self) -> Bits:
        return self.attributes.bit(10)

    def _moved(self, size: Bits) -> Bits:
        moved = self.pointer - size
        narrow = self.pointer.bits(16, 16).concat(moved.low(16))
        return self._is_big.select(moved, narrow)

    def check(self, m: X86Builder) -> None:
        """#SS if the frame does not fit."""
        if self.flat:
            return
        wrong = ~(self.attributes.bit(7) & ~self.attributes.bit(3) & self.attributes.bit(1))
        for offset, size, condition in self.rooms:
            outside = segmentation.beyond(self.attributes, self.limit, offset, size)
            wrong = wrong | condition & outside
        code = Selector(self.selector).error_code if self.is_new else Bits.of(0, 32)
        m.fault_when(wrong, STACK_FAULT, code | self.external)

    def write(self, m: X86Builder) -> None:
        """Store the frame."""
        for item in self.frame:
            with m.when(item.condition):
                address, value = self.base + item.offset, item.make()
                debug.watch(m, address, value.width // 8, debug.WRITTEN, debug.ACCESSED)
                m.store_space(self.space, address, value)


def present_stack(m: X86Builder, external: int) -> Stack:
    """The stack as it is."""
    segment, flat = SEGMENTS["ss"], "ss" in m.mode.flat
    big = Bits.of(int(m.mode.stack_size == 32) << 10, 12)
    return Stack(
        selector=m.get(segment.selector),
        base=Bits.of(0, 32) if flat else m.get(segment.base),
        limit=m.get(segment.limit),
        attributes=big if flat else m.get(segment.attributes) & 0xBFF | big,
        pointer=m.get(ESP),
        space=m.data_space,
        external=external,
        is_new=False,
        flat=flat,
    )


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
    return Stack(selector.value, base, limit, attributes, pointer, "system", external, is_new=True)


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
