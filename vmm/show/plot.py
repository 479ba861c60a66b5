"""A quantity that multiplies, against a small number: bars in the terminal, or SVG.

The scale is logarithmic, so that multiplication by the same factor is a straight line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape as quoted
from math import ceil, log10
from typing import Final

Counts = Sequence[tuple[int, int]]

LONGEST: Final = 50  # characters of a bar
LEFT, TOP, WIDTH, HEIGHT = 90, 60, 520, 300
_STYLE: Final = """
svg { background: #fff; font: 14px system-ui, sans-serif; --ink: #1d2330; --line: #d5d9e2;
  --data: #2f6fb3; } text { fill: var(--ink); } .title { font-weight: 600; }
.grid { stroke: var(--line); } .data { stroke: var(--data); fill: none; stroke-width: 2; }
circle { fill: var(--data); }
@media (prefers-color-scheme: dark) { svg { background: #14171f; --ink: #e4e7ee; --line: #353b49;
  --data: #7db2ee; } }
"""


def bars(across: str, up: str, counts: Counts) -> list[str]:
    """One line for each count, with the factor from the one before."""
    top = _scale(max(count for _, count in counts))
    lines = [f"{across:>6}{up:>12}{'factor':>9}  (bars are logarithmic)"]
    for number, (x, count) in enumerate(counts):
        before = counts[number - 1][1] if number else 0
        factor = f"{count / before:.1f}x" if before else ""
        bar = "█" * round(LONGEST * _scale(count) / top) if top else ""
        lines.append(f"{x:>6}{count:>12}{factor:>9}  {bar}".rstrip())
    return lines


def plot(title: str, across: str, up: str, counts: Counts) -> str:
    """The same as a picture; it stands alone."""
    decades = max(ceil(_scale(max(count for _, count in counts))), 1)
    width, height = LEFT + WIDTH + 60, TOP + HEIGHT + 60
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{quoted(title)}: {quoted(up)}</title><style>{_STYLE}</style>",
        _text(LEFT, TOP - 30, title, "start", "title"),
        _text(LEFT, TOP - 12, f"{up}, logarithmic", "start"),
        *_grid(decades),
        *_line(counts, decades),
        _text(LEFT + WIDTH // 2, TOP + HEIGHT + 45, across, "middle"),
        "</svg>", "",
    ])  # fmt: skip


def _scale(count: int) -> float:
    return log10(max(count, 1))


def _grid(decades: int) -> Iterator[str]:
    """A line for each power of ten."""
    for power in range(decades + 1):
        y = TOP + HEIGHT - power * HEIGHT // decades
        yield f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{LEFT + WIDTH}" y2="{y}"/>'
        yield _text(LEFT - 10, y + 5, f"{10**power:,}", "end")


def _line(counts: Counts, decades: int) -> Iterator[str]:
    """The points, what they are worth, and what joins them."""
    apart = WIDTH / max(len(counts), 1)
    places = [
        (round(LEFT + apart * (number + 0.5)), round(TOP + HEIGHT * (1 - _scale(count) / decades)))
        for number, (_, count) in enumerate(counts)
    ]
    yield f'<polyline class="data" points="{" ".join(f"{x},{y}" for x, y in places)}"/>'
    for (x, y), (number, count) in zip(places, counts, strict=True):
        yield f'<circle cx="{x}" cy="{y}" r="4"/>'
        yield _text(x, y - 10, f"{count:,}", "middle")
        yield _text(x, TOP + HEIGHT + 22, str(number), "middle")


def _text(x: int, y: int, text: str, anchor: str, kind: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{shown}>{quoted(text)}</text>'
