"""`vmm check`, `explain` and `witness` for configurations of the x86."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from emu.errors import GuestFileError
from vmm.show.output import write_text
from vmm.show.progress import progress
from vmm.x86.classify import X86Class, X86Classification, classify, classify_row
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import Row, rows, shared_name
from vmm.x86.show import facts, overview, page, row_facts, stories, table


def check_x86(name: str, *, as_json: bool, html: Path | None) -> int:
    """Print the classification of one configuration, or of all; returns the exit code."""
    names = X86Configuration.names() if name == "x86" else [name]
    found = [_watched(X86Configuration.load(each)) for each in names]
    if as_json:
        objects = [facts(one) for one in found]
        print(json.dumps(objects[0] if len(objects) == 1 else
                         {"isa": name, "configurations": objects}))  # fmt: skip
    else:
        print(table(found[0]) if len(found) == 1 else overview(found))
    if html is not None:
        write_text(html, page(found))
    return 0


def _watched(configuration: X86Configuration) -> X86Classification:
    def watch(chosen: Sequence[Row]) -> Iterator[Row]:
        return progress(chosen, configuration.name, len(chosen))

    return classify(configuration, watch=watch)


def explain_x86(name: str, configuration: str, *, as_json: bool) -> int:
    """Print every claim about one row, each with its witness as a story."""
    loaded = X86Configuration.load(configuration)
    found = classify_row(loaded, row_named(name, loaded))
    print(json.dumps({"config": loaded.name} | row_facts(found)) if as_json else _told(found))
    return 0


def witness_x86(name: str, configuration: str, *, output: Path | None, as_json: bool) -> int:
    """The same of a critical instruction; other instructions have nothing to witness."""
    loaded = X86Configuration.load(configuration)
    found = classify_row(loaded, row_named(name, loaded))
    if not found.critical:
        why = "innocuous" if found.innocuous else "privileged"
        raise GuestFileError(
            f"{found.name} is {why} on {loaded.name}",
            why="No guest diverges by it",
            advice=f"See vmm explain {found.name!r} --isa {loaded.name}",
        )
    if output is not None:
        write_text(output, _told(found) + "\n")
    if as_json:
        print(json.dumps({"config": loaded.name} | row_facts(found)))
    elif output is None:
        print(_told(found))
    return 0


def row_named(name: str, configuration: X86Configuration) -> Row:
    """The row that is meant: "SGDT", "mov sreg", or a spelling like PUSHFD. GuestFileError."""
    every = rows(configuration.mode(configuration.user))
    words = name.split()
    wanted = " ".join([shared_name(words[0].lower()), *words[1:]]) if words else ""
    by_name = {row.upper(): found for row, found in every.items()}
    if wanted.upper() in by_name:
        return by_name[wanted.upper()]
    close = difflib.get_close_matches(wanted.upper(), by_name, 3)
    advice = f"Did you mean {', '.join(by_name[c].name for c in close)}?" if close else ""
    raise GuestFileError(f"{configuration.name} has no instruction {name[:40]!r}", advice=advice)


def _told(found: X86Class) -> str:
    summary = "innocuous" if found.innocuous else "sensitive"
    if found.critical:
        summary += " and not privileged: critical (Theorem 1 fails because of it)"
        if found.user_sensitive:
            summary += "; user sensitive (so does Theorem 3)"
    elif found.privileged:
        summary += ", privileged"
    return f"{found.name} ({found.row.heading}) is {summary}\n{stories(found)}"
