"""`vmm run` and `vmm compare` for guests of the PC."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from emu.cli.run import check_engine, finish, size
from emu.errors import GuestFileError
from emu.pc.guest import PcGuest
from emu.pc.serial import StreamSerial
from emu.report import Report
from vmm.compare import Comparison
from vmm.migration.options import MIGRATED, Leaving
from vmm.monitors.efficiency import Efficiency
from vmm.pc import Kinds, Monitor, monitors
from vmm.pc import compare as measured
from vmm.pc.guest import CONFIGURATION, Guest, open_guest
from vmm.pc.hosted.arrangement import NATIVE, check, host_facts
from vmm.pc.machine import VirtualPc
from vmm.pc.paravirtual.guest import NAME as PARAVIRTUAL
from vmm.pc.paravirtual.guest import ParavirtualGuest


def opened(
    path: Path, isa: str | None, engine: str, memory: str | None, typed: str,
    arrangement: str = NATIVE,
) -> Guest:  # fmt: skip
    """The guest that the command line names. Raises GuestFileError or AssemblyError."""
    check_engine(engine)
    chosen: dict[str, Any] = {"engine": engine, "typed": typed}
    if memory:
        chosen["memory"] = size(memory)
    return replace(open_guest(path, isa, chosen), arrangement=arrangement)


def find_monitor(name: str, kinds: Kinds = (None, None)) -> type[Monitor]:
    """The monitor of that name. Raises GuestFileError."""
    found = monitors(*kinds)
    if name not in found:
        raise GuestFileError(
            f"There is no monitor {name!r} of the PC",
            advice=f"Use one of {', '.join((*found, PARAVIRTUAL))}",
        )
    return found[name]


def kinds_for(arrangement: str, paging: str | None, gates: str | None) -> Kinds:
    """What is asked for of monitors that there are several of. Raises GuestFileError if a process
    does not carry them."""
    if arrangement != NATIVE and (paging or gates):
        raise GuestFileError(
            "--paging and --gates are for monitors over the bare machine",
            advice=f"Leave out those, or --arrangement {arrangement}",
        )
    return paging, gates


def run_guest(
    guest: Guest, monitor: str, kinds: Kinds, limit: int | None, *, as_json: bool,
    leaving: Leaving | None = None,
) -> int:  # fmt: skip
    """Run a guest under a monitor to its end, or until it has left; returns the exit code."""
    if guest.arrangement != NATIVE:
        check(monitor)
    if monitor == PARAVIRTUAL:
        if leaving is not None:
            raise GuestFileError(
                "a paravirtual guest does not migrate",
                why="its page tables hold the frames of this machine",
                advice="Use another monitor",
            )
        return run_ported(guest, limit, as_json=as_json)
    virtual = guest.virtual(find_monitor(monitor, kinds), StreamSerial())
    machine = cast(VirtualPc, virtual.machine)
    until = None if limit is None else machine.state.count + limit
    report = _run(virtual, guest, leaving, until)
    if report.stop != MIGRATED:
        virtual.show_screen()
    sys.stdout.flush()
    in_control = measured.in_control(machine)
    if (host := host_facts(machine)) is not None:
        report.details.update(arrangement=guest.arrangement, host=host)
    return tell(report, monitor, machine.monitor.efficiency, in_control, as_json=as_json)


def run_ported(guest: Guest, limit: int | None, *, as_json: bool) -> int:
    """Run a kernel that was ported to the paravirtual monitor; returns the exit code."""
    port = ParavirtualGuest(guest.path, guest.choice, StreamSerial())
    report = finish(port, limit)
    sys.stdout.flush()
    efficiency = port.domain.efficiency
    return tell(report, PARAVIRTUAL, efficiency, port.in_control(), as_json=as_json)


def tell(
    report: Report, monitor: str, efficiency: Efficiency, in_control: bool, *, as_json: bool
) -> int:
    """How a run ended, and what it cost; returns the exit code."""
    report.details.update({"monitor": monitor, **counts(efficiency)}, resource_control=in_control)
    if report.message:
        print(f"vmm: {report.message}", file=sys.stderr)
    if as_json:
        print(json.dumps(report.facts()), file=sys.stderr)
    return report.exit_code


def _run(virtual: PcGuest, guest: Guest, leaving: Leaving | None, until: int | None) -> Report:
    if leaving is None:
        return finish(virtual, until)
    from vmm.migration.departure import depart

    return depart(virtual, guest.path, leaving, until, umip=guest.umip)


def counts(efficiency: Efficiency) -> dict[str, Any]:
    """What a monitor did."""
    return {
        "direct_fraction": round(efficiency.direct_fraction, 6),
        "exits": dict(efficiency.exits),
    }


def compare_guest(
    path: Path, guest: Guest, isa: str | None, kinds: Kinds, limit: int | None, every: int
) -> tuple[dict[str, Any], list[Comparison]]:
    """Facts for `--json`, and rows for the terminal."""
    rows = measured.compare(guest, limit or measured.LIMIT, every, kinds)
    facts = {
        "guest": str(path),
        "isa": isa or CONFIGURATION,
        "monitors": [row.facts() for row in rows],
    }
    return facts, rows


def print_comparison(facts: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    """One JSON object, or the table."""
    print(json.dumps(facts) if as_json else "\n".join(lines))
