"""`vmm partition`: several guests on one bare machine."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emu.command import leave
from emu.errors import GuestFileError
from vmm.commands_monitors import ENGINE, ISA, JSON, LIMIT, PATH, find_monitor, is_pc, open_guest

if TYPE_CHECKING:
    from vmm.compare import Guest
    from vmm.partitions import Labelled, Partition, Partitions

WORDS: Final = 4096  # of a partition, if nobody says
CHANGE: Final = re.compile(r"(\d+):(.+):(share|memory)=(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Change:
    """What `--at` says."""

    time: int
    name: str
    resource: str
    value: int

    def carry_out(self, partitions: Partitions) -> None:
        """Raise AllocationError if it cannot be done."""
        change = partitions.set_share if self.resource == "share" else partitions.resize
        change(self.name, self.value)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user says of partitions of a PC."""

    guests: tuple[Path, ...]
    shares: tuple[str, ...]
    sizes: tuple[str, ...]
    quantum: int
    monitor: str
    isa: str | None
    engine: str


@click.command()
@click.argument("guests", type=PATH, nargs=-1, required=True)
@click.option("--share", "shares", multiple=True, metavar="NAME=N", help="of the processor; 1")
@click.option(
    "--memory", "sizes", multiple=True, metavar="NAME=WORDS", help=f"of the storage; {WORDS}"
)
@click.option(
    "--at", "changes", multiple=True, metavar="COUNT:NAME:share=N|memory=WORDS",
    help="change a partition while all run, after so many instructions of all of them",
)  # fmt: skip
@click.option("--quantum", default=64, show_default=True, type=click.IntRange(1),
              help="instructions in a round for each share")  # fmt: skip
@click.option("--monitor", default="trap-and-emulate", show_default=True, help="see vmm compare")
@ISA
@ENGINE
@LIMIT
@JSON
def partition(
    guests: tuple[Path, ...], shares: tuple[str, ...], sizes: tuple[str, ...],
    changes: tuple[str, ...], quantum: int, monitor: str, isa: str | None, engine: str,
    max_instructions: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Run several GUESTS side by side on one bare machine, each in a partition of its own.

    A partition has the name of its guest's file without its ending; the second of the same name
    gets -2. What it prints has its name before every line. Guests of a PC are run on one PC, under
    one of its monitors; with --monitor paravirtual they are domains. --memory NAME=16M, for them.
    """
    from vmm.compare import LIMIT as LONGEST

    if any(is_pc(path, isa) for path in guests):
        from vmm.pc.commands_partition import partition_pcs

        asked = Asked(guests, shares, sizes, quantum, monitor, isa, engine)
        if changes:
            raise GuestFileError("--at is for the toy machine's guests, and these are for PCs")
        leave(partition_pcs(asked, max_instructions or LONGEST, as_json=as_json))
    opened = {
        name: open_guest(path, isa, engine)
        for name, path in zip(names(guests), guests, strict=True)
    }
    wanted = sorted((_change(text, opened) for text in changes), key=lambda change: change.time)
    of_share, of_size = _numbers(shares, opened, "share"), _numbers(sizes, opened, "memory")
    partitions, outputs = _start(opened, of_share, of_size, monitor, quantum)
    refused = _run(partitions, wanted, max_instructions or LONGEST)
    for output in outputs.values():
        output.finish()
    sys.stdout.flush()
    rows = [_facts(p, opened[p.name], outputs[p.name].getvalue()) for p in partitions.members]
    control = partitions.in_control()
    if as_json:
        facts = {"monitor": monitor, "instructions": partitions.time, "quantum": quantum,
                 "resource_control": control, "refused": refused, "partitions": rows}  # fmt: skip
        print(json.dumps(facts), file=sys.stderr)
    else:
        print("\n".join(_table(rows, control)), file=sys.stderr)
    for reason in refused:
        print(f"vmm: refused, and all went on: {reason}", file=sys.stderr)
    right = control and all(row["equivalent"] for row in rows)
    raise SystemExit(0 if right and not refused else 1)


def _run(partitions: Partitions, changes: Sequence[Change], limit: int) -> list[str]:
    """All of it, with the changes in between; what was refused, and why."""
    from vmm.monitors import AllocationError

    refused = []
    for change in changes:
        if change.time > limit:
            break
        partitions.run(change.time)
        try:
            change.carry_out(partitions)
        except AllocationError as error:
            refused.append(f"at {change.time}, {error}")
    partitions.run(limit)
    return refused


def names(guests: Sequence[Path]) -> list[str]:
    """What the partitions are called."""
    found: list[str] = []
    for path in guests:
        name, number = path.stem, 2
        while name in found:
            name, number = f"{path.stem}-{number}", number + 1
        found.append(name)
    return found


def _numbers(texts: Sequence[str], guests: dict[str, Guest], option: str) -> dict[str, int]:
    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        if name not in guests or not (value.isascii() and value.isdigit()):
            raise GuestFileError(
                f"--{option} {text} cannot be read",
                advice=f"Write NAME=NUMBER; names are {', '.join(guests)}",
            )
        found[name] = int(value)
    return found


def _change(text: str, guests: dict[str, Guest]) -> Change:
    found = CHANGE.fullmatch(text)
    if found is None or found[2] not in guests:
        raise GuestFileError(
            f"--at {text} cannot be read",
            advice="Write COUNT:NAME:share=N or COUNT:NAME:memory=WORDS; names are "
            + ", ".join(guests),
        )
    return Change(int(found[1]), found[2], found[3], int(found[4]))


def _start(
    guests: dict[str, Guest], shares: dict[str, int], sizes: dict[str, int], monitor: str,
    quantum: int,
) -> tuple[Partitions, dict[str, Labelled]]:  # fmt: skip
    from emu.engines import make_engine
    from emu.toy.machine import ToyMachine
    from emu.toy.run import BLANK_DISK
    from isa.toy.source import AssemblyError
    from vmm.monitors import AllocationError
    from vmm.partitions import Labelled, Partitions

    first = next(iter(guests.values()))
    for name, guest in guests.items():
        if guest.isa.name != first.isa.name:
            raise GuestFileError(
                f"{name} is for {guest.isa.name}, the bare machine is {first.isa.name}",
                why="Partitions of one machine have its instructions",
                advice="Say --isa, or run it on a machine of its own",
            )
    bare = ToyMachine(first.isa, engine=make_engine(first.engine))
    partitions = Partitions(bare, monitor=find_monitor(monitor), quantum=quantum)
    width = max(map(len, guests))
    outputs = {n: Labelled(sys.stdout.buffer, f"{n:<{width}} | ") for n in guests}
    for name, guest in guests.items():
        words = sizes.get(name, WORDS)
        try:
            program = guest.program(words)
        except (AssemblyError, ValueError) as error:
            raise AllocationError(f"{name} with {words} words: {error}") from None
        partitions.add(
            name, words, program.image, share=shares.get(name, 1), entry=program.entry,
            output=outputs[name], source=io.BytesIO(guest.given), disk=BLANK_DISK,
        )  # fmt: skip
    return partitions, outputs


def _facts(partition: Partition, guest: Guest, output: bytes) -> dict[str, Any]:
    """One row, and whether its run was its run alone."""
    from vmm.equivalence import Observed, differences
    from vmm.partitions import alone

    observed = guest.bare(partition.sizes[0][1])
    double = alone(partition.sizes, observed.machine, partition.count)
    mine = Observed(partition.machine, io.BytesIO(output))
    found = next(differences(Observed(double, observed.output), mine), None)
    efficiency = partition.machine.monitor.efficiency
    return {
        "name": partition.name,
        "base": partition.allocation.base,
        "words": partition.allocation.words,
        "share": partition.share,
        "instructions": partition.count,
        "stop": "limit" if partition.stop is None else partition.stop.reason,
        "exit_code": partition.machine.state["r0"] & 0xFF,
        "equivalent": found is None,
        "difference": None if found is None else "{}: {} alone, {} here".format(*found),
        "direct_fraction": round(efficiency.direct_fraction, 6),
    }


def _table(rows: list[dict[str, Any]], control: bool) -> list[str]:
    lines = [
        f"{'partition':<14}{'words':<16}{'share':>6}{'instructions':>14}  {'stop':<7}{'r0':>4}"
        f"{'direct':>9}  as alone"
    ]
    for row in rows:
        words = f"{row['base']}..{row['base'] + row['words'] - 1}"
        lines.append(
            f"{row['name']:<14}{words:<16}{row['share']:>6}{row['instructions']:>14}  "
            f"{row['stop']:<7}{row['exit_code']:>4}{row['direct_fraction']:>9.2%}  "
            f"{'yes' if row['equivalent'] else 'NO: ' + row['difference']}"
        )
    verdict = "as they were" if control else "CHANGED: no resource control"
    return [*lines, f"words that are nobody's, and the bare machine's devices: {verdict}"]
