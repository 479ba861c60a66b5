"""The ATA channel: probes of SeaBIOS and libata, commands by PIO, addresses, and errors."""

from __future__ import annotations

import struct

import pytest
from pc_bench import Bench, Wire

from emu.devices.ata import AtaChannel
from emu.devices.disk_image import SECTOR, DiskImage

DATA, ERROR, COUNT, LOW, MIDDLE, HIGH, DEVICE, STATUS = range(0x1F0, 0x1F8)
CONTROL = 0x3F6
TIME = 500


def numbered(first, sectors):
    return b"".join(i.to_bytes(4, "little") * 128 for i in range(first, first + sectors))


class DiskBench(Bench):
    """A channel with a first disk of so many sectors, and perhaps a second one."""

    def __init__(self, sectors=4096, second=None):
        self.wire = Wire()
        self.image = DiskImage.of(numbered(0, sectors))
        images = [self.image, None if second is None else DiskImage.of(bytes(second * SECTOR))]
        super().__init__(AtaChannel(0x1F0, CONTROL, self.wire, images))

    def registers(self, count, address, device=0xE0):
        self.out(COUNT, count)
        self.out(LOW, address & 0xFF)
        self.out(MIDDLE, address >> 8 & 0xFF)
        self.out(HIGH, address >> 16 & 0xFF)
        self.out(DEVICE, device | (address >> 24 & 15 if device & 0x40 else 0))

    def extended(self, count, address):
        for shift in (24, 0):
            self.out(COUNT, count >> (8 if shift else 0) & 0xFF)
            for i, port in enumerate((LOW, MIDDLE, HIGH)):
                self.out(port, address >> shift + 8 * i & 0xFF)
        self.out(DEVICE, 0xE0)

    def command(self, value, ends=True):
        """The command, and the time that it takes; whether it asked for an interrupt."""
        self.out(STATUS, value)
        assert self.into(CONTROL) & 0x80
        self.run(TIME)
        assert self.wire.level == ends
        return self.into(STATUS)

    def data(self, size, width=2):
        pieces = [self.chip.read(DATA, width, self.now) for _ in range(size // width)]
        return b"".join(piece.to_bytes(width, "little") for piece in pieces)

    def put(self, data, width=2):
        for i in range(0, len(data), width):
            value = int.from_bytes(data[i : i + width], "little")
            self.chip.write(DATA, width, value, self.now)


@pytest.fixture
def bench():
    return DiskBench()


def test_seabios_detects_the_first_disk(bench):
    """Device register reads back; sector count and number remember 55 and AA."""
    assert bench.into(STATUS) == 0x50
    bench.out(DEVICE, 0xA0)
    bench.out(COUNT, 0x55)
    bench.out(LOW, 0xAA)
    assert [bench.into(p) for p in (DEVICE, COUNT, LOW)] == [0xA0, 0x55, 0xAA]


def test_missing_second_disk(bench):
    """It reads status 0 (so libata drops it), and takes no command."""
    bench.out(DEVICE, 0xB0)
    assert bench.into(STATUS) == 0
    bench.out(STATUS, 0xEC)
    bench.run(TIME)
    assert (bench.into(STATUS), bench.wire.level) == (0, False)
    bench.out(DEVICE, 0xA0)
    assert bench.into(STATUS) == 0x50


def test_software_reset(bench):
    """Busy while SRST is set and shortly after; then the signature of an ATA disk."""
    bench.out(DEVICE, 0xB0)
    bench.out(CONTROL, 0x0C)
    bench.out(CONTROL, 0x08)
    bench.out(DEVICE, 0xA0)
    bench.run(TIME)
    assert bench.into(STATUS) == 0x50
    assert [bench.into(p) for p in (ERROR, COUNT, LOW, MIDDLE, HIGH)] == [1, 1, 1, 0, 0]
    assert not bench.wire.level


def test_diagnostic(bench):
    """Code 1 and the signature, with an interrupt."""
    assert bench.command(0x90) == 0x50
    assert bench.into(ERROR) == 1


def words_of(bench):
    assert bench.command(0xEC) == 0x58
    return struct.unpack("<256H", bench.data(SECTOR))


def test_identify(bench):
    """Geometry, capacity by 28 and 48 bits, text with its bytes swapped."""
    words = words_of(bench)
    assert (words[1], words[3], words[6]) == (4, 16, 63)
    assert words[60] | words[61] << 16 == words[100] == 4096
    assert words[57] | words[58] << 16 == 4032
    assert words[49] & 0x300 == 0x200
    assert words[83] & 0xC400 == 0x4400
    assert struct.pack(">20H", *words[27:47]).rstrip() == b"POPEK HARDDISK"
    assert bench.into(STATUS) == 0x50
    assert not bench.wire.level


@pytest.mark.parametrize("width", [2, 4])
def test_read(bench, width):
    """A block for each sector, each with an interrupt, at either width of the data port."""
    bench.registers(3, 5)
    status = bench.command(0x20)
    for i in range(3):
        assert status == 0x58
        assert bench.data(SECTOR, width) == numbered(5 + i, 1)
        bench.run(TIME)
        status = bench.into(STATUS)
    assert status == 0x50


def test_busy_between_blocks(bench):
    """After a block BSY is set until the next is there; no interrupt after the last."""
    bench.registers(2, 0)
    bench.command(0x20)
    bench.data(SECTOR)
    assert bench.into(CONTROL) & 0x88 == 0x80
    bench.run(TIME)
    assert bench.wire.level
    bench.into(STATUS)
    bench.data(SECTOR)
    bench.run(TIME)
    assert (bench.wire.level, bench.into(CONTROL)) == (False, 0x50)


def test_cylinder_head_sector(bench):
    """By the translation that INITIALIZE DEVICE PARAMETERS chose; sector 0 does not exist."""
    bench.registers(17, 0, 0xA3)
    assert bench.command(0x91) == 0x50
    bench.registers(1, 0x000205, 0xA1)
    bench.command(0x20)
    assert bench.data(SECTOR) == numbered((2 * 4 + 1) * 17 + 4, 1)
    for address in (0x000200, 0x000212):
        bench.registers(1, address, 0xA1)
        assert bench.command(0x20) == 0x51
        assert bench.into(ERROR) == 0x10
    words = words_of(bench)
    assert words[54:57] == (4096 // 68, 4, 17)


def test_read_multiple(bench):
    """Blocks of the size that was set; refused if it was not, or is no power of two."""
    bench.registers(10, 0)
    assert (bench.command(0xC4), bench.into(ERROR)) == (0x51, 0x04)
    bench.out(COUNT, 3)
    assert bench.command(0xC6) == 0x51
    bench.out(COUNT, 4)
    assert bench.command(0xC6) == 0x50
    bench.registers(10, 7)
    bench.command(0xC4)
    data = b""
    for size in (4, 4, 2):
        assert bench.into(CONTROL) & 0x08
        data += bench.data(size * SECTOR)
        bench.run(TIME)
        bench.into(STATUS)
    assert data == numbered(7, 10)
    assert words_of(bench)[59] == 0x0104


def test_write(bench):
    """The first block without interrupt, then one after each; the image keeps it in memory."""
    data = bytes(range(256)) * 4
    bench.registers(2, 100)
    assert bench.command(0x30, ends=False) == 0x58
    bench.put(data[:SECTOR])
    bench.run(TIME)
    assert (bench.wire.level, bench.into(STATUS)) == (True, 0x58)
    bench.put(data[SECTOR:])
    bench.run(TIME)
    assert (bench.wire.level, bench.into(STATUS)) == (True, 0x50)
    assert bench.image.read(100, 2) == data


def test_write_multiple(bench):
    """A block of four sectors in one."""
    bench.out(COUNT, 4)
    bench.command(0xC6)
    bench.registers(4, 8)
    bench.command(0xC5, ends=False)
    bench.put(numbered(70, 4), 4)
    bench.run(TIME)
    assert bench.into(STATUS) == 0x50
    assert bench.image.read(8, 4) == numbered(70, 4)


def test_extended_addresses():
    """48 bits: the bytes that were written before are the upper ones; HOB shows them."""
    bench = DiskBench(70_000)
    bench.extended(0x0102, 69_000)
    bench.out(CONTROL, 0x80)
    assert [bench.into(p) for p in (COUNT, LOW)] == [1, 0]
    bench.out(DEVICE, 0xE0)
    assert bench.into(COUNT) == 2
    assert bench.command(0x24) == 0x58
    assert bench.data(SECTOR) == numbered(69_000, 1)
    assert bench.chip.registers.left == 0x0101


def test_count_of_zero_is_the_largest(bench):
    """256 sectors by 28 bits."""
    bench.registers(0, 0)
    bench.command(0x20)
    assert bench.chip.registers.left == 255


def test_past_the_end(bench):
    """A transfer that does not fit is not begun."""
    bench.registers(2, 4095)
    assert (bench.command(0x20), bench.into(ERROR)) == (0x51, 0x10)
    assert (bench.command(0x30), bench.into(ERROR)) == (0x51, 0x10)


def test_native_maximum(bench):
    """The last sector, as libata asks for it."""
    bench.out(DEVICE, 0xE0)
    bench.command(0xF8)
    assert [bench.into(p) for p in (LOW, MIDDLE, HIGH)] == [0xFF, 0x0F, 0]


@pytest.mark.parametrize(("feature", "count", "status"), [(3, 0x0C, 0x50), (3, 0x45, 0x51)])
def test_transfer_modes(bench, feature, count, status):
    """PIO modes are taken, UDMA is refused."""
    bench.out(ERROR, feature)
    bench.out(COUNT, count)
    assert bench.command(0xEF) == status


@pytest.mark.parametrize("value", [0xE7, 0xEA, 0x10, 0x70, 0xE0])
def test_commands_without_effect(bench, value):
    """Flush, recalibrate, seek, standby."""
    assert bench.command(value) == 0x50


@pytest.mark.parametrize("value", [0x00, 0xA1, 0xC8, 0xCA, 0xB0, 0x08])
def test_unknown_commands(bench, value):
    """DMA, packets, SMART: aborted; IDENTIFY PACKET leaves the signature."""
    assert (bench.command(value), bench.into(ERROR)) == (0x51, 0x04)
    assert bench.into(MIDDLE) == 0


def test_interrupt_enable(bench):
    """With nIEN nothing is asked, but it is remembered; the alternate status leaves it."""
    bench.out(CONTROL, 0x02)
    bench.registers(1, 0)
    bench.out(STATUS, 0x20)
    bench.run(TIME)
    assert (bench.wire.level, bench.into(CONTROL)) == (False, 0x58)
    bench.out(CONTROL, 0x00)
    assert bench.wire.level
    bench.into(CONTROL)
    assert bench.wire.level
    bench.into(STATUS)
    assert not bench.wire.level


def test_two_disks():
    """Each has its own status, interrupt and size."""
    bench = DiskBench(second=100)
    bench.out(DEVICE, 0xB0)
    assert words_of(bench)[60] == 100
    bench.out(DEVICE, 0xA0)
    assert words_of(bench)[60] == 4096


def test_unreadable_sector(tmp_path):
    """A sector that the host cannot read any more is a bad one."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 * SECTOR))
    bench = Bench(AtaChannel(0x1F0, CONTROL, Wire(), [DiskImage.open(path)]))
    path.write_bytes(b"")
    bench.out(COUNT, 1)
    bench.out(DEVICE, 0xE0)
    bench.out(LOW, 0)
    bench.out(STATUS, 0x20)
    bench.run(TIME)
    assert (bench.into(STATUS), bench.into(ERROR)) == (0x51, 0x40)


def test_snapshot_in_a_transfer(bench):
    """A channel that takes over a snapshot goes on with the block."""
    bench.registers(2, 9)
    bench.command(0x20)
    bench.data(100)
    other = DiskBench()
    other.chip.restore(bench.chip.snapshot())
    other.now = bench.now
    assert other.data(SECTOR - 100) == bench.data(SECTOR - 100)
    for one in (bench, other):
        one.run(TIME)
    assert other.data(SECTOR) == bench.data(SECTOR) == numbered(10, 1)
