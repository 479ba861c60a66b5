"""One counter of an 8254 (Intel 231164). Time is the number of the CLK pulse.

Nothing is counted down: what the counting element holds and what OUT is follow from the pulse at
which the count was loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.hints import Final

LOW, HIGH, BOTH = 1, 2, 3  # RW1-0: which bytes are read and written
TRIGGERED: Final = (1, 5)  # modes that a rising gate starts; in the others a low gate stops
PERIODIC: Final = (2, 3)


@dataclass(slots=True)
class Registers:
    """Everything that a counter remembers."""

    control: int = BOTH << 4  # D5-D0 of the control word
    reload: int | None = None  # the count register; None: not written since the control word
    low_written: int | None = None  # the first of two bytes
    null: bool = True  # the count register has not been loaded yet
    pending: int | None = None  # the pulse that loads it
    pending_half: bool = False  # mode 3: it begins with the low half
    loaded: int | None = None  # the pulse at which the count in progress began
    initial: int = 1
    stopped: int | None = None  # pulses counted when the gate stopped it
    held: int = 0  # the counting element while nothing is loaded
    gate: bool = True
    latched: int | None = None
    latched_status: int | None = None
    high_next: bool = False  # the second of two bytes is read next


class Counter:
    """A counter; calls come in the order of their pulses."""

    def __init__(self, *, gate: bool = True) -> None:
        self.registers = Registers(gate=gate)

    @property
    def mode(self) -> int:
        """0 to 5; 6 and 7 are 2 and 3."""
        mode = self.registers.control >> 1 & 7
        return mode - 4 if mode > 5 else mode

    @property
    def _modulus(self) -> int:
        return 10_000 if self.registers.control & 1 else 0x10000

    def _from_register(self, value: int) -> int:
        """The number that a count register means; 0 is the largest."""
        if self.registers.control & 1:
            value = sum((value >> 4 * i & 15) * 10**i for i in range(4))
        return value or self._modulus

    # -- counting ----------------------------------------------------------------------------

    def settle(self, pulse: int) -> None:
        """Load the count register if its pulse is over."""
        r = self.registers
        if r.pending is None or r.pending > pulse or r.reload is None:
            return
        r.initial = self._from_register(r.reload)
        r.loaded = r.pending - ((r.initial + 1) // 2 if r.pending_half else 0)
        r.pending, r.pending_half, r.null = None, False, False
        r.stopped = 0 if not r.gate and self.mode not in TRIGGERED else None

    def _elapsed(self, loaded: int, pulse: int) -> int:
        stopped = self.registers.stopped
        return pulse - loaded if stopped is None else stopped

    def output(self, pulse: int) -> bool:
        """OUT."""
        self.settle(pulse)
        r = self.registers
        if r.loaded is None:
            return self.mode != 0
        elapsed = self._elapsed(r.loaded, pulse)
        if self.mode in PERIODIC:
            position = elapsed % r.initial
            low = r.initial - 1 if self.mode == 2 else (r.initial + 1) // 2
            return not r.gate or r.stopped is not None or position < low
        if self.mode < 2:
            return elapsed >= r.initial
        return elapsed != r.initial

    def value(self, pulse: int) -> int:
        """The counting element as it is read."""
        self.settle(pulse)
        r = self.registers
        if r.loaded is None:
            return r.held
        elapsed = self._elapsed(r.loaded, pulse)
        if self.mode == 2:
            count = r.initial - elapsed % r.initial
        elif self.mode == 3:
            count = self._square(elapsed % r.initial)
        else:
            count = r.initial - elapsed
        count %= self._modulus
        if not r.control & 1:
            return count
        return sum(count // 10**i % 10 << 4 * i for i in range(4))

    def _square(self, position: int) -> int:
        """Mode 3 counts by two, from an even number, once for each half."""
        initial = self.registers.initial
        half = (initial + 1) // 2
        return (initial & ~1) - 2 * (position if position < half else position - half)

    def next_change(self, pulse: int) -> int | None:
        """The next pulse at which OUT may change; None if only the guest can change it."""
        self.settle(pulse)
        r = self.registers
        if r.loaded is None or r.stopped is not None:
            return r.pending
        wait = self._wait(pulse - r.loaded)
        if wait is None:
            return r.pending
        return pulse + wait if r.pending is None else min(pulse + wait, r.pending)

    def _wait(self, elapsed: int) -> int | None:
        initial = self.registers.initial
        if self.mode in PERIODIC:
            low = initial - 1 if self.mode == 2 else (initial + 1) // 2
            position = elapsed % initial
            if low in (0, initial):  # a count of 1 is illegal; OUT stays
                return None
            return low - position if position < low else initial - position
        if elapsed < initial:
            return initial - elapsed
        return 1 if elapsed == initial and self.mode > 3 else None

    # -- the guest and the gate --------------------------------------------------------------

    def set_control(self, control: int, pulse: int) -> None:
        """A control word: OUT takes its first level, and nothing is counted before a count."""
        held = self.value(pulse)
        self.registers = Registers(control=control & 0x3F, held=held, gate=self.registers.gate)

    def write(self, value: int, pulse: int) -> None:
        """A byte of the count register."""
        self.settle(pulse)
        r = self.registers
        access = r.control >> 4
        if access == BOTH and r.low_written is None:
            r.low_written = value
            if self.mode == 0:
                self._stop(pulse)
            return
        r.reload = {LOW: value, HIGH: value << 8}.get(access, value << 8 | (r.low_written or 0))
        r.low_written, r.null = None, True
        self._plan_loading(pulse)

    def _stop(self, pulse: int) -> None:
        r = self.registers
        r.held = self.value(pulse)
        r.loaded = r.pending = None

    def _plan_loading(self, pulse: int) -> None:
        """When a count that was just written is loaded (data sheet, mode definitions)."""
        r = self.registers
        if self.mode == 0:
            self._stop(pulse)
        if self.mode in TRIGGERED:
            return
        if self.mode not in PERIODIC or r.loaded is None:
            r.pending = pulse + 1
        elif r.stopped is None:
            self._plan_reloading(r.loaded, pulse)

    def _plan_reloading(self, loaded: int, pulse: int) -> None:
        """At the end of the period, in mode 3 of the half."""
        r = self.registers
        position = (pulse - loaded) % r.initial
        half = (r.initial + 1) // 2
        r.pending_half = self.mode == 3 and position < half
        r.pending = pulse + (half if r.pending_half else r.initial) - position

    def set_gate(self, gate: bool, pulse: int) -> None:
        """The gate starts, stops or goes on, as the mode says."""
        self.settle(pulse)
        r = self.registers
        if gate == r.gate:
            return
        r.gate = gate
        if gate and self.mode in (*TRIGGERED, *PERIODIC):
            r.pending = None if r.reload is None else pulse + 1
        elif r.loaded is not None and self.mode not in TRIGGERED:
            self._pause(r.loaded, pulse)

    def _pause(self, loaded: int, pulse: int) -> None:
        r = self.registers
        if not r.gate:
            r.stopped = self._elapsed(loaded, pulse)
            r.pending = None if self.mode in PERIODIC else r.pending
        elif r.stopped is not None:
            r.loaded, r.stopped = pulse - r.stopped, None

    def latch(self, pulse: int) -> None:
        """Latch the count; a second latch before the first is read changes nothing."""
        if self.registers.latched is None:
            self.registers.latched = self.value(pulse)

    def latch_status(self, pulse: int) -> None:
        """Latch OUT, NULL COUNT and the control word."""
        r = self.registers
        if r.latched_status is None:
            out = self.output(pulse)
            r.latched_status = out << 7 | r.null << 6 | r.control

    def read(self, pulse: int) -> int:
        """The status if it is latched, else a byte of the count, latched or as it is."""
        r = self.registers
        if r.latched_status is not None:
            status, r.latched_status = r.latched_status, None
            return status
        count = self.value(pulse) if r.latched is None else r.latched
        access = r.control >> 4
        high = access == HIGH or (access == BOTH and r.high_next)
        if access == BOTH:
            r.high_next = not r.high_next
        if not r.high_next:
            r.latched = None
        return count >> 8 if high else count & 0xFF
