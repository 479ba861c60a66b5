"""Start-up: from the start of the process to its end, for a program that only exits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from emu.bench.child import Run, run_child
from emu.bench.errors import BenchError
from emu.bench.kernels import Progress
from emu.bench.tools import Tool


def measure_startup(
    program: Path, tools: Sequence[Tool], repeat: int, progress: Progress
) -> dict[str, float]:
    """Median seconds by tool, in turns, after a run that warms caches."""
    seconds: dict[str, list[float]] = {tool.name: [] for tool in tools}
    for turn in range(repeat + 1):
        for tool in tools:
            progress(f"start-up of {tool.name}")
            run = run_program(tool, program)
            if turn:
                seconds[tool.name].append(run.seconds)
    return {name: median(values) for name, values in seconds.items()}


def run_program(tool: Tool, program: Path, code: int = 0) -> Run:
    """Run a generated program; raises BenchError if it does not exit with `code`."""
    run = run_child(tool.command(program, []))
    if run.code != code:
        raise BenchError(
            f"{program.name} on {tool.name} ended with {run.code} instead of {code}: "
            f"{run.last_words}"
        )
    return run
