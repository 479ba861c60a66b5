"""One channel of an ATA disk interface with PIO (ATA/ATAPI-6): one or two disks.

A command first takes its time, then has or wants a block; so BSY can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from emu.devices import registers
from emu.devices.ata_identity import HEADS, MOST_28, MOST_MULTIPLE, TRACK, identity
from emu.devices.clock import MIPS, Clock
from emu.devices.device import Line, PortRange, unconnected
from emu.devices.disk_image import SECTOR, DiskImage, restore_all, snapshots
from isa.hints import Any, Final

DATA, FEATURES_ERROR, COUNT, LOW, MIDDLE, HIGH, DEVICE, COMMAND_STATUS = range(8)
BSY, DRDY, DSC, DRQ, ERR = 0x80, 0x40, 0x10, 0x08, 0x01
READY: Final = DRDY | DSC
UNC, IDNF, ABRT = 0x40, 0x10, 0x04  # error register
PASSED: Final = 0x01  # the diagnostic code
NIEN, SRST, HOB = 0x02, 0x04, 0x80  # device control register
LBA, SECOND = 0x40, 0x10  # device register
COMMAND_HERTZ: Final = 20_000  # commands, or blocks of one, a second

RECALIBRATE, SEEK, DIAGNOSTIC, INITIALIZE, SET_MULTIPLE = 0x10, 0x70, 0x90, 0x91, 0xC6
IDENTIFY, IDENTIFY_PACKET, SET_FEATURES = 0xEC, 0xA1, 0xEF
READ_MAX, READ_MAX_EXT, CHECK_POWER = 0xF8, 0x27, 0xE5
READS: Final = frozenset((0x20, 0x21, 0x24, 0xC4, 0x29))
WRITES: Final = frozenset((0x30, 0x31, 0x34, 0xC5, 0x39))
VERIFIES: Final = frozenset((0x40, 0x41, 0x42))
MULTIPLES: Final = frozenset((0xC4, 0x29, 0xC5, 0x39))
EXTENDED: Final = frozenset((0x24, 0x29, 0x34, 0x39, 0x42, READ_MAX_EXT))
WITHOUT_EFFECT: Final = frozenset((0xE7, 0xEA, 0xE0, 0xE1, 0xE2, 0xE3))  # flush, power
TRANSFER_MODE, NO_CACHE, CACHE, LOOK_AHEAD, NO_LOOK_AHEAD = 0x03, 0x82, 0x02, 0xAA, 0x55
KEEP, FORGET = 0x66, 0xCC  # settings at a reset
FEATURES: Final = frozenset((NO_CACHE, CACHE, LOOK_AHEAD, NO_LOOK_AHEAD, KEEP, FORGET))
MOST_PIO_MODE: Final = 0x0C  # PIO 4


@dataclass(slots=True)
class Disk:
    """What one disk remembers."""

    status: int = READY
    error: int = PASSED
    multiple: int = 0  # sectors for a block of READ and WRITE MULTIPLE
    heads: int = HEADS
    track: int = TRACK
    pending: bool = False  # its interrupt


@dataclass(slots=True)
class Registers:
    """The command block, which both disks hear, and the transfer of the one that was selected.

    `count`, `low`, `middle` and `high` hold what was written last and, in bits 8 to 15, before.
    """

    features: int = 0
    count: int = 1
    low: int = 1
    middle: int = 0
    high: int = 0
    device: int = 0
    control: int = 0
    disks: list[Disk] = field(default_factory=lambda: [Disk(), Disk()])
    command: int = 0
    completion: int | None = None
    resetting: bool = False
    writing: bool = False  # the block goes to the disk
    buffer: bytes = b""  # a block that is read, or what there is of one that is written
    position: int = 0
    expected: int = 0  # bytes of the block that is written
    sector: int = 0  # the next one
    left: int = 0  # sectors still to be moved, the block's included while it is written


class AtaChannel:
    """Disks at a command block of eight ports and a control port."""

    def __init__(
        self,
        base: int,
        control: int,
        interrupt: Line = unconnected,
        images: Sequence[DiskImage | None] = (),
        *,
        number: int = 0,
        mips: int | Fraction = MIPS,
    ) -> None:
        self.ports = (
            PortRange(base, base, 4),
            PortRange(base + 1, base + 7),
            PortRange(control, control),
        )
        self._base, self._control, self._interrupt = base, control, interrupt
        self._first_number = number
        self._time = Clock(COMMAND_HERTZ, mips).count_at(1)
        self.images = [*images, None, None][:2]
        self.registers = Registers()
        self._commands: dict[int, Callable[[Disk], None]] = {
            IDENTIFY: self._identify,
            INITIALIZE: self._initialize,
            SET_MULTIPLE: self._set_multiple,
            SET_FEATURES: self._set_features,
            CHECK_POWER: self._check_power,
            READ_MAX: self._read_max,
            READ_MAX_EXT: self._read_max,
            DIAGNOSTIC: lambda disk: self._sign(),
            **dict.fromkeys(WITHOUT_EFFECT, lambda disk: None),
            **dict.fromkeys(range(RECALIBRATE, RECALIBRATE + 16), lambda disk: None),
            **dict.fromkeys(range(SEEK, SEEK + 16), lambda disk: None),
            **dict.fromkeys(VERIFIES, self._verify),
            **dict.fromkeys(READS, self._start_reading),
            **dict.fromkeys(WRITES, self._start_writing),
        }

    # -- selection ---------------------------------------------------------------------------

    @property
    def _selected(self) -> int:
        return self.registers.device >> 4 & 1

    @property
    def _image(self) -> DiskImage | None:
        return self.images[self._selected]

    @property
    def _disk(self) -> Disk:
        return self.registers.disks[self._selected]

    def _update_line(self) -> None:
        enabled = not self.registers.control & NIEN
        self._interrupt(enabled and self._image is not None and self._disk.pending)

    # -- ports -------------------------------------------------------------------------------

    def read(self, port: int, size: int, now: int) -> int:
        """Data, a register, or the alternate status, which leaves the interrupt alone."""
        if port == self._control:
            return self._status()
        number = port - self._base
        if number == DATA:
            return self._read_data(size, now)
        if number != COMMAND_STATUS:
            return self._read_register(number)
        if self._image is not None:
            self._disk.pending = False
        self._update_line()
        return self._status()

    def _status(self) -> int:
        """A disk that is not there is answered for by the other one, with 0."""
        return 0 if self._image is None else self._disk.status

    def _read_register(self, number: int) -> int:
        r = self.registers
        if number == DEVICE:
            return r.device | 0xA0
        if number == FEATURES_ERROR:
            return 0 if self._image is None else self._disk.error
        value = (r.count, r.low, r.middle, r.high)[number - COUNT]
        return value >> 8 if r.control & HOB else value & 0xFF

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """Data, a register or a command; a busy disk hears only the device control register."""
        if port == self._control:
            self._write_control(value, now)
            return
        number = port - self._base
        self.registers.control &= ~HOB
        if self._status() & BSY:
            return
        if number == DATA:
            self._write_data(value, size, now)
        elif number == COMMAND_STATUS:
            self._write_command(value, now)
        else:
            self._write_register(number, value)

    def _write_register(self, number: int, value: int) -> None:
        r = self.registers
        if number == FEATURES_ERROR:
            r.features = value
        elif number == COUNT:
            r.count = (r.count << 8 | value) & 0xFFFF
        elif number == LOW:
            r.low = (r.low << 8 | value) & 0xFFFF
        elif number == MIDDLE:
            r.middle = (r.middle << 8 | value) & 0xFFFF
        elif number == HIGH:
            r.high = (r.high << 8 | value) & 0xFFFF
        else:
            r.device = value
            self._update_line()

    def _write_control(self, value: int, now: int) -> None:
        """While SRST is 1 the disks are busy; its fall starts them."""
        r = self.registers
        before, r.control = r.control, value
        if value & SRST:
            self._halt()
            for disk in r.disks:
                disk.status, disk.pending = BSY, False
        elif before & SRST:
            r.resetting, r.completion = True, now + self._time
        self._update_line()

    def _halt(self) -> None:
        r = self.registers
        r.completion, r.resetting, r.left = None, False, 0
        r.buffer, r.position, r.expected = b"", 0, 0

    def _write_command(self, value: int, now: int) -> None:
        r = self.registers
        if value == DIAGNOSTIC:
            r.device &= ~SECOND  # both are asked, the first one answers
        if self._image is None:
            return
        self._halt()
        self._disk.status, self._disk.error, self._disk.pending = BSY | READY, 0, False
        r.command, r.writing, r.completion = value, False, now + self._time
        self._update_line()

    # -- time --------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """When the command goes on."""
        return self.registers.completion

    def tick(self, now: int) -> None:
        """It goes on: a block is there, or is wanted, or it is done."""
        r = self.registers
        r.completion = None
        if r.resetting:
            r.resetting = False
            r.device = 0
            self._sign()
            return
        disk = self._disk
        disk.status = READY
        if r.writing:
            self._store_block(disk)
        elif r.left:
            self._load_block(disk)
        else:
            self._commands.get(r.command, self._abort)(disk)
            if r.writing:
                return  # the first block is wanted without an interrupt
        disk.pending = True
        self._update_line()

    @property
    def _asked_for(self) -> int:
        """Sectors of the command in execution; 0 is the largest number."""
        count = self.registers.count
        if self.registers.command in EXTENDED:
            return count or 0x10000
        return count & 0xFF or 0x100

    def _fail(self, disk: Disk, error: int) -> None:
        self._halt()
        self.registers.writing = False
        disk.status, disk.error = READY | ERR, error

    def _abort(self, disk: Disk) -> None:
        """A command that this disk does not know."""
        if self.registers.command == IDENTIFY_PACKET:
            self._sign_registers()
        self._fail(disk, ABRT)

    # -- commands without data ---------------------------------------------------------------

    def _sign(self) -> None:
        """Both disks have passed their diagnostics, and tell that they are ATA disks."""
        self._sign_registers()
        for disk in self.registers.disks:
            disk.status, disk.error = READY, PASSED

    def _sign_registers(self) -> None:
        r = self.registers
        r.count, r.low, r.middle, r.high = 1, 1, 0, 0

    def _initialize(self, disk: Disk) -> None:
        """INITIALIZE DEVICE PARAMETERS: the translation of cylinder, head, sector."""
        disk.heads = (self.registers.device & 0xF) + 1
        track = self.registers.count & 0xFF
        if track == 0:
            self._fail(disk, ABRT)
        else:
            disk.track = track

    def _set_multiple(self, disk: Disk) -> None:
        count = self.registers.count & 0xFF
        if count > MOST_MULTIPLE or count & count - 1:
            self._fail(disk, ABRT)
        else:
            disk.multiple = count

    def _set_features(self, disk: Disk) -> None:
        """Caches change nothing here, and transfer modes only the time that is not told."""
        r = self.registers
        mode = r.features == TRANSFER_MODE and r.count & 0xFF <= MOST_PIO_MODE
        if not mode and r.features not in FEATURES:
            self._fail(disk, ABRT)

    def _check_power(self, disk: Disk) -> None:
        self.registers.count = 0xFF  # active

    def _read_max(self, disk: Disk) -> None:
        """The address of the last sector."""
        extended = self.registers.command == READ_MAX_EXT
        last = self._sectors - 1
        self._put_address(last if extended else min(last, MOST_28), extended=extended)

    @property
    def _sectors(self) -> int:
        return 0 if self._image is None else self._image.sectors

    # -- addresses ---------------------------------------------------------------------------

    def _address(self, disk: Disk) -> int | None:
        """The sector that the registers name; None if there is no such cylinder, head, sector."""
        r = self.registers
        low, middle, high = r.low & 0xFF, r.middle & 0xFF, r.high & 0xFF
        if r.command in EXTENDED:
            before = r.high >> 8 << 16 | r.middle & 0xFF00 | r.low >> 8
            return before << 24 | high << 16 | middle << 8 | low
        if r.device & LBA:
            return (r.device & 0xF) << 24 | high << 16 | middle << 8 | low
        if not 1 <= low <= disk.track or r.device & 0xF >= disk.heads:
            return None
        cylinder = high << 8 | middle
        return (cylinder * disk.heads + (r.device & 0xF)) * disk.track + low - 1

    def _put_address(self, sector: int, *, extended: bool) -> None:
        r = self.registers
        parts = [sector >> 8 * i & 0xFF for i in range(6)]
        if extended:
            r.low, r.middle, r.high = (parts[i + 3] << 8 | parts[i] for i in range(3))
        else:
            r.low, r.middle, r.high = parts[:3]
            r.device = r.device & 0xF0 | parts[3] & 0xF

    def _locate(self, disk: Disk) -> bool:
        """Where the transfer begins; False if it goes past the end."""
        address = self._address(disk)
        if address is None or address + self._asked_for > self._sectors:
            self._fail(disk, IDNF)
            return False
        if self.registers.command in MULTIPLES and not disk.multiple:
            self._fail(disk, ABRT)
            return False
        self.registers.sector, self.registers.left = address, self._asked_for
        return True

    # -- transfers ---------------------------------------------------------------------------

    def _block(self, disk: Disk) -> int:
        """Sectors of the next block."""
        r = self.registers
        return min(r.left, disk.multiple if r.command in MULTIPLES else 1)

    def _verify(self, disk: Disk) -> None:
        if self._locate(disk):
            self.registers.left = 0

    def _identify(self, disk: Disk) -> None:
        number = self._first_number + self._selected
        data = identity(number, self._sectors, disk.heads, disk.track, disk.multiple)
        self._offer(disk, data)

    def _offer(self, disk: Disk, data: bytes) -> None:
        r = self.registers
        r.buffer, r.position = data, 0
        disk.status = READY | DRQ

    def _start_reading(self, disk: Disk) -> None:
        if self._locate(disk):
            self._load_block(disk)

    def _load_block(self, disk: Disk) -> None:
        r, image, count = self.registers, self._image, self._block(disk)
        data = None if image is None else image.read(r.sector, count)
        if data is None:
            self._fail(disk, UNC)
            return
        r.sector, r.left = r.sector + count, r.left - count
        self._offer(disk, data)

    def _read_data(self, size: int, now: int) -> int:
        r, disk = self.registers, self._disk
        if self._image is None or not disk.status & DRQ or r.writing:
            return 0
        value = int.from_bytes(r.buffer[r.position : r.position + size], "little")
        r.position += size
        if r.position >= len(r.buffer):
            r.buffer, r.position = b"", 0
            disk.status = READY | BSY if r.left else READY
            r.completion = now + self._time if r.left else None
        return value

    def _start_writing(self, disk: Disk) -> None:
        if self._locate(disk):
            self.registers.writing = True
            self._want_block(disk)

    def _want_block(self, disk: Disk) -> None:
        r = self.registers
        r.buffer, r.expected = b"", self._block(disk) * SECTOR
        disk.status = READY | DRQ

    def _write_data(self, value: int, size: int, now: int) -> None:
        r, disk = self.registers, self._disk
        if self._image is None or not disk.status & DRQ or not r.writing:
            return
        r.buffer += value.to_bytes(size, "little")
        if len(r.buffer) >= r.expected:
            disk.status = READY | BSY
            r.completion = now + self._time

    def _store_block(self, disk: Disk) -> None:
        """The block is on the disk; the next one is wanted, which is an interrupt."""
        r, image = self.registers, self._image
        data = r.buffer[: r.expected]
        if image is None or not image.write(r.sector, data):
            self._fail(disk, UNC)
            return
        count = len(data) // SECTOR
        r.sector, r.left, r.buffer = r.sector + count, r.left - count, b""
        if r.left:
            self._want_block(disk)
        else:
            r.writing = False

    # -- snapshots ---------------------------------------------------------------------------

    def snapshot(self) -> Mapping[str, object]:
        """The interface, and what was written to its disks."""
        return {
            "interface": registers.save(self.registers),
            "images": snapshots(self.images),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """The interface, and what was written to its disks."""
        registers.restore(self.registers, saved["interface"])
        restore_all(self.images, saved["images"])
