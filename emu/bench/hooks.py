"""Hooks: how often a Python function is called in a second, for blocks, instructions, accesses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median

from emu.bench.child import run_child
from emu.bench.errors import BenchError
from emu.bench.exits import with_handlers
from emu.bench.images import HOOK_LOOP
from emu.bench.kernels import Progress
from emu.bench.tools import SLOW_ROUNDS, Tool

ROUNDS, SLOW_ROUNDS_OF_LOOP, QUICK = 400_000, 10_000, 1_000
REPEAT = 5
KINDS = {"block": 1, "instruction": 4, "memory": 2}
"""What is hooked, and how often that is in a round of the loop."""


def measure_hooks(
    tools: Sequence[Tool], quick: bool, progress: Progress
) -> dict[str, dict[str, float]]:
    """Calls in a second by tool and kind, medians of turns in which each tool comes once."""
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(REPEAT):
        for kind in KINDS:
            for tool in with_handlers(tools):
                progress(f"hooks of {tool.name}: {kind}")
                rate = _rate(tool, kind, _rounds(tool, quick))
                rates.setdefault((tool.name, kind), []).append(rate)
    return {
        tool.name: {kind: median(rates[tool.name, kind]) for kind in KINDS}
        for tool in with_handlers(tools)
    }


def _rounds(tool: Tool, quick: bool) -> int:
    if quick:
        return QUICK
    return SLOW_ROUNDS_OF_LOOP if tool.name in SLOW_ROUNDS else ROUNDS


def runs(tools: Sequence[Tool]) -> int:
    """How many steps `measure_hooks` tells."""
    return REPEAT * len(KINDS) * len(with_handlers(tools))


def _rate(tool: Tool, kind: str, rounds: int) -> float:
    """Calls in a second; raises BenchError if they are not as many as there must be."""
    command = [*tool.hook_driver, "--hooks", kind, HOOK_LOOP.hex(), str(rounds)]
    run = run_child(command)
    if run.code != 0:
        raise BenchError(f"hooks ({kind}) on {tool.name} ended with {run.code}: {run.last_words}")
    calls = json.loads(run.last_words)["calls"]
    if calls != KINDS[kind] * rounds:
        raise BenchError(f"{tool.name} called {calls} hooks ({kind}) in {rounds} rounds")
    return float(calls / tool.seconds(run))
