"""`vmm run` and `vmm compare`: guests under monitors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emu.command import leave
from emu.errors import GuestFileError
from vmm.migration.options import Command, Leaving
from vmm.migration.options import leaving as with_leaving

if TYPE_CHECKING:
    from vmm.compare import Comparison, Guest
    from vmm.monitors import Monitor

PATH = click.Path(path_type=Path)
ISA = click.option("--isa", help="configuration, e.g. toy/pdp10 or x86/ia32+umip")
ENGINE = click.option("--engine", default="auto", show_default=True, help="of the bare machine")
LIMIT = click.option("--max-instructions", type=click.IntRange(1), help="stop after so many")
JSON = click.option("--json", "as_json", is_flag=True, help="one JSON object")
EVERY = click.option(
    "--every", default=1, show_default=True, type=click.IntRange(1),
    help="compare states at every so many boundaries; a difference is then searched for",
)  # fmt: skip
MEMORY = click.option("--memory", help="of a virtual PC  [16M]")
PAGING = click.option("--paging", type=click.Choice(["nested", "shadow"]),
                      help="of hardware-assist on a PC  [nested]")  # fmt: skip
GATE_KINDS = click.Choice(["trap", "direct"])
GATES = click.option("--gates", type=GATE_KINDS,
                     help="what INT n does under trap-and-emulate on a PC  [trap]")  # fmt: skip
NATIVE = "native"
ARRANGEMENTS = NATIVE, "hosted", "hosted-by-root"
TYPED = click.option("--type", "typed", default="", help="keys that a virtual PC's user presses")


def arrangement_of(*names: str) -> Callable[[Command], Command]:
    """The option that says on what a PC's monitor runs."""
    return click.option(
        "--arrangement",
        type=click.Choice(names),
        default=NATIVE,
        show_default=True,
        help="of a PC's monitor: over the bare machine, or as a process over a host's",
    )


@click.command()
@click.argument("guest", type=PATH)
@click.option("--monitor", default="trap-and-emulate", show_default=True, help="see vmm compare")
@ISA
@ENGINE
@LIMIT
@MEMORY
@PAGING
@GATES
@TYPED
@arrangement_of(*ARRANGEMENTS)
@JSON
@with_leaving
def run(
    guest: Path, monitor: str, isa: str | None, engine: str, max_instructions: int | None,
    memory: str | None, paging: str | None, gates: str | None, typed: str, arrangement: str,
    as_json: bool, leaving: Leaving | None,
) -> None:  # fmt: skip
    """Run GUEST, of the toy machine or a PC, under a monitor; its output and exit code become ours.

    A PC's output is what comes out of its serial port, and its screen. With --to or --offer it goes
    on under another monitor, in another process: see `vmm migrate`.
    """
    import time

    if is_pc(guest, isa):
        from vmm.pc import commands

        chosen = commands.opened(guest, isa, engine, memory, typed, arrangement)
        kinds = commands.kinds_for(arrangement, paging, gates)
        leave(
            commands.run_guest(
                chosen, monitor, kinds, max_instructions, as_json=as_json, leaving=leaving
            )
        )
    only_for_pcs(memory, typed, paging, gates, arrangement != NATIVE)
    if leaving is not None:
        raise GuestFileError("only a PC's guest migrates, and this is a toy's")
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
@MEMORY
@PAGING
@GATES
@TYPED
@arrangement_of(*ARRANGEMENTS, "both")
@JSON
def compare(
    guest: Path, isa: str | None, engine: str, max_instructions: int | None, every: int,
    memory: str | None, paging: str | None, gates: str | None, typed: str, arrangement: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Run GUEST under every monitor and on the bare machine: the paper's three properties.

    A PC's boundaries are those at which the monitor gets control back.
    """
    if is_pc(guest, isa):
        from vmm.pc import commands

        chosen = commands.opened(guest, isa, engine, memory, typed)
        kinds = commands.kinds_for(arrangement, paging, gates)
        if arrangement != NATIVE:
            from vmm.pc.hosted import commands as hosted

            found = hosted.compare_guest(guest, chosen, isa, arrangement, max_instructions, every)
            commands.print_comparison(*found, as_json=as_json)
            return
        facts, rows = commands.compare_guest(guest, chosen, isa, kinds, max_instructions, every)
        commands.print_comparison(facts, table(rows), as_json=as_json)
        return
    only_for_pcs(memory, typed, paging, gates, arrangement != NATIVE)
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


def is_pc(guest: Path, isa: str | None) -> bool:
    """Whether a guest is for a PC: by what it is, or because its user says so."""
    from emu.guests import is_for_pc, read_file, source_text

    pc = is_for_pc(guest)
    if not pc and isa is not None and isa.startswith("x86/"):
        data = read_file(guest)
        refuse_process(guest, data, source_text(guest, data))
    return pc if isa is None else isa.startswith("x86/")


def only_for_pcs(*asked: str | bool | None) -> None:
    """Raises GuestFileError if a toy's user has asked for what only a PC has."""
    if any(asked):
        raise GuestFileError(
            "only PCs have --memory, --paging, --gates, --arrangement and --type, and the guest is "
            "a toy's"
        )


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
    told = [f"{row.name} {row.modelled:.2f}x" for row in rows if row.modelled is not None]
    if told:
        lines.append(f"by published cycle costs, were an instruction one cycle: {', '.join(told)}")
    lines += [f"{row.name}: {row.divergence}" for row in rows if row.divergence is not None]
    return lines


def open_guest(path: Path, isa: str | None, engine: str) -> Guest:
    """Read a guest. Raises GuestFileError, ConfigurationError or AssemblyError."""
    from emu.engines import ENGINES
    from emu.guests import read_file, source_text
    from isa.toy import Toy
    from isa.toy.assembler import machine_named
    from vmm.compare import Guest

    if engine not in ENGINES:
        raise GuestFileError(
            f"There is no engine {engine!r}", advice=f"Use one of {', '.join(ENGINES)}"
        )
    data = read_file(path)
    text = source_text(path, data)
    name = isa or (None if text is None else machine_named(text))
    if name is None:
        refuse_process(path, data, text)
    if text is None or name is None:
        raise GuestFileError(
            f"{path} is no program of the toy machine",
            why="Monitors run toy sources",
            advice="Begin the source with .machine toy/clean, or say --isa",
        )
    guest = Guest(path, text, Toy(name), _given(path.with_suffix(".in")), engine)
    guest.program(guest.isa.shape.storage)
    return guest


def refuse_process(path: Path, data: bytes, text: str | None) -> None:
    """Raises GuestFileError if a file is a program that needs a kernel: ELF, or x86 assembly."""
    from emu.guests import is_source

    if data.startswith(b"\x7fELF") or (text is not None and is_source(path)):
        raise GuestFileError(
            f"{path} is a program of a process, and monitors run whole machines",
            why="its system calls are for a Linux that is not in the virtual machine",
            advice="Run it with `emu run`; a monitor's guest begins with .machine toy/…, pc/boot "
            "or pc/kernel (programs/x86/pc/kernel.asm has programs in ring 3), or is a disk or a "
            "kernel",
        )


def _given(path: Path) -> bytes:
    """What the guest is to read, if there is such a file beside it."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise GuestFileError(f"{path} cannot be read", why=error.strerror or "") from None


def find_monitor(name: str, others: Sequence[str] = ()) -> type[Monitor]:
    """The monitor of that name. Raises GuestFileError, which names `others` too."""
    from vmm.monitors import MONITORS

    if name not in MONITORS:
        raise GuestFileError(
            f"There is no monitor {name!r}", advice=f"Use one of {', '.join([*MONITORS, *others])}"
        )
    return MONITORS[name]
