"""Hypercalls about what a PC has devices for: the console, events, grants; and the version."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.events import EventChannels
from vmm.pc.paravirtual.grants import GrantError, Grants
from vmm.pc.paravirtual.guest_memory import GuestMemory
from vmm.pc.paravirtual.hypercalls import SLICE, Call, Outcome, hypercall
from vmm.pc.paravirtual.interface import EventCommand, GrantCommand, GrantStatus, VersionCommand
from vmm.pc.paravirtual.refusal import Errno, Refusal

CHUNK: Final = 128  # characters at a time


@hypercall
def console_io(call: Call) -> Outcome:
    """EBX: 0 to write ECX characters at EDX; nothing is ever there to be read."""
    command, count, at = call.arguments[:3]
    if command == xen.CONSOLE_READ:
        return 0
    if command != xen.CONSOLE_WRITE:
        raise Refusal(Errno.ENOSYS)
    size = min(count, CHUNK)
    call.domain.console.write(call.domain.guest.read(at, size))
    return call.again(command, count - size, at + size & 0xFFFFFFFF) if count > size else 0


@hypercall
def xen_version(call: Call) -> Outcome:
    """What this is; also a harmless call, after which events that wait are delivered."""
    command, at = call.arguments[:2]
    guest = call.domain.guest
    if command == VersionCommand.VERSION:
        return xen.VERSION
    if command == VersionCommand.PAGESIZE:
        return 4096
    if command == VersionCommand.EXTRAVERSION:
        guest.write(at, b".0-popek".ljust(16, b"\0"))
    elif command == VersionCommand.CAPABILITIES:
        guest.write(at, xen.CAPABILITIES.ljust(1024, b"\0"))
    elif command == VersionCommand.PLATFORM_PARAMETERS:
        guest.put_word(at, xen.VIRTUAL_START)
    elif command == VersionCommand.GET_FEATURES:
        if guest.word(at):
            raise Refusal(Errno.EINVAL, "there is one word of features")
        guest.put_word(at + 4, 0)
    else:
        raise Refusal(Errno.ENOSYS)
    return 0


@hypercall
def vm_assist(call: Call) -> Outcome:
    """There is no assistance: page tables are changed by asking, segments are cut silently."""
    raise Refusal(Errno.EINVAL if call.arguments[0] > 1 else Errno.ENOSYS)


# -- event channels --------------------------------------------------------------------------------


@hypercall
def event_channel_op(call: Call) -> Outcome:
    """EBX: the command; ECX: its structure, into which the answer goes."""
    command, at = call.arguments[:2]
    return _event(call, command, at)


@hypercall
def event_channel_op_compat(call: Call) -> Outcome:
    """The older form: the command stands before its structure."""
    at = call.arguments[0]
    return _event(call, call.domain.guest.word(at), at + 4)


def _event(call: Call, command: int, at: int) -> int:
    work = _EVENTS.get(command)
    if work is None:
        raise Refusal(Errno.ENOSYS)
    work(call.domain.events, call.domain.guest, at)
    return 0


def _alloc_unbound(events: EventChannels, guest: GuestMemory, at: int) -> None:
    domain, remote = guest.unpack(xen.ALLOC_UNBOUND, at)
    guest.writable(at + 4, 4)
    guest.put_word(at + 4, events.alloc_unbound(domain, remote))


def _bind_interdomain(events: EventChannels, guest: GuestMemory, at: int) -> None:
    remote, port = guest.unpack(xen.BIND_INTERDOMAIN, at)
    guest.writable(at + 8, 4)
    guest.put_word(at + 8, events.bind_interdomain(remote, port))


def _bind_virq(events: EventChannels, guest: GuestMemory, at: int) -> None:
    virq, vcpu = guest.word(at), guest.word(at + 4)
    guest.writable(at + 8, 4)
    guest.put_word(at + 8, events.bind_virq(virq, vcpu))


def _bind_ipi(events: EventChannels, guest: GuestMemory, at: int) -> None:
    vcpu = guest.word(at)
    guest.writable(at + 4, 4)
    guest.put_word(at + 4, events.bind_ipi(vcpu))


def _status(events: EventChannels, guest: GuestMemory, at: int) -> None:
    domain, port = guest.unpack(xen.STATUS_QUERY, at)
    status, remote, other = events.status(domain, port)
    guest.write(at + 8, struct.pack("<II", status, 0))
    if status is xen.ChannelStatus.VIRQ:
        guest.put_word(at + 16, other)
    elif status in (xen.ChannelStatus.UNBOUND, xen.ChannelStatus.INTERDOMAIN):
        guest.write(at + 16, struct.pack("<H2xI", remote, other))


_EVENTS: Final[dict[int, Callable[[EventChannels, GuestMemory, int], None]]] = {
    EventCommand.BIND_INTERDOMAIN: _bind_interdomain,
    EventCommand.BIND_VIRQ: _bind_virq,
    EventCommand.BIND_IPI: _bind_ipi,
    EventCommand.CLOSE: lambda events, guest, at: events.close(guest.word(at)),
    EventCommand.SEND: lambda events, guest, at: events.send(guest.word(at)),
    EventCommand.STATUS: _status,
    EventCommand.ALLOC_UNBOUND: _alloc_unbound,
    EventCommand.BIND_VCPU: lambda events, guest, at: events.bind_vcpu(
        guest.word(at), guest.word(at + 4)
    ),
    EventCommand.UNMASK: lambda events, guest, at: events.unmask(guest.word(at)),
    EventCommand.RESET: lambda events, guest, at: events.reset(guest.word(at) & 0xFFFF),
}

# -- grant tables ----------------------------------------------------------------------------------


@hypercall
def grant_table_op(call: Call) -> Outcome:
    """EBX: the command; ECX, EDX: its structures and how many; each has a status of its own."""
    command, at, count = call.arguments[:3]
    if command not in _GRANTS:
        raise Refusal(Errno.ENOSYS)
    layout, work = _GRANTS[command]
    guest = call.domain.guest
    for _ in range(min(count, SLICE)):
        guest.writable(at, layout.size)
        guest.write(at, work(call, list(guest.unpack(layout, at))))
        at = at + layout.size & 0xFFFFFFFF
    return call.again(command, at, count - SLICE) if count > SLICE else 0


def _map(call: Call, fields: list[int]) -> bytes:
    address, flags, reference, domain = fields[:4]
    handle, frame = 0, 0
    status = GrantStatus.OKAY
    try:
        handle, frame = call.domain.grants.map(address, flags, reference, domain)
    except GrantError as error:
        status = error.status
    return xen.MAP_GRANT.pack(address, flags, reference, domain, status, handle, frame << 12)


def _unmap(call: Call, fields: list[int]) -> bytes:
    address, bus, handle = fields[:3]
    status = GrantStatus.OKAY
    try:
        call.domain.grants.unmap(address, handle)
    except GrantError as error:
        status = error.status
    return xen.UNMAP_GRANT.pack(address, bus, handle, status)


def _own(call: Call, domain: int) -> Grants:
    """Only one's own table is shown."""
    if domain not in (xen.DOMID_SELF, call.domain.number):
        raise GrantError(GrantStatus.PERMISSION_DENIED)
    return call.domain.grants


def _setup(call: Call, fields: list[int]) -> bytes:
    domain, count, _, at = fields
    status = GrantStatus.OKAY
    try:
        frames = _own(call, domain).setup(count)
        call.domain.guest.write(at, struct.pack(f"<{len(frames)}I", *frames))
    except GrantError as error:
        status = error.status
    return xen.SETUP_TABLE.pack(domain, count, status, at)


def _transfer(call: Call, fields: list[int]) -> bytes:
    frame, domain, reference = fields[:3]
    status = GrantStatus.OKAY
    try:
        call.domain.grants.transfer(frame, domain, reference)
    except GrantError as error:
        status = error.status
    return xen.TRANSFER.pack(frame, domain, reference, status)


def _query_size(call: Call, fields: list[int]) -> bytes:
    domain = fields[0]
    status = GrantStatus.OKAY
    try:
        _own(call, domain)
    except GrantError as error:
        status = error.status
    known = int(status is GrantStatus.OKAY)
    return xen.QUERY_SIZE.pack(domain, known, known, status)


_GRANTS: Final[dict[int, tuple[struct.Struct, Callable[[Call, list[int]], bytes]]]] = {
    GrantCommand.MAP_GRANT_REF: (xen.MAP_GRANT, _map),
    GrantCommand.UNMAP_GRANT_REF: (xen.UNMAP_GRANT, _unmap),
    GrantCommand.SETUP_TABLE: (xen.SETUP_TABLE, _setup),
    GrantCommand.TRANSFER: (xen.TRANSFER, _transfer),
    GrantCommand.QUERY_SIZE: (xen.QUERY_SIZE, _query_size),
}
