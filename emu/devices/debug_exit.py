"""The port with which a test guest ends its machine, as QEMU's isa-debug-exit."""

from __future__ import annotations

from collections.abc import Mapping

from emu.devices.device import PortRange
from isa.hints import Any, Final

PORTS: Final = (0x501, 0xF4)


class DebugExit:
    """A write ends the machine with the exit code 2 value + 1."""

    ports = tuple(PortRange(port, port, 4) for port in PORTS)

    def __init__(self) -> None:
        self.exit_code: int | None = None

    def read(self, port: int, size: int, now: int) -> int:
        """Zero, as QEMU's."""
        return 0

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """The first write counts."""
        if self.exit_code is None:
            self.exit_code = (value << 1 | 1) & 0xFF

    def snapshot(self) -> Mapping[str, object]:
        """How it ended."""
        return {"exit_code": self.exit_code}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """How it ended."""
        self.exit_code = saved["exit_code"]
