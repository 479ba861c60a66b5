"""`vmm check`, `explain` and `witness` for configurations of the x86."""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emu.errors import GuestFileError
from isa.x86.registers import PE, VM
from vmm.commands.report import Views
from vmm.show.output import write_text
from vmm.show.progress import progress
from vmm.x86.classify import X86Class, X86Classification, classify, classify_row
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import Row, rows, shared_name
from vmm.x86.page import page
from vmm.x86.show import facts, overview, row_facts, stories, table

if TYPE_CHECKING:
    from vmm.x86.guests.demonstration import Demonstration

COLUMNS: Final = 98


def check_x86(name: str, *, as_json: bool, html: Path | None) -> int:
    """Print the classification of one configuration, or of all; returns the exit code."""
    names = X86Configuration.names() if name == "x86" else [name]
    found = [_watched(X86Configuration.load(each)) for each in names]
    return Views(facts, table, overview, page).report(name, found, as_json=as_json, html=html)


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


def witness_x86(
    name: str, configuration: str, *, gates: str | None, output: Path | None, as_json: bool
) -> int:
    """Write a guest of the PC that diverges by a critical instruction, and how it did.

    `gates` says of trap-and-emulate what INT n does; None: what makes a guest diverge.
    """
    loaded = X86Configuration.load(configuration)
    need_kernels(loaded)
    found = classify_row(loaded, row_named(name, loaded))
    if not found.critical:
        why = "innocuous" if found.innocuous else "privileged"
        raise GuestFileError(
            f"{found.name} is {why} on {loaded.name}",
            why="No guest diverges by it",
            advice=f"See vmm explain {found.name!r} --isa {loaded.name}",
        )
    from vmm.x86.guests.synthesis import NoGuestError

    try:
        shown = _demonstration(loaded, found, gates)
    except NoGuestError as error:
        raise GuestFileError(
            str(error), advice=f"See vmm explain {found.name!r} --isa {loaded.name}"
        ) from None
    told = _lines_of(shown)
    program = "\n".join([*(f"# {line}".rstrip() for line in told), "", shown.synthesis.text])
    if output is not None:
        write_text(output, program)
    if as_json:
        print(json.dumps(_facts_of(shown) | {"config": loaded.name, "program": program}))
    else:
        print(program if output is None else "\n".join(told))
    return 0


def need_kernels(configuration: X86Configuration) -> None:
    """Raise an error if the configuration is none of a whole PC's kernels of 32 bits."""
    sides = configuration.supervisor, configuration.user
    protected = all(side[PE] and not side[VM] for side in sides)
    if configuration.code == 32 and protected and configuration.nonroot is None:
        return
    raise GuestFileError(
        f"{configuration.name} is no machine of a whole PC",
        why="Guests are kernels in protected mode, of 32 bits",
        advice="Use x86/ia32 or a variant of it; vmm explain tells a witness's states",
    )


def _demonstration(
    configuration: X86Configuration, found: X86Class, gates: str | None
) -> Demonstration:
    from vmm.x86.guests.demonstration import demonstrate
    from vmm.x86.guests.synthesis import synthesize, synthesize_any

    if gates is not None:
        return demonstrate(synthesize(configuration, found.row, gates))
    return demonstrate(synthesize_any(configuration, found.row))


def _lines_of(shown: Demonstration) -> list[str]:
    """What the program shows, for its head and the terminal."""
    made = shown.synthesis
    lines = [
        *made.heading,
        f"{_monitor(shown)}: {shown.divergence}.",
        *(f"{monitor}: {found or 'no divergence'}" for monitor, found in shown.cures.items()),
    ]
    return [part for line in lines for part in textwrap.wrap(line, COLUMNS)]


def _monitor(shown: Demonstration) -> str:
    """Which trap-and-emulate it is: what `vmm compare` has to be told."""
    from vmm.pc import TrapAndEmulate

    kind = shown.synthesis.gates
    default = kind == TrapAndEmulate.gates_kind
    return TrapAndEmulate.name + ("" if default else f" (vmm compare --gates {kind})")


def _facts_of(shown: Demonstration) -> dict[str, Any]:
    return {
        "instruction": shown.synthesis.row.name,
        "address": shown.synthesis.address,
        "gates": shown.synthesis.gates,
        "divergence": str(shown.divergence),
        "cures": {m: None if found is None else str(found) for m, found in shown.cures.items()},
    }


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
