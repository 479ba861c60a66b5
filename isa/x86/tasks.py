"""Hardware task switching (SDM volume 3, chapter 7): the part that happens to the old task.

It saves the old task and takes over the new one's registers, with selectors but no descriptors, and
whatever fails until then is the old task's fault. Before the new task's first instruction `fetch`
asks for the second part, `isa.x86.arrival`.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.bits import Bits
from isa.hints import TYPE_CHECKING, Final
from isa.x86 import tss
from isa.x86.arrival import CODED_AT, DOUBLES_AT, EXTERNAL_AT
from isa.x86.descriptors import Descriptor, Gate, Selector, find_global
from isa.x86.registers import (
    ARRIVAL,
    ARRIVAL_CODE,
    CPL,
    CR3,
    DR7,
    NT,
    PENDING,
    PG,
    SEGMENT_NAMES,
    SEGMENTS,
    TR,
    TR_ATTRIBUTES,
    TR_BASE,
    TR_LIMIT,
    TS,
    VM,
)
from isa.x86.translation import NOT_GLOBAL, invalidate
from isa.x86.vectors import GENERAL_PROTECTION, INVALID_TSS, SEGMENT_NOT_PRESENT

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

LOCAL_BREAKPOINTS: Final = 0x155  # of DR7: L0–L3 and LE


@dataclass(frozen=True, slots=True)
class Departure:
    """How the old task is left.

    `nests`: CALL and interrupts, after which IRET leads back; `returns`: IRET. `pointer` and
    `flags` are saved; an error code, if `coded`, is pushed on the new task's stack; `external` is
    EXT of the codes of faults on the way; `doubles`: these make a double fault.
    """

    pointer: Bits
    flags: Bits
    nests: bool = False
    returns: bool = False
    external: int = 0
    coded: Bits | None = None
    code: Bits | None = None
    doubles: Bits | None = None


def through_gate(m: X86Builder, gate: Gate, departure: Departure) -> None:
    """To the task that a task gate names: a TSS that is not busy, or #GP."""
    external = departure.external
    descriptor = find_global(m, gate.selector, GENERAL_PROTECTION, external)
    code = gate.selector.error_code | external
    m.fault_when(~descriptor.is_type(*tss.AVAILABLE), GENERAL_PROTECTION, code)
    m.fault_when(~descriptor.present, SEGMENT_NOT_PRESENT, code)
    switch(m, gate.selector, descriptor, departure)


def back(m: X86Builder, departure: Departure) -> None:
    """IRET with NT: to the task that the present TSS links to, which is busy, or #TS."""
    selector = Selector(m.load_space("system", m.get(TR_BASE) + tss.LINK, 16))
    descriptor = find_global(m, selector, INVALID_TSS)
    m.fault_when(~descriptor.is_type(*tss.BUSY), INVALID_TSS, selector.error_code)
    m.fault_when(~descriptor.present, SEGMENT_NOT_PRESENT, selector.error_code)
    switch(m, selector, descriptor, departure)


def switch(m: X86Builder, selector: Selector, descriptor: Descriptor, departure: Departure) -> None:
    """To the task of a TSS whose descriptor was checked (SDM volume 3, section 7.3)."""
    code = selector.error_code | departure.external
    _require_room(m, descriptor.type.bit(3), descriptor.limit, code)
    _require_room(m, m.get(TR_ATTRIBUTES).bit(3), m.get(TR_LIMIT), code)
    _save(m, departure)
    if departure.nests:
        m.store_space("system", descriptor.base + tss.LINK, m.get(TR))
    else:
        tss.mark_available(m, Selector(m.get(TR)))
    if not departure.returns:
        tss.mark_busy(m, selector, descriptor)
    tss.put_task(m, selector.value, descriptor)
    _take_over(m, descriptor, departure)


def _require_room(m: X86Builder, wide: Bits, limit: Bits, code: Bits) -> None:
    """#TS if a TSS has no room for a task."""
    last = wide.select(Bits.of(tss.WIDE.last, 32), tss.NARROW.last)
    m.fault_when(limit.ult(last), INVALID_TSS, code)


def _save(m: X86Builder, departure: Departure) -> None:
    wide = m.get(TR_ATTRIBUTES).bit(3)
    for layout, condition in ((tss.WIDE, wide), (tss.NARROW, ~wide)):
        with m.when(condition):
            tss.save(m, layout, departure.pointer, departure.flags)


def _take_over(m: X86Builder, descriptor: Descriptor, departure: Departure) -> None:
    wide, base = descriptor.type.bit(3), descriptor.base
    with m.when(wide):
        tss.load(m, tss.WIDE, base)
        _load_page_directory(m, base)
    with m.when(~wide):
        tss.load(m, tss.NARROW, base)
    if departure.nests:
        m.put(NT, Bits.of(1, 1))
    m.put(TS, Bits.of(1, 1))
    m.put(DR7, m.get(DR7) & ~LOCAL_BREAKPOINTS)
    code_level = m.so_far(SEGMENTS["cs"].selector).low(2)
    m.put(CPL, m.so_far(VM).select(3, code_level))
    _leave_to_arrival(m, departure)


def _load_page_directory(m: X86Builder, base: Bits) -> None:
    """CR3, if there is paging."""
    paging, present = m.get(PG), m.get(CR3)
    directory = m.load_space("system", base + tss.PAGE_DIRECTORY, 32)
    m.put(CR3, paging.select(directory, present))
    with m.when(paging & (directory != present)):
        invalidate(m, NOT_GLOBAL)


def _leave_to_arrival(m: X86Builder, departure: Departure) -> None:
    """No descriptor is loaded yet."""
    for name in SEGMENT_NAMES:
        segment = SEGMENTS[name]
        for register in (segment.base, segment.limit, segment.attributes):
            m.put(register, Bits.of(0, register.width))
    tss.forget_ldt(m)
    state = Bits.of(1 | departure.external << EXTERNAL_AT, 8)
    for bit, place in ((departure.coded, CODED_AT), (departure.doubles, DOUBLES_AT)):
        if bit is not None:
            state = state | bit.zext(8) << place
    m.put(ARRIVAL, state)
    m.put(ARRIVAL_CODE, Bits.of(0, 32) if departure.code is None else departure.code)
    m.put(PENDING, Bits.of(0, 16))
