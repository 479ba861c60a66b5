"""Hardware task switching: the part that happens to the new task (SDM volume 3, section 7.3).

Its selectors are in place; the descriptors are loaded one after the other. If one of them is not
fit, those before it stay loaded, the others are not looked at, and `fetch` raises the fault.
"""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.hints import TYPE_CHECKING, Final
from isa.x86 import debug, segmentation, tss, v86
from isa.x86.descriptors import Descriptor, Selector, fill, mark_accessed, read
from isa.x86.registers import (
    ARRIVAL,
    ARRIVAL_CODE,
    ESP,
    LDTR,
    RF,
    SEGMENT_NAMES,
    SEGMENTS,
    TR_ATTRIBUTES,
    TR_BASE,
)
from isa.x86.vectors import INVALID_TSS, SEGMENT_NOT_PRESENT, STACK_FAULT

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

ARRIVING: Final = 255
"""The vector by which `fetch` asks for the second part; no event has it in a mode that arrives."""

CODED_AT: Final = 1  # bits of ARRIVAL: an error code is to be pushed; EXT of other error codes
EXTERNAL_AT: Final = 2
DOUBLES_AT: Final = 3  # a failure makes a double fault with the exception that led here
FAILURE_AT: Final = 4  # the vector of what failed, in 4 bits
FAILURES: Final = INVALID_TSS, SEGMENT_NOT_PRESENT, STACK_FAULT

DATA_SEGMENTS: Final = "ds", "es", "fs", "gs"

Judge = Callable[["X86Builder", Selector, Descriptor], list[tuple[int, Bits]]]
"""What may be wrong with a descriptor: vectors and conditions, in the order of their looks."""


def arrive(m: X86Builder) -> None:
    """Load the new task's segments, push the error code that brought it here."""
    m.put(RF, m.get(RF))  # is the first instruction's own
    _load_table(m)
    if m.mode.v86:
        for name in SEGMENT_NAMES:
            v86.load(m, name, m.get(SEGMENTS[name].selector))
    else:
        _load_segments(m)
    _push_code(m)
    with m.when(_fine(m)):
        _trap(m)
        end(m)


def end(m: X86Builder) -> None:
    """The task has arrived, or its fault is delivered."""
    m.put(ARRIVAL, Bits.of(0, 8))
    m.put(ARRIVAL_CODE, Bits.of(0, 32))


def _fine(m: X86Builder) -> Bits:
    return m.so_far(ARRIVAL).bits(FAILURE_AT, 4) == 0


def _blame(m: X86Builder, wrong: Bits, vector: int, code: Bits) -> None:
    """Note a failure, unless there was one before."""
    first = wrong & _fine(m)
    state = m.so_far(ARRIVAL)
    m.put(ARRIVAL, first.select(state | vector << FAILURE_AT, state))
    external = m.get(ARRIVAL).bit(EXTERNAL_AT).zext(32)
    m.put(ARRIVAL_CODE, first.select(code | external, m.so_far(ARRIVAL_CODE)))


def _load_table(m: X86Builder) -> None:
    """LDTR; null is allowed."""
    selector = Selector(m.get(LDTR))
    code = selector.error_code
    with m.when(~selector.is_null):
        _blame(m, selector.is_local | selector.outside(m), INVALID_TSS, code)
        with m.when(_fine(m)):
            descriptor = read(m, selector)
            _blame(m, ~descriptor.is_type(tss.LDT) | ~descriptor.present, INVALID_TSS, code)
            with m.when(_fine(m)):
                tss.put_ldt(m, descriptor)


def _load_segments(m: X86Builder) -> None:
    _load(m, "cs", _judge_code, null_allowed=False)
    _load(m, "ss", _judge_stack, null_allowed=False)
    for name in DATA_SEGMENTS:
        _load(m, name, _judge_data, null_allowed=True)


def _load(m: X86Builder, name: str, judge: Judge, *, null_allowed: bool) -> None:
    selector = Selector(m.get(SEGMENTS[name].selector))
    if not null_allowed:
        _blame(m, selector.is_null, INVALID_TSS, selector.error_code)
    with m.when(_fine(m) & ~selector.is_null):
        _blame(m, selector.outside(m), INVALID_TSS, selector.error_code)
        with m.when(_fine(m)):
            _load_descriptor(m, name, selector, judge)


def _load_descriptor(m: X86Builder, name: str, selector: Selector, judge: Judge) -> None:
    descriptor = read(m, selector)
    for vector, wrong in judge(m, selector, descriptor):
        _blame(m, wrong, vector, selector.error_code)
    with m.when(_fine(m)):
        attributes = mark_accessed(m, selector, descriptor)
        fill(m, name, selector.value, descriptor.base, descriptor.limit, attributes)


def _judge_code(
    m: X86Builder, selector: Selector, descriptor: Descriptor
) -> list[tuple[int, Bits]]:
    rpl, dpl = selector.rpl, descriptor.dpl
    level_wrong = descriptor.is_conforming.select(rpl.ult(dpl), rpl != dpl)
    wrong = ~descriptor.is_code | level_wrong
    return [(INVALID_TSS, wrong), (SEGMENT_NOT_PRESENT, ~descriptor.present)]


def _judge_stack(
    m: X86Builder, selector: Selector, descriptor: Descriptor
) -> list[tuple[int, Bits]]:
    cpl = m.mode.cpl
    wrong = ~descriptor.is_writable | (selector.rpl != cpl) | (descriptor.dpl != cpl)
    return [(INVALID_TSS, wrong), (STACK_FAULT, ~descriptor.present)]


def _judge_data(
    m: X86Builder, selector: Selector, descriptor: Descriptor
) -> list[tuple[int, Bits]]:
    dpl = descriptor.dpl
    out_of_reach = dpl.ult(Bits.of(m.mode.cpl, 2)) | dpl.ult(selector.rpl)
    wrong = ~descriptor.is_readable | (~descriptor.is_conforming & out_of_reach)
    return [(INVALID_TSS, wrong), (SEGMENT_NOT_PRESENT, ~descriptor.present)]


def _push_code(m: X86Builder) -> None:
    """The error code of the exception whose task gate led here, as wide as the TSS."""
    coded = m.get(ARRIVAL).bit(CODED_AT)
    wide = m.get(TR_ATTRIBUTES).bit(3)
    for width, condition in ((32, wide), (16, ~wide)):
        with m.when(_fine(m) & coded & condition):
            _push(m, m.get(ARRIVAL_CODE).low(width))


def _push(m: X86Builder, value: Bits) -> None:
    stack, size = SEGMENTS["ss"], value.width // 8
    attributes = m.so_far(stack.attributes)
    moved = m.get(ESP) - size
    big = attributes.bit(10)
    pointer = big.select(moved, m.get(ESP).bits(16, 16).concat(moved.low(16)))
    offset = big.select(pointer, pointer & 0xFFFF)
    outside = segmentation.beyond(attributes, m.so_far(stack.limit), offset, size)
    _blame(m, outside, STACK_FAULT, Bits.of(0, 32))
    with m.when(_fine(m)):
        m.store_space(m.data_space, m.so_far(stack.base) + offset, value)
        m.put(ESP, pointer)


def _trap(m: X86Builder) -> None:
    """The T flag of a TSS of 32 bits: a debug trap before the first instruction."""
    with m.when(m.get(TR_ATTRIBUTES).bit(3)):
        wanted = m.load_space("system", m.get(TR_BASE) + tss.TRAP, 16).bit(0)
        debug.note(m, wanted.select(Bits.of(debug.TASK_SWITCH, 16), 0))
