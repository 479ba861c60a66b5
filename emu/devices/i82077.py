"""The 82077AA floppy disk controller (Intel 290166) with two drives, on DMA channel 2.

A command is carried out as a whole when its time is over. There is no transfer without DMA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from emu.devices import registers
from emu.devices.clock import MIPS, Clock
from emu.devices.device import Line, PortRange, unconnected
from emu.devices.disk_image import SECTOR, DiskImage, restore_all, snapshots
from emu.devices.floppy_format import floppy_format
from emu.devices.i8237 import I8237
from isa.hints import Any, Final

BASE: Final = 0x3F0
CHANNEL: Final = 2
SRA, SRB, DOR, TDR, MSR_DSR, FIFO, _, DIR_CCR = range(8)
DOR_RUN, DOR_DMA, DOR_MOTOR_0 = 0x04, 0x08, 0x10
DSR_RESET: Final = 0x80
DIR_CHANGED: Final = 0x80
MSR_RQM, MSR_DIO, MSR_BUSY = 0x80, 0x40, 0x10
MT, SENSE_LIMIT = 0x80, 4
ST0_ABNORMAL, ST0_INVALID, ST0_CHANGED, ST0_SEEK_END, ST0_EQUIPMENT = 0x40, 0x80, 0xC0, 0x20, 0x10
ST1_END, ST1_OVERRUN, ST1_NO_DATA, ST1_PROTECTED, ST1_NO_MARK = 0x80, 0x10, 0x04, 0x02, 0x01
ST1_DATA_ERROR: Final = 0x20
ST2_WRONG_CYLINDER: Final = 0x10
ST3_FIXED, ST3_TRACK_0 = 0x28, 0x10
SIZE_512: Final = 2  # N
CONFIGURE_IMPLIED_SEEK: Final = 0x40
VERSION: Final = 0x90
STEP_HERTZ: Final = 1_000  # seeks, resets and sectors a second: faster than any drive
MOST_STEPS: Final = 79

READ_TRACK, SPECIFY, SENSE_DRIVE, WRITE, READ, RECALIBRATE, SENSE_INTERRUPT = range(2, 9)
WRITE_DELETED, READ_ID, READ_DELETED, FORMAT, DUMPREG, SEEK = 9, 10, 12, 13, 14, 15
GET_VERSION, PERPENDICULAR, CONFIGURE, LOCK, VERIFY = 16, 18, 19, 20, 22
LENGTHS: Final = {
    READ_TRACK: 9,
    SPECIFY: 3,
    SENSE_DRIVE: 2,
    WRITE: 9,
    READ: 9,
    RECALIBRATE: 2,
    SENSE_INTERRUPT: 1,
    WRITE_DELETED: 9,
    READ_ID: 2,
    READ_DELETED: 9,
    FORMAT: 6,
    DUMPREG: 1,
    SEEK: 3,
    GET_VERSION: 1,
    PERPENDICULAR: 2,
    CONFIGURE: 4,
    LOCK: 1,
    VERIFY: 9,
}
TIMED: Final = frozenset(
    (READ_TRACK, WRITE, READ, WRITE_DELETED, READ_ID, READ_DELETED, FORMAT, VERIFY)
)
FLAGS: Final = {  # bits above the number that a command has: MT, MFM, SK
    READ_TRACK: 0x40,
    WRITE: 0xC0,
    READ: 0xE0,
    WRITE_DELETED: 0xC0,
    READ_ID: 0x40,
    READ_DELETED: 0xE0,
    FORMAT: 0x40,
    VERIFY: 0xE0,
    LOCK: 0x80,
}


@dataclass(slots=True)
class Registers:
    """Everything that the controller and its drives remember."""

    dor: int = 0
    tdr: int = 0
    rate: int = 2
    command: list[int] = field(default_factory=list)
    result: list[int] = field(default_factory=list)
    completion: int | None = None  # of the command in execution, a seek, or a reset
    resetting: bool = False
    seeking: int | None = None  # the drive
    target: int = 0  # its cylinder
    interrupts: list[int] = field(default_factory=list)  # ST0 for SENSE INTERRUPT STATUS
    cylinders: list[int] = field(default_factory=lambda: [0] * 4)
    changed: list[bool] = field(default_factory=lambda: [True] * 4)
    specify: list[int] = field(default_factory=lambda: [0, 0])
    configure: list[int] = field(default_factory=lambda: [0, 0])
    perpendicular: int = 0
    locked: bool = False
    last_sector: int = 0  # EOT of the last command
    asserted: bool = False  # the interrupt


@dataclass(slots=True)
class _Place:
    """Where a command reads or writes: the head under it, and the four bytes of a sector's ID."""

    drive: int
    head: int
    cylinder: int
    side: int
    sector: int
    size: int

    def next(self, last: int, two_sides: bool) -> None:
        """The ID after this one (data sheet, table 6-6)."""
        if self.sector != last:
            self.sector = (self.sector + 1) & 0xFF
            return
        self.sector = 1
        if two_sides and not self.side & 1:
            self.side, self.head = 1, 1
            return
        self.cylinder = (self.cylinder + 1) & 0xFF
        if two_sides:
            self.side = self.head = 0


class I82077:
    """Two drives, on interrupt request 6."""

    ports = (PortRange(BASE, BASE + 5), PortRange(BASE + DIR_CCR, BASE + DIR_CCR))

    def __init__(
        self,
        dma: I8237,
        interrupt: Line = unconnected,
        images: Sequence[DiskImage | None] = (),
        *,
        mips: int | Fraction = MIPS,
    ) -> None:
        self._dma, self._interrupt = dma, interrupt
        self._step = Clock(STEP_HERTZ, mips).count_at(1)
        self.images = [*images, None, None, None, None][:4]
        self._formats = [None if i is None else floppy_format(i) for i in self.images]
        self.registers = Registers()
        self._at_once: dict[int, Callable[[], list[int]]] = {
            SPECIFY: self._specify,
            SENSE_DRIVE: self._sense_drive,
            SENSE_INTERRUPT: self._sense_interrupt,
            DUMPREG: self._dump,
            GET_VERSION: lambda: [VERSION],
            PERPENDICULAR: self._set_perpendicular,
            CONFIGURE: self._configure,
            LOCK: self._lock,
        }
        self._moves = {
            WRITE: self._write_sector,
            WRITE_DELETED: self._write_sector,
            VERIFY: self._verify_sector,
        }

    # -- registers ---------------------------------------------------------------------------

    def read(self, port: int, size: int, now: int) -> int:
        """A register."""
        r, number = self.registers, port - BASE
        if number == SRA:
            return r.asserted << 7 | (0 if r.cylinders[r.dor & 3] else ST3_TRACK_0)
        if number == SRB:
            return 0xC0 | (r.dor & 1) << 5 | r.dor >> 4 & 3
        if number in (DOR, TDR):
            return r.dor if number == DOR else r.tdr
        if number == MSR_DSR:
            return self._status()
        return self._take() if number == FIFO else self._disk_changed()

    def _status(self) -> int:
        r = self.registers
        if not r.dor & DOR_RUN or r.resetting:
            return 0
        seeking = 0 if r.seeking is None else 1 << r.seeking
        if r.result:
            return MSR_RQM | MSR_DIO | MSR_BUSY | seeking
        if r.completion is not None and r.seeking is None:
            return MSR_BUSY
        return MSR_RQM | (MSR_BUSY if r.command else 0) | seeking

    def _take(self) -> int:
        r = self.registers
        self._assert(False)
        return r.result.pop(0) if r.result else 0

    def _disk_changed(self) -> int:
        r = self.registers
        drive = r.dor & 3
        if not r.dor & DOR_MOTOR_0 << drive:
            return 0
        return DIR_CHANGED if self.images[drive] is None or r.changed[drive] else 0

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """A register."""
        r, number = self.registers, port - BASE
        if number == DOR:
            self._write_dor(value, now)
        elif number == TDR:
            r.tdr = value & 3
        elif number == DIR_CCR:
            r.rate = value & 3
        elif number == MSR_DSR:
            r.rate = value & 3
            if value & DSR_RESET:
                self._reset(now)
        elif number == FIFO and self._status() & (MSR_RQM | MSR_DIO) == MSR_RQM:
            self._command_byte(value, now)

    def _write_dor(self, value: int, now: int) -> None:
        r = self.registers
        rises = value & ~r.dor & DOR_RUN
        r.dor = value
        if rises:
            self._reset(now)
        elif not value & DOR_RUN:
            self._forget()
        self._assert(r.asserted)

    def _forget(self) -> None:
        r = self.registers
        r.command, r.result, r.interrupts = [], [], []
        r.completion, r.seeking, r.resetting = None, None, False
        self._assert(False)

    def _reset(self, now: int) -> None:
        """All drives are looked at again, which gives four results of SENSE INTERRUPT STATUS."""
        r = self.registers
        self._forget()
        if not r.locked:
            r.configure = [0, 0]
        r.perpendicular = 0
        r.resetting, r.completion = True, now + self._step

    def _assert(self, level: bool) -> None:
        """The interrupt; DOR's DMA bit gates it."""
        self.registers.asserted = level
        self._interrupt(level and bool(self.registers.dor & DOR_DMA))

    # -- commands ----------------------------------------------------------------------------

    @property
    def _number(self) -> int | None:
        """Which command was sent; None if its first byte is none."""
        first = self.registers.command[0]
        number = first & 0x1F
        if number in LENGTHS and not first & ~0x1F & ~FLAGS.get(number, 0):
            return number
        return None

    def _command_byte(self, value: int, now: int) -> None:
        r = self.registers
        r.command.append(value)
        number = self._number
        if number is None:
            self._finish([ST0_INVALID])
        elif len(r.command) == LENGTHS[number]:
            self._execute(number, now)

    def _execute(self, number: int, now: int) -> None:
        r = self.registers
        if number in self._at_once:
            self._finish(self._at_once[number]())
            return
        if r.seeking is not None:  # one thing at a time: the seek is over then
            self._end_seek(r.seeking)
        if number in TIMED:
            r.completion = now + self._step
        else:
            r.seeking = r.command[1] & 3
            r.target = r.command[2] if number == SEEK else 0
            far = number == RECALIBRATE and r.cylinders[r.seeking] > MOST_STEPS
            r.target = r.cylinders[r.seeking] - MOST_STEPS if far else r.target
            r.command, r.completion = [], now + self._step

    def _finish(self, result: list[int]) -> None:
        self.registers.command, self.registers.result = [], result

    def _specify(self) -> list[int]:
        self.registers.specify = self.registers.command[1:]
        return []

    def _sense_drive(self) -> list[int]:
        r = self.registers
        unit = r.command[1] & 7
        return [ST3_FIXED | unit | (0 if r.cylinders[unit & 3] else ST3_TRACK_0)]

    def _sense_interrupt(self) -> list[int]:
        r = self.registers
        if not r.interrupts:
            return [ST0_INVALID]
        self._assert(False)
        status = r.interrupts.pop(0)
        return [status, r.cylinders[status & 3]]

    def _dump(self) -> list[int]:
        r = self.registers
        lock = r.locked << 7 | r.perpendicular
        return [*r.cylinders, *r.specify, r.last_sector, lock, *r.configure]

    def _set_perpendicular(self) -> list[int]:
        self.registers.perpendicular = self.registers.command[1] & 0x3F
        return []

    def _configure(self) -> list[int]:
        self.registers.configure = self.registers.command[2:]
        return []

    def _lock(self) -> list[int]:
        r = self.registers
        r.locked = bool(r.command[0] & 0x80)
        return [r.locked << 4]

    # -- time --------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """When the command, seek or reset is done."""
        return self.registers.completion

    def tick(self, now: int) -> None:
        """It is done, which is an interrupt."""
        r = self.registers
        r.completion = None
        if r.resetting:
            r.resetting = False
            r.interrupts = [ST0_CHANGED | drive for drive in range(SENSE_LIMIT)]
        elif r.seeking is not None:
            self._end_seek(r.seeking)
        elif r.command and (number := self._number) is not None:
            self._transfer(number)
        self._assert(True)

    def _end_seek(self, drive: int) -> None:
        r = self.registers
        r.seeking = None
        status = ST0_SEEK_END | drive
        if self.images[drive] is None:
            status |= ST0_ABNORMAL | ST0_EQUIPMENT
        else:
            r.changed[drive] = False
            r.cylinders[drive] = r.target
        r.interrupts = [*r.interrupts[1 - SENSE_LIMIT :], status]

    # -- transfers ---------------------------------------------------------------------------

    def _transfer(self, number: int) -> None:
        r, command = self.registers, self.registers.command
        drive, head = command[1] & 3, command[1] >> 2 & 1
        if number == FORMAT:
            place = _Place(drive, head, r.cylinders[drive], head, 1, command[2])
            errors = self._format(place, count=command[3], filler=command[5])
        elif number == READ_ID:
            place = _Place(drive, head, r.cylinders[drive], head, 1, SIZE_512)
            errors = self._lost(place)
        else:
            place = _Place(drive, head, *command[2:6])
            errors = self._sectors(place, number, last=command[6])
        status = (ST0_ABNORMAL if any(errors) else 0) | place.head << 2 | drive
        self._finish([status, *errors, place.cylinder, place.side, place.sector, place.size])

    def _sectors(self, place: _Place, number: int, last: int) -> tuple[int, int]:
        """Sector after sector, until the terminal count or the last one; ST1 and ST2."""
        r = self.registers
        two_sides = bool(r.command[0] & MT)
        r.last_sector = last
        if number == READ_TRACK:
            place.sector = 1
        if r.configure[0] & CONFIGURE_IMPLIED_SEEK:
            r.cylinders[place.drive] = place.cylinder
        move = self._moves.get(number, self._read_sector)
        while True:
            errors, done = move(place)
            if any(errors):
                return errors
            at_end = place.sector == last and (not two_sides or bool(place.side & 1))
            place.next(last, two_sides)
            if done or at_end:
                return (0 if done or number == VERIFY else ST1_END), 0

    def _lost(self, place: _Place) -> tuple[int, int]:
        """ST1 and ST2 if there is no such sector under the head."""
        r, form = self.registers, self._formats[place.drive]
        if form is None or form.rate != r.rate or not r.dor & DOR_MOTOR_0 << place.drive:
            return ST1_NO_MARK, 0
        track = r.cylinders[place.drive]
        if track >= form.cylinders or place.head >= form.heads:
            return ST1_NO_MARK, 0
        if place.cylinder != track:
            return ST1_NO_DATA, ST2_WRONG_CYLINDER
        known = 1 <= place.sector <= form.sectors and place.size == SIZE_512
        return (0 if known and place.side == place.head else ST1_NO_DATA), 0

    def _number_of(self, place: _Place) -> int:
        """The sector's place in the image; there is none before the first if there is no disk."""
        form = self._formats[place.drive]
        if form is None:
            return -1
        track = self.registers.cylinders[place.drive] * form.heads + place.head
        return track * form.sectors + place.sector - 1

    def _read_sector(self, place: _Place) -> tuple[tuple[int, int], bool]:
        """Errors, and whether it was the last that was wanted."""
        errors, data = self._fetch(place)
        if data is None:
            return errors, False
        if not self._dma.to_memory(CHANNEL, data):
            return (ST1_OVERRUN, 0), False
        return errors, self._dma.finished(CHANNEL)

    def _verify_sector(self, place: _Place) -> tuple[tuple[int, int], bool]:
        return self._fetch(place)[0], False

    def _fetch(self, place: _Place) -> tuple[tuple[int, int], bytes | None]:
        errors, image = self._lost(place), self.images[place.drive]
        if image is None or any(errors):
            return errors, None
        data = image.read(self._number_of(place))
        return (errors if data else (ST1_DATA_ERROR, ST1_DATA_ERROR)), data

    def _write_sector(self, place: _Place) -> tuple[tuple[int, int], bool]:
        errors = self._lost(place)
        if any(errors):
            return errors, False
        data = self._dma.from_memory(CHANNEL, SECTOR)
        if not data:
            return (ST1_OVERRUN, 0), False
        return self._store(place, data.ljust(SECTOR, b"\0")), self._dma.finished(CHANNEL)

    def _store(self, place: _Place, data: bytes) -> tuple[int, int]:
        image = self.images[place.drive]
        stored = image is not None and image.write(self._number_of(place), data)
        return (0 if stored else ST1_PROTECTED), 0

    def _format(self, place: _Place, count: int, filler: int) -> tuple[int, int]:
        """A track: the ID of each sector comes by DMA; only IDs of the disk's format are kept."""
        errors = (0, 0)
        for _ in range(count):
            identity = self._dma.from_memory(CHANNEL, 4)
            if len(identity) < 4:
                return ST1_OVERRUN, 0
            place.cylinder, place.side, place.sector, place.size = identity
            errors = self._lost(place)
            if not any(errors):
                errors = self._store(place, bytes([filler]) * SECTOR)
            if any(errors):
                return errors
        return errors

    def snapshot(self) -> Mapping[str, object]:
        """The controller, and what was written to its disks."""
        return {
            "controller": registers.save(self.registers),
            "images": snapshots(self.images),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """The controller, and what was written to its disks."""
        registers.restore(self.registers, saved["controller"])
        restore_all(self.images, saved["images"])
