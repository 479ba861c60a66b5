"""Port 61h of the PC/AT: the speaker, the gate of counter 2, and two clocks that can be read."""

from __future__ import annotations

from collections.abc import Mapping

from emu.devices.device import PortRange
from emu.devices.i8254 import I8254
from isa.hints import Any, Final

PORT: Final = 0x61
GATE_2, WRITABLE, REFRESH, OUT_2 = 0x01, 0x0F, 0x10, 0x20
REFRESH_PULSES: Final = 18  # of the timer's clock for one refresh of the memory: 15 microseconds


class Speaker:
    """Bits 0 to 3 are as written, bit 4 toggles with each refresh, bit 5 is OUT of counter 2."""

    ports = (PortRange(PORT, PORT),)

    def __init__(self, timer: I8254) -> None:
        self._timer = timer
        self.control = 0

    def read(self, port: int, size: int, now: int) -> int:
        """System control port B."""
        refresh = REFRESH if self._timer.pulse(now) // REFRESH_PULSES & 1 else 0
        return self.control | refresh | (OUT_2 if self._timer.output(2, now) else 0)

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """The gate and the speaker's switch; nobody hears it."""
        self.control = value & WRITABLE
        self._timer.set_gate(2, bool(value & GATE_2), now)

    def snapshot(self) -> Mapping[str, object]:
        """What was written."""
        return {"control": self.control}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """What was written; the gate is the timer's."""
        self.control = saved["control"]
