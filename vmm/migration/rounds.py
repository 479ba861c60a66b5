"""When to copy again, and when to stop the guest: iterative pre-copy (Clark et al., NSDI 2005).

Time is the guest's: a page that is sent takes as long as the link needs for it at that rate, and
the guest runs meanwhile, so that rounds are the same whatever the host's speed. Each round sends
what was written during the one before, at the rate of that writing and `STEP` more. What has been
written again when its turn comes is left for later: it is in the writable working set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Final

from emu.memory import PAGE_SIZE
from emu.pc.machine import PcMachine
from vmm.migration.errors import RefusedError
from vmm.migration.image import Shape

STEP: Final = 50  # Mbit/s above the rate of writing
MOST_ROUNDS: Final = 30
BITS: Final = 8 * PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Policy:
    """`precopy`: whether the guest runs while it is copied. `least` and `most` are Mbit/s of the
    guest's time; it stops once so few pages as `leave` are left."""

    precopy: bool = True
    least: int = 100
    most: int = 500
    leave: int = 16
    rounds: int = MOST_ROUNDS
    step: int = STEP

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most or self.leave < 0 or self.rounds < 1:
            raise RefusedError(f"{self.least} to {self.most} Mbit/s is no link")


@dataclass(slots=True)
class Round:
    """One round: what was sent, and what the guest wrote meanwhile. `rate` is in Mbit/s."""

    rate: float
    sent: int = 0  # pages
    skipped: int = 0  # written again before their turn came
    bytes: int = 0
    instructions: int = 0
    dirtied: int = 0
    again: int = 0  # of these, how many the round before has written too
    seconds: float = 0.0

    @property
    def dirty_rate(self) -> float:
        """Pages written while one could be sent."""
        return self.dirtied / max(self.sent, 1)


@dataclass(slots=True)
class Measured:
    """What a migration took. Downtime is in the guest's instructions by the link's rate, and in
    seconds of the host's from the stop to the other side's word that it runs."""

    policy: Policy
    rounds: list[Round] = field(default_factory=list)
    reason: str = ""  # why the rounds ended
    final_pages: int = 0
    final_bytes: int = 0
    state_bytes: int = 0
    downtime_instructions: int = 0
    downtime_seconds: float = 0.0
    digest_seconds: float = 0.0

    @property
    def pages(self) -> int:
        """All pages sent."""
        return self.final_pages + sum(one.sent for one in self.rounds)

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "mode": "pre-copy" if self.policy.precopy else "stop-and-copy",
            "rounds": [asdict(one) for one in self.rounds], "reason": self.reason,
            "pages": self.pages, "final_pages": self.final_pages,
            "final_bytes": self.final_bytes, "state_bytes": self.state_bytes,
            "downtime_instructions": self.downtime_instructions,
            "downtime_seconds": round(self.downtime_seconds, 6),
            "digest_seconds": round(self.digest_seconds, 6),
        }  # fmt: skip


class DirtyLog:
    """Which pages of a machine were written. From `start` to `stop`, with `take` in between."""

    def __init__(self, machine: PcMachine, shape: Shape) -> None:
        self._machine = machine
        self._frames = shape.frames

    def start(self) -> None:
        """Everything counts that is written from now on."""
        self._machine.linear.log_writes(set())

    def take(self) -> set[int]:
        """What was written since `start` or the last `take`."""
        found = self._machine.memory.physical.dirty or set()
        self.start()
        return {number for number in found if number < self._frames}

    def __contains__(self, number: int) -> bool:
        return number in (self._machine.memory.physical.dirty or ())

    def stop(self) -> None:
        """No more."""
        self._machine.linear.log_writes(None)


class Plan:
    """Decides after a round whether there is another one, and at which rate."""

    def __init__(self, policy: Policy, mips: Fraction) -> None:
        self.policy = policy
        self.mips = mips
        self.rate = Fraction(policy.least)
        self._before: set[int] = set()

    def instructions(self, pages: int) -> int:
        """How many the guest may do while so many pages are sent at the present rate."""
        return int(pages * BITS * self.mips / self.rate)

    def end(self, done: Round, dirty: set[int], number: int) -> str:
        """Why the guest is stopped after a round that left these pages; empty if it is not."""
        done.dirtied, done.again = len(dirty), len(dirty & self._before)
        shrinks = not self._before or len(dirty) < len(self._before)
        self._before = dirty
        wanted = self._rate_of(done) + self.policy.step
        self.rate = min(max(wanted, Fraction(self.policy.least)), Fraction(self.policy.most))
        if done.dirtied <= self.policy.leave:
            return "few pages are left"
        if number >= self.policy.rounds:
            return "there were many rounds"
        if wanted > self.policy.most:
            return "the guest writes faster than the link sends"
        return "" if shrinks else "what is left is written again and again"

    def _rate_of(self, done: Round) -> Fraction:
        """How fast it writes, in Mbit/s."""
        return done.dirtied * BITS * self.mips / max(done.instructions, 1)


def batches(numbers: list[int], size: int) -> Iterator[list[int]]:
    """Pages, so many at a time."""
    for at in range(0, len(numbers), size):
        yield numbers[at : at + size]
