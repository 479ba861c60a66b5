"""An x86 classification as a table for the terminal, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from isa.x86.registers import CPL, PE, VM
from vmm.show.table import WIDTH, wrapped
from vmm.theory.theorems import Theorem
from vmm.x86.classify import CLAIMS, Evidence, X86Class, X86Classification
from vmm.x86.configuration import X86Configuration
from vmm.x86.story import lines, mode, text
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
                  f"vmm explain ROW --isa {found.name} tells how each is known)")  # fmt: skip


def modes(configuration: X86Configuration) -> str:
    """What is s and what is u, and what a trap is."""
    if configuration.nonroot is not None:
        levels = " and ".join(map(str, configuration.nonroot.levels))
        return (
            f"s is root operation, u is non-root operation, at CPL {levels}; what leads out of u "
            "is an exit, and a guest's exceptions are its own"
        )
    s, u = (mode(side[PE], side[VM], side[CPL])
            for side in (configuration.supervisor, configuration.user))  # fmt: skip
    if s == u:
        return f"there is one mode, {s}: s and u are the same, and nothing is a trap from u into s"
    return f"s is {s}; u is {u}; a trap is an exception, or any other way from u into s"


def kept(configuration: X86Configuration) -> str:
    """The invariants, or what exits."""
    if configuration.nonroot is not None:
        exits = "; ".join(f"{control}: {', '.join(rows)}"
                          for control, rows in configuration.nonroot.exits.items())  # fmt: skip
        masked = ", ".join(r.name for r in configuration.nonroot.masked)
        return f"the real processor by exits ({exits}; guest/host mask: {masked})"
    told = (
        f"{r.name}={low}" if low == high else f"{low}≤{r.name}≤{high}"
        for r, (low, high) in configuration.kept.items()
    )
    return ", ".join(told)


def _rows(rows: Sequence[X86Class]) -> Iterator[str]:
    width = max((len(i.name) for i in rows), default=4)
    yield " ".join([" " * width, *(heading for heading, _ in COLUMNS), "  what its witness shows"])
    for row in (i for i in rows if (i.sensitive or i.privileged) and not only_by_fcs(i)):
        cells = (cell(row, claim) for _, claim in COLUMNS)
        marks = " ".join(c.center(len(t)) for c, (t, _) in zip(cells, COLUMNS, strict=True))
        flag = "!" if row.critical else " "
        yield f"{row.name:<{width}} {marks} {flag} {why(row)}"[:WIDTH].rstrip()
    yield "Y holds  - proved not to  ? no witness, and too many paths for a proof  ! critical"
    yield from _together(
        "critical by what they leave of CS in the x87's pointer (FCS), its low bits being CPL:",
        [i.name for i in rows if only_by_fcs(i)],
    )
    plain = [i for i in rows if not i.sensitive and not i.privileged]
    yield from _together("innocuous, proved:", [i.name for i in plain if not _open(i)])
    yield from _together("no witness, no proof:", [i.name for i in plain if _open(i)])


def cell(row: X86Class, claim: str) -> str:
    """Y, - or ?."""
    if has(row, claim):
        return "Y"
    evidence = row.evidence.get(claim)
    return "?" if evidence is not None and evidence.how.name == "EXPLORED" else "-"


def _open(row: X86Class) -> bool:
    return any(e.how.name == "EXPLORED" for e in row.evidence.values())


def only_by_fcs(row: X86Class) -> bool:
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
