"""`vmm mutate`: seeded faults in monitors, and how many of them the properties catch."""

from __future__ import annotations

import difflib
import json

import click

from emu.errors import GuestFileError
from vmm.commands_monitors import JSON


@click.command()
@click.argument("names", nargs=-1)
@click.option("--systems", default=400, show_default=True, type=click.IntRange(1),
              help="generated guest systems that each is tried on at most")  # fmt: skip
@JSON
def mutate(names: tuple[str, ...], systems: int, as_json: bool) -> None:
    """Plant known faults in the monitors, all or NAMES, and see whether each is caught."""
    from vmm.mutation import MUTANTS, score

    known = {mutant.name: mutant for mutant in MUTANTS}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 3) or known
            raise GuestFileError(
                f"There is no mutant {name!r}", advice=f"Use one of {', '.join(close)}"
            )
    rows = []
    for row in score(tuple(known[n] for n in names) or MUTANTS, systems):
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
