"""Files that are there to be waited for: counters, timers, and sets of other files.

Imported when the first of these calls is made.
"""

from __future__ import annotations

import struct

from emu.process.event_counter import EventCounter
from emu.process.event_poll import EventPoll, can_watch
from emu.process.files import OpenFile
from emu.process.numbers import O_CLOEXEC, O_NONBLOCK, CallError, Errno
from emu.process.process import Process
from emu.process.syscalls.polling import masked, wait
from emu.process.syscalls.registry import FLAGS, INT, PTR, UINT, call
from emu.process.syscalls.time import (
    BOOTTIME,
    MONOTONIC,
    REALTIME,
    SECOND,
    TIMESPEC,
    TIMESPEC64,
    clock,
    timespec,
)
from emu.process.timers import TimerFile

EFD_SEMAPHORE = 1
EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
EPOLL_EVENT = "<IQ"  # packed
EVENT_SIZE = 12
MOST_EVENTS = 0x7FFFFFFF // EVENT_SIZE
REALTIME_ALARM, BOOTTIME_ALARM = 8, 9
TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2


def _check(flags: int, more: int = 0) -> None:
    """Refuse flags that a new descriptor cannot have; EINVAL."""
    if flags & ~(O_CLOEXEC | O_NONBLOCK | more):
        raise CallError(Errno.EINVAL)


def _installed(p: Process, file: OpenFile, flags: int) -> int:
    return p.files.add(file, close_on_exec=bool(flags & O_CLOEXEC))


# -- counters ---------------------------------------------------------------------------------


@call("eventfd2", UINT, FLAGS)
def eventfd2(p: Process, count: int, flags: int) -> int:
    """Open a counter with flags."""
    _check(flags, EFD_SEMAPHORE)
    p.files.room()
    semaphore = bool(flags & EFD_SEMAPHORE)
    return _installed(
        p, EventCounter(p.table.event_files, count, flags, semaphore=semaphore), flags
    )


@call("eventfd", UINT)
def eventfd(p: Process, count: int) -> int:
    """Open a counter."""
    return eventfd2(p, count, 0)


# -- sets of files ----------------------------------------------------------------------------


@call("epoll_create1", FLAGS)
def epoll_create1(p: Process, flags: int) -> int:
    """Open a set of files."""
    if flags & ~O_CLOEXEC:
        raise CallError(Errno.EINVAL)
    p.files.room()
    table = p.table
    return _installed(p, EventPoll(table.event_files, table.watched, table.timers), flags)


@call("epoll_create", INT)
def epoll_create(p: Process, size: int) -> int:
    """Open a set of files; how many there will be is of no matter, but they must be some."""
    if size <= 0:
        raise CallError(Errno.EINVAL)
    return epoll_create1(p, 0)


@call("epoll_ctl", INT, INT, INT, PTR)
def epoll_ctl(p: Process, fd: int, operation: int, target: int, address: int) -> int:
    """Add a file to a set, change what is wanted of it, or remove it."""
    events, data = (0, 0) if operation == EPOLL_CTL_DEL else p.unpack(EPOLL_EVENT, address)
    poll, file = p.files.get(fd), p.files.get(target)
    if not can_watch(file):
        raise CallError(Errno.EPERM)
    if not isinstance(poll, EventPoll) or poll is file:
        raise CallError(Errno.EINVAL)
    if operation == EPOLL_CTL_ADD:
        poll.add(file, target, events, data)
    elif operation == EPOLL_CTL_MOD:
        poll.change(file, target, events, data)
    elif operation == EPOLL_CTL_DEL:
        poll.remove(file, target)
    else:
        raise CallError(Errno.EINVAL)
    return 0


def wait_for_events(p: Process, fd: int, address: int, most: int, timeout: int | None) -> int:
    """Store what is ready in a set, waiting if need be (nanoseconds; None: for ever)."""
    poll = p.files.get(fd)
    if not 0 < most <= MOST_EVENTS or not isinstance(poll, EventPoll):
        raise CallError(Errno.EINVAL)

    def store(index: int, events: int, data: int) -> None:
        p.pack(EPOLL_EVENT, address + EVENT_SIZE * index, events, data)

    count = poll.take(most, store)
    if not count and timeout != 0:
        wait(p, [poll], timeout, poll.can_read)
    return count


@call("epoll_wait", INT, PTR, INT, INT)
def epoll_wait(p: Process, fd: int, address: int, most: int, timeout: int) -> int:
    """Wait for files of a set with a timeout in milliseconds; negative waits for ever."""
    return wait_for_events(p, fd, address, most, _milliseconds(timeout))


@call("epoll_pwait", INT, PTR, INT, INT, PTR, UINT)
def epoll_pwait(
    p: Process, fd: int, address: int, most: int, timeout: int, mask: int, size: int
) -> int:
    """The same, with other signals blocked."""
    duration = _milliseconds(timeout)
    return masked(p, mask, size, lambda: wait_for_events(p, fd, address, most, duration))


@call("epoll_pwait2", INT, PTR, INT, PTR, PTR, UINT)
def epoll_pwait2(
    p: Process, fd: int, address: int, most: int, timeout: int, mask: int, size: int
) -> int:
    """The same, with a 64-bit struct timespec."""
    duration = timespec(p, TIMESPEC64, timeout) if timeout else None
    return masked(p, mask, size, lambda: wait_for_events(p, fd, address, most, duration))


def _milliseconds(timeout: int) -> int | None:
    return timeout * 1_000_000 if timeout >= 0 else None


# -- timers -----------------------------------------------------------------------------------


@call("timerfd_create", INT, FLAGS)
def timerfd_create(p: Process, which: int, flags: int) -> int:
    """Open a timer of a clock; those that would wake a machine are the superuser's."""
    _check(flags)
    if which not in (REALTIME, MONOTONIC, BOOTTIME, REALTIME_ALARM, BOOTTIME_ALARM):
        raise CallError(Errno.EINVAL)
    if which in (REALTIME_ALARM, BOOTTIME_ALARM):
        if p.user:
            raise CallError(Errno.EPERM)
        which = REALTIME if which == REALTIME_ALARM else BOOTTIME
    p.files.room()
    shift = clock(p, which) - p.elapsed
    return _installed(p, TimerFile(p.table.event_files, p.table.timers, shift, flags), flags)


def _timer(p: Process, fd: int) -> TimerFile:
    """Return the timer of a descriptor; EBADF, EINVAL."""
    file = p.files.get(fd)
    if not isinstance(file, TimerFile):
        raise CallError(Errno.EINVAL)
    return file


def _store(p: Process, address: int, left: tuple[int, int], layout: str) -> None:
    """Store a struct itimerspec, whose times have a layout; EFAULT."""
    value, interval = (divmod(each, SECOND) for each in left)
    size = struct.calcsize(layout) // 2  # bytes of a word
    words = [word & (1 << 8 * size) - 1 for word in (*interval, *value)]
    p.pack("<4I" if size == 4 else "<4Q", address, *words)


def _set(p: Process, fd: int, flags: int, new: int, old: int, layout: str) -> int:
    """Set a timer and store what it was; nobody sets the clock, which would cancel it."""
    interval, value = (timespec(p, layout, new + at) for at in (0, struct.calcsize(layout)))
    if flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET):
        raise CallError(Errno.EINVAL)
    timer = _timer(p, fd)
    before = timer.left()
    timer.set(value, interval, absolute=bool(flags & TFD_TIMER_ABSTIME))
    if old:
        _store(p, old, before, layout)
    return 0


@call("timerfd_settime", INT, FLAGS, PTR, PTR)
def timerfd_settime(p: Process, fd: int, flags: int, new: int, old: int) -> int:
    """Set a timer."""
    return _set(p, fd, flags, new, old, TIMESPEC)


@call("timerfd_settime64", INT, FLAGS, PTR, PTR)
def timerfd_settime64(p: Process, fd: int, flags: int, new: int, old: int) -> int:
    """The same with 64-bit seconds."""
    return _set(p, fd, flags, new, old, TIMESPEC64)


@call("timerfd_gettime", INT, PTR)
def timerfd_gettime(p: Process, fd: int, address: int) -> int:
    """Store what is left of a timer, and its interval."""
    _store(p, address, _timer(p, fd).left(), TIMESPEC)
    return 0


@call("timerfd_gettime64", INT, PTR)
def timerfd_gettime64(p: Process, fd: int, address: int) -> int:
    """The same with 64-bit seconds."""
    _store(p, address, _timer(p, fd).left(), TIMESPEC64)
    return 0
