"""x86 classifications as one self-contained page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape as quoted
from typing import Final

from vmm.show.diagram import diagram
from vmm.show.page import document, states, verdict
from vmm.show.story import Story
from vmm.x86.classify import CLAIMS, Evidence, X86Class, X86Classification
from vmm.x86.show import COLUMNS, cell, has, kept, modes, only_by_fcs, why
from vmm.x86.story import lines, title, words

SIGNS: Final = {"Y": "●", "-": "·", "?": "?"}
MEANINGS: Final = (
    ("privileged", "traps in u whenever it does not trap in s, so that the monitor is told"),
    ("sensitive", "changes the mode, segments, tables or resources, or depends on them"),
    ("critical", "sensitive and not privileged: run directly, it goes wrong and nobody is told"),
)


def page(all_found: Sequence[X86Classification]) -> str:
    """The page: of several configurations with a comparison first."""
    return document(", ".join(found.name for found in all_found), _body(all_found))


def _body(all_found: Sequence[X86Classification]) -> Iterator[str]:
    if len(all_found) > 1:
        yield "<h1>Is the x86 virtualizable?</h1>"
        yield from _comparison(all_found)
    for found in all_found:
        yield from _configuration(found)


# -- several configurations -----------------------------------------------------------------------


def _comparison(all_found: Sequence[X86Classification]) -> Iterator[str]:
    """What is critical where; a ring where an instruction is privileged instead."""
    links = "".join(f'<th><a href="#{quoted(f.name)}">{quoted(f.name)}</a></th>' for f in all_found)
    yield f'<div class="wide"><table><tr><th>critical</th>{links}<th></th></tr>'
    for name in _critical_somewhere(all_found):
        cells = "".join(f"<td>{_sign(found, name)}</td>" for found in all_found)
        yield f"<tr><td>{quoted(name)}</td>{cells}<td></td></tr>"
    for number in (1, 3):
        theorems = (f.theorem1 if number == 1 else f.theorem3 for f in all_found)
        cells = "".join(f"<td>{'holds' if t.holds else 'fails'}</td>" for t in theorems)
        yield f"<tr><td>Theorem {number}</td>{cells}<td></td></tr>"
    yield '</table></div><p class="soft">● critical, ○ privileged, · innocuous, blank: none such. '
    yield "Left out are x87 instructions that tell CPL by what they leave of CS in FCS.</p>"


def _critical_somewhere(all_found: Sequence[X86Classification]) -> list[str]:
    names = (
        name for found in all_found for name, row in found.instructions.items()
        if row.critical and not only_by_fcs(row)
    )  # fmt: skip
    return list(dict.fromkeys(names))


def _sign(found: X86Classification, name: str) -> str:
    row = found.instructions.get(name)
    if row is None:
        return ""
    return "●" if row.critical else "○" if row.privileged else "·"


# -- one configuration ----------------------------------------------------------------------------


def _configuration(found: X86Classification) -> Iterator[str]:
    configuration = found.configuration
    yield f'<h1 id="{quoted(found.name)}">{quoted(found.name)}</h1>'
    yield f'<p class="soft">{quoted(configuration.title)}. Source: {quoted(configuration.source)}. '
    yield f"{quoted(modes(configuration))}. The monitor keeps {quoted(kept(configuration))}.</p>"
    for theorem in (found.theorem1, found.theorem3):
        yield verdict(theorem)
    yield "<p>" + " ".join(f"<b>{n}</b>: {quoted(text)}." for n, text in MEANINGS) + "</p>"
    rows = list(found.instructions.values())
    by_fcs = [row.name for row in rows if only_by_fcs(row)]
    drawn = [row for row in rows if not only_by_fcs(row)]
    yield diagram(found.name, drawn)
    if by_fcs:
        yield '<p class="soft">Not drawn, but critical: the x87 keeps CS in FCS, and its low bits '
        yield f"are CPL: {quoted(', '.join(by_fcs))}.</p>"
    told = [row for row in drawn if row.sensitive or row.privileged]
    yield from _table(found, told)
    yield "<h2>Why</h2>"
    for row in sorted(told, key=lambda row: not row.critical):
        yield from _details(found, row)
    yield from _innocuous(found, [r for r in drawn if r.innocuous and not r.privileged])
    yield f'<p class="soft">{len(rows)} rows, {found.seconds:.0f} s.</p>'


def _innocuous(found: X86Classification, rows: Sequence[X86Class]) -> Iterator[str]:
    yield f'<details class="rest"><summary>{len(rows)} innocuous instructions</summary>'
    for row in rows:
        how = ", ".join(sorted({e.how.value for c, e in row.evidence.items() if c != "privileged"}))
        yield f'<p id="{quoted(found.name)}-{quoted(row.name)}">{quoted(row.name)}: '
        yield f'<span class="soft">{quoted(row.row.heading)}; {quoted(how)}</span></p>'
    yield "</details>"


def _table(found: X86Classification, rows: Sequence[X86Class]) -> Iterator[str]:
    heads = "".join(f'<th title="{words(claim)}">{head}</th>' for head, claim in COLUMNS)
    yield '<h2>Table</h2><div class="wide">'
    yield f"<table><tr><th>instruction</th>{heads}<th>what its witness shows</th></tr>"
    for row in rows:
        cells = "".join(f"<td>{SIGNS[cell(row, claim)]}</td>" for _, claim in COLUMNS)
        kind = ' class="critical"' if row.critical else ""
        link = f'<a href="#{quoted(found.name)}-{quoted(row.name)}">{quoted(row.name)}</a>'
        yield f"<tr{kind}><td>{link}</td>{cells}<td>{quoted(why(row))}</td></tr>"
    yield "</table></div>"


def _details(found: X86Classification, row: X86Class) -> Iterator[str]:
    kind = ' class="critical"' if row.critical else ""
    claims = ", ".join(words(c) for c in (*CLAIMS, "user_sensitive") if has(row, c))
    yield f'<details{kind} id="{quoted(found.name)}-{quoted(row.name)}">'
    yield f"<summary>{quoted(row.name)}: {claims}</summary><p>{quoted(row.row.heading)}</p>"
    for claim in CLAIMS:
        yield from _claim(row.name, row.evidence[claim])
    yield "</details>"


def _claim(name: str, evidence: Evidence) -> Iterator[str]:
    """A claim with its states side by side, or one line that it is proved."""
    told = Story(title(name, evidence), tuple(lines(evidence)), evidence.clause)
    if not told.lines:
        yield f"<p>{quoted(told.title)}</p>"
        return
    yield f"<h3>{quoted(told.title)}</h3>"
    yield from states(told)
    yield f'<p class="clause">{quoted(told.clause)}</p>'
