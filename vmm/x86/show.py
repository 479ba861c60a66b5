"""An x86 classification as a table for the terminal, as JSON, and as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from html import escape as quoted
from typing import Any, Final

from isa.x86.registers import CPL, PE, VM
from vmm.show.page import STYLE
from vmm.show.table import WIDTH, wrapped
from vmm.theory.theorems import Theorem
from vmm.x86.classify import CLAIMS, Evidence, X86Class, X86Classification
from vmm.x86.configuration import X86Configuration
from vmm.x86.story import lines, mode, text, title, words
from vmm.x86.witness import Witness

COLUMNS: Final = (
    ("priv", "privileged"),
    ("ctrl", "control_sensitive"),
    ("mode", "mode_sensitive"),
    ("loc", "location_sensitive"),
    ("res", "resource_sensitive"),
    ("user", "user_sensitive"),
)
PROPERTIES: Final = (
    *CLAIMS, "behaviour_sensitive", "user_sensitive", "supervisor_sensitive", "sensitive",
    "innocuous", "critical",
)  # fmt: skip


def has(row: X86Class, claim: str) -> bool:
    """Whether a row has a property."""
    return row.evidence[claim].holds if claim in row.evidence else bool(getattr(row, claim))


# -- the terminal ---------------------------------------------------------------------------------


def table(found: X86Classification) -> str:
    """Everything `vmm check` prints."""
    return "\n".join(_lines(found))


def _lines(found: X86Classification) -> Iterator[str]:
    configuration = found.configuration
    yield wrapped(f"{found.name}: {configuration.title}")
    yield wrapped(f"source: {configuration.source}")
    yield wrapped(modes(configuration))
    yield wrapped(f"the monitor keeps {kept(configuration)}")
    yield ""
    yield from _rows(list(found.instructions.values()))
    yield ""
    for theorem in (found.theorem1, found.theorem3):
        yield from textwrap.wrap(str(theorem), WIDTH, subsequent_indent="  ")
    yield wrapped(f"({len(found.instructions)} rows, {found.seconds:.1f} s; "
                  f"vmm witness ROW --isa {found.name} tells how each is known)")  # fmt: skip


def modes(configuration: X86Configuration) -> str:
    """What is s and what is u."""
    s, u = (mode(side[PE], side[VM], side[CPL])
            for side in (configuration.supervisor, configuration.user))  # fmt: skip
    return f"s is {s}; u is {u}; a trap is an exception, or any other way from u into s"


def kept(configuration: X86Configuration) -> str:
    """The invariants."""
    told = (
        f"{r.name}={low}" if low == high else f"{low}≤{r.name}≤{high}"
        for r, (low, high) in configuration.kept.items()
    )
    return ", ".join(told)


def _rows(rows: Sequence[X86Class]) -> Iterator[str]:
    width = max((len(i.name) for i in rows), default=4)
    yield " ".join([" " * width, *(heading for heading, _ in COLUMNS), "  what its witness shows"])
    for row in (i for i in rows if (i.sensitive or i.privileged) and not _only_by_fcs(i)):
        cells = (_cell(row, claim) for _, claim in COLUMNS)
        marks = " ".join(c.center(len(t)) for c, (t, _) in zip(cells, COLUMNS, strict=True))
        flag = "!" if row.critical else " "
        yield f"{row.name:<{width}} {marks} {flag} {why(row)}"[:WIDTH].rstrip()
    yield "Y holds  - proved not to  ? no witness, and too many paths for a proof  ! critical"
    yield from _together(
        "critical by what they leave of CS in the x87's pointer (FCS), its low bits being CPL:",
        [i.name for i in rows if _only_by_fcs(i)],
    )
    plain = [i for i in rows if not i.sensitive and not i.privileged]
    yield from _together("innocuous, proved:", [i.name for i in plain if not _open(i)])
    yield from _together("no witness, no proof:", [i.name for i in plain if _open(i)])


def _cell(row: X86Class, claim: str) -> str:
    if has(row, claim):
        return "Y"
    evidence = row.evidence.get(claim)
    return "?" if evidence is not None and evidence.how.name == "EXPLORED" else "-"


def _open(row: X86Class) -> bool:
    return any(e.how.name == "EXPLORED" for e in row.evidence.values())


def _only_by_fcs(row: X86Class) -> bool:
    """Whether all that its witness tells is the x87's copy of CS; there are some eighty of them."""
    witness = row.witness
    return row.critical and witness is not None and [d.name for d in witness.differences] == ["fcs"]


def _together(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield from textwrap.wrap(f"{what} {' '.join(names)}", WIDTH, subsequent_indent="  ")


def why(row: X86Class) -> str:
    """What differs in the witness of its sensitivity."""
    witness = row.witness
    return "innocuous" if witness is None else "; ".join(map(str, witness.differences))


def overview(all_found: Sequence[X86Classification]) -> str:
    """A few lines for each configuration."""
    told = []
    for found in all_found:
        marks = ", ".join(
            f"Theorem {t.number} {'holds' if t.holds else 'fails'}"
            for t in (found.theorem1, found.theorem3)
        )
        told.append(wrapped(f"{found.name}: {marks}; critical: {', '.join(found.critical)}"))
    return "\n".join(told)


def stories(row: X86Class) -> str:
    """Every claim about a row."""
    return "\n".join(wrapped(text(row.name, row.evidence[claim])) for claim in CLAIMS)


# -- JSON -----------------------------------------------------------------------------------------


def facts(found: X86Classification) -> dict[str, Any]:
    """The object that `vmm check --json` prints."""
    return {
        "isa": "x86",
        "config": found.name,
        "kept": {r.name: list(bounds) for r, bounds in found.configuration.kept.items()},
        "instructions": [row_facts(row) for row in found.instructions.values()],
        "critical": found.critical,
        "theorem1": _theorem(found.theorem1, "critical"),
        "theorem3": _theorem(found.theorem3, "offending"),
        "seconds": round(found.seconds, 3),
    }


def _theorem(theorem: Theorem, key: str) -> dict[str, Any]:
    return {"holds": theorem.holds, key: list(theorem.offending), "statement": theorem.statement,
            "remark": theorem.remark}  # fmt: skip


def row_facts(row: X86Class) -> dict[str, Any]:
    """One row: its properties, and the evidence of every claim."""
    return (
        {"name": row.name, "manual": row.row.heading}
        | {claim: has(row, claim) for claim in PROPERTIES}
        | {"evidence": {claim: _evidence(row, e) for claim, e in row.evidence.items()}}
    )


def _evidence(row: X86Class, evidence: Evidence) -> dict[str, Any]:
    told = {"holds": evidence.holds, "how": evidence.how.value, "clause": evidence.clause}
    if evidence.witness is None:
        return told
    return told | {
        "witness": _witness(evidence.witness),
        "story": [list(x) for x in lines(evidence)],
    }


def _witness(witness: Witness) -> dict[str, Any]:
    runs = [witness.one] if witness.other is None else [witness.one, witness.other]
    return {
        "instruction": witness.text,
        "states": [
            {"registers": {r.name: v for r, v in ran.before.registers.items() if v},
             "memory": {hex(a): byte for a, byte in ran.before.memory.items()}}
            for ran in runs
        ],
        "differences": [{"name": d.name, "one": d.one, "other": d.other}
                        for d in witness.differences],
    }  # fmt: skip


# -- the page -------------------------------------------------------------------------------------


def page(all_found: Sequence[X86Classification]) -> str:
    """One self-contained page."""
    name = ", ".join(found.name for found in all_found)
    body = "\n".join(part for found in all_found for part in _configuration(found))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{quoted(name)}: is it virtualizable?</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _configuration(found: X86Classification) -> Iterator[str]:
    configuration = found.configuration
    yield f"<h1>{quoted(found.name)}</h1>"
    yield f'<p class="soft">{quoted(configuration.title)}. Source: {quoted(configuration.source)}. '
    yield f"{quoted(modes(configuration))}. The monitor keeps {quoted(kept(configuration))}.</p>"
    for theorem in (found.theorem1, found.theorem3):
        kind = "verdict" if theorem.holds else "verdict fails"
        yield f'<p class="{kind}"><b>Theorem {theorem.number}</b>: {quoted(str(theorem))}</p>'
    rows = list(found.instructions.values())
    told = [row for row in rows if row.sensitive or row.privileged]
    yield from _table(found, told)
    plain = ", ".join(row.name for row in rows if row.innocuous and not row.privileged)
    yield f'<p class="soft">Innocuous: {quoted(plain)}.</p><h2>Why</h2>'
    for row in sorted(told, key=lambda row: not row.critical):
        yield from _details(found, row)


def _table(found: X86Classification, rows: Sequence[X86Class]) -> Iterator[str]:
    heads = "".join(f'<th title="{words(claim)}">{head}</th>' for head, claim in COLUMNS)
    yield f'<div class="wide"><table><tr><th>instruction</th>{heads}<th>witness</th></tr>'
    signs = {"Y": "●", "-": "·", "?": "?"}
    for row in rows:
        cells = "".join(f"<td>{signs[_cell(row, claim)]}</td>" for _, claim in COLUMNS)
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
        evidence = row.evidence[claim]
        yield f"<h3>{quoted(title(row.name, evidence))}</h3>"
        for label, said in lines(evidence):
            yield f'<div class="label">{label}</div><div class="text">{quoted(said)}</div>'
        yield f'<p class="clause">{quoted(evidence.clause)}</p>'
    yield "</details>"
