"""`vmm check`: classify a configuration, or give an overview of an instruction set's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from emu.errors import GuestFileError
from isa.toy import Configuration, Toy
from vmm.commands.report import Views
from vmm.show.facts import facts
from vmm.show.page import page
from vmm.show.progress import progress
from vmm.show.table import overview, table
from vmm.theory import Classification, classify
from vmm.x86.configuration import is_x86


def check_configuration(name: str, *, literal: bool, as_json: bool, html: Path | None) -> int:
    """Print the classification; returns the exit code."""
    if is_x86(name):
        need_prover()
        need_repaired(literal)
        from vmm.commands.x86 import check_x86

        return check_x86(name, as_json=as_json, html=html)
    found = classified(name, literal=literal)
    return Views(facts, table, overview, page).report(name, found, as_json=as_json, html=html)


def classified(name: str, *, literal: bool) -> list[Classification]:
    """The classification of a configuration, or of all that an instruction set has."""
    need_prover()
    names = Configuration.names() if name == "toy" else [name]
    return [_watched(each, literal=literal) for each in names]


def _watched(name: str, *, literal: bool) -> Classification:
    def watch(forms: Sequence[str]) -> Iterator[str]:
        return progress(forms, name, len(forms))

    return classify(Toy(name), literal=literal, watch=watch)


def need_repaired(literal: bool) -> None:
    """Raise an error if the paper's words are asked for of a machine that they do not fit."""
    if literal:
        raise GuestFileError(
            "x86 has no literal reading",
            why="its traps are more than memory traps, and its resources more than storage",
            advice="Leave --literal out",
        )


def need_prover() -> None:
    """Raise an error that says how to get z3, if it is not there."""
    if importlib.util.find_spec("z3") is None:
        raise GuestFileError(
            "Deriving needs z3, which is not installed", advice="pip install 'popek[prove]'"
        )
