"""`vmm recurse`: monitors in monitors, and how their traps multiply."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emu.errors import GuestFileError
from vmm.commands_monitors import (
    ENGINE,
    EVERY,
    ISA,
    JSON,
    LIMIT,
    PATH,
    find_monitor,
    open_guest,
)  # fmt: skip

if TYPE_CHECKING:
    from vmm.compare import Guest
    from vmm.recursion import Recursion, Step

ASSEMBLY = "assembly"


@click.command()
@click.argument("guest", type=PATH)
@click.option("--depth", default=2, show_default=True, type=click.IntRange(1))
@click.option("--monitor", default="trap-and-emulate", show_default=True,
              help=f"of every level; {ASSEMBLY}: the control program in toy assembly")  # fmt: skip
@ISA
@ENGINE
@LIMIT
@EVERY
@click.option("--plot", type=PATH, metavar="FILE", help="draw traps against depth, as SVG")
@JSON
def recurse(
    guest: Path, depth: int, monitor: str, isa: str | None, engine: str,
    max_instructions: int | None, every: int, plot: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run GUEST under a monitor in a monitor in a monitor, and count the traps of each depth.

    At each depth the guest is compared with itself on a bare machine of its size. The trap count is
    what the bare machine takes if every control program is a guest itself.
    """
    from vmm.compare import LIMIT as LONGEST
    from vmm.show.output import write_text
    from vmm.show.plot import bars
    from vmm.show.plot import plot as drawn

    opened = open_guest(guest, isa, engine)
    limit = max_instructions or LONGEST
    steps, last = (
        _assembly(opened, depth, limit) if monitor == ASSEMBLY
        else _monitors(opened, depth, monitor, limit, every)
    )  # fmt: skip
    counts = [(step.depth, step.traps) for step in steps]
    title = f"{guest.name} under {'vmm.asm' if monitor == ASSEMBLY else monitor}"
    if plot is not None:
        write_text(plot, drawn(title, "depth", "traps of the bare machine", counts))
    if as_json:
        print(json.dumps(_facts(opened, monitor, steps, last)))
        return
    if last is not None:
        print("\n".join(_levels(last)))
    print("\n".join(bars("depth", "traps", counts)))
    print("\n".join(_verdicts(steps)))


def _monitors(
    guest: Guest, depth: int, name: str, limit: int, every: int
) -> tuple[list[Step], Recursion | None]:
    """Under monitors of `vmm.monitors`."""
    from vmm import recursion
    from vmm.show.progress import progress

    find_monitor(name, [ASSEMBLY])
    found = list(
        progress(recursion.depths(guest, depth, name, limit, every), "depths", length=depth)
    )
    bare = recursion.Step(0, recursion.bare_traps(guest, found[0].levels[0].words, limit), None)
    return [bare, *map(recursion.step, found)], found[-1]


def _assembly(guest: Guest, depth: int, limit: int) -> tuple[list[Step], Recursion | None]:
    """Under the control program of programs/toy/vmm.asm."""
    from vmm import nest, recursion
    from vmm.show.progress import progress

    if guest.isa.name != nest.ISA:
        raise GuestFileError(
            f"{guest.path} is for {guest.isa.name}",
            why=f"The control program in toy assembly is one of {nest.ISA}",
            advice="Choose another --monitor",
        )
    steps = recursion.assembly_depths(guest, depth, limit)
    return list(progress(steps, "depths", length=depth + 1)), None


def _facts(guest: Guest, monitor: str, steps: list[Step], last: Recursion | None) -> dict[str, Any]:
    """What `--json` shows: the depths, and the levels of the last."""
    deepest = steps[-1].facts() if last is None else last.facts()
    return {
        "guest": str(guest.path), "isa": guest.isa.name, "monitor": monitor,
        "depths": [step.facts() for step in steps],
    } | deepest  # fmt: skip


def _levels(found: Recursion) -> list[str]:
    """What the guest printed, and each level's share of the work."""
    sys.stdout.buffer.write(found.output)
    sys.stdout.flush()
    return [
        f"level {level.depth}: {level.words} words, {level.exits} exits, "
        f"{level.direct_fraction:.2%} direct"
        for level in found.levels
    ]


def _verdicts(steps: list[Step]) -> list[str]:
    """Where the guest notices something, or that it does not."""
    wrong = [f"depth {step.depth}: {step.divergence}" for step in steps if step.divergence]
    return wrong or [f"equivalent to the bare machine at every depth to {steps[-1].depth}"]
