"""What was measured, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emu.bench.hooks import KINDS
from emu.bench.tools import NATIVE

Facts = Mapping[str, Any]
UNKNOWN = "–"
LEARNING = ("popek-native",)
"""Tools whose first run of a guest is told as well: later ones find compiled code on the disk."""


def tables(facts: Facts) -> str:
    """Every part that was measured, from the object that `--json` prints."""
    parts = [_kernels(facts), _costs(facts), _missing(facts)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _kernels(facts: Facts) -> list[str]:
    """A row for each guest: ratios to native, or seconds if there is no native process."""
    guests = facts.get("guests", [])
    if not guests:
        return []
    tools = list(guests[0]["seconds"])
    ratios = NATIVE in tools
    learning = [tool for tool in tools if ratios and tool in LEARNING]
    titles = [*map(_heading, tools), *(f"{tool} first" for tool in learning)]
    rows = [["guest", "million instr.", *titles]]
    for g in guests:
        firsts = (_ratio(g["first"][tool]) for tool in learning)
        rows.append([g["name"], _millions(g["instructions"]), *_times(g, tools), *firsts])
    if ratios:
        means = [_ratio(facts["geomean"].get(tool)) for tool in tools if tool != NATIVE]
        means += [_ratio(facts["geomean_first"].get(tool)) for tool in learning]
        rows.append(["geometric mean", "", "", *means])
    what = "native: milliseconds; others: times native" if ratios else "seconds"
    return [f"Kernels, medians of {facts['repeat']} ({what})", *_aligned(rows)]


def _heading(tool: str) -> str:
    return f"{tool} ms" if tool == NATIVE else tool


def _times(guest: Facts, tools: Sequence[str]) -> Iterator[str]:
    for tool in tools:
        if tool == NATIVE:
            yield f"{guest['seconds'][tool] * 1e3:.1f}"
        elif guest["ratio"]:
            yield _ratio(guest["ratio"][tool])
        else:
            yield f"{guest['seconds'][tool]:.3f}"


def _ratio(ratio: float | None) -> str:
    return UNKNOWN if ratio is None else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def _millions(instructions: int | None) -> str:
    return UNKNOWN if instructions is None else f"{instructions / 1e6:.0f}"


EXITS = {
    "call": "calls/s", "port": "ports/s", "stopped": "stops/s", "served": "served calls/s",
}  # fmt: skip


def _costs(facts: Facts) -> list[str]:
    """A row for each tool: everything but the guests' speed."""
    columns = [(title, values) for title, values in _columns(facts) if values]
    if not columns:
        return []
    rows = [["tool", *(title for title, _ in columns)]]
    for tool in facts["tools"]:
        rows.append([tool, *(values.get(tool, UNKNOWN) for _, values in columns)])
    return ["Costs", *_aligned(rows)]


def _columns(facts: Facts) -> Iterator[tuple[str, dict[str, str]]]:
    yield "start-up ms", {t: f"{s * 1e3:.1f}" for t, s in facts.get("startup", {}).items()}
    cold, exits = facts.get("cold", {}), facts.get("exits", {})
    for passes, title in (("1", "cold ns once"), ("2", "twice")):
        yield title, {t: f"{c['nanoseconds'][passes]:.0f}" for t, c in cold.items()}
    for kind, title in EXITS.items():
        yield title, {t: f"{r[kind]:,.0f}" for t, r in exits.items() if kind in r}
    hooks = facts.get("hooks", {})
    for kind in KINDS:
        yield f"{kind} hooks/s", {t: f"{r[kind]:,.0f}" for t, r in hooks.items()}
    peaks = facts.get("memory", {})
    yield "peak MiB", {t: f"{p / 2**20:.1f}" for t, p in peaks.items() if p is not None}


def _missing(facts: Facts) -> list[str]:
    return [f"{tool}: {why}" for tool, why in facts["missing"].items()]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
