"""A classification as one self-contained page: verdicts, the sets drawn, every witness a story."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape as quoted
from typing import Final

from vmm.show.diagram import diagram
from vmm.show.story import Story, story, words
from vmm.show.table import CLAIMS, COLUMNS, reading
from vmm.theory import Classification, Evidence, InstructionClass, Theorem, Witness, escape

SHOWN: Final = 8  # names in a verdict; the diagram has them all

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --soft: #5b6375; --line: #d5d9e2;
  --card: #f7f8fb; --good: #1a7f4b; --bad: #b3261e; --blue: #2f6fb3; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171f; --ink: #e4e7ee; --soft: #9aa3b5;
  --line: #353b49; --card: #1c212c; --good: #4fc38a; --bad: #ff8a80; --blue: #7db2ee; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } .soft { color: var(--soft); } a { color: inherit; }
.verdict { border-left: .4rem solid var(--good); padding: .5rem 1rem; margin: .6rem 0;
  background: var(--card); } .verdict.fails { border-color: var(--bad); }
.verdict b { color: var(--good); } .verdict.fails b { color: var(--bad); }
.wide { overflow-x: auto; } svg { width: 100%; min-width: 44rem; height: auto; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .2rem .5rem; text-align: center;
  border-bottom: 1px solid var(--line); } td:first-child, th:first-child, td:last-child,
  th:last-child { text-align: left; } tr.critical td:first-child { color: var(--bad);
  font-weight: 700; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .4rem 1rem; }
details details { background: var(--paper); } summary { cursor: pointer; font-weight: 600; }
.critical > summary { color: var(--bad); } h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
.states { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: .6rem; }
.states > div, .outcome { background: var(--card); border: 1px solid var(--line);
  border-radius: .4rem; padding: .4rem .8rem; }
.outcome { margin-top: .6rem; border-left: .4rem solid var(--blue); }
.label { color: var(--soft); font-size: .8rem; } .text { font: .85rem/1.5 ui-monospace, monospace;
  overflow-wrap: anywhere; margin-bottom: .3rem; }
.clause { font-style: italic; color: var(--soft); font-size: .85rem; margin: .3rem 0; }
svg rect { stroke-width: 2; fill-opacity: .09; } svg .all { fill: var(--soft); fill-opacity: .04;
  stroke: var(--line); } svg .privileged { fill: var(--blue); stroke: var(--blue); }
svg .sensitive { fill: var(--good); stroke: var(--good); }
svg .out { fill: var(--bad); stroke: var(--bad); } svg text { fill: var(--ink); }
svg .name { font: 13px ui-monospace, monospace; } svg .meaning { font: 12px system-ui, sans-serif;
  fill: var(--soft); } svg .title { font: 600 15px system-ui, sans-serif; }
svg .bad { fill: var(--bad); font-weight: 700; }
"""  # noqa: E501  # a style sheet


def page(all_found: Sequence[Classification]) -> str:
    """The page, of one configuration or several."""
    title = ", ".join(found.name for found in all_found)
    return document(title, (part for found in all_found for part in _configuration(found)))


def document(title: str, parts: Iterable[str]) -> str:
    """A page about the machines of the title."""
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{quoted(title)}: is it virtualizable?</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _configuration(found: Classification) -> Iterator[str]:
    configuration = found.model.isa.configuration
    yield f"<h1>{quoted(found.name)}</h1>"
    yield f'<p class="soft">{quoted(configuration.title)}. Source: {quoted(configuration.source)}. '
    yield f"Reading: {quoted(reading(found.reading))}.</p>"
    for theorem in (found.theorem1, found.theorem2, found.theorem3):
        yield verdict(theorem)
    yield f"<p>Repair: {quoted(_shortened(str(found.repair), found.repair.instructions))}.</p>"
    way_out = escape(found)
    if way_out is not None:
        yield f"<p>Not necessary: {quoted(str(way_out))}.</p>"
    yield diagram(found.name, list(found.instructions.values()))
    yield from _table(found)
    yield "<h2>Why</h2>"
    ordered = sorted(found.instructions.values(), key=_order)
    for instruction in ordered:
        if _order(instruction) < INNOCUOUS:
            yield from _instruction(found, instruction)
    rest = [instruction for instruction in ordered if _order(instruction) == INNOCUOUS]
    yield f'<details class="rest"><summary>{len(rest)} innocuous instructions</summary>'
    for instruction in rest:
        yield from _instruction(found, instruction)
    yield "</details>"


def verdict(theorem: Theorem) -> str:
    """A theorem's verdict, with the first of very many names."""
    kind = "verdict" if theorem.holds else "verdict fails"
    head, rest = _shortened(str(theorem), theorem.offending).split(":", 1)
    return f'<p class="{kind}"><b>{quoted(head)}</b>:{quoted(rest)}</p>'


def _shortened(text: str, names: Sequence[str]) -> str:
    """The same with the first of very many names."""
    few = ", ".join(names[:SHOWN])
    return (
        text.replace(", ".join(names), f"{few} and {len(names) - SHOWN} more")
        if (len(names) > SHOWN + 1)
        else text
    )


INNOCUOUS: Final = 3


def _order(instruction: InstructionClass) -> int:
    """Critical ones first, then sensitive, privileged, innocuous."""
    if instruction.critical:
        return 0
    return 1 if instruction.sensitive else 2 if instruction.privileged else INNOCUOUS


def _table(found: Classification) -> Iterator[str]:
    """Every instruction about which there is something to say; the rest in one line."""
    yield '<h2>Table</h2><div class="wide">'
    titles = "".join(f'<th title="{words(claim)}">{title}</th>' for title, claim in COLUMNS)
    yield f"<table><tr><th>instruction</th>{titles}<th></th></tr>"
    for row in found.instructions.values():
        if _order(row) < INNOCUOUS:
            yield _row(found, row)
    yield "</table></div>"
    rest = [row.name for row in found.instructions.values() if _order(row) == INNOCUOUS]
    yield f'<p class="soft">Innocuous, each proved: {quoted(", ".join(rest))}.</p>'


def _row(found: Classification, row: InstructionClass) -> str:
    cells = "".join(f"<td>{'●' if getattr(row, claim) else '·'}</td>" for _, claim in COLUMNS)
    kind = ' class="critical"' if row.critical else ""
    verdict = "critical" if row.critical else "innocuous" if row.innocuous else ""
    link = f'<a href="#{quoted(found.name)}-{row.name}">{row.name}</a>'
    return f"<tr{kind}><td>{link}</td>{cells}<td>{verdict}</td></tr>"


def _instruction(found: Classification, row: InstructionClass) -> Iterator[str]:
    doc = found.model.isa.rows[row.name].doc.splitlines()[0]
    claims = [words(c) for c, e in row.evidence.items() if e.holds] or ["innocuous"]
    kind = ' class="critical"' if row.critical else ""
    opened = " open" if row.critical and len(found.critical) <= SHOWN else ""
    yield f'<details{opened}{kind} id="{quoted(found.name)}-{row.name}">'
    yield f"<summary>{row.name}: {', '.join(claims)}</summary>"
    yield f"<p>{quoted(doc)}</p>"
    told: list[Witness] = []
    for claim in ("privileged", *CLAIMS, "user_sensitive", "supervisor_sensitive"):
        evidence = row.evidence[claim]
        again = any(evidence.witness is witness for witness in told)
        yield from _claim(story(row.name, evidence), evidence, again)
        told += [evidence.witness] if evidence.witness is not None else []
    yield "</details>"


def _claim(told: Story, evidence: Evidence, again: bool) -> Iterator[str]:
    """A claim: its witness drawn as two states side by side, or one line that it is proved."""
    if evidence.witness is None:
        yield f'<p>{quoted(told.title)}: <span class="soft">{quoted(told.lines[0][1])}</span></p>'
        return
    yield f"<h3>{quoted(told.title)}</h3>"
    if again:
        yield '<p class="soft">the same witness as above</p>'
    else:
        yield from states(told)
    yield f'<p class="clause">{quoted(told.clause)}</p>'


def states(told: Story) -> Iterator[str]:
    """State A and its step beside state B and its step, and what came of it below."""
    rest = list(told.lines)
    yield '<div class="states">'
    for name in ("A", "B"):
        mine = [line for line in rest if name in line[0].split()]
        rest = [line for line in rest if line not in mine]
        if mine:
            yield f"<div>{''.join(map(_line, mine))}</div>"
    yield "</div>"
    if rest:
        yield f'<div class="outcome">{"".join(map(_line, rest))}</div>'


def _line(line: tuple[str, str]) -> str:
    label, text = line
    return f'<div class="label">{quoted(label)}</div><div class="text">{quoted(text)}</div>'
