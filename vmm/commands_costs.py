"""`vmm costs`: published cycle costs, and what comes out of counted events."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vmm.commands_monitors import ENGINE, JSON, PATH

NAMES = ("syscall", "in", "cr8wr", "callret", "pgfault", "divzero", "ptemod")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(0),
              help="rounds of measuring here; 0: only count")  # fmt: skip
@click.option("--plot", type=PATH, metavar="FILE", help="draw model and publication, as SVG")
@click.option("--source", is_flag=True, help="print the guests instead")
@ENGINE
@JSON
def costs(
    names: tuple[str, ...], repeat: int, plot: Path | None, source: bool, engine: str,
    as_json: bool,
) -> None:  # fmt: skip
    """The nano-benchmarks of Adams and Agesen, under translation and hardware assistance.

    What a monitor does for one operation is counted; the published cost of each event makes cycles
    of that, beside the published cycles and the time that it takes here.
    """
    from vmm.pc.costs import counting, nano, show
    from vmm.show.output import write_text
    from vmm.show.progress import progress

    chosen = names or NAMES
    if source:
        print("\n".join(nano.source(name, 1000) for name in chosen))
        return
    work = (counting.operation(name, engine, repeat) for name in chosen)
    found = [one.facts() for one in progress(work, "nano-benchmarks", len(chosen))]
    if plot is not None:
        write_text(plot, show.plot(found))
    print(json.dumps({"operations": found}) if as_json else "\n".join(show.table(found)))
