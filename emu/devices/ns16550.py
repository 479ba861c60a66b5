"""The 16550A UART (National PC16550D), with a wire to something of the host's.

What the host sends arrives one character time after the other and waits while the receiver is
full, so nothing of it is lost. Characters go out at once, unless `timed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from emu.devices import registers
from emu.devices.clock import MIPS, Clock
from emu.devices.device import Line, PortRange, unconnected
from isa.hints import Any, Final, Protocol

HERTZ: Final = 1_843_200
RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)
IER_ERBFI, IER_ETBEI, IER_ELSI, IER_EDSSI = 1, 2, 4, 8
IIR_NONE, IIR_MODEM, IIR_THRE, IIR_DATA, IIR_ERROR, IIR_TIMEOUT = 1, 0, 2, 4, 6, 12
IIR_FIFOS: Final = 0xC0
FCR_ENABLE, FCR_CLEAR_RECEIVER, FCR_CLEAR_TRANSMITTER = 1, 2, 4
LCR_STOP, LCR_PARITY, LCR_DLAB = 0x04, 0x08, 0x80
MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP = 0x01, 0x02, 0x04, 0x08, 0x10
LSR_DR, LSR_OE, LSR_THRE, LSR_TEMT = 0x01, 0x02, 0x20, 0x40
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 0x10, 0x20, 0x40, 0x80
CONNECTED: Final = MSR_CTS | MSR_DSR | MSR_DCD  # what a modem that is there drives
DEPTH: Final = 16
TRIGGERS: Final = (1, 4, 8, 14)
TIMEOUT: Final = 4  # character times
POLL: Final = 50  # times a virtual second that the host is asked for input


class SerialBackend(Protocol):
    """The other end of the wire."""

    @property
    def interactive(self) -> bool:
        """Whether `read` may ever have something."""

    @property
    def source(self) -> int | None:
        """A descriptor that can be waited for until `read` has something, if there is one."""

    def write(self, data: bytes) -> None:
        """Characters from the guest."""

    def read(self) -> bytes:
        """What came for the guest since the last call; does not wait."""


@dataclass(slots=True)
class Registers:
    """Everything that the chip remembers; `arriving` is still on the wire."""

    ier: int = 0
    fcr: int = 0
    lcr: int = 0
    mcr: int = 0
    scr: int = 0
    divisor: int = 12
    errors: int = 0  # bits of LSR
    modem: int = CONNECTED
    changed: int = 0  # low half of MSR
    received: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)  # the transmitter's FIFO, or THR
    shifting: int | None = None
    shifted: int | None = None  # when it will be out
    thr_emptied: bool = False  # an interrupt for it is due
    timed_out: bool = False
    timeout: int | None = None
    arriving: list[int] = field(default_factory=list)
    arrival: int | None = None
    poll: int | None = 0


class NS16550:
    """One serial port. OUT2 connects its interrupt, as in the PC."""

    def __init__(
        self,
        base: int,
        backend: SerialBackend,
        interrupt: Line = unconnected,
        *,
        mips: int | Fraction = MIPS,
        timed: bool = False,
    ) -> None:
        self.ports = (PortRange(base, base + 7),)
        self._base, self._backend, self._interrupt = base, backend, interrupt
        self._clock = Clock(HERTZ, mips)
        self._timed = timed
        self.registers = Registers(poll=0 if backend.interactive else None)

    # -- time --------------------------------------------------------------------------------

    def _after(self, characters: int, now: int) -> int:
        """The count at which so many characters have passed."""
        r = self.registers
        bits = 7 + (r.lcr & 3) + bool(r.lcr & LCR_STOP) + bool(r.lcr & LCR_PARITY)
        cycles = characters * bits * 16 * (r.divisor or 0x10000)
        return self._clock.count_at(self._clock.cycles(now) + cycles)

    def deadline(self) -> int | None:
        """The next character in or out, timeout, or look at the host."""
        r = self.registers
        due = (r.shifted, r.timeout, r.arrival, r.poll)
        return min((count for count in due if count is not None), default=None)

    def tick(self, now: int) -> None:
        """What is due at `now`."""
        r = self.registers
        if r.poll is not None and r.poll <= now:
            self.feed(self._backend.read(), now)
            again = now + self._clock.count_at(HERTZ // POLL)
            r.poll = again if self._backend.interactive else None
        if r.shifted is not None and r.shifted <= now:
            self._shift_out(now)
        if r.arrival is not None and r.arrival <= now:
            self._arrive(now)
        if r.timeout is not None and r.timeout <= now:
            r.timeout, r.timed_out = None, True
        self._update()

    # -- receiving ---------------------------------------------------------------------------

    def feed(self, data: bytes, now: int) -> None:
        """Characters from the host begin to arrive."""
        self.registers.arriving.extend(data)
        self._expect(now)

    def _expect(self, now: int) -> None:
        r = self.registers
        if r.arriving and r.arrival is None and len(r.received) < self._depth:
            r.arrival = self._after(1, now)

    @property
    def _depth(self) -> int:
        return DEPTH if self.registers.fcr & FCR_ENABLE else 1

    def _arrive(self, now: int) -> None:
        r = self.registers
        r.arrival = None
        if not r.mcr & MCR_LOOP and len(r.received) < self._depth:
            self._receive(r.arriving.pop(0), now)
        self._expect(now)

    def _receive(self, character: int, now: int) -> None:
        r = self.registers
        if len(r.received) >= self._depth:
            r.errors |= LSR_OE
            if not r.fcr & FCR_ENABLE:
                r.received = [character]
            return
        r.received.append(character)
        self._restart_timeout(now)

    def _restart_timeout(self, now: int) -> None:
        r = self.registers
        r.timed_out = False
        wanted = r.received and r.fcr & FCR_ENABLE
        r.timeout = self._after(TIMEOUT, now) if wanted else None

    def _take(self, now: int) -> int:
        r = self.registers
        character = r.received.pop(0) if r.received else 0
        self._restart_timeout(now)
        self._expect(now)
        return character

    # -- transmitting ------------------------------------------------------------------------

    def _transmit(self, character: int, now: int) -> None:
        r = self.registers
        r.thr_emptied = False
        if r.mcr & MCR_LOOP or not self._timed:
            self._send(character, now)
            r.thr_emptied = True
        elif r.shifting is None:
            self._shift(character, now)
        elif len(r.waiting) < self._depth:
            r.waiting.append(character)
        elif not r.fcr & FCR_ENABLE:
            r.waiting = [character]

    def _send(self, character: int, now: int) -> None:
        if self.registers.mcr & MCR_LOOP:
            self._receive(character, now)
        else:
            self._backend.write(bytes([character]))

    def _shift(self, character: int, now: int) -> None:
        r = self.registers
        r.shifting, r.shifted = character, self._after(1, now)
        r.thr_emptied = r.thr_emptied or not r.waiting

    def _shift_out(self, now: int) -> None:
        r = self.registers
        character, r.shifting, r.shifted = r.shifting, None, None
        if character is not None:
            self._send(character, now)
        if r.waiting:
            self._shift(r.waiting.pop(0), now)

    # -- interrupts --------------------------------------------------------------------------

    def _cause(self) -> int:
        """The highest of the interrupts that are enabled, as IIR has it."""
        r = self.registers
        trigger = TRIGGERS[r.fcr >> 6] if r.fcr & FCR_ENABLE else 1
        if r.ier & IER_ELSI and r.errors:
            return IIR_ERROR
        if r.ier & IER_ERBFI and len(r.received) >= trigger:
            return IIR_DATA
        if r.ier & IER_ERBFI and r.timed_out:
            return IIR_TIMEOUT
        if r.ier & IER_ETBEI and r.thr_emptied:
            return IIR_THRE
        return IIR_MODEM if r.ier & IER_EDSSI and r.changed else IIR_NONE

    def _update(self) -> None:
        connected = self.registers.mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2
        self._interrupt(connected and self._cause() != IIR_NONE)

    # -- registers ---------------------------------------------------------------------------

    def read(self, port: int, size: int, now: int) -> int:
        """A register; RBR, IIR, LSR and MSR change by being read."""
        value = self._read(port - self._base, now)
        self._update()
        return value

    def _read(self, number: int, now: int) -> int:
        r = self.registers
        if number <= IER and r.lcr & LCR_DLAB:
            return r.divisor >> 8 * number & 0xFF
        if number == RBR_THR:
            return self._take(now)
        if number == IIR_FCR:
            return self._read_iir()
        if number == LSR:
            return self._read_lsr()
        if number == MSR:
            return self._read_msr()
        return {IER: r.ier, LCR: r.lcr, MCR: r.mcr, SCR: r.scr}[number]

    def _read_iir(self) -> int:
        r, cause = self.registers, self._cause()
        if cause == IIR_THRE:
            r.thr_emptied = False
        return cause | (IIR_FIFOS if r.fcr & FCR_ENABLE else 0)

    def _read_lsr(self) -> int:
        r = self.registers
        errors, r.errors = r.errors, 0
        empty = 0 if r.waiting else LSR_THRE
        idle = 0 if r.waiting or r.shifting is not None else LSR_TEMT
        return errors | empty | idle | (LSR_DR if r.received else 0)

    def _read_msr(self) -> int:
        r = self.registers
        changed, r.changed = r.changed, 0
        return self._modem() | changed

    def _modem(self) -> int:
        """The high half of MSR; in loopback mode it is made of MCR."""
        r = self.registers
        if not r.mcr & MCR_LOOP:
            return r.modem
        pairs = ((MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD))
        return sum(status for control, status in pairs if r.mcr & control)

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """A register; LSR and MSR are not to be written."""
        r, number = self.registers, port - self._base
        if number <= IER and r.lcr & LCR_DLAB:
            shift = 8 * number
            r.divisor = r.divisor & ~(0xFF << shift) | value << shift
        elif number == RBR_THR:
            self._transmit(value, now)
        elif number == IER:
            self._write_ier(value)
        elif number == IIR_FCR:
            self._write_fcr(value)
        elif number == LCR:
            r.lcr = value
        elif number == MCR:
            self._write_mcr(value)
        elif number == SCR:
            r.scr = value
        self._expect(now)
        self._update()

    def _write_ier(self, value: int) -> None:
        """To enable the transmitter's interrupt while THR is empty gives one at once."""
        r = self.registers
        if value & ~r.ier & IER_ETBEI and not r.waiting:
            r.thr_emptied = True
        r.ier = value & 0x0F

    def _write_fcr(self, value: int) -> None:
        """The other bits count only with the first; a change of it clears both FIFOs."""
        r = self.registers
        switched = (value ^ r.fcr) & FCR_ENABLE
        if switched or value & FCR_CLEAR_RECEIVER:
            r.received, r.timeout, r.timed_out = [], None, False
        if switched or value & FCR_CLEAR_TRANSMITTER:
            r.waiting = []
        r.fcr = value & 0xC9 if value & FCR_ENABLE else 0

    def _write_mcr(self, value: int) -> None:
        """Modem lines that change by a switch of loopback mode are noted in MSR."""
        r, before = self.registers, self._modem()
        r.mcr = value & 0x1F
        change, after = before ^ self._modem(), self._modem()
        r.changed |= change >> 4 & 0b1011 | (change & before & ~after & MSR_RI) >> 4

    def snapshot(self) -> Mapping[str, object]:
        """The registers, and what is on the wire."""
        return registers.save(self.registers)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """The registers, and what is on the wire."""
        registers.restore(self.registers, saved)
