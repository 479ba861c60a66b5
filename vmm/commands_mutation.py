"""`vmm mutate`: seeded faults in monitors, and how many of them the properties catch."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from emu.errors import GuestFileError
from vmm.commands_monitors import JSON

if TYPE_CHECKING:
    from vmm.seeded import Caught, Mutant


def seeded(
    isa: str,
) -> tuple[Sequence[Mutant[Any]], int, Callable[[Mutant[Any], int], Caught[Any]]]:
    """The mutants of a machine's monitors, on how many systems they are tried, and how."""
    if isa == "x86":
        from vmm.pc import mutation as found
    else:
        from vmm import mutation as found  # type: ignore[no-redef]
    return found.MUTANTS, found.SYSTEMS, found.attempt


@click.command()
@click.argument("names", nargs=-1)
@click.option("--isa", type=click.Choice(["toy", "x86"]), default="toy", show_default=True,
              help="whose monitors")  # fmt: skip
@click.option("--systems", type=click.IntRange(1),
              help="generated systems that each is tried on at most  [400; x86: 150]")  # fmt: skip
@JSON
def mutate(names: tuple[str, ...], isa: str, systems: int | None, as_json: bool) -> None:
    """Plant known faults in the monitors, all or NAMES, and see whether each is caught."""
    mutants, most, attempt = seeded(isa)
    known = {mutant.name: mutant for mutant in mutants}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 3) or known
            raise GuestFileError(
                f"There is no mutant {name!r}", advice=f"Use one of {', '.join(close)}"
            )
    rows = []
    for mutant in [known[n] for n in names] or mutants:
        row = attempt(mutant, systems or most)
        rows.append(row)
        if not as_json:
            how = f"caught by system {row.systems}: {row.by}" if row.by else "NOT CAUGHT"
            click.echo(f"{row.mutant.name}: {row.mutant.what}\n    {row.mutant.trial}; {how}")
    caught = sum(bool(row.by) for row in rows)
    if as_json:
        facts = {"caught": caught, "mutants": len(rows), "score": caught / len(rows),
                 "list": [row.facts() for row in rows]}  # fmt: skip
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{caught} of {len(rows)} caught: mutation score {caught / len(rows):.1%}")
    raise SystemExit(0 if caught == len(rows) else 1)
