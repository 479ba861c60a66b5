"""A domain's time in nanoseconds: its own instructions, as the PC's clock counts them."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from emu.devices.clock import MIPS
from emu.devices.mc146818 import EPOCH

NEVER: Final = 1 << 62


class VirtualClock:
    """`mips` million instructions a second; `period` and `deadline` are counts."""

    def __init__(self, mips: int | Fraction = MIPS, wall: datetime = EPOCH) -> None:
        self.tick = Fraction(1000) / Fraction(mips)
        self.seconds = int(wall.replace(tzinfo=UTC).timestamp())
        self.deadline: int | None = None
        self.period: int | None = None
        self.poll: int | None = None  # when a sleep at ports ends

    def count_at(self, nanoseconds: int) -> int:
        """The first count at which so much time is over."""
        return -(-nanoseconds * self.tick.denominator // self.tick.numerator)

    def scale(self) -> tuple[int, int]:
        """Multiplier and shift: nanoseconds are (ticks << shift) * multiplier >> 32."""
        shift = 0
        while self.tick >= 1 << shift:
            shift += 1
        return int(self.tick * (1 << 32 - shift)), shift

    def next(self) -> int:
        """When something is due; far away if nothing is."""
        due = [when for when in (self.deadline, self.poll) if when is not None]
        return min(due, default=NEVER)

    def fire(self, now: int) -> bool:
        """Whether it fires at a count, and then again a period later, if there is one."""
        if self.deadline is None or now < self.deadline:
            return False
        if self.period is None:
            self.deadline = None
        else:
            missed = (now - self.deadline) // self.period
            self.deadline += (missed + 1) * self.period
        return True
