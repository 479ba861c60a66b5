"""Cold code: what each distinct instruction costs that is executed only once or twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from emu.bench.child import run_child
from emu.bench.errors import BenchError
from emu.bench.images import cold_program, empty_program
from emu.bench.kernels import Progress
from emu.bench.tools import SLOW_ROUNDS, Tool

COUNT, SLOW_COUNT = 1_000_000, 50_000
"""Distinct instructions for tools that run all of a guest's rounds, and for the slow ones."""

REPEAT = 3
PASSES = (1, 2)


def counts(tools: Sequence[Tool], quick: bool) -> dict[str, int]:
    """How many distinct instructions each tool executes; `quick` asks for a twentieth."""
    share = 20 if quick else 1
    return {
        tool.name: (SLOW_COUNT if tool.name in SLOW_ROUNDS else COUNT) // share for tool in tools
    }


def measure_cold(
    directory: Path, tools: Sequence[Tool], quick: bool, progress: Progress
) -> dict[str, dict[str, Any]]:
    """By tool: how many distinct instructions, and nanoseconds of each, by passes.

    Both runs are timed whole, the program's and that of one which only exits; the difference is
    what counts. Tools that ran the same program must end with the same exit code.
    """
    chosen = counts(tools, quick)
    empty = directory / "empty"
    write(empty, empty_program())
    answers: dict[Path, int] = {}
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(REPEAT):
        for passes in PASSES:
            for tool in tools:
                progress(f"cold code on {tool.name}")
                program = _program(directory, chosen[tool.name], passes)
                base = run_child(tool.command(empty, [])).seconds
                seconds = _checked(tool, program, answers) - base
                times.setdefault((tool.name, passes), []).append(seconds)
    return {
        name: {
            "instructions": count,
            "nanoseconds": {str(p): median(times[name, p]) / count * 1e9 for p in PASSES},
        }
        for name, count in chosen.items()
    }


def runs(tools: int) -> int:
    """How many steps `measure_cold` tells."""
    return REPEAT * len(PASSES) * tools


def write(path: Path, image: bytes) -> None:
    """Write a program that can be run."""
    path.write_bytes(image)
    path.chmod(0o755)


def _program(directory: Path, count: int, passes: int) -> Path:
    path = directory / f"cold-{count}-{passes}"
    if not path.exists():
        write(path, cold_program(count, passes))
    return path


def _checked(tool: Tool, program: Path, answers: dict[Path, int]) -> float:
    run = run_child(tool.command(program, []))
    if run.code < 0 or run.code > 127 or answers.setdefault(program, run.code) != run.code:
        expected = answers.get(program)
        raise BenchError(
            f"{program.name} on {tool.name} ended with {run.code}, elsewhere with {expected}: "
            f"{run.last_words}"
        )
    return run.seconds
