"""The audit of direct paging: everything that the monitor relies on, counted again from nothing.

It reads the tables in memory and the roots (CR3, pins, descriptor tables, grants, lent pages), and
shares no line with what keeps the counts.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

from emu.memory import PAGE_BITS, PAGE_SIZE
from isa.x86 import registers as r
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.descriptors import checked
from vmm.pc.paravirtual.domain import Domain
from vmm.pc.paravirtual.frames import TABLES, Frame, Kind
from vmm.pc.paravirtual.hypervisor import CONTROL, Hypervisor
from vmm.pc.paravirtual.own_pages import IDT_PAGE, IO_MAP, TSS_PAGE
from vmm.pc.paravirtual.refusal import Refusal

_ACCESSED = 1 << 40
_OF_DIRECTORY = xen.VIRTUAL_START >> 22


def violations(monitor: Hypervisor) -> Iterator[str]:
    """What is not as it must be; nothing if all is well."""
    count = _Recount(monitor)
    yield from count.wrong
    for number, frame in enumerate(monitor.frames.frames):
        counted = count.references[number], count.typed[number]
        if counted != (frame.references, frame.typed):
            yield f"frame {number:#x} counts {frame.references}, {frame.typed}; it has {counted}"
    for domain in monitor.domains.values():
        yield from _registers(monitor, domain)
        yield from _own_pages(monitor, domain)


class _Recount:
    """References to all frames, found by reading every table that is in use."""

    def __init__(self, monitor: Hypervisor) -> None:
        self._monitor = monitor
        self.references: Counter[int] = Counter()
        self.typed: Counter[int] = Counter()
        self.wrong: list[str] = []
        for domain in monitor.domains.values():
            self._roots(domain)
        for number, frame in enumerate(monitor.frames.frames):
            self._frame(number, frame)

    def _use(self, number: int, kind: Kind | None) -> None:
        self.references[number] += 1
        if kind is not None:
            self.typed[number] += 1
            found = self._monitor.frames[number].kind
            if found is not kind:
                self.wrong.append(f"frame {number:#x} is used as {kind.value}, is {found.value}")

    def _roots(self, domain: Domain) -> None:
        if domain.directory:
            self._use(domain.directory, Kind.PAGE_DIRECTORY)
        for number in domain.descriptors.used():
            self._use(number, Kind.DESCRIPTORS)

    def _frame(self, number: int, frame: Frame) -> None:
        if frame.shared:
            self._use(number, Kind.WRITABLE)
        if frame.pinned:
            self._use(number, frame.kind)
        if not frame.typed:
            return
        if frame.kind in TABLES:
            self._table(number, frame)
        elif frame.kind is Kind.DESCRIPTORS:
            self._descriptors(number)

    def _words(self, number: int) -> tuple[int, ...]:
        data = self._monitor.below.memory.physical.read(number << PAGE_BITS, PAGE_SIZE)
        return struct.unpack("<1024I", data)

    def _table(self, number: int, frame: Frame) -> None:
        is_directory = frame.kind is Kind.PAGE_DIRECTORY
        domain = self._monitor.domains[frame.owner]
        words = self._words(number)
        for index, word in enumerate(words[:_OF_DIRECTORY] if is_directory else words):
            if word & 1:
                self._entry(domain, (number << PAGE_BITS) + 4 * index, word, is_directory)
        if is_directory and list(words[_OF_DIRECTORY:]) != domain.tables.own:
            marks = 0x60
            own = [word | marks if word else 0 for word in words[_OF_DIRECTORY:]]
            if own != domain.tables.own:
                self.wrong.append(f"directory {number:#x} lacks the monitor's entries")

    def _entry(self, domain: Domain, where: int, word: int, is_directory: bool) -> None:
        target = word >> PAGE_BITS
        kind = Kind.PAGE_TABLE if is_directory else Kind.WRITABLE if word & 2 else None
        if target >= len(self._monitor.frames.frames):
            self.wrong.append(f"the entry at {where:#x} leads out of the machine")
            return
        self._use(target, kind)
        owner = self._monitor.frames[target].owner
        if owner != domain.number and not self._granted(domain, where, target, word):
            self.wrong.append(f"the entry at {where:#x} leads to a frame of {owner}")

    def _granted(self, domain: Domain, where: int, target: int, word: int) -> bool:
        return where in domain.tables.granted and any(
            one.entry == where and one.frame == target and (one.writable or not word & 2)
            for one in domain.grants.mapped.values()
        )

    def _descriptors(self, number: int) -> None:
        words = self._words(number)
        for low, high in zip(words[::2], words[1::2], strict=True):
            try:
                right = checked(low, high) == (low, high)
            except Refusal:
                right = False
            if not right:
                self.wrong.append(f"frame {number:#x} has the descriptor {high:08x}:{low:08x}")


def _registers(monitor: Hypervisor, domain: Domain) -> Iterator[str]:
    """What the processor holds for a domain."""
    values = monitor.state.values if monitor.current is domain else domain.values
    for register, value in CONTROL.items():
        if register is not r.TS and values[register.slot] != value:
            yield f"{register.name} of domain {domain.number} is {values[register.slot]:#x}"
    if domain.directory and not values[r.CPL.slot]:
        yield f"domain {domain.number} runs in ring 0"
    if values[r.CR3.slot] != domain.directory << PAGE_BITS:
        yield f"CR3 of domain {domain.number} is {values[r.CR3.slot]:#x}"
    for segment in r.SEGMENTS.values():
        end = values[segment.base.slot] + values[segment.limit.slot]
        if values[segment.attributes.slot] and end >= xen.SEGMENT_END:
            yield f"{segment.name} of domain {domain.number} ends at {end:#x}"


def _own_pages(monitor: Hypervisor, domain: Domain) -> Iterator[str]:
    """What lies in the monitor's part of a domain's addresses."""
    load = monitor.below.memory.load
    reserved = domain.own.page(xen.FIRST_RESERVED_GDT_PAGE)
    for selector, descriptor in xen.FLAT.items():
        place = (selector & ~7) - xen.FIRST_RESERVED_GDT_ENTRY * 8
        found = load(reserved + place, 8)
        if found not in (descriptor, descriptor | _ACCESSED):
            yield f"domain {domain.number} has changed the descriptor of {selector:#x}"
    if load(domain.own.page(TSS_PAGE) + IO_MAP, 2) != 0xFFFF:
        yield f"domain {domain.number} may do I/O"
    for vector in range(256):
        gate = load(domain.own.page(IDT_PAGE) + 8 * vector, 8)
        assert isinstance(gate, int)
        trap = domain.traps.get(vector)
        if vector != xen.VECTOR and bool(gate) != (trap is not None):
            yield f"domain {domain.number} has a gate for {vector:#x} that it did not ask for"
