"""`emu run`."""

from __future__ import annotations

import sys

from emu.engines import ENGINES
from emu.errors import GuestFileError
from emu.guests import FOREVER, Guest, Options, is_for_pc, open_guest, without_arguments
from emu.report import EXIT_INTERRUPTED, Report
from isa.hints import TYPE_CHECKING, Any, Sequence, StrPath

if TYPE_CHECKING:
    from pathlib import Path

    from emu.process.syscalls import CallEvent

PC_SIGNS = ("bios", "fda", "fdb", "hda", "hdb", "kernel")
"""Options that ask for a PC."""
DEFAULT_MEMORY, DEFAULT_MIPS = 256 << 20, 100  # of a process machine


def open_chosen(path: StrPath | None, arguments: list[str], chosen: dict[str, Any]) -> Guest:
    """The guest that the command line chose; raises GuestFileError or AssemblyError."""
    check_engine(chosen["engine"])
    rest = dict(chosen)
    rest["memory"] = size(rest["memory"]) if rest["memory"] else None
    machine, trace = rest.pop("machine"), rest.pop("trace", None)
    if machine == "auto" and (any(rest[name] for name in PC_SIGNS) or is_for_pc(path)):
        machine = "pc"
    if machine == "pc":
        from emu.pc.choose import pc_guest

        without_arguments(path, arguments)
        return pc_guest(path, rest)
    if path is None:
        import click  # who comes here has it: a plain command line names a guest

        raise click.UsageError("Missing argument 'GUEST'.")
    return open_guest(path, arguments, options(rest, trace), machine)


def run_guest(
    path: StrPath | None, arguments: list[str], chosen: dict[str, Any], limit: int | None,
    as_json: bool, covered: Path | None = None,
) -> int:  # fmt: skip
    """Run a guest to its end; returns the exit code."""
    guest = open_chosen(path, arguments, chosen)
    if covered is not None:
        from emu.cli import coverage  # with numpy

        coverage.begin(guest.state)
    report = finish(guest, limit)
    guest.show_screen()
    sys.stdout.flush()
    if covered is not None:
        coverage.write(guest.state, covered)
    tell(report, as_json)
    return report.exit_code


def check_engine(name: str) -> None:
    """Raises GuestFileError if there is no such engine."""
    if name not in ENGINES:
        raise GuestFileError(
            f"There is no engine {name!r}", advice=f"Use one of {', '.join(ENGINES)}"
        )


def options(chosen: dict[str, Any], trace: str | None) -> Options:
    """Check what the command line said of a process or toy machine; raises GuestFileError."""
    rest = {name: value for name, value in chosen.items() if name in Options._fields}
    if trace not in (None, "syscalls"):
        raise GuestFileError(
            f"There is no trace {trace!r}",
            advice="--trace syscalls tells system calls; `emu trace` tells instructions",
        )
    rest["memory"] = rest["memory"] or DEFAULT_MEMORY
    rest["mips"] = rest["mips"] or DEFAULT_MIPS
    rest["environment"] = environment(chosen["env"])
    return Options(**rest, on_call=tell_call if trace else None)


def size(text: str) -> int:
    """Bytes, from a number with K, M or G."""
    from emu import sizes  # few say one

    found = sizes.parsed(text)
    if found is None:
        raise GuestFileError(f"{text!r} is not a size", advice="Write 64M, 1G or a number of bytes")
    return found


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE pairs as a dictionary."""
    for pair in pairs:
        if "=" not in pair:
            raise GuestFileError(f"{pair!r} is not NAME=VALUE", why="--env sets one variable")
    return dict(pair.split("=", 1) for pair in pairs)


def finish(guest: Guest, limit: int | None) -> Report:
    """Run until the guest ends, the limit is reached, or the user interrupts."""
    try:
        report = guest.advance(limit or FOREVER)
    except KeyboardInterrupt:
        return interrupted(guest.unfinished())
    return guest.unfinished() if report is None else report


def interrupted(report: Report) -> Report:
    """The same run, ended by Ctrl-C."""
    return Report(
        "interrupted", EXIT_INTERRUPTED, report.instructions, report.seconds, report.engine,
        report.machine, f"interrupted; it was {report.message}", report.details,
    )  # fmt: skip


def tell(report: Report, as_json: bool) -> None:
    """What the user has to know, and the facts for programs."""
    if report.message:
        print(f"emu: {report.message}", file=sys.stderr)
    for name, times in report.details.get("unknown_calls", {}).items():
        call = name.removeprefix("call_")
        print(
            f"emu: the system call {call} is not there (asked for {times} times)", file=sys.stderr
        )
    if as_json:
        import json  # which takes as long as many a guest

        print(json.dumps(report.facts()), file=sys.stderr)


def tell_call(event: CallEvent) -> None:
    """One system call, as strace shows it."""
    print(event, file=sys.stderr)
