"""Exits: how many stops for a Python handler there are in a second."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from emu.bench.child import run_child
from emu.bench.cold import write
from emu.bench.errors import BenchError
from emu.bench.images import CALL_LOOP, PORT_LOOP, call_loop
from emu.bench.kernels import Progress
from emu.bench.startup import run_program
from emu.bench.tools import OURS, SLOW_ROUNDS, UNICORN, Tool

COUNT = 200_000
QUICK = 5_000
REPEAT = 3
LOOPS = {"call": CALL_LOOP, "port": PORT_LOOP}
"""Bare exits: the handler of a system call sets EAX, that of a port does nothing."""

SERVED = "served"
"""A system call that a whole `emu run` serves as Linux would; for Unicorn its driver's handler."""


def measure_exits(
    directory: Path, tools: Sequence[Tool], quick: bool, progress: Progress
) -> dict[str, dict[str, float]]:
    """Exits in a second by tool and kind; tools without a Python handler have none."""
    rates: dict[str, dict[str, float]] = {}
    for tool in with_handlers(tools):
        rates[tool.name] = {}
        count = QUICK if quick else COUNT // 4 if tool.name in SLOW_ROUNDS else COUNT
        for kind in (*LOOPS, SERVED):
            progress(f"exits of {tool.name}: {kind}")
            seconds = [_seconds(tool, kind, count, directory) for _ in range(REPEAT)]
            rates[tool.name][kind] = count / median(seconds)
    return rates


def with_handlers(tools: Sequence[Tool]) -> list[Tool]:
    """The tools that stop for Python: our engines and Unicorn."""
    return [tool for tool in tools if tool.name == UNICORN or tool.name.startswith(OURS)]


def runs(tools: Sequence[Tool]) -> int:
    """How many steps `measure_exits` tells."""
    return len(with_handlers(tools)) * (len(LOOPS) + 1)


def _seconds(tool: Tool, kind: str, count: int, directory: Path) -> float:
    if kind == SERVED:
        program = directory / f"calls-{count}"
        write(program, call_loop(count))
        return tool.seconds(run_program(tool, program, code=1))
    arguments = ["--exits", kind, LOOPS[kind].hex(), str(count)]
    run = run_child([*_driver(tool), *arguments])
    if run.code != 0:
        raise BenchError(f"exits ({kind}) on {tool.name} ended with {run.code}: {run.last_words}")
    return float(json.loads(run.last_words)["seconds"])


def _driver(tool: Tool) -> list[str]:
    """The command whose `--exits` runs a loop without anything around it."""
    if tool.name == UNICORN:
        return tool.command(Path("--exits"), [])[:-1]
    return [sys.executable, "-m", "emu.bench.exit_driver", tool.name.removeprefix(OURS)]
