"""Threads: clone in all its forms, numbers, and futexes."""

from __future__ import annotations

from emu.process.descriptors import TLS_MAX, TLS_MIN, UserDesc
from emu.process.futex import ALL_BITS, Waiter
from emu.process.numbers import CallError, Errno
from emu.process.process import Process, Sleep
from emu.process.signals import LAST_SIGNAL
from emu.process.syscalls.processes import (
    CLONE_CHILD_CLEARTID,
    CLONE_CHILD_SETTID,
    CLONE_PARENT_SETTID,
    CLONE_SIGNAL,
    CLONE_VFORK,
    CLONE_VM,
    make_process,
)
from emu.process.syscalls.registry import FLAGS, INT, PTR, UINT, call
from emu.process.syscalls.time import TIMESPEC, TIMESPEC64, clock, timespec

CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD = 0x200, 0x400, 0x800, 0x10000
CLONE_SYSVSEM, CLONE_SETTLS, CLONE_DETACHED = 0x40000, 0x80000, 0x400000
SHARED = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD
NUMBERS = CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID
CLONE_KNOWN = CLONE_SIGNAL | CLONE_VM | CLONE_VFORK | CLONE_SETTLS | NUMBERS
HARMLESS = CLONE_SYSVSEM | CLONE_DETACHED  # there are no semaphores
CLONE_ARGS = "<8Q"  # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE = 0, 1, 3, 4
FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = 9, 10
FUTEX_PRIVATE, FUTEX_CLOCK_REALTIME = 128, 256
REALTIME, MONOTONIC = 0, 1


@call("clone", FLAGS, PTR, PTR, PTR, PTR)
def clone(p: Process, flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    """Fork in any of its forms, or begin a thread."""
    if flags & CLONE_SIGNAL > LAST_SIGNAL:
        raise CallError(Errno.EINVAL)
    return _born(p, flags, stack, parent_tid, tls, child_tid)


@call("clone3", PTR, UINT)
def clone3(p: Process, address: int, size: int) -> int:
    """The same by a struct clone_args; what came after its first version must be zeros."""
    if size < 64 or size > 4096:
        raise CallError(Errno.EINVAL if size < 64 else Errno.E2BIG)
    flags, _, child, parent, signal, stack, length, tls = p.unpack(CLONE_ARGS, address)
    if any(p.read(address + 64, size - 64)):
        raise CallError(Errno.E2BIG)
    if signal > LAST_SIGNAL or flags & CLONE_SIGNAL or flags >> 32 or bool(stack) != bool(length):
        raise CallError(Errno.EINVAL)
    top = stack + length & 0xFFFFFFFF
    return _born(p, flags | signal, top, parent, tls & 0xFFFFFFFF, child)


def _born(p: Process, flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    if flags & CLONE_THREAD:
        _check_thread(flags)
        return make_process(
            p, flags, stack, parent_tid, child_tid, _tls(p, flags, tls), thread=True
        )
    lent = flags & (CLONE_VM | CLONE_VFORK)
    if flags & ~CLONE_KNOWN or lent == CLONE_VM:
        raise CallError(Errno.ENOSYS)
    return make_process(p, flags, stack, parent_tid, child_tid, _tls(p, flags, tls))


def _check_thread(flags: int) -> None:
    """Threads share what Linux's library has them share; EINVAL as clone(2) says, else ENOSYS."""
    if not flags & CLONE_SIGHAND or not flags & CLONE_VM:
        raise CallError(Errno.EINVAL)
    known = CLONE_SIGNAL | SHARED | CLONE_SETTLS | NUMBERS | HARMLESS
    if flags & ~known or flags & SHARED != SHARED:
        raise CallError(Errno.ENOSYS)


def _tls(p: Process, flags: int, address: int) -> tuple[int, int] | None:
    """The thread-local descriptor that a new thread begins with: its entry, and what it is."""
    if not flags & CLONE_SETTLS:
        return None
    number, base, limit, bits = p.unpack("<iIII", address)
    descriptor = UserDesc(base, limit, bits)
    if not descriptor.allowed or not TLS_MIN <= number <= TLS_MAX:
        raise CallError(Errno.EINVAL)
    return number, descriptor.encode()


@call("gettid")
def gettid(p: Process) -> int:
    """Return the thread's number."""
    return p.pid


@call("set_tid_address", PTR)
def set_tid_address(p: Process, address: int) -> int:
    """Note where to clear and wake at exit, if somebody shares the memory."""
    p.clear_at_exit = address
    return p.pid


# -- futexes ----------------------------------------------------------------------------------


@call("futex", PTR, INT, UINT, PTR, PTR, UINT)
def futex(
    p: Process, address: int, operation: int, value: int, timeout: int, second: int, third: int
) -> int:
    """Wait until woken if a word has a value; wake or move those who wait."""
    return _futex(p, address, operation, value, timeout, second, third, TIMESPEC)


@call("futex_time64", PTR, INT, UINT, PTR, PTR, UINT)
def futex64(
    p: Process, address: int, operation: int, value: int, timeout: int, second: int, third: int
) -> int:
    """The same with 64-bit seconds."""
    return _futex(p, address, operation, value, timeout, second, third, TIMESPEC64)


def _futex(
    p: Process, address: int, operation: int, value: int, timeout: int, second: int, third: int,
    layout: str,
) -> int:  # fmt: skip
    command = operation & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME)
    if address % 4:
        raise CallError(Errno.EINVAL)
    if command in (FUTEX_WAIT, FUTEX_WAIT_BITSET):
        bits = third if command == FUTEX_WAIT_BITSET else ALL_BITS
        duration = _duration(p, operation, timeout, layout) if timeout else None
        return _wait(p, address, value, bits, duration)
    p.read(address, 4)
    if command in (FUTEX_WAKE, FUTEX_WAKE_BITSET):
        bits = third if command == FUTEX_WAKE_BITSET else ALL_BITS
        if not bits:
            raise CallError(Errno.EINVAL)
        return p.table.futexes.wake(p.memory, address, value, bits)
    if command in (FUTEX_REQUEUE, FUTEX_CMP_REQUEUE):
        return _requeue(p, address, second, value, timeout, third, command == FUTEX_CMP_REQUEUE)
    raise CallError(Errno.ENOSYS)


def _duration(p: Process, operation: int, address: int, layout: str) -> int:
    """How long to wait: FUTEX_WAIT says so, FUTEX_WAIT_BITSET says until when."""
    given = timespec(p, layout, address)
    if operation & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME) == FUTEX_WAIT:
        return given
    which = REALTIME if operation & FUTEX_CLOCK_REALTIME else MONOTONIC
    return max(given - clock(p, which), 0)


def _wait(p: Process, address: int, value: int, bits: int, duration: int | None) -> int:
    if not bits:
        raise CallError(Errno.EINVAL)
    if p.unpack("<I", address)[0] != value:
        raise CallError(Errno.EAGAIN)
    waiter = Waiter(p, bits)
    deadline = None if duration is None else p.end_of_wait(duration)
    sleep = Sleep(
        "a lock is held that only another thread could release",
        lambda: waiter.woken,
        deadline=deadline,
        finish=lambda: 0 if waiter.woken else -Errno.ETIMEDOUT,
        restarts=duration is None,
    )
    waiter.sleep = sleep
    p.table.futexes.add(p.memory, address, waiter)
    raise sleep


def _requeue(
    p: Process, address: int, to: int, wakes: int, moves: int, value: int, compares: bool
) -> int:
    """Wake some, have some others wait elsewhere."""
    p.read(to, 4)
    if compares and p.unpack("<I", address)[0] != value:
        raise CallError(Errno.EAGAIN)
    futexes = p.table.futexes
    woken = futexes.wake(p.memory, address, wakes)
    moved = futexes.requeue(p.memory, address, to, moves & 0x7FFFFFFF)
    return woken + moved if compares else woken
