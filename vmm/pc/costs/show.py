"""The nano-benchmarks as a table, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape as quoted
from math import log10
from typing import Any, Final

TOLD: Final = ("native", "software", "hardware")
_LEFT, _ROW, _WIDTH, _TOP, _DECADES = 90, 34, 560, 70, 5
_COLOURS: Final = {"native": "#7a8194", "software": "#2f6fb3", "hardware": "#c2571a"}


def table(operations: Sequence[dict[str, Any]]) -> list[str]:
    """Cycles modelled and published, the events, and what was measured here."""
    lines = [
        f"{'':10}{'native':>9}{'software':>19}{'hardware':>19}{'nested':>9}   events of one",
        f"{'':10}{'':>9}{'model / published':>19}{'model / published':>19}{'model':>9}",
    ]
    for found in operations:
        cycles, published = found["modelled"], found["published"]
        row = f"{found['name']:10}{published['native']:>9}"
        for column in ("software", "hardware"):
            mark = "=" if column in found["calibrates"] else " "
            row += f"{cycles[column]:>10.0f} /{mark}{published[column]:>6}"
        lines.append(f"{row}{cycles['nested']:>9.0f}   {_events(found['events'])}")
    lines.append("cycles of a Pentium 4 672; =: an event's cost was taken from this figure")
    return [*lines, *_measured(operations)]


def _events(events: dict[str, dict[str, float]]) -> str:
    told = []
    for column in ("software", "hardware"):
        what = ", ".join(f"{n:g} {name}" for name, n in events[column].items())
        told.append(f"{column}: {what or 'none'}")
    return "; ".join(told)


def _measured(operations: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not operations[0]["measured_ns"]:
        return
    columns = list(operations[0]["measured_ns"])
    yield ""
    yield f"{'here, ns':10}" + "".join(f"{column:>12}" for column in columns)
    for found in operations:
        times = found["measured_ns"]
        yield f"{found['name']:10}" + "".join(f"{times[column]:>12.0f}" for column in columns)


def plot(operations: Sequence[dict[str, Any]]) -> str:
    """A row for each operation: rings are published, discs are modelled."""
    height = _TOP + _ROW * len(operations) + 50
    shown = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 40} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">',
        "<title>Cycles of the nano-benchmarks</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24">Cycles of one operation: rings published, discs modelled '
        "from counted events</text>",
        *_key(), *_grid(height),
    ]  # fmt: skip
    for number, found in enumerate(operations):
        shown += _row(found, _TOP + _ROW * number + _ROW // 2)
    return "\n".join([*shown, "</svg>", ""])


def _x(cycles: float) -> float:
    return _LEFT + _WIDTH * log10(max(cycles, 1)) / _DECADES


def _key() -> Iterator[str]:
    for number, (column, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + 110 * number
        yield f'<circle cx="{x + 6}" cy="44" r="5" fill="{colour}"/>'
        yield f'<text x="{x + 16}" y="48">{column}</text>'


def _grid(height: int) -> Iterator[str]:
    for decade in range(_DECADES + 1):
        x = _x(10**decade)
        yield f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{height - 40}" stroke="#d5d9e2"/>'
        yield f'<text x="{x}" y="{height - 22}" text-anchor="middle">{10**decade}</text>'


def _row(found: dict[str, Any], y: int) -> Iterator[str]:
    yield f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{quoted(found["name"])}</text>'
    for column, colour in _COLOURS.items():
        ring, disc = _x(found["published"][column]), _x(found["modelled"][column])
        yield (
            f'<circle cx="{ring:.1f}" cy="{y}" r="8" fill="none" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        yield f'<circle cx="{disc:.1f}" cy="{y}" r="4" fill="{colour}"/>'
