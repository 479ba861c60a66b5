"""`vmm compare --arrangement hosted` and `both`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from vmm.compare import Comparison
from vmm.pc import MONITORS
from vmm.pc import compare as measured
from vmm.pc.guest import CONFIGURATION, Guest
from vmm.pc.hosted.arrangement import BOTH, HOSTED, INSPECTS, NATIVE

WIDTH: Final = 18
CAUSE: Final = 32


def compare_guest(
    path: Path, guest: Guest, isa: str | None, arrangement: str, limit: int | None, every: int
) -> tuple[dict[str, Any], list[str]]:
    """Facts for `--json`, and lines for the terminal."""
    chosen = (NATIVE, HOSTED) if arrangement == BOTH else (arrangement,)
    rows = [
        (name, compare_one(guest, name, monitor, limit, every))
        for monitor in INSPECTS for name in chosen
    ]  # fmt: skip
    facts = {
        "guest": str(path),
        "isa": isa or CONFIGURATION,
        "monitors": [{"arrangement": name} | row.facts() for name, row in rows],
    }
    return facts, [*table(rows), *host_lines(rows)]


def compare_one(
    guest: Guest, arrangement: str, monitor: str, limit: int | None, every: int
) -> Comparison:
    """One monitor in one arrangement against the bare machine."""
    arranged = replace(guest, arrangement=arrangement)
    return measured.compare_one(arranged, MONITORS[monitor], limit or measured.LIMIT, every)


Row = tuple[str, Comparison]
"""An arrangement, and what was measured in it."""


def table(rows: Iterable[Row]) -> list[str]:
    """What every monitor does, an arrangement a line; what diverges is told below."""
    lines = [
        f"{'monitor':<{WIDTH}}{'arrangement':<13}{'equivalent':<12}{'control':<9}{'direct':>8}"
        f"{'exits':>8}{'calls':>8}{'signals':>9}"
    ]
    told = []
    for arrangement, row in rows:
        calls, signals = ("-", "-") if row.host is None else map(str, _sums(row.host))
        lines.append(
            f"{row.name:<{WIDTH}}{arrangement:<13}{'yes' if row.divergence is None else 'NO':<12}"
            f"{'yes' if row.resource_control else 'NO':<9}{row.direct_fraction:>8.2%}"
            f"{sum(row.exits.values()):>8}{calls:>8}{signals:>9}"
        )
        if row.divergence is not None:
            told.append(f"{row.name}, {arrangement}: {row.divergence}")
    return lines + told


def _sums(host: dict[str, dict[str, int]]) -> Iterator[int]:
    for counted in host.values():
        yield sum(counted.values())


def host_lines(rows: Iterable[Row]) -> Iterator[str]:
    """The system calls and signals of the host, by their causes, a monitor a column."""
    columns = {row.name: row.host for _, row in rows if row.host is not None}
    for kind in ("system_calls", "signals") if columns else ():
        yield f"{kind.replace('_', ' '):<{CAUSE}}" + "".join(f"{name:>{WIDTH}}" for name in columns)
        for what in sorted({what for host in columns.values() for what in host[kind]}):
            counts = "".join(f"{host[kind].get(what, 0):>{WIDTH}}" for host in columns.values())
            yield f"  {what:<{CAUSE - 2}}{counts}"
