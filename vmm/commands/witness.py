"""`vmm witness`: a guest synthesised from a critical instruction's witness."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, Final

from emu.errors import GuestFileError
from isa.toy import Toy
from vmm.commands.check import need_prover
from vmm.commands.explain import form_named
from vmm.show.output import write_text
from vmm.show.story import words
from vmm.synthesis import Demonstration, NoGuestError, demonstrate, synthesize
from vmm.theory import InstructionClass, Reading
from vmm.theory.classify import classify_one
from vmm.theory.toy import ToyModel
from vmm.x86.configuration import is_x86

COLUMNS: Final = 98


def write_witness(
    name: str, configuration: str, *, mode: str | None, gates: str | None, output: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Write the program to a file or print it; returns the exit code."""
    need_prover()
    if is_x86(configuration):
        from vmm.commands.x86 import witness_x86

        return witness_x86(name, configuration, gates=gates, output=output, as_json=as_json)
    isa = Toy(configuration)
    shown = _demonstration(isa, _critical(isa, form_named(name, isa)), mode)
    told = _told(shown)
    program = "\n".join([*(f"; {line}".rstrip() for line in told), "", shown.synthesis.text])
    if output is not None:
        write_text(output, program)
    if as_json:
        print(json.dumps(_facts(shown) | {"program": program}))
    else:
        print(program if output is None else "\n".join(told))
    return 0


def _critical(isa: Toy, form: str) -> InstructionClass:
    found = classify_one(ToyModel(isa), form, Reading.REPAIRED)
    if not found.critical:
        why = "innocuous" if found.innocuous else "privileged"
        raise GuestFileError(
            f"{form} is {why} on {isa.name}",
            why="No guest diverges by it",
            advice=f"See vmm explain {form} --isa {isa.name}, or vmm check {isa.name} for others",
        )
    return found


def _demonstration(isa: Toy, found: InstructionClass, mode: str | None) -> Demonstration:
    try:
        return demonstrate(found, synthesize(isa, found, mode))
    except NoGuestError as error:
        raise GuestFileError(str(error)) from None


def _told(shown: Demonstration) -> list[str]:
    """What the program shows, in lines."""
    made = shown.synthesis
    lines = [
        f"A guest that diverges by {made.instruction}, which is {words(made.claim)}, in virtual "
        f"{made.mode} mode: made of a witness.",
        f"trap-and-emulate: {shown.explanation}.",
        *(f"{monitor}: {found or 'no divergence'}" for monitor, found in shown.cures.items()),
    ]
    return [part for line in lines for part in textwrap.wrap(line, COLUMNS)]


def _facts(shown: Demonstration) -> dict[str, Any]:
    made = shown.synthesis
    return {
        "instruction": made.instruction,
        "isa": made.isa.name,
        "mode": made.mode,
        "claim": made.claim,
        "clause": made.clause,
        "address": made.address,
        "divergence": str(shown.divergence),
        "explanation": shown.explanation,
        "cures": {m: None if found is None else str(found) for m, found in shown.cures.items()},
    }
