"""Two ports to which firmware writes its messages: 402h of Bochs and QEMU, E9h of Bochs."""

from __future__ import annotations

from collections.abc import Mapping

from emu.devices.device import PortRange
from isa.hints import Any, BinaryIO, Final

PORTS: Final = (0x402, 0xE9)
PRESENT: Final = 0xE9  # what firmware looks for before it writes


class DebugPort:
    """Whatever is written goes to a stream of the host's."""

    ports = tuple(PortRange(port, port) for port in PORTS)

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def read(self, port: int, size: int, now: int) -> int:
        """Someone listens."""
        return PRESENT

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """One character."""
        self._output.write(bytes([value]))
        self._output.flush()

    def snapshot(self) -> Mapping[str, object]:
        """It remembers nothing."""
        return {}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """It remembers nothing."""
