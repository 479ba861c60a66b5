"""The side that has the guest, and gives it away.

    (running)  --stops-->  offered  --anything goes wrong-->  kept (running again)
                              |
                           PREPARED
                              v
                           released  --RUNNING, or STATUS running-->  confirmed

The guest runs here until it is `offered` and after it is `kept`; never once `released` is on the
disk. That file is the commit point: before it the source decides alone to go on, behind it the
source never runs the guest again, whatever it hears or does not hear.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Final

from emu.errors import GuestFileError
from emu.exit import Exit
from vmm.migration.channel import Channel
from vmm.migration.errors import CutError, MigrationError, RefusedError
from vmm.migration.image import Shape, pages, state_of, used_pages
from vmm.migration.protocol import (
    BATCH,
    Kind,
    hear,
    pack_pages,
    pieces,
    printable,
    refuse,
    tell,
    text_of,
)
from vmm.migration.records import (
    CONFIRMED,
    KEPT,
    OFFERED,
    PREPARED,
    RELEASED,
    RUNNING,
    Lock,
    Record,
    Records,
)
from vmm.migration.rounds import DirtyLog, Measured, Plan, Policy, Round, batches
from vmm.migration.secret import Secret
from vmm.migration.values import encode
from vmm.pc.machine import VirtualPc

PAUSE: Final = 0.2  # seconds between two attempts to connect again

Connect = Callable[[], Channel]
"""Connects (again), or waits until the other side does. Raises MigrationError."""


class Fate(Enum):
    """What has become of the guest."""

    HERE = "here"  # it goes on here
    THERE = "there"  # the other side has said that it runs
    GIVEN_UP = "given up"  # the other side may run it, and has not said so
    ENDED = "ended"  # it has come to its end while it was copied


@dataclass(slots=True)
class Outcome:
    """How a migration ended. `stop` is the guest's own, if it has ended."""

    fate: Fate
    measured: Measured
    record: Record | None = None
    why: str = ""
    error: MigrationError | None = None
    stop: Exit | None = None


class GuestEnded(Exception):  # noqa: N818 — no error
    """The guest has come to its end by itself."""

    def __init__(self, stop: Exit) -> None:
        self.stop = stop


@dataclass(slots=True)
class Source:
    """One guest that may be given away. `patience`: seconds to find out how the hand-over ended."""

    machine: VirtualPc
    shape: Shape
    guest: str
    secret: Secret
    records: Records
    policy: Policy = field(default_factory=Policy)
    patience: float = 30.0
    peer: str = ""
    dials: bool = True  # whether this side connects; the other one does otherwise
    _lock: Lock | None = None

    def migrate(self, connect: Connect) -> Outcome:
        """Give the guest away, or keep it. Whatever happens, the answer tells who has it."""
        attempt = _Attempt(self, connect)
        try:
            outcome = attempt.run()
        except BaseException:
            attempt.keep_unless_released("interrupted")
            raise
        return outcome


class _Attempt:
    """One migration."""

    def __init__(self, source: Source, connect: Connect) -> None:
        self._source = source
        self._machine = source.machine
        self._connect = connect
        self._log = DirtyLog(source.machine, source.shape)
        self._plan = Plan(source.policy, Fraction(source.machine.board.options.mips))
        self._identifier = secrets.token_hex(16)
        self._record: Record | None = None
        self._stopped = 0.0
        self.measured = Measured(source.policy)

    def run(self) -> Outcome:
        channel: Channel | None = None
        try:
            channel = self._connect()
            self._offer(channel)
            self._copy(channel)
            self._stop_and_copy(channel)
            self._release()
        except GuestEnded as ended:
            self._log.stop()
            if channel is not None:
                refuse(channel, "the guest has come to its end")
                channel.close()
            return Outcome(Fate.ENDED, self.measured, stop=ended.stop)
        except (GuestFileError, OSError) as error:
            return self._keep(channel, error)
        return self._hand_over(channel)

    # -- before the guest stops --------------------------------------------------------------

    def _offer(self, channel: Channel) -> None:
        """Find out whether the other side can take such a guest."""
        _, status = hear(channel, Kind.STATUS)
        state, identifier = text_of(status, "state", "identifier")
        if state:
            self._settle_older(channel, identifier)
            raise RefusedError(f"the other side has another guest, {printable(state)}")
        tell(channel, Kind.OFFER, {
            "identifier": self._identifier, "guest": self._source.guest,
            "shape": self._source.shape.plain(),
        })  # fmt: skip
        hear(channel, Kind.ACCEPT)

    def _settle_older(self, channel: Channel, identifier: str) -> None:
        """The other side may still wait for the end of a migration that this side has given up."""
        with suppress(GuestFileError):
            if self._source.records.read(identifier, "source").state == KEPT:
                self._abort(channel, identifier)

    def _copy(self, channel: Channel) -> None:
        """Rounds, until another one is not worth it."""
        self._log.start()
        todo = set(used_pages(self._machine))
        while self._source.policy.precopy:
            done = Round(float(self._plan.rate))
            self.measured.rounds.append(done)
            self._round(channel, done, sorted(todo))
            todo = self._log.take()
            number = len(self.measured.rounds)
            self.measured.reason = self._plan.end(done, todo, number)
            if self.measured.reason:
                break
        self._todo = sorted(todo)

    def _round(self, channel: Channel, done: Round, todo: list[int]) -> None:
        began, before = time.perf_counter(), channel.sent
        start = self._machine.state.count
        for some in batches(todo, BATCH):
            fresh = [number for number in some if number not in self._log]
            done.skipped += len(some) - len(fresh)
            done.sent += len(fresh)
            channel.send(Kind.PAGES, pack_pages(pages(self._machine, fresh)))
            self._let_run(self._plan.instructions(len(fresh)))
        done.instructions = self._machine.state.count - start
        tell(channel, Kind.ROUND)
        hear(channel, Kind.ROUND)
        done.bytes = channel.sent - before
        done.seconds = time.perf_counter() - began

    def _let_run(self, instructions: int) -> None:
        stop = self._machine.run(self._machine.state.count + instructions)
        if stop.reason != "until":
            raise GuestEnded(stop)

    # -- the guest has stopped ---------------------------------------------------------------

    def _stop_and_copy(self, channel: Channel) -> None:
        """Send the rest, and hear that it is complete over there."""
        self._stopped, before = time.perf_counter(), channel.sent
        digest = self._machine.digest()
        self.measured.digest_seconds = time.perf_counter() - self._stopped
        self._write_offer(digest)
        for some in batches(self._todo, BATCH):
            channel.send(Kind.PAGES, pack_pages(pages(self._machine, some)))
        self.measured.final_pages = len(self._todo)
        state = encode(state_of(self._machine))
        for piece in pieces(state):
            channel.send(Kind.STATE, piece)
        self.measured.state_bytes = len(state)
        tell(channel, Kind.FINAL, {"count": self._machine.state.count, "digest": digest})
        self.measured.final_bytes = channel.sent - before
        self.measured.downtime_instructions = self._plan.instructions(
            -(-self.measured.final_bytes // 4096)
        )
        _, answer = hear(channel, Kind.PREPARED)
        if text_of(answer, "digest") != [digest]:
            raise RefusedError("the other side has something else than what was sent")

    def _write_offer(self, digest: str) -> None:
        source = self._source
        source._lock = source.records.lock(self._identifier, "source")
        record = Record(self._identifier, "source", OFFERED, source.guest,
                        self._machine.state.count, digest, source.peer)  # fmt: skip
        source.records.write(record)
        self._record = record

    # -- keeping it --------------------------------------------------------------------------

    def _keep(self, channel: Channel | None, error: Exception) -> Outcome:
        """The guest goes on here. The other side is told, now or when it can be reached again."""
        self.keep_unless_released(str(error))
        why = error if isinstance(error, MigrationError) else MigrationError(str(error))
        if channel is not None:
            self._abort(channel, self._identifier)
            channel.close()
        if self._record is not None and self._source.dials:
            threading.Thread(target=self._tell_later, daemon=True).start()
        return Outcome(Fate.HERE, self.measured, self._record, str(error), why)

    def keep_unless_released(self, why: str) -> None:
        """Write down that this side goes on, before it does."""
        self._log.stop()
        record, records = self._record, self._source.records
        if record is None or record.state != OFFERED:
            return
        try:
            self._record = records.advance(record, KEPT, why=why)
        except OSError:  # the disk may be full; without a record nothing was given up either
            with suppress(OSError):
                records.remove(record.identifier, record.role)

    def _abort(self, channel: Channel, identifier: str) -> None:
        """Tell, if anybody still listens, that this side goes on with a guest."""
        with suppress(MigrationError):
            tell(channel, Kind.ABORT, {
                "identifier": identifier, "why": "the source keeps the guest"
            })  # fmt: skip

    def _tell_later(self) -> None:
        """The other side may wait with a complete guest that it must not run."""
        with suppress(MigrationError):
            self._settle(Kind.ABORT, self._record)

    # -- giving it up ------------------------------------------------------------------------

    def _release(self) -> None:
        """The commit point."""
        record = self._record
        assert record is not None
        certificate = self._source.secret.certificate(record.identifier, record.digest).hex()
        self._record = self._source.records.advance(record, RELEASED, certificate=certificate)

    def _hand_over(self, channel: Channel | None) -> Outcome:
        assert self._record is not None
        self._log.stop()
        try:
            assert channel is not None
            self._commit(channel)
        except MigrationError as error:
            try:
                self._settle(Kind.COMMIT, self._record)
            except MigrationError:
                return Outcome(Fate.GIVEN_UP, self.measured, self._record, str(error), error)
        self.measured.downtime_seconds = time.perf_counter() - self._stopped
        with suppress(OSError):
            self._record = self._source.records.advance(self._record, CONFIRMED)
        return Outcome(Fate.THERE, self.measured, self._record)

    def _commit(self, channel: Channel) -> None:
        assert self._record is not None
        tell(channel, Kind.COMMIT, {"certificate": self._record.certificate})
        hear(channel, Kind.RUNNING)
        with suppress(MigrationError):  # the other side runs, whether it hears that we know or not
            tell(channel, Kind.DONE)

    def _settle(self, verdict: Kind, record: Record | None) -> None:
        """Connect again until the other side has heard the verdict. Raises MigrationError."""
        assert record is not None
        deadline = time.monotonic() + self._source.patience
        while True:
            try:
                if self._answer(self._connect(), verdict, record):
                    return
                error: MigrationError = CutError("the other side is another one")
            except MigrationError as caught:
                error = caught
            if time.monotonic() > deadline:
                raise error
            time.sleep(PAUSE)

    def _answer(self, channel: Channel, verdict: Kind, record: Record) -> bool:
        """Whether the other side knows now what it had to know."""
        try:
            _, status = hear(channel, Kind.STATUS)
            state, identifier = text_of(status, "state", "identifier")
            if identifier != record.identifier or state not in (PREPARED, RUNNING):
                return verdict == Kind.ABORT
            if state == RUNNING:
                tell(channel, Kind.DONE)
            elif verdict == Kind.COMMIT:
                self._commit(channel)
            else:
                self._abort(channel, identifier)
            return True
        finally:
            channel.close()
