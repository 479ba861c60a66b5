"""The 8042 with keyboard and mouse: systems' probes, translation, A20 and reset."""

from __future__ import annotations

import pytest
from pc_bench import Bench, Wire

from emu.devices.a20 import A20
from emu.devices.i8042 import I8042
from emu.devices.port92 import Port92
from emu.devices.scan_codes import KEYS, set_1, set_2

FRAME = 10_000  # instructions


class KeyboardBench(Bench):
    """A controller with its wires."""

    def __init__(self):
        self.keyboard_wire, self.mouse_wire = Wire(), Wire()
        self.resets = 0
        self.a20 = A20()
        super().__init__(I8042(self.a20, self.reset, self.keyboard_wire, self.mouse_wire))

    def reset(self):
        self.resets += 1

    def command(self, value, *parameters):
        self.out(0x64, value)
        self.out(0x60, *parameters)

    def answer(self, value, *parameters):
        self.command(value, *parameters)
        assert self.into(0x64) & 1
        return self.into(0x60)

    def received(self):
        """All bytes that come, with whether each is the mouse's."""
        found = []
        self.run(FRAME)
        while self.into(0x64) & 1:
            found.append((self.into(0x64) >> 5 & 1, self.into(0x60)))
            self.run(FRAME)
        return found

    def from_keyboard(self, *sent):
        self.out(0x60, *sent)
        return [value for mouse, value in self.received() if not mouse]

    def from_mouse(self, *sent):
        for value in sent:
            self.command(0xD4, value)
            answers = [value for mouse, value in self.received() if mouse]
        return answers


@pytest.fixture
def bench():
    return KeyboardBench()


def test_self_tests(bench):
    """The controller 55h, keyboard and mouse ports 0."""
    assert [bench.answer(value) for value in (0xAA, 0xAB, 0xA9)] == [0x55, 0, 0]


def test_ram(bench):
    """The command byte and the bytes after it can be written and read."""
    bench.command(0x60, 0x47)
    bench.command(0x7F, 0x12)
    assert [bench.answer(0x20), bench.answer(0x3F)] == [0x47, 0x12]


def test_linux_finds_the_mouse_port(bench):
    """D3 loops back; A7 and A8 show in the command byte; interrupt 12 comes with AUX data."""
    assert bench.answer(0xD3, 0x5A) == 0x5A
    bench.out(0x64, 0xA7)
    assert bench.answer(0x20) & 0x20
    bench.out(0x64, 0xA8)
    assert not bench.answer(0x20) & 0x20
    bench.command(0x60, 0x46)
    bench.command(0xD3, 0xA5)
    assert (bench.into(0x64) & 0x21, bench.mouse_wire.level) == (0x21, True)
    assert (bench.into(0x60), bench.mouse_wire.level) == (0xA5, False)


def test_linux_finds_no_multiplexer(bench):
    """The three bytes of the multiplexer's handshake come back as they are."""
    assert [bench.answer(0xD3, v) for v in (0xF0, 0x56, 0xA4)] == [0xF0, 0x56, 0xA4]


def test_status_bits(bench):
    """Command or data, system flag, not locked, output buffer."""
    bench.out(0x64, 0xAA)
    assert bench.into(0x64) == 0x1D
    bench.into(0x60)
    bench.command(0x60, 0x61)
    assert bench.into(0x64) == 0x10


def test_keyboard_reset_takes_time(bench):
    """FA and AA each come a frame later; with translation they look the same."""
    bench.out(0x60, 0xFF)
    assert not bench.into(0x64) & 1
    assert bench.received() == [(0, 0xFA), (0, 0xAA)]


def test_linux_identifies_the_keyboard(bench):
    """F2 gives AB 83, of which translation makes AB 41."""
    assert bench.from_keyboard(0xF2) == [0xFA, 0xAB, 0x41]
    bench.command(0x60, 0x05)
    assert bench.from_keyboard(0xF2) == [0xFA, 0xAB, 0x83]


def test_leds_and_echo(bench):
    """ED with its parameter; EE answers itself; nonsense is to be sent again."""
    assert bench.from_keyboard(0xED, 0x07) == [0xFA]
    assert bench.chip.keyboard.registers.leds == 7
    assert bench.from_keyboard(0xEE) == [0xEE]
    assert bench.from_keyboard(0x42) == [0xFE]


def test_scan_sets(bench):
    """F0 0 tells the set, F0 1 chooses set 1, F0 3 is refused."""
    bench.command(0x60, 0x05)
    bench.from_keyboard(0xF0)
    assert bench.from_keyboard(0x00) == [0xFA, 0x02]
    bench.from_keyboard(0xF0)
    assert bench.from_keyboard(0x03) == [0xFE]
    bench.from_keyboard(0xF0)
    assert bench.from_keyboard(0x01) == [0xFA]
    bench.chip.keyboard.press("up")
    assert bench.received() == [(0, 0xE0), (0, 0x48)]


@pytest.mark.parametrize(
    ("name", "one", "two", "two_up"),
    [
        ("a", "1e", "1c", "f01c"),
        ("escape", "01", "76", "f076"),
        ("f7", "41", "83", "f083"),
        ("f12", "58", "07", "f007"),
        ("enter", "1c", "5a", "f05a"),
        ("delete", "e053", "e071", "e0f071"),
        ("right_control", "e01d", "e014", "e0f014"),
        ("keypad_/", "e035", "e04a", "e0f04a"),
        ("space", "39", "29", "f029"),
    ],
)
def test_scan_codes(name, one, two, two_up):
    """Codes of IBM's table."""
    assert set_1(name, pressed=True).hex() == one
    assert set_2(name, pressed=True).hex() == two
    assert set_2(name, pressed=False).hex() == two_up


@pytest.mark.parametrize("name", sorted(KEYS))
def test_translation_makes_set_1(bench, name):
    """Whatever the keyboard sends in set 2, the controller makes set 1 of it, up and down."""
    for pressed in (True, False):
        bench.chip.keyboard.press(name, pressed=pressed)
        assert bytes(v for _, v in bench.received()) == set_1(name, pressed=pressed)


def test_interrupt_1(bench):
    """It rises with each byte and falls when the byte is read."""
    bench.chip.keyboard.press("a")
    bench.chip.keyboard.press("b")
    bench.run(1)
    assert (bench.keyboard_wire.rises, bench.keyboard_wire.level) == (1, True)
    bench.run(5 * FRAME)
    assert bench.keyboard_wire.rises == 1
    assert bench.into(0x60) == 0x1E
    assert not bench.keyboard_wire.level
    bench.run(FRAME)
    assert (bench.keyboard_wire.rises, bench.into(0x60)) == (2, 0x30)


def test_disabled_keyboard_holds_its_bytes(bench):
    """AD holds it off, AE lets it go on; so does a byte that is sent to it."""
    bench.out(0x64, 0xAD)
    bench.chip.keyboard.press("a")
    assert bench.received() == []
    bench.out(0x64, 0xAE)
    assert bench.received() == [(0, 0x1E)]


def test_full_keyboard_overruns(bench):
    """After sixteen bytes one 0 is left of further keys."""
    for _ in range(40):
        bench.chip.keyboard.press("a")
    values = [v for _, v in bench.received()]
    assert values == [0x1E] * 15 + [0xFF]  # 00 is FF in set 1


def test_mouse_reset_and_identity(bench):
    """FF: FA AA 00; F2: FA 00."""
    assert bench.from_mouse(0xFF) == [0xFA, 0xAA, 0x00]
    assert bench.from_mouse(0xF2) == [0xFA, 0x00]


@pytest.mark.parametrize(("rates", "identity"), [((200, 100, 80), 3), ((200, 200, 80), 4)])
def test_wheel_by_knocking(bench, rates, identity):
    """Three sample rates make an IntelliMouse of it, until reset."""
    for rate in rates:
        bench.from_mouse(0xF3, rate)
    assert bench.from_mouse(0xF2) == [0xFA, identity]
    bench.from_mouse(0xFF)
    assert bench.from_mouse(0xF2) == [0xFA, 0]


def test_mouse_packets(bench):
    """Nothing before F4; then buttons, signs and movement, with a wheel a fourth byte."""
    bench.chip.mouse.move(5, 5)
    assert bench.received() == []
    bench.from_mouse(0xFF)
    bench.from_mouse(0xF4)
    bench.chip.mouse.move(3, -2, buttons=1)
    assert [v for _, v in bench.received()] == [0x29, 3, 0xFE]
    for rate in (200, 100, 80):
        bench.from_mouse(0xF3, rate)
    bench.chip.mouse.move(-300, 0, wheel=-1, buttons=0)
    assert [v for _, v in bench.received()] == [0x18, 0x01, 0, 0xFF]


def test_mouse_status(bench):
    """E9: state, resolution, sample rate."""
    bench.from_mouse(0xE8, 0x03)
    bench.from_mouse(0xF3, 40)
    bench.from_mouse(0xF4)
    bench.chip.mouse.move(buttons=1)
    bench.received()
    assert bench.from_mouse(0xE9) == [0xFA, 0x24, 3, 40]


def test_a20(bench):
    """By the output port, by DD and DF, and by port 92; all see the same gate."""
    port92 = Bench(Port92(bench.a20, bench.reset))
    bench.command(0xD1, 0xDD)
    assert (bench.a20.enabled, bench.answer(0xD0) & 2, port92.into(0x92)) == (False, 0, 0)
    port92.out(0x92, 2)
    assert bench.answer(0xD0) & 2 == 2
    bench.out(0x64, 0xDD)
    assert not bench.a20.enabled
    bench.out(0x64, 0xDF)
    assert bench.a20.enabled


def test_reset_lines(bench):
    """FE pulses reset; so do the output port's bit 0 and a rise of port 92's."""
    bench.out(0x64, 0xFF)
    assert bench.resets == 0
    bench.out(0x64, 0xFE)
    bench.command(0xD1, 0x02)
    assert bench.resets == 2
    port92 = Bench(Port92(bench.a20, bench.reset))
    port92.out(0x92, 3, 3)
    assert bench.resets == 3


def test_snapshot(bench):
    """Keys that wait are part of the state."""
    bench.out(0x64, 0xD4)
    for name in ("a", "up", "f7"):
        bench.chip.keyboard.press(name)
    other = KeyboardBench()
    other.chip.restore(bench.chip.snapshot())
    assert other.received() == bench.received()
    assert other.chip.snapshot() == bench.chip.snapshot()
