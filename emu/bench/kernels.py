"""The guests on every tool, in turns; medians and ratios to the native process."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from emu.bench.child import run_child
from emu.bench.errors import BenchError
from emu.bench.guests import BenchGuest
from emu.bench.tools import NATIVE, Tool, rounds_of

WARMING = 6  # runs that are not counted: what compiles has then compiled what is worth it
Progress = Callable[[str], None]
"""Called before each run with what runs."""


@dataclass(slots=True)
class Measurement:
    """One tool's runs of one guest: `seconds` each of `rounds` rounds, `first` not counted."""

    rounds: int
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    instructions: int | None = None

    def scaled(self, rounds: int) -> float:
        """The median, in seconds for so many rounds."""
        return median(self.seconds) / self.rounds * rounds

    def facts(self) -> dict[str, Any]:
        """For `--json`: what was measured, before any scaling."""
        return {
            "rounds": self.rounds,
            "first": self.first,
            "seconds": self.seconds,
            "instructions": self.instructions,
        }


@dataclass(slots=True)
class GuestResult:
    """What was measured of one guest, by tool."""

    guest: BenchGuest
    measured: dict[str, Measurement]

    @property
    def rounds(self) -> int:
        """What `seconds` and `instructions` are told for: the most that any tool ran."""
        return max((m.rounds for m in self.measured.values()), default=0)

    @property
    def seconds(self) -> dict[str, float]:
        """Medians by tool, for the same number of rounds."""
        return {name: m.scaled(self.rounds) for name, m in self.measured.items()}

    @property
    def ratio(self) -> dict[str, float]:
        """Seconds by tool, divided by the native process's; empty without one."""
        seconds = self.seconds
        if NATIVE not in seconds:
            return {}
        return {n: s / seconds[NATIVE] for n, s in seconds.items() if n != NATIVE}

    @property
    def first(self) -> dict[str, float]:
        """The same ratio of each tool's very first run, before it could keep anything."""
        medians = self.seconds
        if NATIVE not in medians:
            return {}
        return {
            name: m.first / m.rounds * self.rounds / medians[NATIVE]
            for name, m in self.measured.items()
            if name != NATIVE
        }

    @property
    def instructions(self) -> int | None:
        """Retired instructions, counted by the tool of ours that ran the most rounds."""
        counted = [m for m in self.measured.values() if m.instructions is not None]
        if not counted:
            return None
        best = max(counted, key=lambda m: m.rounds)
        return round((best.instructions or 0) / best.rounds * self.rounds)

    def facts(self) -> dict[str, Any]:
        """One entry of `guests` in `--json`."""
        return {
            "name": self.guest.name,
            "rounds": self.rounds,
            "instructions": self.instructions,
            "seconds": self.seconds,
            "ratio": self.ratio,
            "first": self.first,
            "measured": {name: m.facts() for name, m in self.measured.items()},
        }


def measure(
    guests: Sequence[BenchGuest],
    tools: Sequence[Tool],
    repeat: int,
    quick: bool,
    progress: Progress,
) -> list[GuestResult]:
    """Run everything until caches are warm, then `repeat` times in turns.

    Raises BenchError on a wrong output.
    """
    results = [
        GuestResult(g, {t.name: Measurement(rounds_of(t, g.rounds, quick)) for t in tools})
        for g in guests
    ]
    for turn in range(repeat + WARMING):
        for result in results:
            for tool in tools:
                progress(f"{result.guest.name} on {tool.name}")
                _run(result.guest, tool, result.measured[tool.name], warming=turn < WARMING)
    return results


def runs(guests: int, tools: int, repeat: int) -> int:
    """How many runs `measure` makes."""
    return guests * tools * (repeat + WARMING)


def _run(guest: BenchGuest, tool: Tool, into: Measurement, warming: bool) -> None:
    run = run_child(tool.command(guest.program, [str(into.rounds)]))
    if run.code != 0:
        raise BenchError(f"{guest.name} on {tool.name} ended with {run.code}: {run.last_words}")
    if run.output != guest.output(into.rounds):
        raise BenchError(f"{guest.name} on {tool.name}: {_difference(guest, run.output)}")
    if warming:
        into.first = into.first or tool.seconds(run)
        into.instructions = tool.instructions(run)
    else:
        into.seconds.append(tool.seconds(run))


def _difference(guest: BenchGuest, output: bytes) -> str:
    """Where an output is not what it should be."""
    lines = output.splitlines(keepends=True)
    for number, (found, expected) in enumerate(zip(lines, guest.answers, strict=False)):
        if found != expected:
            return (
                f"round {number} answers {found.decode('ascii', 'replace').strip()!r} "
                f"instead of {expected.decode().strip()!r}"
            )
    return f"{len(lines)} answers, which is not as many as rounds were asked for"


def geometric_means(results: Sequence[GuestResult]) -> dict[str, float]:
    """The geometric mean over all guests of each tool's ratio to native."""
    return _means([result.ratio for result in results])


def _means(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    ratios: dict[str, list[float]] = {}
    for result in results:
        for name, ratio in result.items():
            ratios.setdefault(name, []).append(ratio)
    return {name: _geometric_mean(values) for name, values in ratios.items()}


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def facts(results: Sequence[GuestResult]) -> Mapping[str, Any]:
    """What `--json` tells of the guests."""
    return {
        "guests": [r.facts() for r in results],
        "geomean": geometric_means(results),
        "geomean_first": _means([r.first for r in results]),
    }
