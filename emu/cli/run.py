"""`emu run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu.cli import coverage
from emu.engines import ENGINES
from emu.errors import GuestFileError
from emu.guests import FOREVER, Guest, Options, open_guest
from emu.report import EXIT_INTERRUPTED, Report

if TYPE_CHECKING:
    from emu.process.syscalls import CallEvent

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def run_guest(
    path: Path, arguments: list[str], chosen: dict[str, Any], limit: int | None, as_json: bool,
    covered: Path | None = None,
) -> int:  # fmt: skip
    """Run a guest to its end; returns the exit code."""
    guest = open_guest(path, arguments, options(chosen))
    if covered is not None:
        coverage.begin(guest.state)
    report = finish(guest, limit)
    sys.stdout.flush()
    if covered is not None:
        coverage.write(guest.state, covered)
    tell(report, as_json)
    return report.exit_code


def options(chosen: dict[str, Any]) -> Options:
    """Check what the command line said; raises GuestFileError."""
    rest = dict(chosen)
    trace = rest.pop("trace", None)
    if rest["engine"] not in ENGINES:
        raise GuestFileError(
            f"There is no engine {rest['engine']!r}", advice=f"Use one of {', '.join(ENGINES)}"
        )
    if trace not in (None, "syscalls"):
        raise GuestFileError(
            f"There is no trace {trace!r}",
            advice="--trace syscalls tells system calls; `emu trace` tells instructions",
        )
    rest["memory"] = size(rest["memory"])
    rest["environment"] = environment(rest.pop("env"))
    return Options(**rest, on_call=tell_call if trace else None)


def size(text: str) -> int:
    """Bytes, from a number with K, M or G."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdecimal() or unit not in UNITS:
        raise GuestFileError(f"{text!r} is not a size", advice="Write 64M, 1G or a number of bytes")
    return int(number) * UNITS[unit]


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
        print(json.dumps(report.facts()), file=sys.stderr)


def tell_call(event: CallEvent) -> None:
    """One system call, as strace shows it."""
    print(event, file=sys.stderr)
