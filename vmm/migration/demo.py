"""`vmm migrate --demo`: a guest moves between two processes of this host, and nobody can tell."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from emu.errors import GuestFileError
from emu.pc.serial import MemorySerial
from vmm.migration.errors import CutError
from vmm.migration.records import Records
from vmm.migration.secret import VARIABLE
from vmm.pc.commands import find_monitor, opened
from vmm.pc.guest import Guest

Chosen = dict[str, Any]
PREFIX: Final = "vmm: waiting for a guest at "
FOREVER: Final = 1 << 60


def demonstrate(chosen: Chosen) -> int:
    """Both processes, the guest's output, and whether it is what an unmigrated run would be."""
    guest = opened(chosen["demo"], None, chosen["engine"], chosen["memory"], chosen["typed"])
    find_monitor(chosen["under"]), find_monitor(chosen["monitor"])
    facts = _two_processes(chosen)
    facts |= _compared(guest, facts)
    if chosen["plot"]:
        facts["sweep"] = _plotted(guest, chosen)
    _tell(facts, as_json=chosen["as_json"])
    return 0 if facts["equal"] else 1


def _two_processes(chosen: Chosen) -> dict[str, Any]:
    """Run `vmm migrate --listen` and `vmm run --to`; what each of them told."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {VARIABLE: secrets.token_hex(32)}
        there = _start(environment, "migrate", "--listen", "127.0.0.1:0", "--json",
                       "--monitor", chosen["monitor"], "--engine", chosen["engine"],
                       "--disk", chosen["demo"], "--wait", "120",
                       "--records", f"{scratch}/destination")  # fmt: skip
        try:
            assert there.stderr is not None
            line = there.stderr.readline().decode()
            if not line.startswith(PREFIX):
                raise CutError(f"the destination did not start: {line.strip()}")
            here = _start(
                environment, "run", chosen["demo"], "--monitor", chosen["under"], "--engine",
                chosen["engine"], "--memory", chosen["memory"], "--type", chosen["typed"],
                "--to", line.removeprefix(PREFIX).strip(), "--migrate-at", chosen["migrate_at"],
                "--bandwidth", chosen["bandwidth"], "--leave", chosen["leave"], "--json",
                *(["--stop-and-copy"] if chosen["stop_and_copy"] else []),
                "--records", f"{scratch}/source",
            )  # fmt: skip
            source, destination = _told(here), None
            if source["stop"] != "migrated":
                raise CutError(f"the guest did not move: {source['message'] or source['stop']}")
            destination = _told(there)
            known = {
                role: [asdict(record) for record in Records(Path(scratch, role)).all()]
                for role in ("source", "destination")
            }
        finally:
            there.kill()
            there.wait()
    return {"source": source, "destination": destination, "records": known}


def _start(environment: dict[str, str], *arguments: object) -> subprocess.Popen[bytes]:
    """A process of ours; its guest's output is our own."""
    sys.stdout.flush()
    with tempfile.TemporaryFile() as nothing:  # nobody types
        return subprocess.Popen(
            [sys.executable, "-m", "vmm", *map(str, arguments)],
            stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip


def _told(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a process printed: its guest's output, and the object at the end of its errors."""
    output, errors = process.communicate()
    lines = errors.decode(errors="replace").splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise GuestFileError(f"a process ended with {process.returncode}", why="; ".join(lines))
    facts: dict[str, Any] = json.loads(lines[-1])
    return facts | {"output": output.decode("latin-1")}


def _compared(guest: Guest, facts: dict[str, Any]) -> dict[str, Any]:
    """The same guest on the bare machine, never moved."""
    serial = MemorySerial()
    machine = guest.bare(serial).machine
    machine.run(FOREVER)
    there = facts["destination"]
    return {
        "equal": machine.digest() == there["digest"],
        "instructions": machine.state.count,
        "unmigrated_digest": machine.digest(),
        "unmigrated_output": bytes(serial.output).decode("latin-1"),
    }


def _plotted(guest: Guest, chosen: Chosen) -> list[dict[str, Any]]:
    from vmm.migration.sweep import picture, sweep
    from vmm.show.output import write_text

    found = sweep(guest, chosen["monitor"], chosen["migrate_at"], chosen["leave"])
    write_text(chosen["plot"], picture(guest.path.name, found))
    return [point.facts() for point in found]


def _tell(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    moved = facts["source"]["migration"]
    for side in ("source", "destination"):
        told = facts[side]
        print(f"-- {side}: {told['monitor']} on {told['engine']}")
        print(told["output"], end="" if told["output"].endswith("\n") else "\n")
    print(f"-- {moved['mode']}: {moved['pages']} pages, of which {moved['final_pages']} while the "
          f"guest had stopped; {moved['reason'] or 'no rounds'}")  # fmt: skip
    for number, one in enumerate(moved["rounds"], 1):
        print(f"   round {number}: {one['sent']} pages at {one['rate']:g} Mbit/s, "
              f"{one['instructions']} instructions meanwhile, {one['dirtied']} pages written, "
              f"{one['again']} of them again")  # fmt: skip
    print(f"   stopped for {moved['downtime_instructions']} instructions of the guest's time at "
          f"that rate, {1000 * moved['downtime_seconds']:.1f} ms of the host's")  # fmt: skip
    end = facts["destination"]
    print(f"-- {'equal to' if facts['equal'] else 'DIFFERENT from'} the run that was not moved: "
          f"{end['digest'][:16]} after {facts['instructions']} instructions")  # fmt: skip
