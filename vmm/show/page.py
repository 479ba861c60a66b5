"""A classification as one self-contained page: verdicts, the sets drawn, every witness a story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape as quoted

from vmm.show.diagram import diagram
from vmm.show.story import story, words
from vmm.show.table import CLAIMS, COLUMNS, reading
from vmm.theory import Classification, InstructionClass, Theorem, escape

_STYLE = """
:root { --ink: #1d2330; --soft: #667; --line: #d5d9e2; --good: #1a7f4b; --bad: #b3261e; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; background: #fff; }
h1 { margin-bottom: 0; } .soft { color: var(--soft); }
.verdict { border-left: .4rem solid var(--good); padding: .3rem 1rem; margin: .6rem 0;
  background: #f4faf6; }
.verdict.fails { border-color: var(--bad); background: #fdf4f3; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .2rem .5rem; text-align: center;
  border-bottom: 1px solid var(--line); } td:first-child, th:first-child, td:last-child,
  th:last-child { text-align: left; } tr.critical td:first-child { color: var(--bad);
  font-weight: 700; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .4rem 1rem; }
summary { cursor: pointer; font-weight: 600; } dl { display: grid; grid-template-columns: 6rem 1fr;
  gap: .15rem 1rem; margin: .5rem 0; } dt { color: var(--soft); } dd { margin: 0;
  font-family: ui-monospace, monospace; font-size: .85rem; overflow-wrap: anywhere; }
dd.clause { font: italic .85rem/1.4 system-ui, sans-serif; } svg { width: 100%; height: auto; }
svg text { font: 13px ui-monospace, monospace; fill: var(--ink); }
svg .title { font: 600 14px system-ui, sans-serif; } svg .bad { fill: var(--bad); font-weight: 700; }
@media (prefers-color-scheme: dark) { body { background: #fff; } }
"""  # noqa: E501  # a style sheet


def page(all_found: Sequence[Classification]) -> str:
    """The page, of one configuration or several."""
    title = ", ".join(found.name for found in all_found)
    body = "\n".join(part for found in all_found for part in _configuration(found))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>{quoted(title)}: is it virtualizable?</title>\n<style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _configuration(found: Classification) -> Iterator[str]:
    configuration = found.model.isa.configuration
    yield f"<h1>{quoted(found.name)}</h1>"
    yield f'<p class="soft">{quoted(configuration.title)}. Source: {quoted(configuration.source)}. '
    yield f"Reading: {quoted(reading(found.reading))}.</p>"
    for theorem in (found.theorem1, found.theorem2, found.theorem3):
        yield _verdict(theorem)
    yield f"<p>Repair: {quoted(str(found.repair))}.</p>"
    way_out = escape(found)
    if way_out is not None:
        yield f"<p>Not necessary: {quoted(str(way_out))}.</p>"
    yield diagram(found)
    yield from _table(found)
    yield "<h2>Why</h2>"
    for instruction in sorted(found.instructions.values(), key=_order):
        yield from _instruction(found, instruction)


def _verdict(theorem: Theorem) -> str:
    kind = "verdict" if theorem.holds else "verdict fails"
    return f'<p class="{kind}">{quoted(str(theorem))}</p>'


def _order(instruction: InstructionClass) -> int:
    """Critical ones first, then sensitive, privileged, innocuous."""
    if instruction.critical:
        return 0
    return 1 if instruction.sensitive else 2 if instruction.privileged else 3


def _table(found: Classification) -> Iterator[str]:
    yield "<h2>Table</h2>"
    titles = "".join(f'<th title="{words(claim)}">{title}</th>' for title, claim in COLUMNS)
    yield f"<table><tr><th>instruction</th>{titles}<th></th></tr>"
    for row in found.instructions.values():
        cells = "".join(f"<td>{'●' if getattr(row, claim) else '·'}</td>" for _, claim in COLUMNS)
        kind = ' class="critical"' if row.critical else ""
        verdict = "critical" if row.critical else "innocuous" if row.innocuous else ""
        yield f"<tr{kind}><td>{row.name}</td>{cells}<td>{verdict}</td></tr>"
    yield "</table>"


def _instruction(found: Classification, row: InstructionClass) -> Iterator[str]:
    doc = found.model.isa.rows[row.name].doc.splitlines()[0]
    claims = [words(c) for c, e in row.evidence.items() if e.holds] or ["innocuous"]
    opened = " open" if row.critical else ""
    yield f'<details{opened} id="{quoted(found.name)}-{row.name}">'
    yield f"<summary>{row.name}: {', '.join(claims)}</summary>"
    yield f"<p>{quoted(doc)}</p>"
    for claim in ("privileged", *CLAIMS, "user_sensitive", "supervisor_sensitive"):
        told = story(row.name, row.evidence[claim])
        yield f"<p>{quoted(told.title)}</p><dl>"
        for label, text in told.lines:
            yield f"<dt>{quoted(label)}</dt><dd>{quoted(text)}</dd>"
        yield f'<dt>by</dt><dd class="clause">{quoted(told.clause)}</dd></dl>'
    yield "</details>"
