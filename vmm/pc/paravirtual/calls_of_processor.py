"""Hypercalls about the processor: traps, stacks, IRET, time, scheduling, several calls in one."""

from __future__ import annotations

from typing import Final

from isa.fault import Fault
from isa.x86 import registers as r
from isa.x86.vectors import GENERAL_PROTECTION
from vmm.pc.paravirtual import interface as xen
from vmm.pc.paravirtual.hypercalls import SLICE, Again, Call, Done, Outcome, hypercall, perform
from vmm.pc.paravirtual.interface import SchedCommand, VcpuCommand
from vmm.pc.paravirtual.own_pages import Trap
from vmm.pc.paravirtual.refusal import Errno, Refusal

_IF: Final = 1 << 9
MOST_POLLED: Final = 128
SHORTEST_PERIOD: Final = 1_000_000  # nanoseconds, as Xen's MIN_PERIODIC_TIMER
_IRETD: Final = b"\xcf"


def of_ring_1(selector: int) -> int:
    """A selector of the kernel's: what asks for ring 0 gets ring 1."""
    selector &= 0xFFFF
    return selector if selector & 3 else selector | 1


@hypercall
def set_trap_table(call: Call) -> Outcome:
    """EBX: an array of traps that ends with address 0; 0 itself takes all away."""
    domain, at = call.domain, call.arguments[0]
    if not at:
        for vector in list(domain.traps):
            domain.set_trap(vector, Trap(0, 0, 0))
        return 0
    for _ in range(SLICE):
        vector, flags, selector, address = domain.guest.unpack(xen.TRAP_INFO, at)
        if not address:
            return 0
        domain.set_trap(vector, Trap(flags, of_ring_1(selector), address))
        at = at + xen.TRAP_INFO.size & 0xFFFFFFFF
    return call.again(at)


@hypercall
def stack_switch(call: Call) -> Outcome:
    """EBX, ECX: SS and ESP on which the kernel takes traps of ring 3."""
    call.domain.own.set_kernel_stack(of_ring_1(call.arguments[0]), call.arguments[1])
    return 0


@hypercall
def set_callbacks(call: Call) -> Outcome:
    """Where events, and where failed returns are taken."""
    selector, address, failsafe_selector, failsafe_address = call.arguments[:4]
    call.domain.set_event_callback(of_ring_1(selector), address)
    call.domain.failsafe_callback = of_ring_1(failsafe_selector), failsafe_address
    return 0


@hypercall
def callback_op(call: Call) -> Outcome:
    """The same one by one (0: register)."""
    command, at = call.arguments[:2]
    if command:
        raise Refusal(Errno.ENOSYS)
    kind, _, selector, address = call.domain.guest.unpack(xen.CALLBACK_REGISTER, at)
    if kind == xen.CALLBACK_EVENT:
        call.domain.set_event_callback(of_ring_1(selector), address)
    elif kind == xen.CALLBACK_FAILSAFE:
        call.domain.failsafe_callback = of_ring_1(selector), address
    else:
        raise Refusal(Errno.ENOSYS)
    return 0


@hypercall
def fpu_taskswitch(call: Call) -> Outcome:
    """EBX: CR0.TS."""
    call.monitor.state.values[r.TS.slot] = int(bool(call.arguments[0]))
    return 0


@hypercall
def iret(call: Call) -> Outcome:
    """On the stack stand EAX and what IRETD takes, of which EFLAGS.IF unmasks events.

    IRETD's own meaning at ring 1 does the rest; a frame that it refuses is #GP of the caller.
    """
    domain, state = call.domain, call.monitor.state
    stack = state["ss_base"] + state["esp"] & 0xFFFFFFFF
    result, flags = domain.guest.word(stack), domain.guest.word(stack + 12)
    pointer = state["esp"]
    state["esp"] = pointer + 4
    if call.monitor.carry_out(_IRETD) is not None:
        state["esp"] = pointer
        call.monitor.refuse(domain, Fault(GENERAL_PROTECTION, 0))
        return Done(result)
    domain.shared.masked = not flags & _IF
    state["eax"] = result
    return Done(result)


@hypercall
def multicall(call: Call) -> Outcome:
    """EBX: an array of calls with room for their results; ECX: how many."""
    domain = call.domain
    at, count = call.arguments[:2]
    for done in range(min(count, SLICE)):
        number, _, *arguments = domain.guest.unpack(xen.MULTICALL_ENTRY, at)
        domain.guest.writable(at, xen.MULTICALL_ENTRY.size)
        if xen.HYPERCALLS.get(number) in ("multicall", "iret"):
            outcome: Outcome = -Errno.EINVAL
        else:
            outcome = perform(call.monitor, domain, number, arguments[:5])
        if isinstance(outcome, Again):
            for index, value in enumerate(outcome.arguments):
                domain.guest.put_word(at + 8 + 4 * index, value)
            return call.again(at, count - done)
        assert isinstance(outcome, int)
        domain.guest.put_word(at + 4, outcome)
        at = at + xen.MULTICALL_ENTRY.size & 0xFFFFFFFF
        if domain.ended is not None or domain.blocked:
            count -= done + 1
            return call.again(at, count) if count else 0
    return call.again(at, count - SLICE) if count > SLICE else 0


# -- time and scheduling ---------------------------------------------------------------------------


@hypercall
def set_timer_op(call: Call) -> Outcome:
    """EBX, ECX: system time in nanoseconds at which VIRQ_TIMER comes; 0: never."""
    low, high = call.arguments[:2]
    _single_shot(call, high << 32 | low)
    return 0


def _single_shot(call: Call, nanoseconds: int) -> None:
    clock = call.domain.clock
    clock.period = None
    clock.deadline = clock.count_at(nanoseconds) if nanoseconds else None


@hypercall
def vcpu_op(call: Call) -> Outcome:
    """What concerns the one VCPU: whether it is up, and its timers."""
    command, vcpu, at = call.arguments[:3]
    if vcpu:
        raise Refusal(Errno.ENOENT, "there is one VCPU")
    clock = call.domain.clock
    if command == VcpuCommand.IS_UP:
        return 1
    if command == VcpuCommand.SET_PERIODIC_TIMER:
        period = int.from_bytes(call.domain.guest.read(at, 8), "little")
        if period < SHORTEST_PERIOD:
            raise Refusal(Errno.EINVAL, "the period is too short")
        clock.period = clock.count_at(period)
        clock.deadline = call.domain.count + clock.period
    elif command == VcpuCommand.SET_SINGLESHOT_TIMER:
        _single_shot(call, int.from_bytes(call.domain.guest.read(at, 8), "little"))
    elif command in (VcpuCommand.STOP_PERIODIC_TIMER, VcpuCommand.STOP_SINGLESHOT_TIMER):
        clock.period = clock.deadline = None
    else:
        raise Refusal(Errno.ENOSYS)
    return 0


@hypercall
def sched_op(call: Call) -> Outcome:
    """Yield, which changes nobody's turn, sleep until an event, end, or sleep until one of some
    ports."""
    command, at = call.arguments[:2]
    domain = call.domain
    if command == SchedCommand.YIELD:
        return 0
    if command == SchedCommand.BLOCK:
        _block(call)
    elif command == SchedCommand.SHUTDOWN:
        _shut_down(call, domain.guest.word(at))
    elif command == SchedCommand.POLL:
        _poll(call, at)
    else:
        raise Refusal(Errno.ENOSYS)
    return 0


@hypercall
def sched_op_compat(call: Call) -> Outcome:
    """The older form of it: a reason instead of a pointer."""
    if call.arguments[0] == SchedCommand.SHUTDOWN:
        _shut_down(call, call.arguments[1])
        return 0
    if call.arguments[0] in (SchedCommand.YIELD, SchedCommand.BLOCK):
        return sched_op(call)
    raise Refusal(Errno.ENOSYS)


def _block(call: Call) -> None:
    """Events come through from now on; one that waits already ends the sleep at once."""
    domain = call.domain
    domain.shared.masked = False
    if domain.shared.pending:
        domain.notice()
    else:
        domain.blocked = True


def _shut_down(call: Call, reason: int) -> None:
    name = xen.SHUTDOWN_REASONS.get(reason)
    if name is None:
        raise Refusal(Errno.EINVAL, "no such reason")
    call.domain.end(name, "the guest says so")


def _poll(call: Call, at: int) -> None:
    domain = call.domain
    where, count, timeout = domain.guest.unpack(xen.POLL, at)
    if count > MOST_POLLED:
        raise Refusal(Errno.EINVAL, "too many ports")
    ports = tuple(domain.guest.word(where + 4 * index) for index in range(count))
    if any(port >= xen.PORTS for port in ports):
        raise Refusal(Errno.EINVAL, "no such port")
    if any(domain.shared.is_pending(port) for port in ports):
        return
    domain.blocked, domain.polled = True, ports
    domain.clock.poll = domain.clock.count_at(timeout) if timeout else None
