"""Guest after guest on every tool, in turns; medians and ratios to the native process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from emu.bench.child import run_child
from emu.bench.errors import BenchError
from emu.bench.guests import BenchGuest
from emu.bench.tools import LEARNING, NATIVE, Tool, rounds_of

WARMING = 1  # runs that are not counted: the host has then read what it has to
LEARNING_RUNS = 6  # the same of tools that learn: all that is worth it is then compiled
Progress = Callable[[str], None]
"""Called with what is about to run, or with what was found."""


@dataclass(slots=True)
class Measurement:
    """One tool's runs of one guest: `seconds` each of `rounds` rounds; `warming` others before them
    are not counted, of which `first` was the first."""

    rounds: int
    warming: int = 0
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    instructions: int | None = None

    def __str__(self) -> str:
        count = len(self.seconds)
        return f"{median(self.seconds):.3f} s for {self.rounds} rounds, median of {count}"

    def scaled(self, rounds: int) -> float:
        """The median, in seconds for so many rounds."""
        return median(self.seconds) / self.rounds * rounds

    def facts(self) -> dict[str, Any]:
        """For `--json`: what was measured, before any scaling."""
        return {
            "rounds": self.rounds,
            "warming": self.warming,
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
    measured: Progress,
) -> Iterator[GuestResult]:
    """Each guest's result as soon as it is there; raises BenchError on a wrong output.

    A guest is run until caches are warm, then `repeat` times in turns of all tools; `measured` is
    called for each tool when the result has been taken.
    """
    for guest in guests:
        rounds = {tool.name: rounds_of(tool, guest.rounds, quick) for tool in tools}
        result = GuestResult(guest, {name: Measurement(count) for name, count in rounds.items()})
        for tool, warming in turns(tools, repeat):
            progress(f"{guest.name} on {tool.name}")
            _run(guest, tool, result.measured[tool.name], warming)
        yield result
        for tool in tools:  # whoever is told interrupts nothing but the next guest
            measured(f"{guest.name} on {tool.name}: {result.measured[tool.name]}")


def turns(tools: Sequence[Tool], repeat: int) -> Iterator[tuple[Tool, bool]]:
    """What runs one after the other, and whether that is only to warm caches.

    Whoever keeps nothing from run to run is warm after one, which in qemu-i386 can take 12 s.
    """
    for turn in range(max(WARMING, LEARNING_RUNS)):
        yield from ((tool, True) for tool in tools if turn < _warming(tool))
    for _ in range(repeat):
        yield from ((tool, False) for tool in tools)


def _warming(tool: Tool) -> int:
    return LEARNING_RUNS if tool.name in LEARNING else WARMING


def runs(guests: int, tools: Sequence[Tool], repeat: int) -> int:
    """How many runs `measure` makes."""
    return guests * sum(1 for _ in turns(tools, repeat))


def _run(guest: BenchGuest, tool: Tool, into: Measurement, warming: bool) -> None:
    run = run_child(tool.command(guest.program, [str(into.rounds)]))
    if run.code != 0:
        raise BenchError(f"{guest.name} on {tool.name} ended with {run.code}: {run.last_words}")
    if run.output != guest.output(into.rounds):
        raise BenchError(f"{guest.name} on {tool.name}: {_difference(guest, run.output)}")
    if warming:
        into.warming += 1
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
