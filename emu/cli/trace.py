"""`emu trace`: every instruction with what it changed."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from emu.cli.run import interrupted, open_chosen, tell
from emu.errors import unwritable
from emu.guests import FOREVER, Guest
from emu.report import Report
from isa.hints import IO, Any


def trace_guest(
    path: Path | None, arguments: list[str], chosen: dict[str, Any], limit: int | None, *,
    start: int, as_json: bool, output: Path | None,
) -> int:  # fmt: skip
    """Run a guest one instruction at a time; returns the exit code."""
    guest = open_chosen(path, arguments, chosen)
    with _stream(output) as stream:
        report = _steps(guest, limit or FOREVER, start, as_json, stream)
    sys.stdout.flush()
    tell(report, False)
    return report.exit_code


def _stream(output: Path | None) -> AbstractContextManager[IO[str]]:
    if output is None:
        return nullcontext(sys.stderr)
    try:
        return output.open("w", encoding="utf-8")
    except OSError as error:
        raise unwritable(output, error) from None


def _steps(guest: Guest, limit: int, start: int, as_json: bool, stream: IO[str]) -> Report:
    try:
        report = guest.advance(min(start, limit)) if start else None
        while report is None and guest.state.count < limit:
            report = _step(guest, as_json, stream)
    except KeyboardInterrupt:
        return interrupted(guest.unfinished())
    return guest.unfinished() if report is None else report


def _step(guest: Guest, as_json: bool, stream: IO[str]) -> Report | None:
    state = guest.state
    count, place, before = state.count, guest.place(), list(state.values)
    report = guest.advance(count + 1)
    changed = {
        r.name: int(state.values[r.slot])
        for r in state.isa.registers
        if state.values[r.slot] != before[r.slot] and r is not state.isa.pc
    }
    if as_json:
        facts = {"count": count, "instruction": place, "changed": changed, "pc": state.pc}
        print(json.dumps(facts), file=stream)
    else:
        shown = " ".join(f"{name}={value:#x}" for name, value in changed.items())
        print(f"{count:>8}  {place:<60} {shown}".rstrip(), file=stream)
    return report
