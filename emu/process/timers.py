"""Timers that are files (timerfd_create(2)), in virtual time, and which of them are running."""

from __future__ import annotations

import struct

from emu.process.clock import FOREVER
from emu.process.files import AnonymousFile
from emu.process.namespace import Supply
from emu.process.numbers import POLLIN, CallError, Errno
from isa.hints import Callable

COUNT = struct.Struct("<Q")
LARGEST = (1 << 64) - 1


class Timers:
    """The timers of a machine that will run out; `now` tells the elapsed nanoseconds."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self._running: dict[TimerFile, None] = {}  # in the order in which they were started

    def start(self, timer: TimerFile) -> None:
        """One more runs."""
        self._running[timer] = None

    def stop(self, timer: TimerFile) -> None:
        """It does not, or no more."""
        self._running.pop(timer, None)

    def runs(self, timer: TimerFile) -> bool:
        """Tell whether a timer will run out."""
        return timer in self._running

    def settle(self) -> None:
        """Let run out what has, earliest first: whoever is told later of anything else, finds it
        in that order, however seldom this is called."""
        if not self._running:
            return
        now = self.now()
        due = [timer for timer in self._running if timer.at <= now]
        for timer in due:
            self.stop(timer)
        for timer in sorted(due, key=lambda timer: timer.at):
            timer.run_out()


class TimerFile(AnonymousFile):
    """A timer that is read: how often it has run out since it was last read or set.

    As in Linux it runs out once, and goes on with its interval when somebody looks at it: so who
    does not is told once. `at` is the elapsed time at which it runs out, `shift` what its own clock
    is before the elapsed time.
    """

    def __init__(self, supply: Supply, timers: Timers, shift: int, flags: int = 0) -> None:
        super().__init__(supply, flags)
        self._timers, self.shift = timers, shift
        self.at, self.interval = 0, 0
        self._expired, self._count = False, 0

    def run_out(self) -> None:
        """Its time has come."""
        self._expired, self._count = True, self._count + 1
        self.tell(POLLIN)

    def _go_on(self) -> None:
        """Count the intervals that have passed since, and wait for the next one."""
        self._timers.settle()
        if not self._expired or not self.interval:
            return
        passed = (self._timers.now() - self.at) // self.interval + 1
        self._expired, self._count = False, self._count + passed - 1
        self.at += passed * self.interval
        self._timers.start(self)

    def left(self) -> tuple[int, int]:
        """Return the nanoseconds that are left (0: it is stopped) and the interval."""
        self._go_on()
        running = self._timers.runs(self)
        return (self.at - self._timers.now() if running else 0), self.interval

    def set(self, value: int, interval: int, *, absolute: bool) -> None:
        """Start it, after a time or at one of its clock; a value of 0 stops it."""
        self._timers.settle()
        self._timers.stop(self)
        self._expired, self._count, self.interval = False, 0, min(interval, FOREVER)
        if value:
            self.at = min(value - self.shift if absolute else self._timers.now() + value, FOREVER)
            self._timers.start(self)

    def moment(self) -> int | None:
        """When it runs out."""
        return self.at if self._timers.runs(self) else None

    def can_read(self) -> bool:
        """It has run out."""
        self._timers.settle()
        return bool(self._count)

    def read(self, size: int) -> bytes:
        """Return how often it has run out, 8 bytes; EINVAL for less, EAGAIN if it has not."""
        if size < COUNT.size:
            raise CallError(Errno.EINVAL)
        if not self.can_read():
            raise CallError(Errno.EAGAIN)
        self._go_on()
        count, self._count, self._expired = self._count, 0, False
        return COUNT.pack(count & LARGEST)

    def events(self) -> int:
        """See WaitingFile."""
        return POLLIN if self.can_read() else 0

    def close(self) -> None:
        """It stops."""
        self._timers.stop(self)
        super().close()
