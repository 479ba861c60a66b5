"""The side that takes a guest.

    (empty)  --FINAL, the digest is the same-->  prepared  --COMMIT with its certificate-->  running
                                                    |                                          |
                                                  ABORT                                   its end
                                                    v                                          v
                                                 discarded                                   ended

A prepared guest is complete and on the disk, and does not run: only the source's certificate, which
it makes when it has given the guest up for good, lets it. If that does not come, nobody here
decides; the record stays, and the operator asks at the source (`vmm migrate --status`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from emu.devices.disk_image import DiskImage
from emu.devices.ns16550 import SerialBackend
from emu.engines import make_engine
from emu.errors import GuestFileError
from vmm.migration.channel import Channel
from vmm.migration.errors import MigrationError, ProtocolError, RefusedError, UnsettledError
from vmm.migration.image import (
    Disk,
    Shape,
    build,
    options_from,
    pages,
    put_page,
    put_state,
    shape_from,
    used_pages,
)
from vmm.migration.protocol import (
    MOST_STATE,
    Kind,
    hear,
    printable,
    refuse,
    state_from,
    tell,
    text_of,
    unpack_pages,
)
from vmm.migration.records import (
    DISCARDED,
    ENDED,
    IDENTIFIER,
    PREPARED,
    RUNNING,
    Lock,
    Record,
    Records,
)
from vmm.migration.secret import Secret
from vmm.migration.source import Connect
from vmm.migration.storage import load, store
from vmm.pc.control_program import Monitor
from vmm.pc.machine import VirtualPc

PAUSE: Final = 0.2  # seconds between two attempts to connect again

FindDisk = Callable[[Disk], DiskImage]
"""The image of that name and digest. Raises RefusedError."""


@dataclass(slots=True)
class Destination:
    """One place for a guest. `console`: makes what a serial port is wired to here."""

    monitor: type[Monitor]
    engine: str
    secret: Secret
    records: Records
    find_disk: FindDisk
    console: Callable[[], SerialBackend]
    patience: float = 30.0
    peer: str = ""

    def receive(self, connect: Connect) -> Arrived:
        """Take a guest; when this returns it is ours to run. Raises MigrationError."""
        channel = connect()
        try:
            prepared = _Arrival(self, channel).run()
        except GuestFileError as error:
            refuse(channel, str(error))
            channel.close()
            raise
        return prepared.settle(channel, connect)

    def resume(self, identifier: str) -> Prepared:
        """What an earlier process has left. Raises GuestFileError."""
        record = self.records.read(identifier, "destination")
        if record.state not in (PREPARED, RUNNING):
            raise GuestFileError(f"{identifier} is {record.state}", why=record.why)
        lock = self.records.lock(identifier, "destination")
        stored = load(image_path(self.records, identifier))
        machine = self.empty(stored.shape)
        for number, data in stored.pages:
            put_page(machine, number, data)
        put_state(machine, stored.state)
        if machine.digest() != record.digest:
            raise GuestFileError(f"the guest kept of {identifier} is not the one that was sent")
        return Prepared(self, machine, record, lock)

    def empty(self, shape: Shape) -> VirtualPc:
        """A machine for such a guest, with what it is bound to here. Raises MigrationError."""
        wanted = {disk for disk in (*shape.floppies, *shape.disks) if disk is not None}
        images: Mapping[Disk, DiskImage] = {disk: self.find_disk(disk) for disk in wanted}
        serial = [self.console() for _ in range(shape.ports)]
        options = options_from(shape, images, serial)
        return build(shape, self.monitor, make_engine(self.engine), options)


def image_path(records: Records, identifier: str) -> Path:
    """Where the guest of a migration is kept."""
    return records.path(identifier, "image")


class _Arrival:
    """From an empty place to a prepared guest."""

    def __init__(self, destination: Destination, channel: Channel) -> None:
        self._destination = destination
        self._channel = channel

    def run(self) -> Prepared:
        """Raises MigrationError; nothing is left then."""
        identifier, guest, shape = self._offer()
        machine = self._destination.empty(shape)
        tell(self._channel, Kind.ACCEPT)
        final = self._fill(machine, shape)
        state = b"".join(self._state)
        put_state(machine, state_from(state))
        if machine.digest() != final["digest"] or machine.state.count != final["count"]:
            raise RefusedError("what has arrived is not what was sent: the digests differ")
        return self._keep(machine, shape, state, Record(
            identifier, "destination", PREPARED, guest, final["count"], final["digest"],
            self._destination.peer,
        ))  # fmt: skip

    def _offer(self) -> tuple[str, str, Shape]:
        tell(self._channel, Kind.STATUS, {"state": "", "identifier": ""})
        _, offer = hear(self._channel, Kind.OFFER)
        identifier, guest = text_of(offer, "identifier", "guest")
        if not IDENTIFIER.fullmatch(identifier):
            raise ProtocolError("the offer has no identifier")
        return identifier, printable(guest), shape_from(offer.get("shape"))

    def _fill(self, machine: VirtualPc, shape: Shape) -> dict[str, Any]:
        """Take pages and state until the source says that this was all."""
        self._state: list[bytes] = []
        size = 0
        while True:
            kind, value = hear(self._channel, Kind.PAGES, Kind.ROUND, Kind.STATE, Kind.FINAL)
            if kind == Kind.PAGES:
                for number, data in unpack_pages(value, shape.frames):
                    put_page(machine, number, data)
            elif kind == Kind.ROUND:
                tell(self._channel, Kind.ROUND)
            elif kind == Kind.STATE:
                size += len(value)
                if size > MOST_STATE:
                    raise ProtocolError(f"a machine's state has at most {MOST_STATE} bytes")
                self._state.append(value)
            else:
                text_of(value, "digest")
                if not isinstance(value.get("count"), int):
                    raise ProtocolError("the end lacks the count")
                found: dict[str, Any] = value
                return found

    def _keep(self, machine: VirtualPc, shape: Shape, state: bytes, record: Record) -> Prepared:
        """On the disk first, the record last: it says that the image is complete."""
        records = self._destination.records
        lock = records.lock(record.identifier, "destination")
        try:
            everything = pages(machine, used_pages(machine))
            path = image_path(records, record.identifier)
            store(path, record.guest, shape, record.digest, state, everything)
            records.write(record)
        except OSError as error:
            lock.release()
            raise RefusedError("the guest cannot be kept", why=error.strerror or "") from None
        return Prepared(self._destination, machine, record, lock)


class Prepared:
    """A complete guest that is not ours yet."""

    def __init__(
        self, destination: Destination, machine: VirtualPc, record: Record, lock: Lock
    ) -> None:
        self._destination = destination
        self._machine = machine
        self.record = record
        self._lock = lock

    def settle(self, channel: Channel | None, connect: Connect) -> Arrived:
        """Wait for the source's word. Raises RefusedError if it keeps the guest, UnsettledError if
        nobody can be reached."""
        deadline = time.monotonic() + self._destination.patience
        while True:
            try:
                if channel is None:
                    channel = connect()
                    self._status(channel)
                else:
                    tell(channel, Kind.PREPARED, {"digest": self.record.digest})
                return self._verdict(channel, connect)
            except _Discarded as gone:
                raise RefusedError(f"the source keeps the guest: {gone}") from None
            except MigrationError as error:
                if channel is not None:
                    channel.close()
                channel = None
                if time.monotonic() > deadline:
                    self._lock.release()
                    raise self._unsettled(error) from None
            time.sleep(PAUSE)

    def _status(self, channel: Channel) -> None:
        tell(channel, Kind.STATUS, {
            "state": self.record.state, "identifier": self.record.identifier
        })  # fmt: skip

    def _unsettled(self, error: MigrationError) -> UnsettledError:
        return UnsettledError(
            f"nobody has told whether {self.record.identifier} may run here",
            why=str(error),
            advice="Ask at the source: vmm migrate --status, or --release; then here "
            f"vmm migrate --resume {self.record.identifier} --certificate HEX, or --discard",
        )

    def _verdict(self, channel: Channel, connect: Connect) -> Arrived:
        kind, value = hear(channel, Kind.COMMIT, Kind.ABORT)
        if kind == Kind.ABORT:
            identifier, why = text_of(value, "identifier", "why")
            if identifier != self.record.identifier:
                raise ProtocolError("this is about another guest")
            self.discard(printable(why))
            raise _Discarded(printable(why))
        (certificate,) = text_of(value, "certificate")
        arrived = self.activate(certificate)
        arrived.confirm(channel, connect)
        return arrived

    def discard(self, why: str) -> None:
        """Throw the guest away: the source has it."""
        records = self._destination.records
        with suppress(OSError):
            self.record = records.advance(self.record, DISCARDED, why=why)
            image_path(records, self.record.identifier).unlink(missing_ok=True)
        self._lock.release()

    def activate(self, certificate: str) -> Arrived:
        """The guest is ours from now on. Raises ProtocolError if that is no certificate of it."""
        record, secret = self.record, self._destination.secret
        if not secret.certifies(certificate, record.identifier, record.digest):
            raise ProtocolError("this is no certificate for the guest")
        # If it cannot be written: the lock tells others that the guest runs here.
        with suppress(OSError):
            self.record = self._destination.records.advance(
                record, RUNNING, certificate=certificate
            )
        return Arrived(self._destination, self._machine, self.record, self._lock)


class _Discarded(Exception):  # noqa: N818 — no error
    """The source has said that it keeps the guest."""


@dataclass(slots=True)
class Arrived:
    """A guest that is ours."""

    destination: Destination
    machine: VirtualPc
    record: Record
    lock: Lock

    def confirm(self, channel: Channel, connect: Connect) -> None:
        """Tell the source that its guest runs; if it cannot be reached now, meanwhile."""
        try:
            tell(channel, Kind.RUNNING)
            hear(channel, Kind.DONE)
        except MigrationError:
            threading.Thread(target=self._confirm_later, args=(connect,), daemon=True).start()
        finally:
            channel.close()

    def _confirm_later(self, connect: Connect) -> None:
        deadline = time.monotonic() + self.destination.patience
        while time.monotonic() < deadline:
            with suppress(MigrationError):
                channel = connect()
                tell(channel, Kind.STATUS, {
                    "state": RUNNING, "identifier": self.record.identifier
                })  # fmt: skip
                hear(channel, Kind.DONE)
                channel.close()
                return
            time.sleep(PAUSE)

    def ended(self) -> None:
        """The guest has come to its end; nothing is kept of it."""
        records = self.destination.records
        with suppress(OSError):
            self.record = records.advance(self.record, ENDED)
            image_path(records, self.record.identifier).unlink(missing_ok=True)
        self.lock.release()
