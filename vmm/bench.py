"""What a monitor costs in time: `vmm bench`, side by side with the bare machine in one run.

Rounds are interleaved (bare, each monitor, bare, …), so that whatever the host does besides falls
on all alike; each round gives a ratio, and the median of these is the slowdown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from emu.toy.machine import ToyMachine
from vmm.compare import LIMIT, Guest, allocation_for, has, subject
from vmm.monitors import MONITORS

GUEST: Final = Path(__file__).parent.parent / "programs" / "bench" / "toy" / "sieve.asm"
ENOUGH: Final = 1.0  # seconds after which a monitor's warm-up stops, and with it each of its runs
FIRST_STEP: Final = 1 << 14


@dataclass(slots=True)
class Row:
    """One monitor.

    `instructions` is how many of the guest each run does; `complete` whether that is all of them.
    If so, a ratio is of the times of both runs; if not, of their times for one instruction.
    """

    name: str
    instructions: int
    complete: bool
    direct_fraction: float
    ratios: list[float] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """What `--json` shows."""
        return {
            "name": self.name,
            "instructions": self.instructions,
            "complete": self.complete,
            "direct_fraction": round(self.direct_fraction, 6),
            "slowdown": round(median(self.ratios), 3),
            "spread": [round(min(self.ratios), 3), round(max(self.ratios), 3)],
        }


@dataclass(slots=True)
class Bench:
    """A guest's times; `bare` in seconds for `instructions`."""

    guest: Guest
    instructions: int
    bare: list[float]
    rows: list[Row]

    def facts(self) -> dict[str, Any]:
        """What `--json` shows."""
        seconds = median(self.bare)
        return {
            "guest": str(self.guest.path),
            "isa": self.guest.isa.name,
            "engine": self.guest.engine,
            "repeat": len(self.bare),
            "instructions": self.instructions,
            "bare": {
                "seconds": round(seconds, 6),
                "mips": round(self.instructions / seconds / 1e6, 3),
            },
            "monitors": [row.facts() for row in self.rows],
        }


def warm_up(guest: Guest, limit: int = LIMIT) -> Bench:
    """Run everything once, untimed: imports, caches, and how far each monitor gets in time."""
    bare = guest.bare(allocation_for(guest.isa).words).machine
    bare.run(limit)
    names = [name for name in MONITORS if has(guest, name)]
    return Bench(guest, bare.state.count, [], [_probe(guest, name, limit) for name in names])


def rounds(bench: Bench, repeat: int) -> Iterator[None]:
    """Time one round after the other; the results are in `bench`."""
    for _ in range(repeat):
        bare = bench.guest.bare(allocation_for(bench.guest.isa).words).machine
        seconds = _seconds(bare, bench.instructions)
        bench.bare.append(seconds)
        for row in bench.rows:
            ratio = _seconds(_virtual(bench.guest, row.name), row.instructions) / seconds
            scale = 1 if row.complete else bench.instructions / row.instructions
            row.ratios.append(ratio * scale)
        yield


def _probe(guest: Guest, name: str, limit: int) -> Row:
    """How much of the guest this monitor runs in about the time that is allowed."""
    machine = _virtual(guest, name)
    target, began = FIRST_STEP, time.process_time()
    while True:
        target = min(target, limit)
        stop = machine.run(target)
        complete = stop.reason != "until" or target == limit
        if complete or time.process_time() - began > ENOUGH / 2:
            break
        target *= 2
    efficiency = machine.monitor.efficiency  # type: ignore[attr-defined]  # a VirtualMachine
    return Row(name, machine.state.count, complete, efficiency.direct_fraction)


def _virtual(guest: Guest, name: str) -> ToyMachine:
    return subject(guest, name).virtual([MONITORS[name]], [allocation_for(guest.isa)]).top


def _seconds(machine: ToyMachine, count: int) -> float:
    """Processor time, as other processes of the host are nobody's slowdown."""
    began = time.process_time()
    machine.run(count)
    return time.process_time() - began
