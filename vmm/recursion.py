"""Monitors in monitors: what `vmm recurse` measures, and how traps multiply with depth.

Two kinds are measured alike. A monitor of `vmm.monitors` is a function from a Machine to a Machine:
what its control program would cost the levels below is computed from what it does. The control
program of `programs/toy/vmm.asm` runs on the machine itself: its traps are counted there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from emu.engines import make_engine
from isa.toy import Toy
from vmm import nest
from vmm.compare import LIMIT, Guest, timed
from vmm.divergence import Divergence
from vmm.equivalence import Pair, first_divergence
from vmm.monitors import MONITORS, Allocation, AllocationError, Monitor, smaller


@dataclass(frozen=True, slots=True)
class Step:
    """One depth: the traps that the bare machine takes, and what a guest notices, if anything."""

    depth: int
    traps: int
    divergence: str | None

    def facts(self) -> dict[str, Any]:
        """What `--json` shows."""
        return {
            "depth": self.depth,
            "traps": self.traps,
            "equivalent": self.divergence is None,
            "divergence": self.divergence,
        }


@dataclass(slots=True)
class Level:
    """One level of recursion: what its monitor did, and what that cost the levels below."""

    depth: int
    words: int
    exits: int
    direct_fraction: float
    operations: int


def multiplied(levels: list[Level]) -> int:
    """Traps that the bare machine would take if every control program were itself a guest.

    What is counted in `exits` comes from the guest alone. But the control program of level n + 1
    runs on the machine of level n, so each privileged instruction of it is one more trap for the
    monitor of level n, which then runs privileged instructions of its own.
    """
    above = traps = 0.0
    for level in reversed(levels):
        traps = level.exits + above
        above = traps * level.operations / level.exits if level.exits else 0.0
    return round(traps)


@dataclass(slots=True)
class Recursion:
    """A guest under `depth` monitors, one in the other."""

    depth: int
    divergence: Divergence | None
    in_control: bool
    instructions: int
    seconds: float
    levels: list[Level]
    output: bytes

    def facts(self) -> dict[str, Any]:
        """What `--json` shows."""
        return {
            "depth": self.depth,
            "equivalent": self.divergence is None,
            "divergence": None if self.divergence is None else str(self.divergence),
            "resource_control": self.in_control,
            "instructions": self.instructions,
            "seconds": round(self.seconds, 6),
            "exits": sum(level.exits for level in self.levels),
            "multiplied": multiplied(self.levels),
            "levels": [
                {"depth": x.depth, "words": x.words, "exits": x.exits, "operations": x.operations,
                 "direct_fraction": round(x.direct_fraction, 6)}
                for x in self.levels
            ],
        }  # fmt: skip


def nested(isa: Toy, depth: int, monitor: type[Monitor]) -> list[Allocation]:
    """Allocations one in the other: each level keeps what its control program needs."""
    kept = max(monitor.kept_granules, 1) * isa.shape.granule
    _check_depth(depth, kept, isa)
    sizes = [isa.shape.storage - kept * (level + 1) for level in range(depth)]
    return [Allocation(kept, words) for words in sizes]


def _check_depth(depth: int, kept: int, isa: Toy) -> None:
    """Whether some granules are left for a guest; AllocationError."""
    deepest = isa.shape.storage // kept - 1
    if not 1 <= depth <= deepest:
        raise AllocationError(
            f"depth {depth} does not fit: each level keeps {kept} of {isa.shape.storage} words; "
            f"choose one from 1 to {deepest}"
        )


def recurse(guest: Guest, depth: int, name: str, limit: int = LIMIT, every: int = 1) -> Recursion:
    """Run a guest under monitors to a depth, and compare with the bare machine of its size."""
    monitor = MONITORS[name]
    allocations = nested(guest.isa, depth, monitor)
    stack = guest.virtual([monitor] * depth, allocations)
    seconds, _ = timed(stack.top, limit)
    levels = [
        Level(n, m.allocation.words, m.monitor.efficiency.exits.total(),
              m.monitor.efficiency.direct_fraction, m.monitor.efficiency.operations)
        for n, m in enumerate(stack.machines, 1)
    ]  # fmt: skip

    def pair() -> Pair:
        again = guest.virtual([monitor] * depth, allocations)
        return guest.bare(allocations[-1].words), again.observed

    return Recursion(
        depth, first_divergence(pair, limit, every), stack.in_control(), stack.top.state.count,
        seconds, levels, stack.output.getvalue(),
    )  # fmt: skip


def bare_traps(guest: Guest, words: int, limit: int = LIMIT) -> int:
    """Traps and interrupts of the guest on a bare machine of that size."""
    return _run(guest, words, 0, words, limit).traps


def depths(
    guest: Guest, depth: int, name: str, limit: int = LIMIT, every: int = 1
) -> Iterator[Recursion]:
    """The guest under one monitor, under two, and so on. Raises AllocationError if too many."""
    nested(guest.isa, depth, MONITORS[name])
    return (recurse(guest, each, name, limit, every) for each in range(1, depth + 1))


def step(found: Recursion) -> Step:
    """What the bare machine would do for it."""
    told = None if found.divergence is None else str(found.divergence)
    return Step(found.depth, multiplied(found.levels), told)


def assembly_depths(guest: Guest, depth: int, limit: int = LIMIT) -> Iterator[Step]:
    """The guest behind the control program in toy assembly, not at all, once, twice, and so on.

    Each is compared with the bare machine that has as much storage as is left for the guest; the
    first that does not halt within `limit` instructions of the bare machine is the last. Devices
    are granted, so they keep the bare machine's time. Raises AllocationError if it does not fit.
    """
    _check_depth(depth, nest.words_per_level(), guest.isa)
    nest.nest(guest.program(guest.isa.shape.storage), depth)
    return _assembly_steps(guest, depth, limit)


def _assembly_steps(guest: Guest, depth: int, limit: int) -> Iterator[Step]:
    for each in range(depth + 1):
        words = nest.WORDS - each * nest.words_per_level()
        bare = _run(guest, words, 0, words, limit)
        found = _run(guest, words, each, nest.WORDS, limit) if each else bare
        yield Step(each, found.traps, found.difference(bare))
        if found.stop == "limit":
            return


def _run(guest: Guest, words: int, depth: int, real: int, limit: int) -> nest.Run:
    """The guest, assembled for so many words, on a bare machine with `real` ones."""
    return nest.run(
        guest.program(words), depth, smaller(guest.isa, real), make_engine(guest.engine),
        guest.given, limit,
    )  # fmt: skip
