"""The sets of a classification as SVG: sensitive inside privileged, or what sticks out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape as quoted

from vmm.theory.theorems import Classified

LINE, CHARACTER, GAP, HEAD = 20, 8, 16, 48
WIDE = 960


@dataclass(frozen=True, slots=True)
class _Box:
    """Names laid out in `columns`, under a title and what it means."""

    title: str
    meaning: str
    rows: Sequence[Classified]
    columns: int
    machine: str

    @property
    def _column(self) -> int:
        return (max([len(row.name) for row in self.rows], default=0) + 3) * CHARACTER

    @property
    def width(self) -> int:
        heading = max(len(self.title), len(self.meaning)) * CHARACTER * 7 // 8
        return max(self._column * self.columns, heading) + 2 * GAP

    @property
    def height(self) -> int:
        return HEAD + LINE * max(-(-len(self.rows) // self.columns), 1) + GAP

    def draw(self, x: int, y: int) -> Iterator[str]:
        left = x + GAP
        yield f'<text class="title" x="{left}" y="{y + 20}">{self.title}</text>'
        yield f'<text class="meaning" x="{left}" y="{y + 38}">{self.meaning}</text>'
        for number, row in enumerate(self.rows):
            across, down = number % self.columns, number // self.columns + 1
            name = quoted(row.name) + ("*" if row.user_sensitive else "")
            kind = "name bad" if row.critical else "name"
            yield (
                f'<a href="#{quoted(self.machine)}-{row.name}"><text class="{kind}" '
                f'x="{left + across * self._column}" y="{y + HEAD + down * LINE - 4}">{name}'
                "</text></a>"
            )


def diagram(machine: str, rows: Sequence[Classified]) -> str:
    """The drawing. A star marks what is user sensitive (Theorem 3)."""
    critical = [row for row in rows if row.critical]
    spread = 1 if len(critical) < 5 else 3

    def box(title: str, meaning: str, rows: Sequence[Classified], columns: int) -> _Box:
        return _Box(title, meaning, rows, columns, machine)

    only = box("privileged", "traps in user mode",
               [i for i in rows if i.privileged and not i.sensitive], 1)  # fmt: skip
    both = box("sensitive and privileged", "traps, so the monitor sees it",
               [i for i in rows if i.privileged and i.sensitive], 2)  # fmt: skip
    outside = box("sensitive, not privileged", "critical: no monitor sees it", critical, spread)
    plain = [i for i in rows if not i.privileged and not i.sensitive]
    longest = max([len(row.name) for row in plain], default=0) + 3
    rest = box("innocuous", "runs directly, in either mode and any place", plain,
               max((WIDE - 4 * GAP) // (longest * CHARACTER), 1))  # fmt: skip
    boxes = [only, both, outside] if critical else [only, both]
    inner = max(one.height for one in boxes)
    top = inner + 5 * GAP
    width = max(WIDE, sum(one.width for one in boxes) + 6 * GAP)
    height = top + rest.height + GAP
    note = ": what sticks out on the right is critical" if critical else ""
    return "\n".join([
        f'<h2>Sets</h2><div class="wide"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="privileged and sensitive instructions{note}">',
        f'<rect class="all" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="10"/>',
        *_sets(boxes, inner),
        *rest.draw(GAP, top),
        f'<text class="meaning" x="{width - GAP}" y="{height - 10}" text-anchor="end">'
        "* user sensitive: what Theorem 3 asks about</text>",
        "</svg></div>",
    ])  # fmt: skip


def _sets(boxes: Sequence[_Box], inner: int) -> Iterator[str]:
    """Privileged around the first two boxes; sensitive around all but the first."""
    sticks_out = len(boxes) > 2
    starts = [2 * GAP]
    for one in boxes:
        starts.append(starts[-1] + one.width + GAP // 2)
    yield _rectangle(
        "privileged", GAP, starts[2] + (0 if sticks_out else GAP), GAP, inner + 2 * GAP
    )
    kind = "sensitive out" if sticks_out else "sensitive"
    yield _rectangle(kind, starts[1] - GAP // 4, starts[-1], 2 * GAP, inner)
    for one, x in zip(boxes, starts, strict=False):
        yield from one.draw(x, 2 * GAP)


def _rectangle(kind: str, left: int, right: int, y: int, height: int) -> str:
    place = f'x="{left}" y="{y}" width="{right - left}" height="{height}"'
    return f'<rect class="{kind}" {place} rx="14"/>'
