"""System control port A of the PS/2 (92h): fast A20 and fast reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emu.devices.a20 import A20
from emu.devices.device import PortRange
from isa.hints import Any, Final

PORT: Final = 0x92
FAST_RESET, FAST_A20 = 1, 2


class Port92:
    """Bit 1 is A20, whoever switched it; bit 0 resets the processor."""

    ports = (PortRange(PORT, PORT),)

    def __init__(self, a20: A20, reset: Callable[[], None]) -> None:
        self._a20, self._reset = a20, reset
        self.value = 0

    def read(self, port: int, size: int, now: int) -> int:
        """What was written, and A20 as it is."""
        return self.value & ~FAST_A20 | (FAST_A20 if self._a20.enabled else 0)

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """Switch A20; the reset bit acts when it rises."""
        rises = value & ~self.value & FAST_RESET
        self.value = value
        self._a20.set(bool(value & FAST_A20))
        if rises:
            self._reset()

    def snapshot(self) -> Mapping[str, object]:
        """What was written."""
        return {"value": self.value}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """What was written; A20 is its own."""
        self.value = saved["value"]
