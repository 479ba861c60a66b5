"""A guest that has come from elsewhere, as `vmm migrate --listen` and `--from` run it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from emu.cli.run import finish
from emu.devices.disk_image import DiskImage
from emu.engines import Engine
from emu.errors import GuestFileError
from emu.pc.guest import Choice, PcGuest
from emu.pc.serial import StreamSerial
from emu.report import Report
from vmm.migration.destination import Arrived, FindDisk
from vmm.migration.errors import RefusedError
from vmm.migration.image import Disk, disk_digest
from vmm.pc.compare import in_control


class ArrivedGuest(PcGuest):
    """A PC with a guest in it already; it ends and is reported like any other."""

    def __init__(self, arrived: Arrived, engine: Engine) -> None:
        self.choice = Choice()
        self.engine = engine
        self.machine = arrived.machine
        self.state = self.machine.state
        self._began = time.perf_counter()


def run_arrived(arrived: Arrived, limit: int | None) -> Report:
    """Run it to its end."""
    machine = arrived.machine
    print(
        f"vmm: {arrived.record.guest} goes on here at {arrived.record.count} instructions "
        f"(migration {arrived.record.identifier})", file=sys.stderr, flush=True,
    )  # fmt: skip
    _connect_consoles(arrived)
    guest = ArrivedGuest(arrived, machine.below.engine)
    report = finish(guest, None if limit is None else machine.state.count + limit)
    guest.show_screen()
    sys.stdout.flush()
    report.details.update(
        monitor=machine.monitor.name, resource_control=in_control(machine),
        migration=arrived.record.identifier, arrived_at=arrived.record.count,
        digest=machine.digest(),
    )  # fmt: skip
    arrived.ended()
    return report


def _connect_consoles(arrived: Arrived) -> None:
    """Where the source had nobody who types, and we have: the port has to ask again."""
    for port in arrived.machine.board.serial:
        if port._backend.interactive and port.registers.poll is None:
            port.registers.poll = arrived.machine.state.count


def console() -> StreamSerial:
    """Our own terminal, or whatever standard input and output are. From the null device nothing
    will ever come, and that is known at once: a guest's port need not ask."""
    serial = StreamSerial()
    try:
        serial.interactive = not os.path.samestat(os.fstat(0), Path(os.devnull).stat())
    except OSError:
        serial.interactive = False
    return serial


def disks_of(paths: Sequence[Path]) -> FindDisk:
    """Finds images among files: by digest, and by name if there are several."""

    def find(wanted: Disk) -> DiskImage:
        for path in sorted(paths, key=lambda path: path.name != wanted.name):
            for image in _images(path):
                if image.sectors == wanted.sectors and disk_digest(image) == wanted.digest:
                    return image
        raise RefusedError(
            f"the disk image {wanted} is not here",
            advice=f"Give it to vmm migrate as --disk FILE ({len(paths)} given)",
        )

    return find


def _images(path: Path) -> Iterator[DiskImage]:
    """What a file is as a disk: as it stands, or as `vmm run` would take it."""
    from vmm.pc.guest import open_guest

    try:
        yield DiskImage.open(path)
    except GuestFileError:
        if not path.is_file():
            raise
    with suppress(GuestFileError):
        choice = open_guest(path, None, {"engine": "reference", "typed": ""}).choice
        yield from (image for image in (*choice.floppies, *choice.disks) if image is not None)
