"""Rounds, pages and downtime against how fast the guest writes, for pre-copy and stop-and-copy.

What counts is how many pages the guest writes while one is sent. The guest is what it is, so the
link's speed is varied. Both sides are in this process, with a socket between them.
"""

from __future__ import annotations

import secrets
import socket
import tempfile
import threading
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

from emu.pc.serial import MemorySerial
from vmm.migration.channel import Channel, Role
from vmm.migration.destination import Arrived, Destination
from vmm.migration.errors import CutError, MigrationError
from vmm.migration.image import disk_digest, shape_of
from vmm.migration.protocol import BATCH
from vmm.migration.records import Records
from vmm.migration.rounds import DirtyLog, Measured, Plan, Policy
from vmm.migration.secret import Secret
from vmm.migration.source import Connect, Fate, Source
from vmm.pc import MONITORS
from vmm.pc.guest import Guest
from vmm.pc.machine import VirtualPc
from vmm.show.curves import Curve, curves

RATES: Final = (50, 100, 200, 300, 400, 500, 700, 1000, 1500, 2500, 5000)  # Mbit/s


@dataclass(frozen=True, slots=True)
class Point:
    """One migration. `dirty` is how many pages the guest wrote while one could be sent."""

    mbits: int
    mode: str
    dirty: float
    rounds: int
    pages: int
    bytes: int
    final_pages: int
    downtime_instructions: int
    downtime_seconds: float
    reason: str

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def sweep(guest: Guest, monitor: str, at: int, leave: int) -> list[Point]:
    """A pair of migrations for each speed of the link. Raises MigrationError."""
    return [
        _point(guest, monitor, at, Policy(precopy, rate, rate, leave, step=0))
        for rate in RATES
        for precopy in (True, False)
    ]


def _point(guest: Guest, monitor: str, at: int, policy: Policy) -> Point:
    machine = cast(VirtualPc, guest.virtual(MONITORS[monitor], MemorySerial()).machine)
    machine.run(machine.state.count + at)
    dirty = _dirty_rate(machine, policy)
    moved = move(guest, machine, monitor, policy)
    sent = moved.final_bytes + sum(one.bytes for one in moved.rounds)
    return Point(
        policy.least, "pre-copy" if policy.precopy else "stop-and-copy", dirty, len(moved.rounds),
        moved.pages, sent, moved.final_pages, moved.downtime_instructions, moved.downtime_seconds,
        moved.reason,
    )  # fmt: skip


def _dirty_rate(machine: VirtualPc, policy: Policy) -> float:
    """Pages that are written while one is sent, over the time of a message's pages."""
    log = DirtyLog(machine, shape_of(machine, ""))
    plan = Plan(policy, Fraction(machine.board.options.mips))
    log.start()
    machine.run(machine.state.count + plan.instructions(BATCH))
    written = log.take()
    log.stop()
    return len(written) / BATCH


def move(guest: Guest, machine: VirtualPc, monitor: str, policy: Policy) -> Measured:
    """One migration in this process. Raises MigrationError."""
    one, other = socket.socketpair()
    secret = Secret(secrets.token_bytes(32))
    with tempfile.TemporaryDirectory() as scratch:
        records = Records(Path(scratch))
        images = [i for i in (*guest.choice.floppies, *guest.choice.disks) if i is not None]
        known = {disk_digest(image): image for image in images}
        there = Destination(
            MONITORS[monitor], guest.choice.engine, secret, records,
            lambda disk: known[disk.digest], MemorySerial, 0.0,
        )  # fmt: skip
        taken: list[Arrived] = []
        thread = threading.Thread(target=lambda: taken.append(
            there.receive(_once(other, secret, Role.DESTINATION))))  # fmt: skip
        thread.start()
        shape = shape_of(machine, guest.path.name, umip=guest.umip)
        source = Source(machine, shape, guest.path.name, secret, records, policy, 0.0)
        outcome = source.migrate(_once(one, secret, Role.SOURCE))
        thread.join()
    if outcome.fate != Fate.THERE or taken[0].machine.digest() != machine.digest():
        raise outcome.error or MigrationError(f"the guest did not move: {outcome.fate.value}")
    return outcome.measured


def _once(stream: socket.socket, secret: Secret, role: Role) -> Connect:
    """The one connection that there is."""
    left = [stream]

    def connect() -> Channel:
        if not left:
            raise CutError("there is no other connection")
        return Channel(left.pop(), secret, role, connected=role == Role.SOURCE, timeout=60)

    return connect


def picture(name: str, points: list[Point]) -> str:
    """Downtime, pages and rounds over the rate of writing, as SVG."""
    modes = ("pre-copy", "stop-and-copy")
    what = {
        "downtime, instructions": "downtime_instructions", "pages sent in all": "pages",
        "pages sent while it has stopped": "final_pages",
        "rounds while it runs": "rounds",
    }  # fmt: skip
    panels = {
        title: [
            Curve(mode, sorted((p.dirty, getattr(p, key)) for p in points if p.mode == mode))
            for mode in modes
        ]
        for title, key in what.items()
    }
    return curves(f"Migration of {name}", "pages written while one is sent", panels)
