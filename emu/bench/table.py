"""What was measured, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emu.bench.hooks import KINDS
from emu.bench.tools import LEARNING, NATIVE

Facts = Mapping[str, Any]
UNKNOWN = "–"
MEAN = "geometric mean"
FIGURE = 8  # characters: a thousand seconds, or milliseconds, with all digits that are told


class KernelTable:
    """A row for each guest: ratios to native, or seconds if there is no native process.

    Columns are as wide as any figure before one is there: each row can be printed when it is known.
    """

    def __init__(self, guests: Sequence[str], tools: Sequence[str], repeat: int) -> None:
        self._tools, self._repeat = tools, repeat
        self._ratios = NATIVE in tools
        self._learning = [tool for tool in tools if self._ratios and tool in LEARNING]
        firsts = (f"{tool} first" for tool in self._learning)
        self._titles = ["guest", "million instr.", *map(_heading, tools), *firsts]
        names = max(map(len, [*guests, MEAN]))
        self._widths = [names, *(max(len(title), FIGURE) for title in self._titles[1:])]

    def head(self) -> str:
        """What the table is of, and the titles of its columns."""
        what = "native: milliseconds; others: times native" if self._ratios else "seconds"
        titles = _line(self._titles, self._widths)
        return f"Kernels, medians of {self._repeat} ({what})\n{titles}"

    def row(self, guest: Facts) -> str:
        """One of the `guests` that `--json` tells."""
        firsts = (_ratio(guest["first"][tool]) for tool in self._learning)
        count = _millions(guest["instructions"])
        return _line([guest["name"], count, *_times(guest, self._tools), *firsts], self._widths)

    def means(self, facts: Facts) -> str:
        """The last row; without a ratio there is none."""
        if not facts["geomean"]:
            return ""
        means = [_ratio(facts["geomean"].get(t)) for t in self._tools if t != NATIVE]
        firsts = (_ratio(facts["geomean_first"].get(tool)) for tool in self._learning)
        return _line([MEAN, "", "", *means, *firsts], self._widths)


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


def rest(facts: Facts) -> str:
    """What stands below the guests: costs of tools, and which are missing; perhaps nothing."""
    parts = ["\n".join(part) for part in (_costs(facts), _missing(facts)) if part]
    text = "\n\n".join(parts)
    return f"\n{text}" if text and "guests" in facts else text


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
    """Columns as wide as what is in them."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [_line(row, widths) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """One row, its first cell to the left and the others to the right."""
    first, *others = zip(row, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return "  ".join(cells).rstrip()
