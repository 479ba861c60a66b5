"""`vmm run` and `vmm compare` for guests of the PC."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from emu.cli.run import check_engine, finish, size
from emu.errors import GuestFileError
from emu.pc.serial import StreamSerial
from vmm.compare import Comparison
from vmm.monitors.efficiency import Efficiency
from vmm.pc import Monitor, monitors
from vmm.pc import compare as measured
from vmm.pc.guest import CONFIGURATION, Guest, open_guest
from vmm.pc.machine import VirtualPc


def opened(path: Path, isa: str | None, engine: str, memory: str | None, typed: str) -> Guest:
    """The guest that the command line names. Raises GuestFileError or AssemblyError."""
    check_engine(engine)
    chosen: dict[str, Any] = {"engine": engine, "typed": typed}
    if memory:
        chosen["memory"] = size(memory)
    return open_guest(path, isa, chosen)


def find_monitor(name: str, paging: str | None) -> type[Monitor]:
    """The monitor of that name. Raises GuestFileError."""
    found = monitors(paging)
    if name not in found:
        raise GuestFileError(
            f"There is no monitor {name!r} of the PC", advice=f"Use one of {', '.join(found)}"
        )
    return found[name]


def run_guest(
    guest: Guest, monitor: str, paging: str | None, limit: int | None, *, as_json: bool
) -> int:
    """Run a guest under a monitor to its end; returns the exit code."""
    virtual = guest.virtual(find_monitor(monitor, paging), StreamSerial())
    machine = cast(VirtualPc, virtual.machine)
    report = finish(virtual, None if limit is None else machine.state.count + limit)
    virtual.show_screen()
    sys.stdout.flush()
    report.details.update(
        {"monitor": monitor, **counts(machine.monitor.efficiency)},
        resource_control=measured.in_control(machine),
    )
    if report.message:
        print(f"vmm: {report.message}", file=sys.stderr)
    if as_json:
        print(json.dumps(report.facts()), file=sys.stderr)
    return report.exit_code


def counts(efficiency: Efficiency) -> dict[str, Any]:
    """What a monitor did."""
    return {
        "direct_fraction": round(efficiency.direct_fraction, 6),
        "exits": dict(efficiency.exits),
    }


def compare_guest(
    path: Path, guest: Guest, isa: str | None, paging: str | None, limit: int | None, every: int
) -> tuple[dict[str, Any], list[Comparison]]:
    """Facts for `--json`, and rows for the terminal."""
    rows = measured.compare(guest, limit or measured.LIMIT, every, paging)
    facts = {
        "guest": str(path),
        "isa": isa or CONFIGURATION,
        "monitors": [row.facts() for row in rows],
    }
    return facts, rows


def print_comparison(facts: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    """One JSON object, or the table."""
    print(json.dumps(facts) if as_json else "\n".join(lines))
