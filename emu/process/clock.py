"""Virtual time: the count of retired instructions at a fixed rate, plus what was slept through."""

from __future__ import annotations

DEFAULT_EPOCH = 1_704_067_200  # 2024-01-01T00:00:00Z
DEFAULT_MIPS = 100
FOREVER = (1 << 63) - 1
"""Nanoseconds at which time ends for those who wait (Linux' KTIME_MAX): some 292 years."""


class VirtualClock:
    """Turns instruction counts into nanoseconds. Nothing of the host's clock is in it."""

    def __init__(self, *, mips: int = DEFAULT_MIPS, epoch: int = DEFAULT_EPOCH) -> None:
        if mips < 1:
            raise ValueError(f"the clock needs at least 1 MIPS, not {mips}")
        self.mips = mips
        self.epoch = epoch
        self._skipped = 0

    def elapsed(self, count: int) -> int:
        """Return the nanoseconds since the process started (CLOCK_MONOTONIC)."""
        return self.used(count) + self._skipped

    def used(self, count: int) -> int:
        """Return the nanoseconds of processor time."""
        return count * 1000 // self.mips

    def now(self, count: int) -> int:
        """Return the nanoseconds since 1970 (CLOCK_REALTIME)."""
        return self.epoch * 1_000_000_000 + self.elapsed(count)

    def skip(self, nanoseconds: int) -> None:
        """Sleep: time passes and no instruction does."""
        self._skipped += max(nanoseconds, 0)

    def count_at(self, elapsed: int) -> int:
        """Return the first instruction count at which `elapsed` nanoseconds are reached."""
        return -(-(elapsed - self._skipped) * self.mips // 1000)
