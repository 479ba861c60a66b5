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
from emu.bench.table import KernelTable, rest
from emu.bench.tools import Tool, find_tools
from emu.command import fail
from emu.report import EXIT_DIFFERENT, EXIT_INTERRUPTED
from isa.hints import Any

REPEAT, QUICK_REPEAT = 5, 1
ERASED = "\r\x1b[K"  # the terminal's line, from its beginning


def run_bench(
    names: Sequence[str], engines: Sequence[str], without: Sequence[str], parts: Sequence[str],
    repeat: int | None, quick: bool, as_json: bool,
) -> int:  # fmt: skip
    """Measure what was asked for and print it, all or what there is when the user interrupts;
    returns the exit code."""
    guests = find_guests(names)
    chosen = [part for part in PARTS if part in parts or not parts]
    times = repeat or (QUICK_REPEAT if quick else REPEAT)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="popek-bench-") as directory,
            fresh_cache(Path(directory) / "cache"),
            pinned() as core,
        ):
            bench = Bench(Path(directory), guests, engines, without, times, quick, not as_json)
            bench.facts["core"] = core
            code = bench.measure(chosen)
    except BenchError as error:
        fail("emu", str(error), EXIT_DIFFERENT)
    if text := json.dumps(bench.facts) if as_json else rest(bench.facts):
        print(text)
    return code


class Bench:
    """One run of the command: guests, and the tools that are here."""

    def __init__(
        self, directory: Path, guests: list[BenchGuest], engines: Sequence[str],
        without: Sequence[str], repeat: int, quick: bool, rows: bool,
    ) -> None:  # fmt: skip
        self._directory, self._guests = directory, guests
        self._repeat, self._quick, self._rows = repeat, quick, rows
        self._empty = directory / "nothing"
        write(self._empty, empty_program())
        tools = find_tools(engines, without, self._empty)
        self._tools: list[Tool] = [tool for tool in tools if not tool.missing()]
        self.facts: dict[str, Any] = {
            "complete": False,
            "repeat": repeat,
            "quick": quick,
            "tools": [tool.name for tool in self._tools],
            "missing": {tool.name: tool.missing() for tool in tools if tool.missing()},
        }
        """The object that `--json` prints, with what was measured until now."""

    def measure(self, parts: Sequence[str]) -> int:
        """Measure parts, until all is done or the user interrupts; returns the exit code."""
        for part in parts:
            try:
                self._measure(part)
            except KeyboardInterrupt:
                print(f"emu: interrupted in {part}; what is told is incomplete", file=sys.stderr)
                return EXIT_INTERRUPTED
        self.facts["complete"] = True
        return 0

    def _measure(self, part: str) -> None:
        steps = {
            "kernels": kernels.runs(len(self._guests), self._tools, self._repeat),
            "startup": len(self._tools) * (self._repeat + 1),
            "cold": cold.runs(len(self._tools)),
            "exits": exits.runs(self._tools),
            "hooks": hooks.runs(self._tools),
            "memory": len(self._tools),
        }
        with_progress(part, steps[part], getattr(self, f"_{part}"))

    def _kernels(self, progress: Progress) -> None:
        """A guest's row is printed as soon as it is measured; the means are of those that are."""
        table = KernelTable([g.name for g in self._guests], self.facts["tools"], self._repeat)
        results: list[kernels.GuestResult] = []
        self._print(table.head())
        try:
            for result in kernels.measure(
                self._guests, self._tools, self._repeat, self._quick, progress, tell_measured
            ):
                results.append(result)
                self._print(table.row(result.facts()))
        finally:
            self.facts |= kernels.facts(results)
            self._print(table.means(self.facts))

    def _print(self, line: str) -> None:
        """Show a line of the table in place of the bar, which comes again below."""
        if not self._rows or not line:
            return
        if sys.stderr.isatty():
            print(ERASED, end="", file=sys.stderr, flush=True)
        print(line, flush=True)

    def _startup(self, progress: Progress) -> None:
        self.facts["startup"] = measure_startup(self._empty, self._tools, self._repeat, progress)

    def _cold(self, progress: Progress) -> None:
        self.facts["cold"] = measure_cold(self._directory, self._tools, self._quick, progress)

    def _exits(self, progress: Progress) -> None:
        self.facts["exits"] = measure_exits(self._directory, self._tools, self._quick, progress)

    def _hooks(self, progress: Progress) -> None:
        self.facts["hooks"] = measure_hooks(self._tools, self._quick, progress)

    def _memory(self, progress: Progress) -> None:
        guest = largest(self._guests)
        self.facts["memory"] = measure_memory(guest, self._tools, self._quick, progress)


def with_progress(part: str, steps: int, measure: Callable[[Progress], None]) -> None:
    """Measure, with a bar on standard error that says what runs."""
    with click.progressbar(
        length=steps, label=f"{part:8}", file=sys.stderr, item_show_func=lambda item: item or ""
    ) as bar:
        measure(lambda what: bar.update(1, what))


def tell_measured(what: str) -> None:
    """A line for who has no terminal, and so no bar."""
    if not sys.stderr.isatty():
        print(what, file=sys.stderr)
