"""The MC146818 real-time clock with its CMOS memory, on the PC/AT's ports 70h and 71h.

It knows no date but the one it is given; it runs at 32,768 Hz of machine time. Time registers
change at the end of an update cycle, so they can be read at any time before.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from fractions import Fraction

from emu.devices import registers
from emu.devices.clock import MIPS, Clock
from emu.devices.device import Line, PortRange, unconnected
from isa.hints import Any, Final

HERTZ: Final = 32_768
INDEX, DATA = 0x70, 0x71
SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY = 0, 2, 4, 6, 7, 8, 9, 0x32
ALARMS: Final = (1, 3, 5)
A, B, C, D = 0x0A, 0x0B, 0x0C, 0x0D
A_UIP, A_DIVIDER, A_RUNNING = 0x80, 0x70, 0x20
B_SET, B_PIE, B_AIE, B_UIE, B_BINARY, B_24H = 0x80, 0x40, 0x20, 0x10, 0x04, 0x02
C_IRQF, C_PF, C_AF, C_UF = 0x80, 0x40, 0x20, 0x10
D_VALID: Final = 0x80
PM: Final = 0x80
NMI_MASK: Final = 0x80  # of what is written to the index port; it cannot be read
ANY: Final = 0xC0  # an alarm register of at least that matches everything
UPDATE: Final = 73  # cycles for which UIP is 1: 244 microseconds before, 1984 within the update
DAY_SECONDS: Final = 86_400
EPOCH: Final = datetime(2026, 1, 1)  # the date of a machine that is told none
KEPT: Final = ("second", "minute", "hour", "weekday", "day", "month", "year", "century")
TIME: Final = dict(
    zip((SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY), KEPT, strict=True)
)


@dataclass(slots=True)
class Registers:
    """The time in binary, 24 hours; `memory` has all other bytes as they are read."""

    index: int = 0
    nmi_masked: bool = False
    second: int = 0
    minute: int = 0
    hour: int = 0
    weekday: int = 1  # Sunday is 1
    day: int = 1
    month: int = 1
    year: int = 0
    century: int = 20
    memory: list[int] = field(default_factory=lambda: [0] * 128)
    origin: int = 0  # the cycle at which the divider was 0
    seen: int = 0  # the cycle up to which flags and time are brought


class MC146818:
    """Clock, alarm, periodic interrupt, and 114 bytes of memory."""

    ports = (PortRange(INDEX, DATA),)

    def __init__(
        self,
        interrupt: Line = unconnected,
        *,
        mips: int | Fraction = MIPS,
        time: datetime = EPOCH,
        memory: Mapping[int, int] | None = None,
    ) -> None:
        self._interrupt = interrupt
        self._clock = Clock(HERTZ, mips)
        self.registers = Registers()
        self._set_time(time)
        for place, value in {A: 0x26, B: B_24H, **(memory or {})}.items():
            self.registers.memory[place] = value

    def _set_time(self, time: datetime) -> None:
        r = self.registers
        r.second, r.minute, r.hour = time.second, time.minute, time.hour
        r.day, r.month = time.day, time.month
        r.century, r.year = divmod(time.year, 100)
        r.weekday = time.isoweekday() % 7 + 1

    # -- time --------------------------------------------------------------------------------

    @property
    def _running(self) -> bool:
        """Whether the divider chain runs from 32,768 Hz."""
        return self.registers.memory[A] & A_DIVIDER == A_RUNNING

    @property
    def _period(self) -> int | None:
        """Cycles of the periodic interrupt; rates 1 and 2 are those of 8 and 9."""
        rate = self.registers.memory[A] & 15
        if not rate or not self._running:
            return None
        return 1 << (rate + 7 if rate < 3 else rate) - 1

    def _advance(self, now: int) -> None:
        """Bring time and flags up to `now`."""
        r, cycle = self.registers, self._clock.cycles(now)
        if self._running:
            before, after = r.seen - r.origin, cycle - r.origin
            if self._period and before // self._period != after // self._period:
                self._flag(C_PF)
            self._pass(after // HERTZ - before // HERTZ)
        r.seen = cycle

    def _pass(self, seconds: int) -> None:
        r = self.registers
        if seconds <= 0 or r.memory[B] & B_SET:
            return
        time = (r.hour * 60 + r.minute) * 60 + r.second
        if self._alarms(seconds):
            self._flag(C_AF)
        self._flag(C_UF)
        days, rest = divmod(time + seconds, DAY_SECONDS)
        r.hour, r.minute, r.second = rest // 3600, rest // 60 % 60, rest % 60
        if days:
            self._pass_days(days)

    def _pass_days(self, days: int) -> None:
        """The guest may have set a date that does not exist: it is counted from its month on."""
        r = self.registers
        year = min(max(r.century * 100 + r.year, 1), date.max.year)
        first = date(year, min(max(r.month, 1), 12), 1)
        ordinal = min(first.toordinal() + max(r.day, 1) - 1 + days, date.max.toordinal())
        today = date.fromordinal(ordinal)
        r.day, r.month = today.day, today.month
        r.century, r.year = divmod(today.year, 100)
        r.weekday = (r.weekday - 1 + days) % 7 + 1

    def _alarms(self, seconds: int) -> bool:
        """Whether the alarm is among the next seconds; a day has them all."""
        r = self.registers
        now = (r.hour * 60 + r.minute) * 60 + r.second
        second, minute, hour = (self._matching(place) for place in ALARMS)
        return any(
            time % 60 in second and time // 60 % 60 in minute and time // 3600 % 24 in hour
            for time in range(now + 1, now + min(seconds, DAY_SECONDS) + 1)
        )

    def _matching(self, place: int) -> Container[int]:
        """The values of a time register that an alarm register matches."""
        alarm = self.registers.memory[place]
        if alarm >= ANY:
            return range(60)
        return (self._decoded_hour(alarm) if place == HOURS + 1 else self._decoded(alarm),)

    # -- interrupts --------------------------------------------------------------------------

    def _flag(self, flag: int) -> None:
        self.registers.memory[C] |= flag
        self._update_line()

    def _update_line(self) -> None:
        memory = self.registers.memory
        asked = memory[C] & memory[B] & (C_PF | C_AF | C_UF)  # the same places in both
        memory[C] = memory[C] & ~C_IRQF | (C_IRQF if asked else 0)
        self._interrupt(bool(asked))

    def deadline(self) -> int | None:
        """When a flag that is enabled may be set next; none while the line is high anyway."""
        r = self.registers
        if r.memory[C] & C_IRQF or not self._running:
            return None
        period = self._period if r.memory[B] & B_PIE else None
        if r.memory[B] & (B_AIE | B_UIE) and not r.memory[B] & B_SET:
            period = min(period or HERTZ, HERTZ)
        if period is None:
            return None
        done = (r.seen - r.origin) // period
        return self._clock.count_at(r.origin + (done + 1) * period)

    def tick(self, now: int) -> None:
        """Bring flags up to date."""
        self._advance(now)

    # -- registers ---------------------------------------------------------------------------

    def read(self, port: int, size: int, now: int) -> int:
        """The byte that was chosen; the index cannot be read."""
        return 0xFF if port == INDEX else self._read(self.registers.index, now)

    def _read(self, place: int, now: int) -> int:
        self._advance(now)
        memory = self.registers.memory
        if place in TIME:
            return self._read_time(place)
        if place == A:
            return memory[A] | (A_UIP if self._in_update() else 0)
        if place == C:
            flags, memory[C] = memory[C], 0
            self._update_line()
            return flags
        return D_VALID if place == D else memory[place]

    def _in_update(self) -> bool:
        r = self.registers
        if not self._running or r.memory[B] & B_SET:
            return False
        return (r.seen - r.origin) % HERTZ >= HERTZ - UPDATE

    def _read_time(self, place: int) -> int:
        value: int = getattr(self.registers, TIME[place])
        if place != HOURS or self.registers.memory[B] & B_24H:
            return self._encoded(value)
        return self._encoded((value - 1) % 12 + 1) | (PM if value >= 12 else 0)

    def _encoded(self, value: int) -> int:
        if self.registers.memory[B] & B_BINARY:
            return value
        return value // 10 % 10 << 4 | value % 10

    def _decoded(self, value: int) -> int:
        if self.registers.memory[B] & B_BINARY:
            return value
        return (value >> 4) * 10 + (value & 15)

    def _decoded_hour(self, value: int) -> int:
        if self.registers.memory[B] & B_24H:
            return self._decoded(value)
        return self._decoded(value & ~PM) % 12 + (12 if value & PM else 0)

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """Choose a byte (bit 7 masks NMI, which is the board's), or write it."""
        if port == INDEX:
            self.registers.index = value & 0x7F
            self.registers.nmi_masked = bool(value & NMI_MASK)
        else:
            self._write(self.registers.index, value, now)

    def _write(self, place: int, value: int, now: int) -> None:
        self._advance(now)
        r = self.registers
        if place in TIME:
            decoded = self._decoded_hour(value) if place == HOURS else self._decoded(value)
            setattr(r, TIME[place], decoded)
        elif place == A:
            self._write_a(value & 0x7F)
        elif place == B:
            r.memory[B] = value & ~B_UIE if value & B_SET else value
            self._update_line()
        elif place not in (C, D):
            r.memory[place] = value

    def _write_a(self, value: int) -> None:
        """A divider that starts makes its first update half a second later."""
        r, was_running = self.registers, self._running
        r.memory[A] = value
        if self._running and not was_running:
            r.origin = r.seen - HERTZ // 2

    def snapshot(self) -> Mapping[str, object]:
        """Time and memory."""
        return registers.save(self.registers)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Time and memory."""
        registers.restore(self.registers, saved)
