"""The MC146818: the date, its formats, updates, three interrupts, and CMOS as firmware reads it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pc_bench import Bench, Wire

from emu.devices.disk_image import DiskImage
from emu.devices.mc146818 import MC146818
from emu.pc.cmos import cmos

SECOND = 10_000_000  # instructions


class ClockBench(Bench):
    """A clock on a wire; places by number."""

    def __init__(self, **options):
        self.wire = Wire()
        super().__init__(MC146818(self.wire, **options))

    def place(self, number):
        self.out(0x70, number)
        return self.into(0x71)

    def set(self, number, value):
        self.out(0x70, number)
        self.out(0x71, value)

    def time(self):
        return [self.place(number) for number in (4, 2, 0)]

    def date(self):
        return [self.place(number) for number in (0x32, 9, 8, 7, 6)]


def test_begins_at_the_same_date_always():
    """No host clock: every machine starts in the same second."""
    bench = ClockBench()
    assert (bench.date(), bench.time()) == ([0x20, 0x26, 1, 1, 5], [0, 0, 0])


@given(
    start=st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1)),
    seconds=st.integers(0, 400 * 86_400),
)
def test_counts_as_the_calendar_does(start, seconds):
    """Seconds to centuries, and the day of the week."""
    bench = ClockBench(time=start)
    bench.set(0x0B, 0x06)
    bench.now = seconds * SECOND
    end = start + timedelta(seconds=seconds)
    assert bench.time() == [end.hour, end.minute, end.second]
    century, year = divmod(end.year, 100)
    assert bench.date() == [century, year, end.month, end.day, end.isoweekday() % 7 + 1]


@pytest.mark.parametrize(
    ("hour", "mode", "expected"),
    [
        (0, 0x00, 0x12),
        (11, 0x00, 0x11),
        (12, 0x00, 0x92),
        (23, 0x00, 0x91),
        (23, 0x02, 0x23),
        (13, 0x04, 0x81),
        (23, 0x06, 23),
    ],
)
def test_formats_of_hours(hour, mode, expected):
    """BCD or binary, 12 hours with a bit for the afternoon or 24; both ways."""
    bench = ClockBench(time=datetime(2000, 1, 1, hour))
    bench.set(0x0B, mode)
    assert bench.place(4) == expected
    bench.set(4, 0x01)
    bench.set(4, expected)
    bench.set(0x0B, 0x06)
    assert bench.place(4) == hour


def test_set_stops_updates():
    """With SET the time stays as it is written; then it goes on."""
    bench = ClockBench()
    bench.set(0x0B, 0x82)
    bench.set(0, 0x30)
    bench.now = 5 * SECOND
    assert bench.place(0) == 0x30
    bench.set(0x0B, 0x02)
    bench.now = 6 * SECOND
    assert bench.place(0) == 0x31


def test_update_in_progress():
    """UIP is 1 before the second changes, long enough to see; SeaBIOS and Linux wait for it."""
    bench = ClockBench()
    assert bench.place(0x0A) == 0x26
    bench.now = SECOND - 30_000
    assert bench.place(0x0A) == 0x26
    bench.now = SECOND - 2_440
    assert bench.place(0x0A) == 0xA6
    bench.now = SECOND
    assert (bench.place(0x0A), bench.place(0)) == (0x26, 1)


def test_divider_restarts_after_half_a_second():
    """A stopped divider holds the time; once started, the first update is half a second away."""
    bench = ClockBench()
    bench.set(0x0A, 0x76)
    bench.now = 10 * SECOND
    assert bench.place(0) == 0
    bench.set(0x0A, 0x26)
    bench.now += SECOND // 2 - 400
    assert bench.place(0) == 0
    bench.now += 400
    assert bench.place(0) == 1


@pytest.mark.parametrize(("rate", "hertz"), [(3, 8192), (6, 1024), (15, 2), (1, 256), (2, 128)])
def test_periodic_interrupt(rate, hertz):
    """So many a second, each after register C was read."""
    bench = ClockBench()
    bench.set(0x0A, 0x20 | rate)
    bench.set(0x0B, 0x42)
    count = 0
    while bench.now < SECOND:
        bench.run_to_deadline()
        assert bench.wire.level
        assert bench.place(0x0C) & 0xC0 == 0xC0
        count += 1
    assert count == hertz


def test_periodic_flag_without_interrupt():
    """PF is set at the rate even if nobody wants an interrupt."""
    bench = ClockBench()
    assert bench.place(0x0C) == 0
    bench.now = 20_000
    assert bench.place(0x0C) == 0x40
    assert bench.chip.deadline() is None


def test_update_interrupt():
    """UIE: once a second, when the time has just changed."""
    bench = ClockBench()
    bench.set(0x0B, 0x12)
    bench.run_to_deadline()
    assert (bench.now, bench.wire.level, bench.place(0)) == (SECOND, True, 1)
    assert bench.place(0x0C) & 0x90 == 0x90
    assert not bench.wire.level


@pytest.mark.parametrize(
    ("alarm", "due"),
    [((0x05, 0x00, 0x00), 5), ((0xFF, 0x02, 0xC0), 120), ((0x00, 0x00, 0x01), 3600)],
)
def test_alarm(alarm, due):
    """Seconds, minutes, hours; C0h and above match anything."""
    bench = ClockBench()
    for place, value in zip((1, 3, 5), alarm, strict=True):
        bench.set(place, value)
    bench.set(0x0B, 0x22)
    bench.run(due * SECOND - 1)
    assert not bench.wire.level
    bench.run(1)
    assert bench.wire.level
    assert bench.place(0x0C) & 0xA0 == 0xA0


def test_alarm_that_nobody_watched():
    """AF is found in a long sleep too."""
    bench = ClockBench()
    bench.set(5, 0x12)
    bench.now = 13 * 3600 * SECOND
    assert bench.place(0x0C) & 0x20


def test_nonsense_dates_do_not_matter():
    """Month 0, day 99: it goes on from somewhere."""
    bench = ClockBench()
    for place in (6, 7, 8, 9, 0x32):
        bench.set(place, 0xFF)
    bench.set(8, 0x00)
    bench.now = 100 * 86_400 * SECOND
    assert len(bench.date()) == 5


def test_memory_and_status():
    """Bytes are kept; D says that the battery is good; C and D cannot be written."""
    bench = ClockBench(memory={0x10: 0x40})
    bench.set(0x0F, 0x05)
    bench.set(0x0D, 0x00)
    assert [bench.place(n) for n in (0x0F, 0x0D, 0x10)] == [0x05, 0x80, 0x40]
    bench.out(0x70, 0x8F)  # with NMI masked
    assert bench.into(0x71) == 0x05


def test_equipment_of_a_small_machine():
    """64 MiB: 640 KiB, 63 MiB above 1 MiB, 48 MiB above 16 MiB; nothing plugged in."""
    values = cmos(64 << 20)
    assert [values[n] for n in (0x15, 0x16, 0x17, 0x18)] == [0x80, 0x02, 0x00, 0xFC]
    assert [values[n] for n in (0x30, 0x31, 0x34, 0x35)] == [0x00, 0xFC, 0x00, 0x03]
    assert [values[n] for n in (0x10, 0x12, 0x14)] == [0x00, 0x00, 0x06]
    assert (values[0x3D], values[0x38]) == (0x12, 0x01)


def test_equipment_with_disks():
    """A 1.44M floppy and a disk of 10 MiB; boot from the disk first."""
    floppy, disk = DiskImage.of(bytes(1_474_560)), DiskImage.of(bytes(10 << 20))
    values = cmos(1 << 30, [floppy], [disk], "ca")
    assert (values[0x10], values[0x14], values[0x12], values[0x19]) == (0x40, 0x07, 0xF0, 47)
    assert [values[0x1B + i] for i in range(9)] == [20, 0, 16, 255, 255, 0xC8, 20, 0, 63]
    assert [values[n] for n in (0x17, 0x18, 0x34, 0x35)] == [0xFF, 0xFF, 0x00, 0x3F]


def test_snapshot():
    """A clock that takes over a snapshot shows the same time later."""
    bench, other = ClockBench(), ClockBench(time=datetime(1999, 1, 1))
    bench.set(0x0B, 0x72)
    bench.now = 12_345_678
    bench.time()
    other.chip.restore(bench.chip.snapshot())
    other.now = bench.now
    for one in (bench, other):
        one.run(99 * SECOND)
    assert (other.time(), other.date()) == (bench.time(), bench.date())
    assert other.chip.snapshot() == bench.chip.snapshot()
