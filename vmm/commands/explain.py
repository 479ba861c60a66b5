"""`vmm explain`: one instruction's meaning, its class, and why."""

from __future__ import annotations

import difflib
import json

from emu.errors import GuestFileError
from isa.text import describe
from isa.toy import Toy
from vmm.commands.check import need_prover, need_repaired
from vmm.show.facts import instruction_facts
from vmm.show.story import story, words
from vmm.show.table import CLAIMS, reading, wrapped
from vmm.theory import InstructionClass, Reading, Witness
from vmm.theory.classify import classify_one
from vmm.theory.toy import ToyModel
from vmm.x86.configuration import is_x86


def explain_instruction(name: str, configuration: str, *, literal: bool, as_json: bool) -> int:
    """Print everything that is derived of one instruction; returns the exit code."""
    need_prover()
    if is_x86(configuration):
        need_repaired(literal)
        from vmm.commands.x86 import explain_x86

        return explain_x86(name, configuration, as_json=as_json)
    isa = Toy(configuration)
    form = form_named(name, isa)
    chosen = Reading.LITERAL if literal else Reading.REPAIRED
    found = classify_one(ToyModel(isa), form, chosen)
    if as_json:
        print(json.dumps({"config": isa.name, "reading": chosen.value, "doc": isa.rows[form].doc}
                         | instruction_facts(found)))  # fmt: skip
    else:
        print(_text(isa, found, chosen))
    return 0


def form_named(name: str, isa: Toy) -> str:
    """The instruction that is meant; its operands may follow it and do not matter."""
    wanted = name.split()[0].upper() if name.split() else ""
    if wanted in isa.rows:
        return wanted
    close = difflib.get_close_matches(wanted, isa.rows, 1)
    advice = f"Did you mean {close[0]}?" if close else f"It has {', '.join(isa.rows)}"
    raise GuestFileError(f"{isa.name} has no instruction {name[:40]!r}", advice=advice)


def _text(isa: Toy, found: InstructionClass, chosen: Reading) -> str:
    row = isa.rows[found.name]
    operands = ", ".join(row.operands)
    behaviour = isa.configuration.behaviours[found.name].value
    lines = [
        f"{found.name} {operands}".rstrip() + f"  (opcode {row.opcode:#x}, {isa.name})",
        *(f"  {line.strip()}" for line in row.doc.splitlines() if line.strip()),
        f"  in user mode: {behaviour}; reading: {reading(chosen)}",
        "",
        *(f"  {step}" for step in describe(isa.trace(found.name))),
        "",
        f"{found.name} is {_class(found)}",
        "",
    ]
    return "\n".join([*map(wrapped, lines), *_stories(found)])


def _class(found: InstructionClass) -> str:
    claims = [words(c) for c, e in found.evidence.items() if e.holds]
    summary = "innocuous" if found.innocuous else "sensitive"
    if found.critical:
        summary += " and not privileged: critical (Theorem 1 fails because of it)"
    return f"{summary} [{', '.join(claims) or 'no claim holds'}]"


def _stories(found: InstructionClass) -> list[str]:
    told: list[Witness | None] = []
    stories: list[str] = []
    for claim in ("privileged", *CLAIMS, "user_sensitive", "supervisor_sensitive"):
        evidence = found.evidence[claim]
        if evidence.witness is not None and any(evidence.witness is w for w in told):
            stories.append(f"  {found.name} is {words(claim)}: the same witness\n"
                           f"    by        {evidence.clause}")  # fmt: skip
        else:
            stories.append(story(found.name, evidence).text())
        told.append(evidence.witness)
    return [wrapped(text) for text in stories]
