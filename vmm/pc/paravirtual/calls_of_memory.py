"""Hypercalls about memory: page tables, descriptor tables, frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from emu.memory import PAGE_BITS, PAGE_SIZE
from isa.x86 import registers as r
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.descriptors import pages_of
from vmm.pc.paravirtual.frames import Kind
from vmm.pc.paravirtual.hypercalls import SLICE, Call, Outcome, hypercall
from vmm.pc.paravirtual.interface import MemoryCommand, MmuCommand, MmuExtended
from vmm.pc.paravirtual.own_pages import GDT_PAGE, LDT_PAGE, LDT_PAGES
from vmm.pc.paravirtual.refusal import Errno, Refusal

_PREEMPTED: Final = 1 << 31  # in a count: the call goes on, what was done is counted already
_FLUSHES: Final = frozenset({
    MmuExtended.TLB_FLUSH_LOCAL, MmuExtended.INVLPG_LOCAL, MmuExtended.TLB_FLUSH_MULTI,
    MmuExtended.INVLPG_MULTI, MmuExtended.TLB_FLUSH_ALL, MmuExtended.INVLPG_ALL,
    MmuExtended.FLUSH_CACHE,
})  # fmt: skip


def entry_of(low: int, high: int = 0) -> int:
    """A page table entry, of 32 bits."""
    if high:
        raise Refusal(Errno.EINVAL, "there is no PAE")
    return low


def only_self(call: Call, domain: int) -> None:
    """Refuse what is about another domain."""
    if domain not in (xen.DOMID_SELF, call.domain.number):
        raise Refusal(Errno.EPERM, "another domain's memory")


# -- page tables -----------------------------------------------------------------------------------


@hypercall
def mmu_update(call: Call) -> Outcome:
    """EBX, ECX: requests and how many; EDX: where to tell how many were done; ESI: whose."""
    return _batch(call, xen.MMU_UPDATE.size, _update)


@hypercall
def mmuext_op(call: Call) -> Outcome:
    """The same for pins, base pointers, flushes and LDTs."""
    return _batch(call, xen.MMUEXT_OP.size, _extended)


def _batch(call: Call, size: int, work: Callable[[Call, int], None]) -> Outcome:
    """A slice of a list of requests."""
    at, count, told, whose = call.arguments[:4]
    guest = call.domain.guest
    done = guest.word(told) if count & _PREEMPTED and told else 0
    count &= ~_PREEMPTED
    only_self(call, whose)
    if told:
        guest.writable(told, 4)
    result = 0
    for _ in range(min(count, SLICE)):
        try:
            work(call, at)
        except Refusal as refusal:
            result = -refusal.errno
            break
        at, count, done = at + size & 0xFFFFFFFF, count - 1, done + 1
    if told:
        guest.put_word(told, done)
    return call.again(at, count | _PREEMPTED) if count and not result else result


def _update(call: Call, at: int) -> None:
    pointer, value = call.domain.guest.unpack(xen.MMU_UPDATE, at)
    command, address = pointer & 3, pointer & ~3
    if address >> 32:
        raise Refusal(Errno.EINVAL, "there is no such frame")
    tables = call.domain.tables
    if command == MmuCommand.MACHPHYS_UPDATE:
        frame = address >> PAGE_BITS
        call.monitor.frames.of(call.domain.number, frame)
        call.domain.own.put_physical(frame, value & 0xFFFFFFFF)
    elif command in (MmuCommand.NORMAL_PT_UPDATE, MmuCommand.PT_UPDATE_PRESERVE_AD):
        keep = command == MmuCommand.PT_UPDATE_PRESERVE_AD
        tables.update(address, entry_of(value & 0xFFFFFFFF, value >> 32), keep_marks=keep)
    else:
        raise Refusal(Errno.ENOSYS)


def _extended(call: Call, at: int) -> None:
    command, first, second = call.domain.guest.unpack(xen.MMUEXT_OP, at)
    tables = call.domain.tables
    if command == MmuExtended.PIN_L1_TABLE:
        tables.pin(first, Kind.PAGE_TABLE)
    elif command == MmuExtended.PIN_L2_TABLE:
        tables.pin(first, Kind.PAGE_DIRECTORY)
    elif command == MmuExtended.UNPIN_TABLE:
        tables.unpin(first)
    elif command == MmuExtended.NEW_BASEPTR:
        call.monitor.set_directory(call.domain, first)
    elif command == MmuExtended.SET_LDT:
        _set_ldt(call, first, second)
    elif command in _FLUSHES:
        tables.flush()
    else:
        raise Refusal(Errno.EINVAL, "no such command")


@hypercall
def update_va_mapping(call: Call) -> Outcome:
    """EBX: a linear address; ECX, EDX: its new entry; ESI: what to flush (everything is)."""
    address, low, high = call.arguments[:3]
    tables = call.domain.tables
    entry = tables.entry_of(call.domain.directory << PAGE_BITS, address)
    tables.update(entry, entry_of(low, high))
    return 0


# -- descriptor tables -----------------------------------------------------------------------------


@hypercall
def set_gdt(call: Call) -> Outcome:
    """EBX: a list of frames; ECX: how many descriptors."""
    at, count = call.arguments[:2]
    if count > xen.FIRST_RESERVED_GDT_ENTRY:
        raise Refusal(Errno.EINVAL, "the monitor's descriptors follow there")
    guest = call.domain.guest
    frames = [guest.word(at + 4 * index) for index in range(pages_of(count))]
    call.domain.descriptors.set(GDT_PAGE, xen.FIRST_RESERVED_GDT_PAGE, frames)
    return 0


@hypercall
def update_descriptor(call: Call) -> Outcome:
    """EBX, ECX: a descriptor's machine address; EDX, ESI: the descriptor."""
    low, high, first, second = call.arguments[:4]
    if high:
        raise Refusal(Errno.EINVAL, "there is no such frame")
    call.domain.descriptors.update(low, first, second)
    return 0


def _set_ldt(call: Call, address: int, count: int) -> None:
    """A table of `count` descriptors at a linear address, which must begin a page."""
    if count > xen.MOST_LDT_ENTRIES or (count and address % PAGE_SIZE):
        raise Refusal(Errno.EINVAL, "no such table")
    domain, values = call.domain, call.monitor.state.values
    frames = [domain.guest.frame(address + page * PAGE_SIZE) for page in range(pages_of(count))]
    domain.descriptors.set(LDT_PAGE, LDT_PAGES, frames)
    values[r.LDTR.slot] = 0xFFF0 if count else 0
    values[r.LDT_LIMIT.slot] = max(8 * count - 1, 0)


# -- frames ----------------------------------------------------------------------------------------


@hypercall
def memory_op(call: Call) -> Outcome:
    """What a domain may have, has, gives up and takes back."""
    command, at = call.arguments[:2]
    start, command = command >> xen.EXTENT_SHIFT, command & (1 << xen.EXTENT_SHIFT) - 1
    domain = call.domain
    if command == MemoryCommand.MAXIMUM_RAM_PAGE:
        return len(call.monitor.frames.frames) - 1
    if command in (MemoryCommand.CURRENT_RESERVATION, MemoryCommand.MAXIMUM_RESERVATION):
        only_self(call, int.from_bytes(domain.guest.read(at, 2), "little"))
        given_up = len(domain.reserve) if command == MemoryCommand.MAXIMUM_RESERVATION else 0
        return domain.held + given_up
    if command == MemoryCommand.MACHPHYS_MAPPING:
        most = len(call.monitor.frames.frames) - 1
        told = xen.MACHPHYS_MAPPING.pack(xen.MACHINE_TO_PHYSICAL, xen.SEGMENT_END, most)
        domain.guest.write(at, told)
        return 0
    work = _EXTENTS.get(command)
    if work is None:
        raise Refusal(Errno.ENOSYS)
    return _extents(call, start, command, work)


def _extents(call: Call, start: int, command: int, work: Callable[[Call, int], None]) -> Outcome:
    """A slice of a list of frames; the result is how many were done."""
    guest, at = call.domain.guest, call.arguments[1]
    fields: tuple[int, ...] = guest.unpack(xen.RESERVATION, at)
    where, count, order, _, whose = fields
    only_self(call, whose)
    if order:
        raise Refusal(Errno.EINVAL, "frames come one by one")
    end = min(count, start + SLICE)
    for index in range(start, max(start, end)):
        try:
            work(call, (where + 4 * index) & 0xFFFFFFFF)
        except Refusal:
            return index
    if end < count:
        return call.again(end << xen.EXTENT_SHIFT & 0xFFFFFFFF | command)
    return count


def _give_up(call: Call, at: int) -> None:
    """A frame that nothing refers to; nobody else gets it, and it comes back empty."""
    frame = call.domain.guest.word(at)
    call.monitor.frames.of(call.domain.number, frame)
    if not call.monitor.frames.is_free(frame):
        raise Refusal(Errno.EBUSY, "it is in use")
    call.domain.forget(frame)
    call.monitor.frames[frame].owner = -1
    call.monitor.below.memory.write(frame << PAGE_BITS, bytes(PAGE_SIZE))
    call.domain.reserve.append(frame)


def _taken_back(call: Call) -> int:
    if not call.domain.reserve:
        raise Refusal(Errno.ENOMEM, "nothing was given up")
    frame = call.domain.reserve.pop()
    call.monitor.frames[frame].owner = call.domain.number
    return frame


def _take_back(call: Call, at: int) -> None:
    call.domain.guest.writable(at, 4)
    frame = _taken_back(call)
    call.domain.receive(frame)
    call.domain.guest.put_word(at, frame)


def _populate(call: Call, at: int) -> None:
    """The same for a place among the domain's physical frames, which stands in the list."""
    physical = call.domain.guest.word(at)
    call.domain.guest.writable(at, 4)
    frame = _taken_back(call)
    call.domain.receive(frame)
    call.domain.own.put_physical(frame, physical)
    call.domain.guest.put_word(at, frame)


_EXTENTS: Final[dict[int, Callable[[Call, int], None]]] = {
    MemoryCommand.DECREASE_RESERVATION: _give_up,
    MemoryCommand.INCREASE_RESERVATION: _take_back,
    MemoryCommand.POPULATE_PHYSMAP: _populate,
}
