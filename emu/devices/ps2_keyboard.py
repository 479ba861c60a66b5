"""A PS/2 keyboard: scan code sets 1 and 2, and the commands of IBM's technical reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emu.devices import registers
from emu.devices.scan_codes import set_1, set_2
from isa.hints import Any, Final

ACKNOWLEDGE, RESEND, PASSED, OVERRUN, ECHO = 0xFA, 0xFE, 0xAA, 0x00, 0xEE
SET_LEDS, SCAN_SET, IDENTIFY, TYPEMATIC = 0xED, 0xF0, 0xF2, 0xF3
ENABLE, DISABLE, DEFAULTS, RESET = 0xF4, 0xF5, 0xF6, 0xFF
IDENTITY: Final = (0xAB, 0x83)
CAPACITY: Final = 16  # bytes of keys that wait; then one OVERRUN


@dataclass(slots=True)
class Registers:
    """Everything that a keyboard remembers."""

    scanning: bool = True
    leds: int = 0
    typematic: int = 0x2B
    scan_set: int = 2
    expected: int | None = None  # the command whose parameter comes next
    answers: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)


class PS2Keyboard:
    """Keys and answers wait here until the controller takes them."""

    def __init__(self) -> None:
        self.registers = Registers()

    def press(self, name: str, *, pressed: bool = True) -> None:
        """A key goes down or, not `pressed`, up; `scan_codes.KEYS` has the names."""
        r = self.registers
        codes = set_1 if r.scan_set == 1 else set_2
        if not r.scanning:
            return
        data = codes(name, pressed=pressed)
        if len(r.keys) + len(data) < CAPACITY:
            r.keys.extend(data)
        elif OVERRUN not in r.keys:
            r.keys.append(OVERRUN)

    @property
    def ready(self) -> bool:
        """Whether a byte waits."""
        return bool(self.registers.answers or self.registers.keys)

    def take(self) -> int:
        """The next byte; answers go before keys."""
        r = self.registers
        return (r.answers or r.keys).pop(0)

    def receive(self, value: int) -> None:
        """A command or its parameter; answers that nobody took are dropped."""
        r = self.registers
        r.answers = []
        command, r.expected = r.expected, None
        if command is not None and value < SET_LEDS:
            self._parameter(command, value)
        else:
            self._command(value)

    def _command(self, value: int) -> None:
        r = self.registers
        if value == ECHO:
            r.answers.append(ECHO)
        elif value < SET_LEDS or value in (0xEF, 0xF1, RESEND):
            r.answers.append(RESEND)
        else:
            r.answers.append(ACKNOWLEDGE)
            self._acknowledged(value)

    def _acknowledged(self, value: int) -> None:
        r = self.registers
        if value in (SET_LEDS, SCAN_SET, TYPEMATIC):
            r.expected = value
        elif value == IDENTIFY:
            r.answers.extend(IDENTITY)
        elif value == ENABLE:
            r.scanning, r.keys = True, []
        elif value in (DISABLE, DEFAULTS, RESET):
            self.registers = Registers(scanning=value != DISABLE, answers=r.answers)
            if value == RESET:
                self.registers.answers = [ACKNOWLEDGE, PASSED]

    def _parameter(self, command: int, value: int) -> None:
        r = self.registers
        if command == SCAN_SET and value > 2:
            r.answers.append(RESEND)
            return
        r.answers.append(ACKNOWLEDGE)
        if command == SET_LEDS:
            r.leds = value & 7
        elif command == TYPEMATIC:
            r.typematic = value & 0x7F
        elif value == 0:
            r.answers.append(r.scan_set)
        else:
            r.scan_set = value

    def snapshot(self) -> Mapping[str, object]:
        """Settings, and bytes that wait."""
        return registers.save(self.registers)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Settings, and bytes that wait."""
        registers.restore(self.registers, saved)
