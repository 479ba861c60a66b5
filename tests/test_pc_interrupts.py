"""The 8259A pair: initialization, priorities, ends of interrupts, and probes of systems."""

from __future__ import annotations

import pytest
from pc_bench import Bench

from emu.devices.i8259_pair import I8259Pair


@pytest.fixture
def bench():
    """A pair as PC firmware sets it up: vectors 08h and 70h, nothing masked."""
    bench = Bench(I8259Pair())
    bench.pair = bench.chip
    bench.out(0x20, 0x11)
    bench.out(0x21, 0x08, 0x04, 0x01)
    bench.out(0xA0, 0x11)
    bench.out(0xA1, 0x70, 0x02, 0x01)
    return bench


def raise_all(bench, *lines):
    for line in lines:
        bench.pair.set_line(line, True)


def test_nothing_is_requested_before_initialization():
    """A chip that got no ICW1 masks everything."""
    pair = I8259Pair()
    pair.set_line(0, True)
    assert not pair.requested


def test_icw1_clears_mask_and_expects_three_more(bench):
    """After ICW1 to ICW4 the odd port is the mask again."""
    bench.out(0x21, 0xAA)
    assert bench.into(0x21) == 0xAA
    bench.out(0x20, 0x11)
    assert bench.into(0x21) == 0x00


@pytest.mark.parametrize(("line", "vector"), [(0, 0x08), (7, 0x0F), (8, 0x70), (15, 0x77)])
def test_vector(bench, line, vector):
    """Each request has its vector; those of the slave come through IR2."""
    raise_all(bench, line)
    assert bench.pair.requested
    assert bench.pair.acknowledge() == vector
    assert not bench.pair.requested


def test_priority_order(bench):
    """Lowest first, the slave's in the place of IR2, each after the end of the one before."""
    raise_all(bench, 15, 7, 8, 3, 1)
    vectors = []
    while bench.pair.requested:
        vectors.append(bench.pair.acknowledge())
        if vectors[-1] >= 0x70:
            bench.out(0xA0, 0x20)
        bench.out(0x20, 0x20)
    assert vectors == [0x09, 0x70, 0x77, 0x0B, 0x0F]


def test_higher_interrupts_lower_not(bench):
    """What is in service holds off its own level and those below."""
    raise_all(bench, 4)
    assert bench.pair.acknowledge() == 0x0C
    raise_all(bench, 5)
    assert not bench.pair.requested
    raise_all(bench, 1)
    assert bench.pair.acknowledge() == 0x09


def test_edge_is_one_request(bench):
    """A level that stays high asks once; it has to fall and rise."""
    raise_all(bench, 4)
    bench.pair.acknowledge()
    bench.out(0x20, 0x20)
    assert not bench.pair.requested
    bench.pair.set_line(4, True)
    assert not bench.pair.requested
    bench.pair.set_line(4, False)
    bench.pair.set_line(4, True)
    assert bench.pair.requested


def test_level_asks_as_long_as_it_is_high(bench):
    """ELCR makes a request level triggered: it comes back after its end."""
    bench.out(0x4D1, 0xFF)
    assert bench.into(0x4D1) == 0xDE
    raise_all(bench, 11)
    for _ in range(2):
        assert bench.pair.acknowledge() == 0x73
        bench.out(0xA0, 0x20)
        bench.out(0x20, 0x20)
    bench.pair.set_line(11, False)
    assert not bench.pair.requested


def test_elcr_spares_timer_keyboard_and_cascade(bench):
    """These bits of 4D0 cannot be set."""
    bench.out(0x4D0, 0xFF)
    assert bench.into(0x4D0) == 0xF8


@pytest.mark.parametrize(("line", "vector"), [(3, 0x0F), (10, 0x77)])
def test_spurious(bench, line, vector):
    """A request that falls before its INTA is IR7 of its chip, and not in service there."""
    bench.pair.set_line(line, True)
    if line < 8:
        bench.pair.set_line(line, False)
        assert not bench.pair.requested
    else:
        bench.pair.slave.registers.irr = 0  # it fell between the two INTA cycles
    assert bench.pair.acknowledge() == vector
    bench.out(0x20, 0x0B)
    bench.out(0xA0, 0x0B)
    assert bench.into(0x20) == (0x04 if line >= 8 else 0)
    assert bench.into(0xA0) == 0


def test_mask(bench):
    """A masked request waits in IRR."""
    bench.out(0x21, 0x10)
    raise_all(bench, 4)
    assert not bench.pair.requested
    bench.out(0x20, 0x0A)
    assert bench.into(0x20) == 0x10
    bench.out(0x21, 0x00)
    assert bench.pair.requested


def test_read_registers(bench):
    """OCW3 chooses IRR or ISR, and the choice stays."""
    raise_all(bench, 3, 6)
    bench.pair.acknowledge()
    bench.out(0x20, 0x0B)
    assert bench.into(0x20, 2) == [0x08, 0x08]
    bench.out(0x20, 0x0A)
    assert bench.into(0x20) == 0x40


def test_specific_end(bench):
    """A specific EOI ends the level that it names, not the highest."""
    raise_all(bench, 5)
    bench.pair.acknowledge()
    raise_all(bench, 1)
    bench.pair.acknowledge()
    bench.out(0x20, 0x65, 0x0B)
    assert bench.into(0x20) == 0x02


def test_rotation_on_end(bench):
    """The level that was served becomes the lowest."""
    raise_all(bench, 0)
    bench.pair.acknowledge()
    bench.out(0x20, 0xA0)
    bench.pair.set_line(0, False)
    raise_all(bench, 0, 7)
    assert bench.pair.acknowledge() == 0x0F


def test_set_priority(bench):
    """With 4 the lowest, 5 is the highest."""
    bench.out(0x20, 0xC4)
    raise_all(bench, 0, 5)
    assert bench.pair.acknowledge() == 0x0D


def test_special_mask_lets_lower_ones_through(bench):
    """In special mask mode a level in service that is masked holds off nobody."""
    raise_all(bench, 1, 6)
    bench.pair.acknowledge()
    bench.out(0x21, 0x02)
    assert not bench.pair.requested
    bench.out(0x20, 0x68)
    assert bench.pair.acknowledge() == 0x0E


def test_automatic_end(bench):
    """With AEOI nothing stays in service."""
    bench.out(0x20, 0x11)
    bench.out(0x21, 0x08, 0x04, 0x03)
    raise_all(bench, 4, 5)
    assert [bench.pair.acknowledge(), bench.pair.acknowledge()] == [0x0C, 0x0D]
    bench.out(0x20, 0x0B)
    assert bench.into(0x20) == 0


def test_automatic_end_of_both_requests_of_the_slave(bench):
    """The slave's output pulses at INTA, so that the master sees the second request too."""
    for port, base, link in ((0x20, 0x08, 4), (0xA0, 0x70, 2)):
        bench.out(port, 0x11)
        bench.out(port + 1, base, link, 0x03)
    raise_all(bench, 9, 10)
    assert [bench.pair.acknowledge(), bench.pair.acknowledge()] == [0x71, 0x72]


def test_special_fully_nested(bench):
    """The slave may ask for a higher level while one of its own is in service at the master."""
    bench.out(0x20, 0x11)
    bench.out(0x21, 0x08, 0x04, 0x11)
    raise_all(bench, 12)
    bench.pair.acknowledge()
    raise_all(bench, 9)
    assert bench.pair.requested
    assert bench.pair.acknowledge() == 0x71


def test_poll(bench):
    """A poll is an INTA: it answers with the level, which is then in service."""
    raise_all(bench, 3)
    bench.out(0x20, 0x0C)
    assert bench.into(0x20) == 0x83
    bench.out(0x20, 0x0C)
    assert bench.into(0x20) == 0x00
    bench.out(0x20, 0x0B)
    assert bench.into(0x20) == 0x08


def test_linux_probe(bench):
    """Linux masks the slave and looks whether the master's mask remembers FBh."""
    bench.out(0xA1, 0xFF)
    bench.out(0x21, 0xFB)
    assert bench.into(0x21) == 0xFB


def test_snapshot_in_service(bench):
    """A pair that takes over a snapshot goes on like the other."""
    raise_all(bench, 4, 10)
    bench.pair.acknowledge()
    other = I8259Pair()
    other.restore(bench.pair.snapshot())
    assert other.snapshot() == bench.pair.snapshot()
    for pair in (bench.pair, other):
        pair.write(0xA0, 1, 0x20, 0)
        pair.write(0x20, 1, 0x20, 0)
    assert other.acknowledge() == bench.pair.acknowledge() == 0x0C
