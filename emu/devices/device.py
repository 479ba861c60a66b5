"""What the PC's board asks of a device.

Devices live in machine time: they are told the count of retired instructions (`now`) and say at
which count something will happen next. No host clock comes in, so every run is repeatable.
Whatever a guest writes, a device answers; it never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from isa.record import NamedTuple

Line = Callable[[bool], None]
"""A wire that a device drives: called with its level. The device remembers what it drives."""


def unconnected(level: bool) -> None:
    """A wire that leads nowhere."""


class PortRange(NamedTuple):
    """Ports `first` to `last`, and the largest access in bytes that is not split into bytes."""

    first: int
    last: int
    largest: int = 1


class Device(Protocol):
    """A chip on the I/O bus. Sizes are bytes; a value has no bits above its size."""

    @property
    def ports(self) -> tuple[PortRange, ...]:
        """The ports that it answers at."""

    def read(self, port: int, size: int, now: int) -> int:
        """What IN reads."""

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """What OUT writes."""

    def snapshot(self) -> Mapping[str, object]:
        """Its own state, as plain values."""

    def restore(self, saved: Mapping[str, object]) -> None:
        """Take over the state of a snapshot; the lines it drives are restored by their ends."""


@runtime_checkable
class Timed(Protocol):
    """Something that happens by itself."""

    def deadline(self) -> int | None:
        """The count at which `tick` wants to be called next."""

    def tick(self, now: int) -> None:
        """The count has reached the deadline."""
