"""The board: port sizes, wires to the processor, options, snapshots, determinism."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pc_bench import Bench, Ports, Wire

from emu.errors import GuestFileError
from emu.memory import PhysicalMemory
from emu.pc.board import Board
from emu.pc.options import Options
from emu.pc.serial import MemorySerial

MEGA = 1 << 20


def board(wire=None, **options):
    """A board of 2 MiB."""
    return Board(PhysicalMemory(2 * MEGA), Options(**options), a20_changed=wire or Wire())


def initialized(made):
    """Its interrupt controllers as firmware sets them up, nothing masked."""
    for port, *rest in ((0x20, 8, 4, 1), (0xA0, 0x70, 2, 1)):
        made.write_port(port, 1, 0x11, 0)
        for value in (*rest, 0):
            made.write_port(port + 1, 1, value, 0)
    return made


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF)])
def test_nobody_there(size, ones):
    """Ports of no chip read ones and ignore writes."""
    made = board()
    made.write_port(0x3E0, size, 0, 0)
    assert made.read_port(0x3E0, size, 0) == ones


def test_wide_access_is_split():
    """A 16-bit access to 8-bit ports is two: here the index and the data of the clock."""
    made = board()
    made.write_port(0x70, 2, 0x550F, 0)
    assert made.read_port(0x71, 1, 0) == 0x55
    assert made.read_port(0x70, 2, 0) == 0x55FF


def test_last_port_wraps():
    """An access at FFFFh goes on at 0, as the bus has 16 lines."""
    assert board().read_port(0xFFFF, 4, 0) & 0xFF == 0xFF


def test_timer_interrupts():
    """The timer's output is request 0, and the deadline is exact."""
    made = initialized(board())
    for value in (0x34, 0x9C, 0x2E):  # 100 Hz
        made.write_port(0x43 if value == 0x34 else 0x40, 1, value, 0)
    made.acknowledge()  # OUT rose with the control word
    made.write_port(0x20, 1, 0x20, 0)
    bench = Bench(Ports(made))
    bench.run(99_990)
    assert not made.interrupt_requested
    bench.run(40)
    assert made.interrupt_requested
    assert made.acknowledge() == 8


def test_serial_and_mouse_wires():
    """COM1 is 4, COM2 is 3, the keyboard 1, the mouse 12, the clock 8."""
    made = initialized(board(serial=[MemorySerial(), MemorySerial()]))
    for base in (0x3F8, 0x2F8):
        made.write_port(base + 4, 1, 8, 0)
        made.write_port(base + 1, 1, 2, 0)
    made.write_port(0x64, 1, 0x60, 0)
    made.write_port(0x60, 1, 0x03, 0)
    made.keyboard_controller.keyboard.press("a")
    made.tick(0)
    made.write_port(0x70, 2, 0x520B, 0)
    made.tick(10_000_000)
    vectors = []
    while made.interrupt_requested:
        vectors.append(made.acknowledge())
        made.write_port(0xA0, 1, 0x20, 0)
        made.write_port(0x20, 1, 0x20, 0)
    assert vectors == [0x09, 0x70, 0x0B, 0x0C]


def test_a20_and_reset():
    """Whoever asked is told; the flag waits for the machine."""
    wire = Wire()
    made = board(wire)
    wire.level = True
    made.write_port(0x92, 1, 0, 0)
    assert (made.a20, wire.level, made.reset_requested) == (False, False, False)
    made.write_port(0x64, 1, 0xFE, 0)
    assert made.reset_requested


def test_debug_ports():
    """SeaBIOS looks for E9h at 402h; both ports write to the host's stream."""
    output = io.BytesIO()
    made = board(debug_output=output)
    assert made.read_port(0x402, 1, 0) == 0xE9
    for port in (0x402, 0xE9):
        made.write_port(port, 1, ord("x"), 0)
    assert output.getvalue() == b"xx"
    assert board().read_port(0x402, 1, 0) == 0xFF


def test_debug_exit():
    """The exit code is twice the value and one."""
    made = board(debug_exit=True)
    assert made.exit_code is None
    made.write_port(0x501, 4, 0x10, 0)
    assert made.exit_code == 0x21


@pytest.mark.parametrize("options", [{"boot": "x"}, {"mips": 0}])
def test_bad_options(options):
    """A message, no traceback."""
    with pytest.raises(GuestFileError):
        Options(**options)


CHIPS = (0x20, 0x21, 0xA0, 0xA1, 0x40, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([*CHIPS, *range(0x3F8, 0x400)]),
        st.sampled_from([1, 2, 4]),
        st.integers(0, 2**32 - 1) | st.none(),
        st.integers(0, 200_000),
    ),
    max_size=60,
)


def play(made, steps, now=0):
    """Do accesses, with time between them; what was read, and the time."""
    bench, seen = Bench(Ports(made)), []
    bench.now = now
    for port, size, value, wait in steps:
        if value is None:
            seen.append(made.read_port(port, size, bench.now))
        else:
            made.write_port(port, size, value & (1 << 8 * size) - 1, bench.now)
        bench.run(wait)
        if made.interrupt_requested:
            seen.append(made.acknowledge())
    return seen, bench.now


@settings(max_examples=30)
@given(before=STEPS, after=STEPS)
def test_snapshot_and_determinism(before, after):
    """Two boards agree; a third that takes over a snapshot in the middle goes on like them."""
    one, two, three = (board(serial=[MemorySerial()]) for _ in range(3))
    seen, now = play(one, before)
    assert play(two, before) == (seen, now)
    three.restore(one.snapshot())
    assert three.snapshot() == one.snapshot() == two.snapshot()
    assert play(three, after, now) == play(one, after, now)
    assert three.snapshot() == one.snapshot()
