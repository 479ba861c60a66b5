"""What `vmm migrate` does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from emu.cli.run import check_engine
from emu.errors import GuestFileError
from vmm.migration.arrival import console, disks_of, run_arrived
from vmm.migration.channel import Role
from vmm.migration.destination import Arrived, Destination, image_path
from vmm.migration.network import Dialer, Listener
from vmm.migration.records import (
    CONFIRMED,
    DISCARDED,
    OFFERED,
    PREPARED,
    RELEASED,
    Record,
    Records,
)
from vmm.migration.secret import read_secret
from vmm.migration.source import Connect
from vmm.pc.commands import find_monitor

Chosen = dict[str, Any]


def migrate(action: str, chosen: Chosen) -> int:
    """Do what the command line asks for; returns the exit code. Raises GuestFileError."""
    return _DO[action](chosen)


# -- taking a guest --------------------------------------------------------------------------


def _receive(chosen: Chosen) -> int:
    """Wait for one guest, or ask for it, and run it."""
    destination = _destination(chosen)
    return _run(destination.receive(_line(chosen, destination)), chosen)


def _resume(chosen: Chosen) -> int:
    """Run a guest that was kept, if its source has given it up."""
    destination = _destination(chosen)
    prepared = destination.resume(chosen["resume"])
    certificate = chosen["certificate"] or prepared.record.certificate
    if certificate:
        return _run(prepared.activate(certificate), chosen)
    if not (chosen["listen"] or chosen["ask"]):
        raise GuestFileError(
            f"nobody has said yet whether {chosen['resume']} may run here",
            advice="Say --certificate HEX (vmm migrate --release at the source), --listen or "
            "--from",
        )
    return _run(prepared.settle(None, _line(chosen, destination)), chosen)


def _destination(chosen: Chosen) -> Destination:
    check_engine(chosen["engine"])
    return Destination(
        find_monitor(chosen["monitor"]), chosen["engine"], read_secret(chosen["secret_file"]),
        Records(chosen["records"]), disks_of(chosen["disks"]), console, chosen["patience"],
        chosen["ask"] or "",
    )  # fmt: skip


def _line(chosen: Chosen, destination: Destination) -> Connect:
    line = destination.secret, Role.DESTINATION, chosen["timeout"]
    if chosen["ask"]:
        return Dialer(chosen["ask"], *line)
    listener = Listener(chosen["listen"], *line)
    print(f"vmm: waiting for a guest at {listener.where}", file=sys.stderr, flush=True)
    return _Patient(listener, chosen["wait"], chosen["patience"])


class _Patient:
    """Waits for the first connection as long as the user says, then as long as for a hand-over."""

    def __init__(self, listener: Listener, wait: float | None, patience: float) -> None:
        listener.wait = wait
        self._listener, self._patience = listener, patience

    def __call__(self) -> Any:
        channel = self._listener()
        self._listener.wait = self._patience
        return channel


def _run(arrived: Arrived, chosen: Chosen) -> int:
    report = run_arrived(arrived, chosen["max_instructions"])
    if report.message:
        print(f"vmm: {report.message}", file=sys.stderr)
    if chosen["as_json"]:
        print(json.dumps(report.facts()), file=sys.stderr)
    return report.exit_code


# -- finding out afterwards ------------------------------------------------------------------


def _status(chosen: Chosen) -> int:
    """Every record, and whether its process lives."""
    records = Records(chosen["records"])
    rows = [(record, records.is_alive(record.identifier, record.role)) for record in records.all()]
    if chosen["as_json"]:
        print(json.dumps([asdict(record) | {"alive": alive} for record, alive in rows]))
    else:
        lines = [record.line(alive=alive) for record, alive in rows]
        print("\n".join(lines) or f"no migrations are known in {records.directory}")
    return 0


def _release(chosen: Chosen) -> int:
    """Give up a guest whose process died between its stop and its hand-over."""
    records, secret = Records(chosen["records"]), read_secret(chosen["secret_file"])
    record = records.read(chosen["release"], "source")
    if record.state == OFFERED:
        lock = records.lock(record.identifier, record.role)  # nobody can run it any more
        certificate = secret.certificate(record.identifier, record.digest).hex()
        record = _written(records, record, RELEASED, certificate=certificate)
        lock.release()
    if record.state not in (RELEASED, CONFIRMED):
        raise GuestFileError(
            f"the source has kept the guest of {record.identifier}", why=record.why,
            advice="Discard it at the destination: vmm migrate --discard ID",
        )  # fmt: skip
    print(record.certificate)
    return 0


def _discard(chosen: Chosen) -> int:
    """Throw away a guest that the source has kept."""
    records = Records(chosen["records"])
    record = records.read(chosen["discard"], "destination")
    if record.state != PREPARED:
        raise GuestFileError(f"{record.identifier} is {record.state}", why="only what is prepared "
                             "and not running can be discarded")  # fmt: skip
    lock = records.lock(record.identifier, record.role)
    _written(records, record, DISCARDED, why="discarded by the operator")
    image_path(records, record.identifier).unlink(missing_ok=True)
    lock.release()
    return 0


def _written(records: Records, record: Record, state: str, **changes: Any) -> Record:
    try:
        return records.advance(record, state, **changes)
    except OSError as error:
        raise GuestFileError(
            f"the record of {record.identifier} cannot be written", why=error.strerror or ""
        ) from None


def _demo(chosen: Chosen) -> int:
    from vmm.migration.demo import demonstrate

    return demonstrate(chosen)


_DO: Final[dict[str, Callable[[Chosen], int]]] = {
    "listen": _receive, "ask": _receive, "demo": _demo, "status": _status, "release": _release,
    "resume": _resume, "discard": _discard,
}  # fmt: skip
