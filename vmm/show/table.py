"""A classification as a table for the terminal, 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from vmm.show.story import story
from vmm.theory import Classification, InstructionClass, Reading, escape

WIDTH = 100
COLUMNS = (
    ("priv", "privileged"),
    ("ctrl", "control_sensitive"),
    ("loc", "location_sensitive"),
    ("mode", "mode_sensitive"),
    ("res", "resource_sensitive"),
    ("user", "user_sensitive"),
    ("sup", "supervisor_sensitive"),
)


def table(found: Classification) -> str:
    """Everything `vmm check` prints."""
    return "\n".join(_lines(found))


def _lines(found: Classification) -> Iterator[str]:
    configuration = found.model.isa.configuration
    yield wrapped(f"{found.name}: {configuration.title}")
    yield wrapped(f"source: {configuration.source}")
    yield f"reading: {reading(found.reading)}"
    yield ""
    yield from _rows(found.instructions.values())
    yield ""
    yield from verdicts(found)
    for name in found.critical:
        yield ""
        yield wrapped(f"{name}: {found.model.isa.rows[name].doc.splitlines()[0]}")
        yield from _stories(found.instructions[name])


def reading(chosen: Reading) -> str:
    """What a reading means, in a line."""
    if chosen is Reading.LITERAL:
        return "literal (only memory traps are excluded; E, M, P, R alone)"
    return "repaired (every trap is excluded; b = q is all of storage; resources count)"


def _rows(instructions: object) -> Iterator[str]:
    assert isinstance(instructions, type({}.values()))
    rows: Sequence[InstructionClass] = list(instructions)
    width = max((len(i.name) for i in rows), default=4)
    yield " ".join([" " * width, *(title for title, _ in COLUMNS), "  what differs in its witness"])
    for row in (i for i in rows if i.sensitive or i.privileged):
        cells = ("Y" if getattr(row, name) else "-" for _, name in COLUMNS)
        marks = " ".join(c.center(len(title)) for c, (title, _) in zip(cells, COLUMNS, strict=True))
        flag = "!" if row.critical else " "
        yield f"{row.name:<{width}} {marks} {flag} {_why(row)}"[:WIDTH].rstrip()
    plain = [i for i in rows if not i.sensitive and not i.privileged]
    if plain:
        slowest = max(e.milliseconds for i in plain for e in i.evidence.values())
        text = (
            f"innocuous, each proved (unsat, at most {slowest:.0f} ms): "
            + " ".join(i.name for i in plain)
        )  # fmt: skip
        yield from textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _why(row: InstructionClass) -> str:
    witness = row.witness
    if witness is None:
        return "innocuous: proved"
    return "; ".join(map(str, witness.differences)) or "innocuous"


def verdicts(found: Classification) -> Iterator[str]:
    """The theorems and the repair."""
    for theorem in (found.theorem1, found.theorem2, found.theorem3):
        yield from textwrap.wrap(str(theorem), WIDTH, subsequent_indent="  ")
    yield from textwrap.wrap(f"Repair: {found.repair}.", WIDTH, subsequent_indent="  ")
    way_out = escape(found)
    if way_out is not None:
        yield from textwrap.wrap(f"Not necessary: {way_out}.", WIDTH, subsequent_indent="  ")
    yield f"({len(found.instructions)} instructions, {found.seconds:.1f} s)"


CLAIMS = ("control_sensitive", "location_sensitive", "mode_sensitive", "resource_sensitive",
          "behaviour_sensitive")  # fmt: skip


def _stories(row: InstructionClass) -> Iterator[str]:
    shown: list[object] = []
    for claim in ("privileged", *CLAIMS):
        evidence = row.evidence[claim]
        if evidence.witness is None or any(evidence.witness is w for w in shown):
            continue
        if evidence.holds or claim == "privileged":
            shown.append(evidence.witness)
            yield wrapped(story(row.name, evidence).text())


def wrapped(text: str) -> str:
    """Long lines broken with their text under itself."""
    return "\n".join(
        part
        for line in text.splitlines()
        for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * 14) or [""]
    )


def overview(all_found: Sequence[Classification]) -> str:
    """One line a configuration."""
    width = max(len(found.name) for found in all_found)
    lines = [f"{'':<{width}}  Theorem 1  2      3      critical"]
    for found in all_found:
        marks = [
            "holds" if theorem.holds else "fails"
            for theorem in (found.theorem1, found.theorem2, found.theorem3)
        ]
        names = ", ".join(found.critical) or "none"
        text = f"{found.name:<{width}}  {marks[0]:<10} {marks[1]:<6} {marks[2]:<6} {names}"
        lines.append(text if len(text) <= WIDTH else text[: WIDTH - 1] + "…")
    return "\n".join(lines)
