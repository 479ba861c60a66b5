"""`emu bench`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from emu.bench import PARTS, cold, exits, hooks, kernels
from emu.bench.child import fresh_cache, pinned
from emu.bench.cold import measure_cold, write
from emu.bench.errors import BenchError
from emu.bench.exits import measure_exits
from emu.bench.guests import BenchGuest, find_guests
from emu.bench.hooks import measure_hooks
from emu.bench.images import empty_program
from emu.bench.kernels import Progress
from emu.bench.memory import largest, measure_memory
from emu.bench.startup import measure_startup
from emu.bench.table import tables
from emu.bench.tools import Tool, find_tools
from emu.command import fail
from emu.report import EXIT_DIFFERENT
from isa.hints import Any

REPEAT, QUICK_REPEAT = 5, 1


def run_bench(
    names: Sequence[str], engines: Sequence[str], without: Sequence[str], parts: Sequence[str],
    repeat: int | None, quick: bool, as_json: bool,
) -> int:  # fmt: skip
    """Measure what was asked for and print it; returns the exit code."""
    guests = find_guests(names)
    chosen = [part for part in PARTS if part in parts or not parts]
    times = repeat or (QUICK_REPEAT if quick else REPEAT)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="popek-bench-") as directory,
            fresh_cache(Path(directory) / "cache"),
            pinned() as core,
        ):
            bench = Bench(Path(directory), guests, engines, without, times, quick)
            facts = {"core": core, **bench.measure(chosen)}
    except BenchError as error:
        fail("emu", str(error), EXIT_DIFFERENT)
    print(json.dumps(facts) if as_json else tables(facts))
    return 0


class Bench:
    """One run of the command: guests, and the tools that are here."""

    def __init__(
        self, directory: Path, guests: list[BenchGuest], engines: Sequence[str],
        without: Sequence[str], repeat: int, quick: bool,
    ) -> None:  # fmt: skip
        self._directory, self._guests = directory, guests
        self._repeat, self._quick = repeat, quick
        self._empty = directory / "nothing"
        write(self._empty, empty_program())
        tools = [t for t in find_tools(engines, self._empty) if t.name not in without]
        self._missing = {tool.name: tool.missing() for tool in tools if tool.missing()}
        self._tools: list[Tool] = [tool for tool in tools if not tool.missing()]

    def measure(self, parts: Sequence[str]) -> dict[str, Any]:
        """The object that `--json` prints."""
        facts: dict[str, Any] = {
            "repeat": self._repeat,
            "quick": self._quick,
            "tools": [tool.name for tool in self._tools],
            "missing": self._missing,
        }
        for part in parts:
            found = self._measured(part)
            facts |= found if part == "kernels" else {part: found}
        return facts

    def _measured(self, part: str) -> Any:
        steps = {
            "kernels": kernels.runs(len(self._guests), len(self._tools), self._repeat),
            "startup": len(self._tools) * (self._repeat + 1),
            "cold": cold.runs(len(self._tools)),
            "exits": exits.runs(self._tools),
            "hooks": hooks.runs(self._tools),
            "memory": len(self._tools),
        }
        return with_progress(part, steps[part], getattr(self, f"_{part}"))

    def _kernels(self, progress: Progress) -> Any:
        found = kernels.measure(self._guests, self._tools, self._repeat, self._quick, progress)
        return kernels.facts(found)

    def _startup(self, progress: Progress) -> Any:
        return measure_startup(self._empty, self._tools, self._repeat, progress)

    def _cold(self, progress: Progress) -> Any:
        return measure_cold(self._directory, self._tools, self._quick, progress)

    def _exits(self, progress: Progress) -> Any:
        return measure_exits(self._directory, self._tools, self._quick, progress)

    def _hooks(self, progress: Progress) -> Any:
        return measure_hooks(self._tools, self._quick, progress)

    def _memory(self, progress: Progress) -> Any:
        return measure_memory(largest(self._guests), self._tools, self._quick, progress)


def with_progress(part: str, steps: int, measure: Callable[[Progress], Any]) -> Any:
    """Measure, with a bar on standard error that says what runs."""
    with click.progressbar(
        length=steps, label=f"{part:8}", file=sys.stderr, item_show_func=lambda item: item or ""
    ) as bar:
        return measure(lambda what: bar.update(1, what))
