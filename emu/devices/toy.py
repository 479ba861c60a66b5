"""What the toy machine asks of a device.

Devices live in machine time: they are told the count of retired instructions and say at which
count something will happen next. No host clock comes in, so every run is repeatable.
"""

from __future__ import annotations

from collections.abc import Mapping

from isa.hints import Protocol
from isa.toy.ports import Port
from isa.toy.traps import Trap


class ToyDevice(Protocol):
    """A device of the toy machine. An interrupt stays requested until the machine takes it."""

    ports: frozenset[Port]
    trap: Trap
    requested: bool

    def read(self, port: Port, now: int) -> int:
        """What IN reads, as a number modulo the word."""

    def write(self, port: Port, value: int, now: int) -> None:
        """What OUT writes."""

    def deadline(self) -> int | None:
        """The count at which `tick` wants to be called next."""

    def tick(self, now: int) -> None:
        """The count has reached the deadline."""

    def snapshot(self) -> Mapping[str, object]:
        """The device's own state, for comparison and snapshots."""
