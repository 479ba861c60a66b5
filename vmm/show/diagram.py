"""The sets of a classification as SVG: sensitive inside privileged, or what sticks out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape as quoted

from vmm.theory import Classification, InstructionClass

LINE, CHARACTER, GAP, HEAD = 20, 8, 16, 30
WIDE = 940


@dataclass(frozen=True, slots=True)
class _Box:
    """Names laid out in lines of at most `columns` names."""

    rows: Sequence[InstructionClass]
    columns: int
    machine: str

    @property
    def width(self) -> int:
        return max(9 * CHARACTER * self.columns, 16 * CHARACTER) + GAP

    @property
    def height(self) -> int:
        return LINE * max(-(-len(self.rows) // self.columns), 1) + GAP

    def draw(self, x: int, y: int) -> Iterator[str]:
        for number, row in enumerate(self.rows):
            left = x + number % self.columns * 9 * CHARACTER + GAP // 2
            top = y + (number // self.columns + 1) * LINE
            name = quoted(row.name) + ("*" if row.user_sensitive else "")
            kind = ' class="bad"' if row.critical else ""
            text = f'<text x="{left}" y="{top}"{kind}>{name}</text>'
            yield f'<a href="#{quoted(self.machine)}-{row.name}">{text}</a>'


def diagram(found: Classification) -> str:
    """The drawing. A star marks what is user sensitive (Theorem 3)."""
    rows = list(found.instructions.values())
    only = _Box([i for i in rows if i.privileged and not i.sensitive], 2, found.name)
    both = _Box([i for i in rows if i.privileged and i.sensitive], 2, found.name)
    critical = _Box([i for i in rows if i.critical], 2, found.name)
    rest = _Box([i for i in rows if not i.privileged and not i.sensitive], 11, found.name)
    inner = max(both.height, critical.height, only.height)
    sets = list(_sets(only, both, critical, inner))
    top = inner + 2 * HEAD + 3 * GAP
    height = top + HEAD + rest.height
    note = "" if not critical.rows else ": what sticks out on the right is critical"
    return "\n".join([
        f'<h2>Sets</h2><svg viewBox="0 0 {WIDE} {height}" role="img" aria-label="'
        f'privileged and sensitive instructions{note}">',
        f'<rect x="1" y="1" width="{WIDE - 2}" height="{height - 2}" fill="#fafbfd" '
        'stroke="#d5d9e2" rx="10"/>',
        *sets,
        f'<text class="title" x="{GAP}" y="{top + GAP}">innocuous, not privileged</text>',
        *rest.draw(GAP, top + GAP),
        f'<text x="{WIDE - 190}" y="{height - 12}">* user sensitive</text>',
        "</svg>",
    ])  # fmt: skip


def _sets(only: _Box, both: _Box, critical: _Box, inner: int) -> Iterator[str]:
    """Two rectangles that overlap; if nothing is critical, one inside the other."""
    x, y = 2 * GAP, GAP
    middle = x + only.width + GAP
    sensitive_top = y + HEAD
    inside = not critical.rows
    right = middle + both.width + GAP
    privileged_height = inner + 2 * HEAD + GAP
    yield _rectangle(x, y, right - x + (GAP if inside else 0), privileged_height, "#2f6fb3")
    reach = both.width if inside else both.width + critical.width + 2 * GAP
    yield _rectangle(middle, sensitive_top, reach, inner + HEAD - GAP // 2,
                     "#1a7f4b" if inside else "#b3261e")  # fmt: skip
    yield f'<text class="title" x="{x + GAP}" y="{y + 20}">privileged</text>'
    at = middle if inside else right + GAP
    yield f'<text class="title" x="{at + GAP // 2}" y="{sensitive_top + 20}">sensitive</text>'
    names = sensitive_top + HEAD - GAP
    yield from only.draw(x + GAP // 2, names)
    yield from both.draw(middle, names + GAP // 2)
    yield from critical.draw(right + GAP, names + GAP // 2)


def _rectangle(x: int, y: int, width: int, height: int, colour: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="14" fill="{colour}" '
        f'fill-opacity=".08" stroke="{colour}" stroke-width="2"/>'
    )
