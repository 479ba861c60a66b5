"""Exits: how many stops for a Python handler there are in a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from emu.bench.child import run_child
from emu.bench.cold import write
from emu.bench.errors import BenchError
from emu.bench.exit_driver import STOPPED
from emu.bench.images import CALL_LOOP, PORT_LOOP, call_loop
from emu.bench.kernels import Progress
from emu.bench.startup import run_program
from emu.bench.tools import OURS, SLOW_ROUNDS, Tool

COUNT, SLOW_COUNT, QUICK = 1_000_000, 50_000, 5_000
REPEAT = 3
LOOPS = {"call": CALL_LOOP, "port": PORT_LOOP, STOPPED: CALL_LOOP}
"""Bare exits: the handler of a system call sets EAX, that of a port does nothing; and, of our
engines only, system calls for which `run` returns."""

SERVED = "served"
"""A system call that a whole `emu run` serves as Linux would; for Unicorn its driver's handler."""


def measure_exits(
    directory: Path, tools: Sequence[Tool], quick: bool, progress: Progress
) -> dict[str, dict[str, float]]:
    """Exits in a second by tool and kind; tools without a Python handler have none."""
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(REPEAT):
        for tool in with_handlers(tools):
            for kind in _kinds(tool):
                progress(f"exits of {tool.name}: {kind}")
                seconds = _seconds(tool, kind, _count(tool, quick), directory)
                times.setdefault((tool.name, kind), []).append(seconds)
    return {
        tool.name: {k: _count(tool, quick) / median(times[tool.name, k]) for k in _kinds(tool)}
        for tool in with_handlers(tools)
    }


def _kinds(tool: Tool) -> list[str]:
    ours = tool.name.startswith(OURS)
    return [k for k in (*LOOPS, SERVED) if ours or k != STOPPED]


def _count(tool: Tool, quick: bool) -> int:
    """How many exits a tool makes."""
    if quick:
        return QUICK
    return SLOW_COUNT if tool.name in SLOW_ROUNDS else COUNT


def with_handlers(tools: Sequence[Tool]) -> list[Tool]:
    """The tools that stop for Python: our engines and Unicorn."""
    return [tool for tool in tools if tool.driver]


def runs(tools: Sequence[Tool]) -> int:
    """How many steps `measure_exits` tells."""
    return REPEAT * sum(len(_kinds(tool)) for tool in with_handlers(tools))


def _seconds(tool: Tool, kind: str, count: int, directory: Path) -> float:
    if kind == SERVED:
        program = directory / f"calls-{count}"
        write(program, call_loop(count))
        return tool.seconds(run_program(tool, program, code=1))
    arguments = ["--exits", kind, LOOPS[kind].hex(), str(count)]
    run = run_child([*tool.driver, *arguments])
    if run.code != 0:
        raise BenchError(f"exits ({kind}) on {tool.name} ended with {run.code}: {run.last_words}")
    return tool.seconds(run)
