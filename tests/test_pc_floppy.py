"""The floppy controller and DMA: SeaBIOS' and Linux's sequences, errors, and what DMA touches."""

from __future__ import annotations

import pytest
from pc_bench import Bench, Ports

from emu.devices.disk_image import SECTOR, DiskImage
from emu.devices.floppy_format import floppy_format
from emu.errors import GuestFileError
from emu.memory import PhysicalMemory
from emu.pc.board import Board
from emu.pc.options import Options

DOR, MSR, FIFO, DIR = 0x3F2, 0x3F4, 0x3F5, 0x3F7
MEGA = 1 << 20
SEEK_TIME = 20_000


def numbered(sectors):
    """An image whose sectors begin with their number."""
    return b"".join(i.to_bytes(4, "little").ljust(SECTOR, b"\x5a") for i in range(sectors))


class FloppyBench(Bench):
    """A board with a drive, its motor on, reset and calibrated as SeaBIOS does it."""

    def __init__(self, sectors=2880, rate=0):
        self.memory = PhysicalMemory(2 * MEGA)
        self.image = DiskImage.of(numbered(sectors))
        self.board = Board(self.memory, Options(floppies=[self.image]))
        super().__init__(Ports(self.board))
        self.out(0x20, 0x11)
        self.out(0x21, 0x08, 0x04, 0x01, 0x00)
        self.out(DOR, 0x00, 0x1C)
        self.out(DIR, rate)
        assert self.interrupt()
        for drive in range(4):
            assert self.command(8) == [0xC0 | drive, 0]
        self.command(3, 0xAF, 0x02)
        self.seek(7, 0)

    def interrupt(self):
        """Whether request 6 comes within the time of a seek; it is served."""
        self.run(SEEK_TIME)
        if not self.board.interrupt_requested:
            return False
        vector = self.board.acknowledge()
        self.out(0x20, 0x20)
        return vector == 0x0E

    def send(self, *command):
        for value in command:
            assert self.into(MSR) & 0xC0 == 0x80
            self.out(FIFO, value)

    def result(self):
        values = []
        while self.into(MSR) & 0xC0 == 0xC0:
            values.append(self.into(FIFO))
        assert self.into(MSR) & 0xDF == 0x80
        return values

    def command(self, *command):
        """A command without interrupt: its result."""
        self.send(*command)
        return self.result()

    def timed(self, *command):
        """A command that ends with an interrupt: its result."""
        self.send(*command)
        assert not self.into(MSR) & 0x80
        assert self.interrupt()
        return self.result()

    def seek(self, *command):
        self.send(*command)
        assert self.interrupt()
        return self.command(8)

    def dma(self, mode, address, size):
        """Channel 2 as firmware programs it."""
        self.out(0x0A, 0x06)
        self.out(0x0C, 0)
        self.out(0x0B, mode)
        self.out(0x04, address & 0xFF, address >> 8 & 0xFF)
        self.out(0x81, address >> 16)
        self.out(0x05, size - 1 & 0xFF, size - 1 >> 8)
        self.out(0x0A, 0x02)


@pytest.fixture
def bench():
    return FloppyBench()


def test_version_and_identity(bench):
    """Linux: DUMPREG has ten bytes, UNLOCK answers 0, PARTID is invalid: a post-1991 82077."""
    assert bench.command(0x10) == [0x90]
    assert len(bench.command(0x0E)) == 10
    assert bench.command(0x13, 0, 0x57, 0) == []
    assert bench.command(0x12, 0) == []
    assert bench.command(0x14) == [0x00]
    assert bench.command(0x18) == [0x80]
    assert bench.command(0x94) == [0x10]


def test_dumpreg_after_configure(bench):
    """Cylinders, SPECIFY, last sector, lock, CONFIGURE."""
    bench.command(0x13, 0, 0x57, 0x20)
    bench.seek(0x0F, 0, 5)
    assert bench.command(0x0E) == [5, 0, 0, 0, 0xAF, 0x02, 0, 0, 0x57, 0x20]


def test_seek_and_recalibrate(bench):
    """SENSE INTERRUPT tells the end and the cylinder; ST3 tells track 0."""
    assert bench.seek(0x0F, 0, 33) == [0x20, 33]
    assert bench.command(4, 0) == [0x28]
    assert bench.seek(7, 0) == [0x20, 0]
    assert bench.command(4, 0) == [0x38]
    assert bench.command(8) == [0x80]


def test_seek_of_a_drive_that_is_not_there(bench):
    """Equipment check."""
    assert bench.seek(7, 1) == [0x71, 0]


def test_read_id(bench):
    """The ID under the head; another data rate finds none."""
    bench.seek(0x0F, 4, 3)
    assert bench.timed(0x4A, 4) == [0x04, 0, 0, 3, 1, 1, 2]
    bench.out(DIR, 2)
    assert bench.timed(0x4A, 0)[:2] == [0x40, 0x01]


@pytest.mark.parametrize(
    ("sectors", "rate", "last", "type_"),
    [(720, 2, 9, 1), (1440, 2, 9, 3), (2400, 0, 15, 2), (2880, 0, 18, 4), (5760, 3, 36, 5)],
)
def test_formats(sectors, rate, last, type_):
    """The last sector of every format can be read."""
    bench = FloppyBench(sectors, rate)
    cylinder = sectors // (2 * last) - 1
    bench.seek(0x0F, 4, cylinder)
    bench.dma(0x46, 0x8000, SECTOR)
    result = bench.timed(0xE6, 4, cylinder, 1, last, 2, last, 0x1B, 0xFF)
    assert result[:3] == [0x04 & result[0], 0, 0]
    assert bench.memory.read(0x8000, 4) == (sectors - 1).to_bytes(4, "little")
    assert floppy_format(bench.image).cmos_type == type_


def test_read_boot_sector(bench):
    """As SeaBIOS reads it: DMA to 7C00, terminal count, result of the next sector."""
    bench.dma(0x46, 0x7C00, SECTOR)
    assert bench.timed(0xE6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF) == [0, 0, 0, 0, 0, 2, 2]
    assert bench.memory.read(0x7C00, SECTOR) == numbered(1)
    assert bench.memory.read(0x7BFF, 1) + bench.memory.read(0x7E00, 1) == b"\0\0"


def test_read_a_cylinder(bench):
    """With MT the second side follows the first; the result is the next cylinder's first."""
    bench.dma(0x46, 0x10000, 36 * SECTOR)
    assert bench.timed(0xE6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[1:] == [0, 0, 1, 0, 1, 2]
    assert bench.memory.read(0x10000, 36 * SECTOR) == numbered(36)


def test_end_without_terminal_count(bench):
    """If DMA wants more than the track has, EN is set."""
    bench.dma(0x46, 0x10000, 4 * SECTOR)
    assert bench.timed(0x46, 0, 0, 0, 17, 2, 18, 0x1B, 0xFF)[:3] == [0x40, 0x80, 0]


def test_sector_not_found(bench):
    """No such sector; and the wrong cylinder."""
    bench.dma(0x46, 0x10000, SECTOR)
    assert bench.timed(0x46, 0, 0, 0, 19, 2, 19, 0x1B, 0xFF)[:3] == [0x40, 0x04, 0]
    assert bench.timed(0x46, 0, 1, 0, 1, 2, 18, 0x1B, 0xFF)[:3] == [0x40, 0x04, 0x10]


def test_implied_seek(bench):
    """With EIS a read goes to its cylinder by itself."""
    bench.command(0x13, 0, 0x40, 0)
    bench.dma(0x46, 0x10000, SECTOR)
    assert bench.timed(0x46, 0, 9, 0, 1, 2, 18, 0x1B, 0xFF)[:3] == [0, 0, 0]
    assert bench.memory.read(0x10000, 2) == (9 * 36).to_bytes(2, "little")


def test_masked_channel_is_an_overrun(bench):
    """Without DMA nothing moves."""
    assert bench.timed(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[:3] == [0x40, 0x10, 0]


def test_write_stays_in_the_overlay(bench):
    """Two sectors go to the image's overlay; the image itself is as before."""
    data = bytes(range(256)) * 4
    bench.memory.write(0x20000, data)
    bench.dma(0x4A, 0x20000, len(data))
    assert bench.timed(0xC5, 0, 0, 0, 3, 2, 18, 0x1B, 0xFF)[:3] == [0, 0, 0]
    assert bench.image.read(2, 2) == data
    assert sorted(bench.image.overlay) == [2, 3]


def test_format_track(bench):
    """Each sector's ID comes by DMA; the track is filled."""
    identities = b"".join(bytes([0, 1, sector, 2]) for sector in range(1, 19))
    bench.memory.write(0x20000, identities)
    bench.dma(0x4A, 0x20000, len(identities))
    assert bench.timed(0x4D, 4, 2, 18, 0x54, 0xF6)[:3] == [4, 0, 0]
    assert bench.image.read(18, 18) == b"\xf6" * 18 * SECTOR
    assert bench.image.read(17) == numbered(18)[-SECTOR:]


def test_disk_change(bench):
    """The line is set until the head steps; no disk is a change for ever."""
    assert not bench.into(DIR) & 0x80
    fresh = Board(PhysicalMemory(MEGA), Options(floppies=[DiskImage.of(numbered(2880))]))
    fresh.write_port(DOR, 1, 0x1C, 0)
    assert fresh.read_port(DIR, 1, 0) & 0x80
    bench.out(DOR, 0x2D)
    assert bench.into(DIR) & 0x80


def test_reset_state(bench):
    """While reset is held nothing is ready; CONFIGURE survives only if locked."""
    bench.command(0x13, 0, 0x57, 0)
    bench.out(DOR, 0x18)
    assert bench.into(MSR) == 0
    bench.out(DOR, 0x1C)
    bench.run(SEEK_TIME)
    assert bench.command(0x0E)[8] == 0


def test_interrupt_is_gated_by_dor(bench):
    """Without the DMA bit of DOR the request does not leave the controller."""
    bench.out(DOR, 0x14)
    bench.send(7, 0)
    assert not bench.interrupt()


def test_dma_past_the_end_of_memory(bench):
    """It moves on; nothing is read from or written to outside."""
    bench.dma(0x46, 0xFF0000, SECTOR)
    assert bench.timed(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[:3] == [0, 0, 0]
    bench.dma(0x4A, 0xFF0000, SECTOR)
    bench.timed(0x45, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    assert bench.image.read(0) == b"\xff" * SECTOR


def test_dma_wraps_within_64k(bench):
    """The address register has 16 bits; the page does not change."""
    bench.dma(0x46, 0x1FF00, SECTOR)
    bench.timed(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    assert bench.memory.read(0x1FF00, 4) == b"\0\0\0\0"
    assert bench.memory.read(0x10000, 256) == b"\x5a" * 256
    assert bench.memory.read(0x20000, 1) == b"\0"


def test_dma_status_and_count(bench):
    """Terminal count shows once; the count ends at FFFF; address and count read in halves."""
    bench.dma(0x46, 0x10000, SECTOR)
    bench.timed(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    assert bench.into(0x08, 2) == [0x04, 0x00]
    bench.out(0x0C, 0)
    assert bench.into(0x05, 2) == [0xFF, 0xFF]
    assert bench.into(0x04, 2) == [0x00, 0x02]


def test_no_such_format():
    """The message has the sizes that there are."""
    with pytest.raises(GuestFileError, match="1474560"):
        floppy_format(DiskImage.of(bytes(1000)))


# -- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "finding"), [(b"", "empty"), (b"x" * 700, "truncated")])
def test_bad_image(tmp_path, content, finding):
    """Empty and truncated images are refused."""
    path = tmp_path / "disk"
    path.write_bytes(content)
    with pytest.raises(GuestFileError, match=finding):
        DiskImage.open(path)


def test_image_that_cannot_be_opened(tmp_path):
    """Nothing there, or a directory."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(GuestFileError, match="cannot be opened"):
            DiskImage.open(path)


def test_image_is_written_only_if_told(tmp_path):
    """By default the file stays as it is."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(2 * SECTOR))
    data = b"\x11" * SECTOR
    image = DiskImage.open(path)
    assert image.write(1, data)
    assert (image.read(1), path.read_bytes()) == (data, bytes(2 * SECTOR))
    assert DiskImage.open(path, writable=True).write(1, data)
    assert path.read_bytes() == bytes(SECTOR) + data


def test_image_that_shrinks(tmp_path):
    """A host that takes the file away makes sectors bad, not exceptions."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(4 * SECTOR))
    image = DiskImage.open(path)
    path.write_bytes(b"")
    assert image.read(1) is None
    assert image.read(3, 2) is None
    assert not image.write(4, bytes(SECTOR))
