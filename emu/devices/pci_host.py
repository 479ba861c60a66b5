"""PCI by configuration mechanism 1 (CF8h, CFCh): an i440FX host bridge and a PIIX3.

No more functions than firmware needs: to find its shadow memory (Intel 290549, PAM registers), the
interrupt router, and that there are ATA channels at the ISA ports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from emu.devices.device import PortRange
from isa.hints import Any, Final

ADDRESS, RESET_CONTROL, DATA = 0xCF8, 0xCF9, 0xCFC
ENABLED: Final = 1 << 31
RESET: Final = 0x04
COMMAND, LATENCY, INTERRUPT_LINE, SPECIFIC = 0x04, 0x0D, 0x3C, 0x40  # configuration registers
PAM_FIRST, PAM_LAST = 0x59, 0x5F
READABLE, WRITABLE = 1, 2  # of a PAM field
BIOS_START, BIOS_SIZE = 0xF0000, 0x10000
SEGMENT_START, SEGMENT_SIZE = 0xC0000, 0x4000

PamListener = Callable[[int, int, bool, bool], None]
"""Called with start, size, and whether reads and writes go to memory, not to the ROM."""


def no_listener(start: int, size: int, readable: bool, writable: bool) -> None:
    """Nobody shadows."""


def _header(vendor: int, device: int, kind: int, revision: int) -> dict[int, int]:
    """The identity, as bytes by place. By the subsystem SeaBIOS knows a virtual machine."""
    words = {0: vendor, 2: device, 10: kind, 0x2C: 0x1AF4, 0x2E: 0x1100}
    identity = {place + i: word >> 8 * i & 0xFF for place, word in words.items() for i in (0, 1)}
    return {**identity, 8: revision}


IDENTITIES: Final = {  # by device and function on bus 0
    (0, 0): {**_header(0x8086, 0x1237, 0x0600, 2), COMMAND: 0x06, 7: 0x02},
    (1, 0): {
        **_header(0x8086, 0x7000, 0x0601, 0),
        COMMAND: 0x07,
        7: 0x02,
        0x0E: 0x80,  # there are more functions
        **dict.fromkeys(range(0x60, 0x64), 0x80),  # no interrupt is routed
    },
    (1, 1): {**_header(0x8086, 0x7010, 0x0101, 0), COMMAND: 0x01, 7: 0x02},
}
_KINDS: Final = (COMMAND, COMMAND + 1, LATENCY, INTERRUPT_LINE)


@dataclass(slots=True)
class Function:
    """The 256 configuration bytes of one function."""

    identity: Mapping[int, int]
    space: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self.space = bytearray(self.identity.get(place, 0) for place in range(256))

    def write(self, place: int, value: int) -> None:
        """The standard header is fixed, but for a few bytes; what follows is the chip's."""
        if place in _KINDS or place >= SPECIFIC:
            self.space[place] = value


class PciHost:
    """Three functions on bus 0; all others read ones. CF9h resets."""

    ports = (
        PortRange(ADDRESS, ADDRESS, 4),
        PortRange(RESET_CONTROL, RESET_CONTROL),
        PortRange(DATA, DATA + 3, 4),
    )

    def __init__(self, reset: Callable[[], None], pam_changed: PamListener = no_listener) -> None:
        self._reset, self._pam_changed = reset, pam_changed
        self.address = 0
        self.reset_control = 0
        self.functions = {place: Function(identity) for place, identity in IDENTITIES.items()}

    def _function(self) -> Function | None:
        if not self.address & ENABLED or self.address >> 16 & 0xFF:
            return None
        return self.functions.get((self.address >> 11 & 31, self.address >> 8 & 7))

    def _places(self, port: int, size: int) -> range:
        """The configuration bytes of an access; it ends with its double word."""
        start = self.address & 0xFC
        return range(start + port - DATA, min(start + 4, start + port - DATA + size))

    def read(self, port: int, size: int, now: int) -> int:
        """The address register, or configuration bytes."""
        ones = (1 << 8 * size) - 1
        if port == RESET_CONTROL:
            return self.reset_control
        if port == ADDRESS:
            return self.address if size == 4 else ones
        function = self._function()
        if function is None:
            return ones
        data = bytes(function.space[place] for place in self._places(port, size))
        return int.from_bytes(data.ljust(size, b"\xff"), "little")

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """The address register by double words only; configuration bytes; reset."""
        if port == RESET_CONTROL:
            rises = value & ~self.reset_control & RESET
            self.reset_control = value & ~RESET
            if rises:
                self._reset()
        elif port == ADDRESS:
            self.address = value if size == 4 else self.address
        elif (function := self._function()) is not None:
            for i, place in enumerate(self._places(port, size)):
                self._write_byte(function, place, value >> 8 * i & 0xFF)

    def _write_byte(self, function: Function, place: int, value: int) -> None:
        before = function.space[place]
        function.write(place, value)
        if function is self.functions[0, 0] and PAM_FIRST <= place <= PAM_LAST:
            self._shadow(place, before, value)

    def _shadow(self, place: int, before: int, value: int) -> None:
        """Tell of the segments whose fields changed: two to a register, but one in the first."""
        for half in (0, 1):
            attributes = value >> 4 * half & 3
            if attributes == before >> 4 * half & 3 or (place == PAM_FIRST and not half):
                continue
            number = 2 * (place - PAM_FIRST - 1) + half
            segment = (SEGMENT_START + number * SEGMENT_SIZE, SEGMENT_SIZE)
            start, size = (BIOS_START, BIOS_SIZE) if place == PAM_FIRST else segment
            self._pam_changed(start, size, bool(attributes & READABLE), bool(attributes & WRITABLE))

    def snapshot(self) -> Mapping[str, object]:
        """The two registers, and all configuration spaces."""
        return {
            "address": self.address,
            "reset_control": self.reset_control,
            "spaces": [bytes(function.space) for function in self.functions.values()],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Everything; whoever shadows memory is told."""
        self.address, self.reset_control = saved["address"], saved["reset_control"]
        for function, space in zip(self.functions.values(), saved["spaces"], strict=True):
            for place in range(256):
                if function.space[place] != space[place]:
                    self._write_byte(function, place, space[place])
