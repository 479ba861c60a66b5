"""Several quantities over the same one: panels with curves, as SVG that stands alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape as quoted
from math import log10
from typing import Final

LEFT, TOP, WIDTH, HEIGHT, APART = 100, 90, 520, 180, 60
_TICKS: Final = 4
_STYLE: Final = """
svg { background: #fff; font: 14px system-ui, sans-serif; --ink: #1d2330; --line: #d5d9e2;
  --one: #2f6fb3; --two: #c2571a; --three: #3d8a45; } text { fill: var(--ink); }
.title { font-weight: 600; } .grid { stroke: var(--line); }
.data { fill: none; stroke-width: 2; }
.c0 { stroke: var(--one); } .c1 { stroke: var(--two); stroke-dasharray: 6 3; }
.c2 { stroke: var(--three); } .p0 { fill: var(--one); } .p1 { fill: var(--two); }
.p2 { fill: var(--three); }
@media (prefers-color-scheme: dark) { svg { background: #14171f; --ink: #e4e7ee; --line: #353b49;
  --one: #7db2ee; --two: #eea06a; --three: #83c98b; } }
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points, sorted by the first coordinate, which is positive."""

    name: str
    points: Sequence[tuple[float, float]]


def curves(title: str, across: str, panels: Mapping[str, Sequence[Curve]]) -> str:
    """One panel below the other; the axis that they share is logarithmic."""
    height = TOP + len(panels) * (HEIGHT + APART) + 20
    places = [x for shown in panels.values() for curve in shown for x, _ in curve.points if x > 0]
    scale = _Scale(min(places, default=1.0), max(places, default=10.0))
    body = [
        line
        for number, (name, shown) in enumerate(panels.items())
        for line in _panel(TOP + number * (HEIGHT + APART), name, shown, scale)
    ]
    legend = _legend(next(iter(panels.values()), ()))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 40} {height}" '
        'role="img">',
        f"<title>{quoted(title)}</title><style>{_STYLE}</style>",
        _text(LEFT, 28, title, "start", "title"), *legend, *body,
        _text(LEFT + WIDTH // 2, height - 10, across, "middle"), "</svg>", "",
    ])  # fmt: skip


class _Scale:
    """From a positive number to a place across."""

    def __init__(self, least: float, most: float) -> None:
        self._least = log10(least)
        self._range = max(log10(most) - self._least, 1e-9)

    def __call__(self, x: float) -> float:
        share = (log10(x) - self._least) / self._range if x > 0 else 0.0
        return LEFT + WIDTH * share

    def ticks(self) -> list[float]:
        """Numbers to write below."""
        return [10 ** (self._least + self._range * n / _TICKS) for n in range(_TICKS + 1)]


def _panel(top: int, name: str, shown: Sequence[Curve], scale: _Scale) -> Iterator[str]:
    most = max((y for curve in shown for _, y in curve.points), default=1) or 1
    yield _text(LEFT, top - 10, name, "start", "title")
    for n in range(_TICKS + 1):
        line = top + HEIGHT - n * HEIGHT // _TICKS
        yield f'<line class="grid" x1="{LEFT}" y1="{line}" x2="{LEFT + WIDTH}" y2="{line}"/>'
        yield _text(LEFT - 10, line + 5, f"{most * n / _TICKS:,.4g}", "end")
    for x in scale.ticks():
        yield _text(scale(x), top + HEIGHT + 20, f"{x:.2g}", "middle")
    for number, curve in enumerate(shown):
        places = [(scale(x), top + HEIGHT * (1 - y / most)) for x, y in curve.points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="data c{number % 3}" points="{joined}"/>'
        for x, y in places:
            yield f'<circle class="p{number % 3}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


def _legend(shown: Sequence[Curve]) -> Iterator[str]:
    for number, curve in enumerate(shown):
        x = LEFT + 160 * number
        yield f'<line class="data c{number % 3}" x1="{x}" y1="50" x2="{x + 30}" y2="50"/>'
        yield _text(x + 38, 55, curve.name, "start")


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{shown}>{quoted(text)}</text>'
