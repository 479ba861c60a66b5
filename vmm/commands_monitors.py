"""`vmm run`, `vmm compare` and `vmm recurse`: guests under monitors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emu.report import EXIT_BAD_GUEST

if TYPE_CHECKING:
    from vmm.compare import Comparison, Guest
    from vmm.monitors import Monitor

PATH = click.Path(path_type=Path)
ISA = click.option("--isa", help="configuration of the toy machine, e.g. toy/pdp10")
ENGINE = click.option("--engine", default="auto", show_default=True, help="of the bare machine")
LIMIT = click.option("--max-instructions", type=click.IntRange(1), help="stop after so many")
JSON = click.option("--json", "as_json", is_flag=True, help="one JSON object")
EVERY = click.option(
    "--every", default=1, show_default=True, type=click.IntRange(1),
    help="compare states at every so many boundaries; a difference is then searched for",
)  # fmt: skip


class BadGuestError(click.ClickException):
    """The guest cannot be run."""

    exit_code = EXIT_BAD_GUEST


def add_commands(app: click.Group) -> None:
    """Enter the commands."""
    for command in (run, compare, recurse):
        app.add_command(command)


@click.command()
@click.argument("guest", type=PATH)
@click.option("--monitor", default="trap-and-emulate", show_default=True, help="see vmm compare")
@ISA
@ENGINE
@LIMIT
@JSON
def run(
    guest: Path, monitor: str, isa: str | None, engine: str, max_instructions: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Run GUEST under a monitor; its output and exit code become ours."""
    import time

    from emu.toy.run import outcome
    from vmm import compare as measured

    opened = open_guest(guest, isa, engine)
    allocation = measured.allocation_for(opened.isa)
    stack = opened.virtual(
        [find_monitor(monitor)], [allocation], output=sys.stdout.buffer, source=sys.stdin.buffer
    )
    began = time.perf_counter()
    stop = stack.top.run(max_instructions or measured.LIMIT)
    seconds = time.perf_counter() - began
    sys.stdout.flush()
    told = outcome(stack.top, stop, seconds, opened.program(allocation.words))
    if told.stop != "halt":
        print(f"vmm: {told.explanation}", file=sys.stderr)
    if as_json:
        efficiency = stack.machines[0].monitor.efficiency
        facts = told.facts() | {
            "monitor": monitor,
            "direct_fraction": round(efficiency.direct_fraction, 6),
            "exits": dict(efficiency.exits),
            "resource_control": stack.in_control(),
        }
        print(json.dumps(facts), file=sys.stderr)
    raise SystemExit(told.exit_code)


@click.command()
@click.argument("guest", type=PATH)
@ISA
@ENGINE
@LIMIT
@EVERY
@JSON
def compare(
    guest: Path, isa: str | None, engine: str, max_instructions: int | None, every: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Run GUEST under every monitor and on the bare machine: the paper's three properties."""
    from vmm import compare as measured

    opened = open_guest(guest, isa, engine)
    rows = measured.compare(opened, max_instructions or measured.LIMIT, every)
    if as_json:
        facts = {
            "guest": str(guest),
            "isa": opened.isa.name,
            "monitors": [row.facts() for row in rows],
        }
        print(json.dumps(facts))
        return
    print("\n".join(table(rows)))


def table(rows: list[Comparison]) -> list[str]:
    """The comparison for the terminal."""
    lines = [f"{'monitor':<18}{'equivalent':<12}{'control':<9}{'direct':>9}{'slowdown':>10}  exits"]
    for row in rows:
        exits = ", ".join(f"{n} {what}" for what, n in sorted(row.exits.items()))
        lines.append(
            f"{row.name:<18}{'yes' if row.divergence is None else 'NO':<12}"
            f"{'yes' if row.resource_control else 'NO':<9}{row.direct_fraction:>9.2%}"
            f"{row.slowdown:>9.1f}x  {exits}"
        )
    lines += [f"{row.name}: {row.divergence}" for row in rows if row.divergence is not None]
    return lines


@click.command()
@click.argument("guest", type=PATH)
@click.option("--depth", default=2, show_default=True, type=click.IntRange(1))
@click.option("--monitor", default="trap-and-emulate", show_default=True, help="of every level")
@ISA
@ENGINE
@LIMIT
@EVERY
@JSON
def recurse(
    guest: Path, depth: int, monitor: str, isa: str | None, engine: str,
    max_instructions: int | None, every: int, as_json: bool,
) -> None:  # fmt: skip
    """Run GUEST under a monitor in a monitor in a monitor, and count the traps of each."""
    from vmm import compare as measured
    from vmm.monitors import AllocationError

    opened = open_guest(guest, isa, engine)
    find_monitor(monitor)
    try:
        result = measured.recurse(opened, depth, monitor, max_instructions or measured.LIMIT, every)
    except AllocationError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print(json.dumps({"guest": str(guest), "isa": opened.isa.name} | result.facts()))
        return
    sys.stdout.buffer.write(result.output)
    sys.stdout.flush()
    for level in result.levels:
        print(
            f"level {level.depth}: {level.words} words, {level.exits} exits, "
            f"{level.direct_fraction:.2%} direct"
        )
    verdict = "equivalent to the bare machine" if result.divergence is None else result.divergence
    exits, traps = sum(x.exits for x in result.levels), measured.multiplied(result.levels)
    print(
        f"depth {depth}: {exits} exits in all; {traps} traps if every control program were a "
        f"guest itself; {verdict}"
    )


def open_guest(path: Path, isa: str | None, engine: str) -> Guest:
    """Read a guest; every mistake of a user is a ClickException."""
    from emu.engines import ENGINES
    from emu.errors import GuestFileError
    from emu.guests import read_file, source_text
    from isa.toy import ConfigurationError, Toy
    from isa.toy.assembler import machine_named
    from isa.toy.source import AssemblyError
    from vmm.compare import Guest

    if engine not in ENGINES:
        raise click.ClickException(f"there is no engine {engine!r}; use {', '.join(ENGINES)}")
    try:
        text = source_text(path, read_file(path))
        name = isa or (None if text is None else machine_named(text))
        if text is None or name is None:
            raise BadGuestError(
                f"{path} is no program of the toy machine; give a source that says .machine toy/…"
            )
        given = path.with_suffix(".in")
        guest = Guest(path, text, Toy(name), given.read_bytes() if given.is_file() else b"", engine)
        guest.program(guest.isa.shape.storage)
    except (GuestFileError, ConfigurationError, AssemblyError) as error:
        raise BadGuestError(str(error)) from None
    return guest


def find_monitor(name: str) -> type[Monitor]:
    """The monitor of that name; a ClickException if there is none."""
    from vmm.monitors import MONITORS

    if name not in MONITORS:
        raise click.ClickException(f"there is no monitor {name!r}; use {', '.join(MONITORS)}")
    return MONITORS[name]
