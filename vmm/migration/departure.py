"""`vmm run --to` and `--offer`: a guest that runs here until it goes on somewhere else."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from emu.cli.run import finish, interrupted
from emu.errors import GuestFileError
from emu.guests import FOREVER
from emu.pc.guest import PcGuest
from emu.report import Report
from vmm.migration.channel import Channel, Role
from vmm.migration.errors import EXIT_UNSETTLED
from vmm.migration.image import shape_of
from vmm.migration.network import Dialer, Listener
from vmm.migration.options import MIGRATED, Leaving
from vmm.migration.records import Records
from vmm.migration.rounds import Policy
from vmm.migration.secret import Secret, read_secret
from vmm.migration.source import Fate, Outcome, Source
from vmm.pc.machine import VirtualPc

SLICE: Final = 50_000  # instructions between two looks whether somebody asks for the guest


def policy(bandwidth: str, leave: int, *, stop_and_copy: bool) -> Policy:
    """What the command line says of rounds. Raises GuestFileError."""
    least, _, most = bandwidth.partition(":")
    if not least.isdecimal() or not (most or "1").isdecimal():
        raise GuestFileError(f"{bandwidth!r} is no bandwidth", advice="Write 100 or 100:500")
    return Policy(not stop_and_copy, int(least), int(most or least), leave)


@dataclass(slots=True)
class Departure:
    """A guest with somewhere to go."""

    virtual: PcGuest
    source: Source
    leaving: Leaving
    until: int

    def run(self) -> Report:
        """Until the guest has left, or has ended here."""
        try:
            if self.leaving.offer:
                return self._offer(Listener(self.leaving.offer, *self._line()))
            return self._send(Dialer(cast(str, self.leaving.to), *self._line()))
        except KeyboardInterrupt:
            return interrupted(self.virtual.unfinished())

    def _line(self) -> tuple[Secret, Role, float]:
        return self.source.secret, Role.SOURCE, self.leaving.timeout

    def _send(self, dialer: Dialer) -> Report:
        start = min(self.virtual.state.count + (self.leaving.migrate_at or 0), self.until)
        ended = self.virtual.advance(start)
        if ended is not None or start == self.until:
            return ended or self.virtual.unfinished()
        self.source.peer = dialer.where
        outcome = self.source.migrate(dialer)
        report = self._after(outcome)
        if report is None:
            report = finish(self.virtual, self.until)
            report.details["migration"] = {"fate": "here", "why": outcome.why}
        return report

    def _offer(self, listener: Listener) -> Report:
        """Run by slices, and give the guest to the first that can take it."""
        print(f"vmm: the guest is offered at {listener.where}", file=sys.stderr, flush=True)
        self.source.dials, listener.wait = False, self.leaving.patience
        while self.virtual.state.count < self.until:
            channel = listener.poll()
            if channel is not None:
                report = self._after(self.source.migrate(_First(channel, listener)))
                if report is not None:
                    return report
            ended = self.virtual.advance(min(self.virtual.state.count + SLICE, self.until))
            if ended is not None:
                return ended
        return self.virtual.unfinished()

    def _after(self, outcome: Outcome) -> Report | None:
        """What there is to tell; None if the guest goes on here."""
        if outcome.fate == Fate.ENDED:
            assert outcome.stop is not None
            return self.virtual._ended(outcome.stop)
        if outcome.fate == Fate.HERE:
            print(f"vmm: the guest stays here: {outcome.why}", file=sys.stderr, flush=True)
            return None
        record = outcome.record
        assert record is not None
        where, code = record.peer or "the other side", 0
        message = f"the guest goes on at {where} (migration {record.identifier})"
        if outcome.fate == Fate.GIVEN_UP:
            code = EXIT_UNSETTLED
            message = (
                f"the guest was given up for {where}, which has not said that it runs "
                f"({outcome.why}). If it does not, there: vmm migrate --resume {record.identifier} "
                f"--certificate {record.certificate}"
            )
        report = self.virtual.report(MIGRATED, code, message)
        report.details["migration"] = {"fate": outcome.fate.value} | outcome.measured.facts()
        report.details["migration"]["identifier"] = record.identifier
        return report


class _First:
    """The connection that is there already; then those that come."""

    def __init__(self, channel: Channel, listener: Listener) -> None:
        self._channel: Channel | None = channel
        self._listener = listener

    def __call__(self) -> Channel:
        channel, self._channel = self._channel, None
        return self._listener() if channel is None else channel


def depart(
    virtual: PcGuest, path: Path, leaving: Leaving, until: int | None, *, umip: bool
) -> Report:
    """Run a guest, and give it away as the user wants. Raises GuestFileError."""
    machine = cast(VirtualPc, virtual.machine)
    source = Source(
        machine, shape_of(machine, path.name, umip=umip), path.name,
        read_secret(leaving.secret_file), Records(leaving.records),
        policy(leaving.bandwidth, leaving.leave, stop_and_copy=leaving.stop_and_copy),
        leaving.patience,
    )  # fmt: skip
    return Departure(virtual, source, leaving, until or FOREVER).run()
