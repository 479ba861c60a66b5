"""Memory: the largest resident set of each tool while a guest runs."""

from __future__ import annotations

from collections.abc import Sequence

from emu.bench.child import peak_memory
from emu.bench.guests import BenchGuest
from emu.bench.kernels import Progress
from emu.bench.tools import Tool, rounds_of


def measure_memory(
    guest: BenchGuest, tools: Sequence[Tool], quick: bool, progress: Progress
) -> dict[str, int | None]:
    """Bytes by tool; None where the host does not tell."""
    peaks: dict[str, int | None] = {}
    for tool in tools:
        progress(f"memory of {tool.name}")
        rounds = rounds_of(tool, guest.rounds, quick)
        peaks[tool.name] = peak_memory(tool.command(guest.program, [str(rounds)]))
    return peaks


def largest(guests: Sequence[BenchGuest]) -> BenchGuest:
    """The guest with the largest program."""
    return max(guests, key=lambda guest: guest.program.stat().st_size)
