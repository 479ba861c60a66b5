"""The 8254 programmable interval timer (Intel 231164): three counters at 1.193182 MHz."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from emu.devices import registers
from emu.devices.clock import MIPS, Clock
from emu.devices.device import Line, PortRange, unconnected
from emu.devices.i8254_counter import Counter
from isa.hints import Any, Final

HERTZ: Final = 1_193_182
BASE: Final = 0x40
CONTROL: Final = 3  # the fourth port
READ_BACK, NO_COUNT, NO_STATUS = 3, 0x20, 0x10
CHANGES: Final = 4  # of OUT in one tick; more are only missed if the board did not tick


class I8254:
    """OUT of counter 0 is interrupt request 0; the gate of counter 2 is the speaker port's."""

    ports = (PortRange(BASE, BASE + 3),)

    def __init__(self, interrupt: Line = unconnected, mips: int | Fraction = MIPS) -> None:
        self._interrupt = interrupt
        self._clock = Clock(HERTZ, mips)
        self.counters = [Counter(), Counter(), Counter(gate=False)]
        self._seen = 0  # the pulse up to which OUT of counter 0 was driven

    def pulse(self, now: int) -> int:
        """The number of the CLK pulse."""
        return self._clock.cycles(now)

    def output(self, counter: int, now: int) -> bool:
        """OUT of a counter."""
        return self.counters[counter].output(self.pulse(now))

    def set_gate(self, counter: int, gate: bool, now: int) -> None:
        """GATE of a counter."""
        self.counters[counter].set_gate(gate, self.pulse(now))

    def read(self, port: int, size: int, now: int) -> int:
        """A counter; the control word cannot be read."""
        number = port - BASE
        return 0xFF if number == CONTROL else self.counters[number].read(self.pulse(now))

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """A byte of a count, or a command."""
        self.tick(now)
        number, pulse = port - BASE, self.pulse(now)
        if number != CONTROL:
            self.counters[number].write(value, pulse)
        elif value >> 6 == READ_BACK:
            self._read_back(value, pulse)
        elif value & 0x30:
            self.counters[value >> 6].set_control(value, pulse)
        else:
            self.counters[value >> 6].latch(pulse)
        self._interrupt(self.counters[0].output(pulse))

    def _read_back(self, value: int, pulse: int) -> None:
        for number, counter in enumerate(self.counters):
            if value >> 1 + number & 1:
                if not value & NO_COUNT:
                    counter.latch(pulse)
                if not value & NO_STATUS:
                    counter.latch_status(pulse)

    def deadline(self) -> int | None:
        """When OUT of counter 0 changes next."""
        change = self.counters[0].next_change(self._seen)
        return None if change is None else self._clock.count_at(change)

    def tick(self, now: int) -> None:
        """Drive the interrupt request through every change of OUT."""
        pulse, counter = self.pulse(now), self.counters[0]
        for _ in range(CHANGES):
            change = counter.next_change(self._seen)
            if change is None or change > pulse:
                break
            self._seen = change
            self._interrupt(counter.output(change))
        self._seen = pulse
        self._interrupt(counter.output(pulse))

    def snapshot(self) -> Mapping[str, object]:
        """Three counters, and how far interrupt request 0 was driven."""
        return {
            "counters": [registers.save(c.registers) for c in self.counters],
            "seen": self._seen,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Three counters."""
        for counter, one in zip(self.counters, saved["counters"], strict=True):
            registers.restore(counter.registers, one)
        self._seen = saved["seen"]
