"""`vmm check`: classify a configuration, or give an overview of an instruction set's."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from emu.errors import GuestFileError
from isa.toy import Configuration, Toy
from vmm.show.facts import facts
from vmm.show.output import write_text
from vmm.show.page import page
from vmm.show.progress import progress
from vmm.show.table import overview, table
from vmm.theory import Classification, classify


def check_configuration(name: str, *, literal: bool, as_json: bool, html: Path | None) -> int:
    """Print the classification; returns the exit code."""
    found = classified(name, literal=literal)
    if as_json:
        objects = [facts(one) for one in found]
        print(json.dumps(objects[0] if len(objects) == 1 else
                         {"isa": name, "configurations": objects}))  # fmt: skip
    else:
        print(table(found[0]) if len(found) == 1 else overview(found))
    if html is not None:
        write_text(html, page(found))
    return 0


def classified(name: str, *, literal: bool) -> list[Classification]:
    """The classification of a configuration, or of all that an instruction set has."""
    need_prover()
    if name == "x86":
        raise GuestFileError(
            "x86 has no partition into E, M, P and R yet",
            advice=f"Try toy, or one of {', '.join(Configuration.names())}",
        )
    names = Configuration.names() if name == "toy" else [name]
    return [_watched(each, literal=literal) for each in names]


def _watched(name: str, *, literal: bool) -> Classification:
    def watch(forms: Sequence[str]) -> Iterator[str]:
        return progress(forms, name, len(forms))

    return classify(Toy(name), literal=literal, watch=watch)


def need_prover() -> None:
    """Raise an error that says how to get z3, if it is not there."""
    if importlib.util.find_spec("z3") is None:
        raise GuestFileError(
            "Deriving needs z3, which is not installed", advice="pip install 'popek[prove]'"
        )
