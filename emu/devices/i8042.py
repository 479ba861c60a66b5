"""The 8042 keyboard controller of the PS/2, ports 60h and 64h.

Its own answers are there at once; a byte of the keyboard or mouse takes the time of its frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from emu.devices import registers
from emu.devices.a20 import A20
from emu.devices.clock import MIPS, Clock
from emu.devices.device import Line, PortRange, unconnected
from emu.devices.ps2_keyboard import PS2Keyboard
from emu.devices.ps2_mouse import PS2Mouse
from emu.devices.scan_codes import BREAK, RELEASED, TRANSLATION
from isa.hints import Any, Final

DATA, COMMAND = 0x60, 0x64
FRAME_HERTZ: Final = 1_000  # frames a second: eleven bits at some 11 kHz
OBF, SYSTEM, IS_COMMAND, UNLOCKED, FROM_MOUSE = 0x01, 0x04, 0x08, 0x10, 0x20  # status
KEYBOARD_INTERRUPT, MOUSE_INTERRUPT, FLAG = 0x01, 0x02, 0x04  # command byte
KEYBOARD_OFF, MOUSE_OFF, TRANSLATE = 0x10, 0x20, 0x40
LEFT_BY_FIRMWARE: Final = KEYBOARD_INTERRUPT | FLAG | MOUSE_OFF | TRANSLATE
OUT_RUN, OUT_A20, OUT_KEYBOARD, OUT_MOUSE = 0x01, 0x02, 0x10, 0x20  # output port
READ_RAM, WRITE_RAM = 0x20, 0x60  # and the 32 bytes after
MOUSE_DISABLE, MOUSE_ENABLE, MOUSE_TEST, SELF_TEST, KEYBOARD_TEST = 0xA7, 0xA8, 0xA9, 0xAA, 0xAB
KEYBOARD_DISABLE, KEYBOARD_ENABLE, READ_INPUT = 0xAD, 0xAE, 0xC0
READ_OUTPUT, WRITE_OUTPUT, ECHO_KEYBOARD, ECHO_MOUSE, TO_MOUSE = 0xD0, 0xD1, 0xD2, 0xD3, 0xD4
A20_OFF, A20_ON, READ_TEST, PULSE = 0xDD, 0xDF, 0xE0, 0xF0
INPUT_PORT: Final = 0xBF  # keyboard not locked, colour or none, manufacturing jumper open
ANSWERS: Final = {MOUSE_TEST: 0, SELF_TEST: 0x55, KEYBOARD_TEST: 0, READ_TEST: 0}
SWITCHES: Final = {  # of the command byte: what to set, what to clear
    MOUSE_DISABLE: (MOUSE_OFF, 0),
    MOUSE_ENABLE: (0, MOUSE_OFF),
    KEYBOARD_DISABLE: (KEYBOARD_OFF, 0),
    KEYBOARD_ENABLE: (0, KEYBOARD_OFF),
    SELF_TEST: (FLAG, 0),
}


@dataclass(slots=True)
class Registers:
    """Everything that the controller remembers; `ram[0]` is the command byte."""

    ram: list[int] = field(default_factory=lambda: [LEFT_BY_FIRMWARE] + [0] * 31)
    data: int = 0
    full: bool = False
    from_mouse: bool = False
    was_command: bool = False
    expected: int | None = None  # the command whose parameter comes next
    releasing: bool = False  # the translator has seen the prefix of a key that was let go
    free: int = 0  # the count from which a device can send


class I8042:
    """Keyboard on interrupt request 1, mouse on 12, A20 and the processor's reset."""

    ports = (PortRange(DATA, DATA), PortRange(COMMAND, COMMAND))

    def __init__(
        self,
        a20: A20,
        reset: Callable[[], None],
        keyboard_interrupt: Line = unconnected,
        mouse_interrupt: Line = unconnected,
        *,
        mips: int | Fraction = MIPS,
    ) -> None:
        self._a20, self._reset = a20, reset
        self._lines = (keyboard_interrupt, mouse_interrupt)
        self._frame = Clock(FRAME_HERTZ, mips).count_at(1)
        self.keyboard = PS2Keyboard()
        self.mouse = PS2Mouse()
        self.registers = Registers()

    # -- from the devices --------------------------------------------------------------------

    def _sender(self) -> PS2Keyboard | PS2Mouse | None:
        """Who has a byte and is not held off."""
        off = self.registers.ram[0]
        if self.keyboard.ready and not off & KEYBOARD_OFF:
            return self.keyboard
        return self.mouse if self.mouse.ready and not off & MOUSE_OFF else None

    def deadline(self) -> int | None:
        """When the next byte has come."""
        r = self.registers
        return None if r.full or self._sender() is None else r.free

    def tick(self, now: int) -> None:
        """A byte has come."""
        sender = self._sender()
        if self.registers.full or sender is None:
            return
        value = sender.take()
        if sender is self.mouse:
            self._fill(value, from_mouse=True)
            return
        translated = self._translate(value) if self.registers.ram[0] & TRANSLATE else value
        if translated is not None:
            self._fill(translated)

    def _translate(self, value: int) -> int | None:
        r = self.registers
        if value == BREAK:
            r.releasing = True
            return None
        released, r.releasing = r.releasing, False
        return TRANSLATION.get(value, value) | (RELEASED if released else 0)

    def _fill(self, value: int, *, from_mouse: bool = False) -> None:
        """The output buffer; a byte that nobody took is lost."""
        r = self.registers
        r.full = False
        self._update_lines()
        r.data, r.full, r.from_mouse = value, True, from_mouse
        self._update_lines()

    def _update_lines(self) -> None:
        r = self.registers
        keyboard, mouse = self._lines
        keyboard(r.full and not r.from_mouse and bool(r.ram[0] & KEYBOARD_INTERRUPT))
        mouse(r.full and r.from_mouse and bool(r.ram[0] & MOUSE_INTERRUPT))

    # -- from the guest ----------------------------------------------------------------------

    def read(self, port: int, size: int, now: int) -> int:
        """The output buffer, which is then empty, or the status."""
        if port == COMMAND:
            return self._status()
        r = self.registers
        if r.full:
            r.full = False
            r.free = now + self._frame
            self._update_lines()
        return r.data

    def _status(self) -> int:
        r = self.registers
        status = UNLOCKED | (SYSTEM if r.ram[0] & FLAG else 0)
        status |= OBF if r.full else 0
        status |= FROM_MOUSE if r.full and r.from_mouse else 0
        return status | (IS_COMMAND if r.was_command else 0)

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """A command, its parameter, or a byte for the keyboard."""
        r = self.registers
        r.was_command = port == COMMAND
        expected, r.expected = r.expected, None
        if port == COMMAND:
            self._command(value)
        elif expected is None:
            self._send(self.keyboard, value, now)
        elif expected == TO_MOUSE:
            self._send(self.mouse, value, now)
        else:
            self._parameter(expected, value)

    def _send(self, device: PS2Keyboard | PS2Mouse, value: int, now: int) -> None:
        """To send to a device enables it."""
        r = self.registers
        r.ram[0] &= ~(KEYBOARD_OFF if device is self.keyboard else MOUSE_OFF)
        device.receive(value)
        r.free = now + self._frame

    def _command(self, value: int) -> None:
        r = self.registers
        if value in SWITCHES:
            setting, clearing = SWITCHES[value]
            r.ram[0] = r.ram[0] & ~clearing | setting
        if READ_RAM <= value < READ_RAM + 32:
            self._fill(r.ram[value - READ_RAM])
        elif WRITE_RAM <= value < WRITE_RAM + 32 or WRITE_OUTPUT <= value <= TO_MOUSE:
            r.expected = value
        elif value in ANSWERS:
            self._fill(ANSWERS[value])
        elif value == READ_INPUT:
            self._fill(INPUT_PORT)
        elif value == READ_OUTPUT:
            self._fill(self._output_port())
        elif value in (A20_OFF, A20_ON):
            self._a20.set(value == A20_ON)
        elif value >= PULSE and not value & OUT_RUN:
            self._reset()

    def _output_port(self) -> int:
        r = self.registers
        value = OUT_RUN | (OUT_A20 if self._a20.enabled else 0)
        if r.full:
            value |= OUT_MOUSE if r.from_mouse else OUT_KEYBOARD
        return value

    def _parameter(self, command: int, value: int) -> None:
        if command == WRITE_OUTPUT:
            self._a20.set(bool(value & OUT_A20))
            if not value & OUT_RUN:
                self._reset()
        elif command in (ECHO_KEYBOARD, ECHO_MOUSE):
            self._fill(value, from_mouse=command == ECHO_MOUSE)
        else:
            self.registers.ram[command - WRITE_RAM] = value
            self._update_lines()

    def snapshot(self) -> Mapping[str, object]:
        """The controller, keyboard and mouse."""
        return {
            "controller": registers.save(self.registers),
            "keyboard": self.keyboard.snapshot(),
            "mouse": self.mouse.snapshot(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """The controller, keyboard and mouse."""
        registers.restore(self.registers, saved["controller"])
        self.keyboard.restore(saved["keyboard"])
        self.mouse.restore(saved["mouse"])
