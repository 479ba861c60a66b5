"""Time, which is the count of instructions: clocks, sleeping, and what was used."""

from __future__ import annotations

from emu.process.numbers import CallError, Errno
from emu.process.process import Process, Sleep
from emu.process.syscalls.registry import FLAGS, INT, PTR, UINT, call

SECOND = 1_000_000_000
TICK = SECOND // 100  # USER_HZ
TIMER_ABSTIME = 1
TIMESPEC, TIMESPEC64 = "<iI", "<qi4x"
REALTIME, MONOTONIC, PROCESS, THREAD = 0, 1, 2, 3
MONOTONIC_RAW, REALTIME_COARSE, MONOTONIC_COARSE, BOOTTIME = 4, 5, 6, 7
ITIMER_REAL = 0
RUSAGE = "<18I"


def clock(p: Process, which: int) -> int:
    """Read a clock in nanoseconds; EINVAL if there is no such clock."""
    if which in (REALTIME, REALTIME_COARSE, 11):  # 11: CLOCK_TAI
        return p.now
    if which in (MONOTONIC, MONOTONIC_RAW, MONOTONIC_COARSE, BOOTTIME):
        return p.elapsed
    if which in (PROCESS, THREAD):
        return p.clock.used(p.instructions)
    raise CallError(Errno.EINVAL)


@call("time", PTR)
def time(p: Process, address: int) -> int:
    """Return the seconds since 1970."""
    seconds = p.now // SECOND & 0xFFFFFFFF
    if address:
        p.pack("<I", address, seconds)
    return seconds


@call("gettimeofday", PTR, PTR)
def gettimeofday(p: Process, address: int, zone: int) -> int:
    """Store the time in microseconds, and a time zone of none."""
    if address:
        seconds, rest = divmod(p.now, SECOND)
        p.pack("<II", address, seconds & 0xFFFFFFFF, rest // 1000)
    if zone:
        p.pack("<II", zone, 0, 0)
    return 0


@call("settimeofday", PTR, PTR)
def settimeofday(p: Process, address: int, zone: int) -> int:
    """Nobody may set the clock."""
    raise CallError(Errno.EPERM)


@call("clock_gettime", INT, PTR)
def clock_gettime(p: Process, which: int, address: int) -> int:
    """Store a clock."""
    seconds, rest = divmod(clock(p, which), SECOND)
    p.pack("<II", address, seconds & 0xFFFFFFFF, rest)
    return 0


@call("clock_gettime64", INT, PTR)
def clock_gettime64(p: Process, which: int, address: int) -> int:
    """Store a clock, 64-bit seconds."""
    p.pack("<qq", address, *divmod(clock(p, which), SECOND))
    return 0


@call("clock_getres", INT, PTR)
def clock_getres(p: Process, which: int, address: int) -> int:
    """Store a clock's resolution: a nanosecond."""
    clock(p, which)
    if address:
        p.pack("<II", address, 0, 1)
    return 0


@call("clock_getres_time64", INT, PTR)
def clock_getres_time64(p: Process, which: int, address: int) -> int:
    """Store a clock's resolution, 64-bit seconds."""
    clock(p, which)
    if address:
        p.pack("<qq", address, 0, 1)
    return 0


def timespec(p: Process, layout: str, address: int) -> int:
    """Read a struct timespec in nanoseconds; EINVAL if it is none."""
    seconds, rest = p.unpack(layout, address)
    if seconds < 0 or not 0 <= rest < SECOND:
        raise CallError(Errno.EINVAL)
    return int(seconds * SECOND + rest)


def _sleep_for(p: Process, duration: int, remaining: int, layout: str) -> int:
    end = p.end_of_wait(duration)
    if p.elapsed >= end:
        return 0

    def interrupted() -> int:
        """What is left is stored."""
        try:
            if remaining:
                p.pack(layout, remaining, *divmod(max(end - p.elapsed, 0), SECOND))
        except CallError as error:
            return -error.number
        return -Errno.EINTR

    raise Sleep("sleeping", deadline=end, interrupted=interrupted)


@call("nanosleep", PTR, PTR)
def nanosleep(p: Process, request: int, remaining: int) -> int:
    """Sleep: virtual time moves on, the host does not wait."""
    return _sleep_for(p, timespec(p, TIMESPEC, request), remaining, TIMESPEC)


@call("clock_nanosleep", INT, FLAGS, PTR, PTR)
def clock_nanosleep(p: Process, which: int, flags: int, request: int, remaining: int) -> int:
    """Sleep by a clock."""
    return _clock_sleep(p, which, flags, request, remaining, TIMESPEC)


@call("clock_nanosleep_time64", INT, FLAGS, PTR, PTR)
def clock_nanosleep64(p: Process, which: int, flags: int, request: int, remaining: int) -> int:
    """Sleep by a clock, 64-bit seconds."""
    return _clock_sleep(p, which, flags, request, remaining, TIMESPEC64)


def _clock_sleep(
    p: Process, which: int, flags: int, request: int, remaining: int, layout: str
) -> int:
    duration = timespec(p, layout, request)
    if which in (PROCESS, THREAD):
        raise CallError(Errno.EINVAL)
    if flags & TIMER_ABSTIME:
        return _sleep_for(p, max(duration - clock(p, which), 0), 0, layout)
    return _sleep_for(p, duration, remaining, layout)


@call("times", PTR)
def times(p: Process, buffer: int) -> int:
    """Store processor time in ticks; return the ticks since the start."""
    if buffer:
        own, children = (p.clock.used(n) // TICK for n in (p.instructions, p.used_by_children))
        p.pack("<4I", buffer, own, 0, children, 0)
    return p.elapsed // TICK & 0x7FFFFFFF


@call("getrusage", INT, PTR)
def getrusage(p: Process, who: int, buffer: int) -> int:
    """Store processor time and memory."""
    if who not in (0, -1, 1):
        raise CallError(Errno.EINVAL)
    used = p.clock.used(p.instructions if who != -1 else p.used_by_children)
    seconds, rest = divmod(used, SECOND)
    resident = p.space.mappings.resident * 4
    p.pack(RUSAGE, buffer, seconds, rest // 1000, 0, 0, resident, *[0] * 13)
    return 0


def set_alarm(p: Process, value: int, interval: int = 0) -> tuple[int, int]:
    """Set the real-time timer; return what was left and the interval before."""
    timer = p.signals.timer
    before = timer.left(p.elapsed), timer.interval
    timer.at, timer.interval = p.elapsed + value if value else None, interval
    return before


@call("alarm", UINT)
def alarm(p: Process, seconds: int) -> int:
    """Ask for SIGALRM; return the seconds that were left, rounded up."""
    return -(-set_alarm(p, seconds * SECOND)[0] // SECOND)


@call("setitimer", INT, PTR, PTR)
def setitimer(p: Process, which: int, new: int, old: int) -> int:
    """Set the real-time timer (the others are not there)."""
    if which != ITIMER_REAL:
        raise CallError(Errno.EINVAL)
    words = p.unpack("<4i", new) if new else (0, 0, 0, 0)
    if min(words) < 0 or max(words[1], words[3]) >= 1_000_000:
        raise CallError(Errno.EINVAL)
    interval, value = (words[i] * SECOND + words[i + 1] * 1000 for i in (0, 2))
    left, before = set_alarm(p, value, interval)
    if old:
        _store_timer(p, old, before, left)
    return 0


@call("getitimer", INT, PTR)
def getitimer(p: Process, which: int, buffer: int) -> int:
    """Store what is left of the real-time timer."""
    if which != ITIMER_REAL:
        raise CallError(Errno.EINVAL)
    timer = p.signals.timer
    _store_timer(p, buffer, timer.interval, timer.left(p.elapsed))
    return 0


def _store_timer(p: Process, address: int, interval: int, left: int) -> None:
    words = [w for t in (interval, left) for w in (t // SECOND, t % SECOND // 1000)]
    p.pack("<4I", address, *words)
