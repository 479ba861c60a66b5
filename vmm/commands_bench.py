"""`vmm bench`: what each monitor costs in time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emu.command import leave
from vmm.commands_monitors import ENGINE, ISA, JSON, LIMIT, PAGING, PATH, is_pc, open_guest

if TYPE_CHECKING:
    from vmm.bench import Bench
    from vmm.pc.bench import PcBench


@click.command()
@click.argument("guest", type=PATH, required=False)
@click.option("--repeat", default=7, show_default=True, type=click.IntRange(5),
              help="rounds, of which the median counts")  # fmt: skip
@ISA
@ENGINE
@LIMIT
@PAGING
@JSON
def bench(
    guest: Path | None, repeat: int, isa: str | None, engine: str, max_instructions: int | None,
    paging: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Time GUEST under every monitor and on the bare machine, in turns; ratios with their spread.

    Without GUEST, a sieve: a user program that computes and hardly ever calls its kernel; for a PC,
    see programs/bench/pc. A PC's guest is timed when it has run for a while, and until it ends.
    """
    if guest is not None and is_pc(guest, isa):
        leave(_bench_pc(guest, repeat, isa, engine, paging, as_json=as_json))
    from vmm import bench as measured
    from vmm.compare import LIMIT as LONGEST
    from vmm.show.progress import progress

    opened = open_guest(guest or measured.GUEST, isa, engine)
    found = measured.warm_up(opened, max_instructions or LONGEST)
    for _ in progress(measured.rounds(found, repeat), "rounds", repeat):
        pass
    print(json.dumps(found.facts()) if as_json else "\n".join(table(found)))


def _bench_pc(
    path: Path, repeat: int, isa: str | None, engine: str, paging: str | None, *, as_json: bool
) -> int:
    from vmm.pc import bench as measured
    from vmm.pc.commands import opened
    from vmm.show.progress import progress

    found = measured.warm_up(opened(path, isa, engine, None, ""), paging)
    for _ in progress(measured.rounds(found, repeat), "rounds", repeat):
        pass
    print(json.dumps(found.facts()) if as_json else "\n".join(table(found)))
    return 0


def table(found: Bench | PcBench) -> list[str]:
    """The result for the terminal."""
    facts = found.facts()
    bare = facts["bare"]
    lines = [
        f"{facts['guest']}, {facts['instructions']} instructions, engine {facts['engine']}: on the "
        f"bare machine {bare['seconds']:.3f} s, {bare['mips']:.2f} million a second",
        f"{'monitor':<18}{'slowdown':>9}{'lowest':>9}{'highest':>9}{'direct':>10}{'instructions':>14}",
    ]
    for row in facts["monitors"]:
        low, high = row["spread"]
        lines.append(
            f"{row['name']:<18}{row['slowdown']:>8.2f}x{low:>8.2f}x{high:>8.2f}x"
            f"{row['direct_fraction']:>10.3%}{row['instructions']:>14}"
        )
    return [*lines, f"medians of {facts['repeat']} rounds, bare machine and monitors in turns"]
