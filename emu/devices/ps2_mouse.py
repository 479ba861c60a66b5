"""A PS/2 mouse with the wheel of the IntelliMouse, which a driver finds by three sample rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emu.devices import registers
from isa.hints import Any, Final

ACKNOWLEDGE, RESEND, PASSED = 0xFA, 0xFE, 0xAA
SCALING_1, SCALING_2, RESOLUTION, STATUS, STREAM, READ = 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xEB
UNWRAP, WRAP, REMOTE, IDENTIFY, SAMPLE_RATE = 0xEC, 0xEE, 0xF0, 0xF2, 0xF3
ENABLE, DISABLE, DEFAULTS, RESET = 0xF4, 0xF5, 0xF6, 0xFF
PLAIN: Final = (SCALING_1, SCALING_2, STREAM, UNWRAP, WRAP, REMOTE, ENABLE, DISABLE, DEFAULTS)
COMMANDS: Final = frozenset((*PLAIN, RESOLUTION, STATUS, READ, IDENTIFY, SAMPLE_RATE, RESET))
WHEEL, FIVE_BUTTONS = 3, 4  # identities
KNOCKS: Final = {(200, 100, 80): WHEEL, (200, 200, 80): FIVE_BUTTONS}
CAPACITY: Final = 16
LIMIT: Final = 255  # of a movement in one packet


@dataclass(slots=True)
class Registers:
    """Everything that a mouse remembers."""

    reporting: bool = False
    remote: bool = False
    wrap: bool = False
    scaling_2: bool = False
    resolution: int = 2
    sample_rate: int = 100
    rates: list[int] = field(default_factory=lambda: [0, 0, 0])  # the last three
    identity: int = 0
    expected: int | None = None  # the command whose parameter comes next
    buttons: int = 0  # left 1, right 2, middle 4, fourth 8, fifth 16
    moved: list[int] = field(default_factory=lambda: [0, 0, 0])  # x, y, wheel since the last packet
    output: list[int] = field(default_factory=list)


class PS2Mouse:
    """Packets and answers wait here until the controller takes them."""

    def __init__(self) -> None:
        self.registers = Registers()

    # -- the host ----------------------------------------------------------------------------

    def move(self, x: int = 0, y: int = 0, wheel: int = 0, buttons: int | None = None) -> None:
        """It is moved right and up, its wheel towards the user; `buttons` is what is down now."""
        r = self.registers
        r.moved = [a + b for a, b in zip(r.moved, (x, y, wheel), strict=True)]
        r.buttons = r.buttons if buttons is None else buttons & 0x1F
        if r.reporting and not r.remote and len(r.output) + 4 <= CAPACITY:
            r.output.extend(self._packet())

    def _packet(self) -> list[int]:
        r = self.registers
        x, y = (max(-LIMIT, min(LIMIT, part)) for part in r.moved[:2])
        wheel = max(-8, min(7, r.moved[2]))
        r.moved = [r.moved[0] - x, r.moved[1] - y, 0]
        head = 8 | r.buttons & 7 | (x < 0) << 4 | (y < 0) << 5
        packet = [head, x & 0xFF, y & 0xFF]
        if r.identity == WHEEL:
            packet.append(wheel & 0xFF)
        elif r.identity == FIVE_BUTTONS:
            packet.append(wheel & 0x0F | r.buttons >> 3 << 4)
        return packet

    # -- the controller ----------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether a byte waits."""
        return bool(self.registers.output)

    def take(self) -> int:
        """The next byte."""
        return self.registers.output.pop(0)

    def receive(self, value: int) -> None:
        """A command or its parameter; a command drops what was to be sent."""
        r = self.registers
        command, r.expected = r.expected, None
        if r.wrap and value not in (UNWRAP, RESET):
            r.output = [*r.output, value][-CAPACITY:]
            return
        r.output = [ACKNOWLEDGE]
        if command == SAMPLE_RATE:
            self._set_rate(value)
        elif command == RESOLUTION:
            r.resolution = value & 3
        elif value in COMMANDS:
            self._command(value)
        else:
            r.output = [RESEND]

    def _set_rate(self, value: int) -> None:
        r = self.registers
        r.sample_rate = value
        r.rates = [*r.rates[1:], value]
        r.identity = KNOCKS.get((r.rates[0], r.rates[1], r.rates[2]), r.identity)

    def _command(self, value: int) -> None:
        r = self.registers
        if value in (SAMPLE_RATE, RESOLUTION):
            r.expected = value
        elif value in (SCALING_1, SCALING_2):
            r.scaling_2 = value == SCALING_2
        elif value in (ENABLE, DISABLE):
            r.reporting = value == ENABLE
        elif value in (STREAM, REMOTE):
            r.remote = value == REMOTE
        elif value in (WRAP, UNWRAP):
            r.wrap = value == WRAP
        elif value in (DEFAULTS, RESET):
            self._reset(value)
        else:
            r.output.extend(self._answer(value))

    def _answer(self, value: int) -> list[int]:
        r = self.registers
        if value == IDENTIFY:
            return [r.identity]
        if value == READ:
            return self._packet()
        state = r.remote << 6 | r.reporting << 5 | r.scaling_2 << 4
        buttons = (r.buttons & 1) << 2 | (r.buttons & 4) >> 1 | (r.buttons & 2) >> 1
        return [state | buttons, r.resolution, r.sample_rate]

    def _reset(self, value: int) -> None:
        """Only RESET makes it a plain mouse again and runs its self-test."""
        r = self.registers
        identity = 0 if value == RESET else r.identity
        answer = [PASSED, identity] if value == RESET else []
        self.registers = Registers(
            identity=identity, buttons=r.buttons, output=[ACKNOWLEDGE, *answer]
        )

    def snapshot(self) -> Mapping[str, object]:
        """Settings, and bytes that wait."""
        return registers.save(self.registers)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Settings, and bytes that wait."""
        registers.restore(self.registers, saved)
