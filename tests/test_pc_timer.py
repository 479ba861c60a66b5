"""The 8254 in its six modes, by the wave forms of the data sheet, and port 61h."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pc_bench import Bench, Wire, pulse_count

from emu.devices.i8254 import HERTZ, I8254
from emu.devices.i8254_counter import Counter
from emu.devices.speaker import Speaker


def counter(mode, count, *, gate=True, bcd=False):
    """A counter whose count was written before pulse 0, so that pulse 1 loads it."""
    made = Counter(gate=gate)
    made.set_control(0x30 | mode << 1 | bcd, 0)
    made.write(count & 0xFF, 0)
    made.write(count >> 8, 0)
    return made


def wave(made, pulses):
    """OUT as text, from pulse 0."""
    return "".join("H" if made.output(pulse) else "L" for pulse in range(pulses))


@pytest.mark.parametrize(
    ("mode", "count", "expected"),
    [
        (0, 4, "LLLLLHHHHH"),
        (2, 3, "HHHLHHLHHL"),
        (2, 2, "HHLHLHLHLH"),
        (3, 4, "HHHLLHHLLHH"),
        (3, 5, "HHHHLLHHHLLHHH"),
        (3, 2, "HHLHLHLHL"),
        (4, 3, "HHHHLHHHHH"),
        (6, 3, "HHHLHHLHHL"),
        (7, 4, "HHHLLHHLLHH"),
    ],
)
def test_wave(mode, count, expected):
    """The wave forms of figures 15 to 19."""
    assert wave(counter(mode, count), len(expected)) == expected


@pytest.mark.parametrize(("mode", "expected"), [(1, "HHHHLLLHH"), (5, "HHHHHHHLHH")])
def test_triggered_wave(mode, expected):
    """Modes 1 and 5 wait for a rising gate; it acts at the next pulse."""
    made = counter(mode, 3, gate=False)
    out = ""
    for pulse in range(len(expected)):
        if pulse == 3:
            made.set_gate(True, pulse)
        out += "H" if made.output(pulse) else "L"
    assert out == expected


@pytest.mark.parametrize(
    ("mode", "count", "values"),
    [
        (0, 3, [3, 2, 1, 0, 0xFFFF]),
        (2, 3, [3, 2, 1, 3, 2]),
        (3, 4, [4, 2, 4, 2, 4]),
        (3, 5, [4, 2, 0, 4, 2, 4, 2, 0]),
        (4, 2, [2, 1, 0, 0xFFFF]),
    ],
)
def test_values(mode, count, values):
    """What the counting element holds, from the pulse that loads it."""
    made = counter(mode, count)
    assert [made.value(1 + i) for i in range(len(values))] == values


def test_zero_is_the_largest_count():
    """0 means 65,536, in BCD 10,000."""
    assert counter(0, 0).next_change(1) == 1 + 65_536
    assert counter(0, 0, bcd=True).next_change(1) == 1 + 10_000


def test_bcd_counts_in_decimal():
    """1000h is a thousand, and the pulse after shows 999h."""
    made = counter(2, 0x1000, bcd=True)
    assert [made.value(1), made.value(2), made.value(3)] == [0x1000, 0x0999, 0x0998]


def test_gate_stops_mode_0():
    """A low gate holds the count, a high one goes on with it."""
    made = counter(0, 5)
    made.set_gate(False, 3)
    assert [made.value(p) for p in (3, 50)] == [3, 3]
    assert made.next_change(50) is None
    made.set_gate(True, 60)
    assert made.next_change(60) == 63


def test_gate_of_mode_2_raises_out_and_reloads():
    """OUT goes high with a low gate; a rising gate starts a whole period."""
    made = counter(2, 4)
    assert not made.output(4)
    made.set_gate(False, 4)
    assert made.output(4)
    made.set_gate(True, 10)
    assert wave_from(made, 11, 5) == "HHHLH"


def wave_from(made, start, pulses):
    return "".join("H" if made.output(start + i) else "L" for i in range(pulses))


def test_new_count_of_mode_2_waits_for_the_period():
    """A count that is written in the middle is loaded at the end."""
    made = counter(2, 4)
    made.value(2)
    made.write(2, 2)
    made.write(0, 2)
    assert wave_from(made, 2, 8) == "HHLHLHLH"


def test_new_count_of_mode_3_waits_for_the_half():
    """The next half cycle already has the new length."""
    made = counter(3, 8)
    made.write(4, 2)
    made.write(0, 2)
    assert wave_from(made, 2, 9) == "HHHLLHHLL"


def test_first_byte_stops_mode_0():
    """The counter waits for the second byte; OUT goes low at once."""
    made = counter(0, 2)
    assert made.output(3)
    made.write(9, 5)
    assert not made.output(100)
    made.write(0, 100)
    assert made.next_change(101) == 110


# -- the chip ------------------------------------------------------------------------------------


@pytest.fixture
def bench():
    """A timer on a wire."""
    wire = Wire()
    bench = Bench(I8254(wire))
    bench.wire = wire
    return bench


def test_bytes_in_turn(bench):
    """RW 3: low, then high; a latched count stands still meanwhile."""
    bench.out(0x43, 0x34)
    bench.out(0x40, 0x34, 0x12)
    bench.now = pulse_count(1, HERTZ)
    bench.out(0x43, 0x00)
    bench.now = pulse_count(100, HERTZ)
    assert bench.into(0x40, 2) == [0x34, 0x12]
    assert bench.into(0x40, 2) == [0xD1, 0x11]


def test_second_latch_is_ignored(bench):
    """The first latched count stays until it is read."""
    bench.out(0x43, 0x30)
    bench.out(0x40, 0x00, 0x10)
    bench.now = pulse_count(1, HERTZ)
    bench.out(0x43, 0x00)
    bench.now = pulse_count(50, HERTZ)
    bench.out(0x43, 0x00)
    assert bench.into(0x40, 2) == [0x00, 0x10]


def test_read_back(bench):
    """Status first, then the count: OUT, null count, and the control word."""
    bench.out(0x43, 0xB0)
    bench.out(0x42, 0x55)
    bench.out(0x43, 0xE8)
    assert bench.into(0x42) == 0x70
    bench.out(0x42, 0x00)
    bench.now = pulse_count(1, HERTZ)
    bench.out(0x43, 0xC8)
    assert bench.into(0x42, 3) == [0x30, 0x55, 0x00]


def test_linux_reads_mode_by_status(bench):
    """Counters 0 and 2 of one read-back command; counter 1 is not asked."""
    bench.out(0x43, 0x34)
    bench.out(0x43, 0xB6)
    bench.out(0x43, 0xEA)
    assert (bench.into(0x40), bench.into(0x42)) == (0xF4, 0xF6)


@given(count=st.integers(2, 65_536), mips=st.sampled_from([1, 3, 10, 250]))
def test_rate_is_exact(count, mips):
    """Mode 2 raises its request once a period, at the first instruction that is not too early."""
    wire = Wire()
    bench = Bench(I8254(wire, mips))
    bench.out(0x43, 0x34)
    bench.out(0x40, count & 0xFF, count >> 8 & 0xFF)
    period = count & 0xFFFF or 0x10000
    wire.rises = 0
    for n in (1, 2, 3):
        end = pulse_count(1 + n * period, HERTZ, mips)
        bench.run(end - 1 - bench.now)
        if period > 100:
            assert wire.rises == n - 1
        bench.run(1)
        assert wire.rises == n


def test_mode_0_raises_once(bench):
    """Terminal count: the request rises and stays."""
    bench.out(0x43, 0x30)
    bench.out(0x40, 0x10, 0x00)
    bench.run(1_000)
    assert (bench.wire.rises, bench.wire.level, bench.chip.deadline()) == (1, True, None)


def test_one_shot_of_linux(bench):
    """Mode 4: after the count OUT is low for one pulse, and its rise is the request."""
    bench.out(0x43, 0x38)
    before = bench.wire.rises
    bench.out(0x40, 0x20, 0x00)
    bench.run(pulse_count(33, HERTZ))
    assert bench.wire.rises == before
    bench.run(pulse_count(2, HERTZ))
    assert (bench.wire.rises, bench.chip.deadline()) == (before + 1, None)


def test_a_late_tick_is_quick_and_ends_right(bench):
    """A board that did not tick for a virtual minute loses edges, not the level."""
    bench.out(0x43, 0x34)
    bench.out(0x40, 0x02, 0x00)
    bench.now = 600_000_000
    bench.chip.tick(bench.now)
    assert bench.wire.level == bench.chip.output(0, bench.now)


def test_speaker_port():
    """SeaBIOS and Linux time with counter 2: gate on, mode 0, wait for OUT2."""
    timer = I8254()
    port = Bench(Speaker(timer))
    port.out(0x61, 0x01)
    timer.write(0x43, 1, 0xB0, 0)
    timer.write(0x42, 1, 100, 0)
    timer.write(0x42, 1, 0, 0)
    assert port.into(0x61) & 0x2F == 0x01
    port.now = pulse_count(100, HERTZ)
    assert not port.into(0x61) & 0x20
    port.now = pulse_count(101, HERTZ)
    assert port.into(0x61) & 0x20


def test_refresh_toggles_every_15_microseconds():
    """Bit 4 is a clock that programs wait by."""
    port = Bench(Speaker(I8254()))
    seen = []
    for _ in range(10_000):
        port.now += 1
        seen.append(port.into(0x61) >> 4 & 1)
    changes = sum(a != b for a, b in pairwise(seen))
    assert changes == 66  # a millisecond


def test_snapshot_in_the_middle(bench):
    """A timer that takes over a snapshot fires at the same counts."""
    bench.out(0x43, 0x34)
    bench.out(0x40, 0x00, 0x10)
    bench.run(12_345)
    wire = Wire()
    other = Bench(I8254(wire))
    other.chip.restore(bench.chip.snapshot())
    other.now = bench.now
    assert other.chip.deadline() == bench.chip.deadline()
    for one in (bench, other):
        one.run(100_000)
    assert bench.chip.snapshot() == other.chip.snapshot()
