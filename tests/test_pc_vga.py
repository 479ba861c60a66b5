"""The VGA: registers read back, retrace in machine time, text, mode 13h, and the host's view."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from needs import missing
from pc_bench import Bench

from emu.devices.vga import GLYPHS, VGA
from emu.errors import GuestFileError
from emu.pc.screen import picture, save_png, text

FRAME = 142_681  # instructions at 10 mips
TEXT = 0x18000  # B8000 in video memory


class Screen(Bench):
    """A VGA with its own memory."""

    def __init__(self):
        self.memory = bytearray(0x20000)
        super().__init__(VGA(memoryview(self.memory)))

    def set(self, port, index, value):
        self.out(port, index)
        self.out(port + 1, value)

    def get(self, port, index):
        self.out(port, index)
        return self.into(port + 1)

    def print(self, place, data, attribute=7):
        for i, code in enumerate(data):
            self.memory[TEXT + 2 * (place + i) : TEXT + 2 * (place + i) + 2] = code, attribute


@pytest.fixture
def screen():
    return Screen()


def pillow():
    try:
        import PIL  # noqa: F401
    except ImportError:
        missing("needs Pillow (pip install 'popek[screenshot]')")


@pytest.mark.parametrize(("port", "size"), [(0x3C4, 5), (0x3CE, 9)])
def test_banks_read_back(screen, port, size):
    """Every register of the sequencer and the graphics controller; none above."""
    for index in range(size):
        screen.set(port, index, 0x40 + index)
    assert [screen.get(port, index) for index in range(size)] == [0x40 + i for i in range(size)]
    screen.set(port, 0x80, 1)
    assert screen.get(port, 0x80) == 0


def test_crtc_protection(screen):
    """Bit 7 of register 11h protects 0 to 7, but for the line compare bit of 7."""
    screen.set(0x3D4, 0, 0x11)
    assert screen.get(0x3D4, 0) == 0x5F
    screen.set(0x3D4, 7, 0x00)
    assert screen.get(0x3D4, 7) == 0x0F
    screen.set(0x3D4, 0x11, 0x0E)
    screen.set(0x3D4, 0, 0x11)
    assert screen.get(0x3D4, 0) == 0x11


def test_attribute_flip_flop(screen):
    """Input status 1 makes 3C0 take an index; then data and index in turn."""
    screen.into(0x3DA)
    screen.out(0x3C0, 0x05, 0x2A, 0x06, 0x3F)
    screen.into(0x3DA)
    screen.out(0x3C0, 0x05)
    assert screen.into(0x3C1) == 0x2A
    screen.into(0x3DA)
    screen.out(0x3C0, 0x26)
    assert (screen.into(0x3C1), screen.into(0x3C0)) == (0x3F, 0x26)


def test_palette(screen):
    """Three levels to a colour, the index counts on by itself, for reading and writing."""
    screen.out(0x3C8, 0x10)
    screen.out(0x3C9, 1, 2, 3, 4, 5, 0xFF)
    screen.out(0x3C7, 0x10)
    assert screen.into(0x3C9, 6) == [1, 2, 3, 4, 5, 0x3F]
    assert (screen.into(0x3C7), screen.into(0x3C8)) == (3, 0x12)


def test_colours_of_the_ega(screen):
    """Attribute 6 is brown, 20 in the EGA's colours, and 7 light grey."""
    assert screen.chip.text_colours()[[6, 7, 15]].tolist() == [
        [170, 85, 0],
        [170, 170, 170],
        [255, 255, 255],
    ]


def test_place_of_the_crtc(screen):
    """MISC bit 0 moves it from 3Dx to 3Bx; nobody answers at the other place."""
    assert screen.into(0x3CC) == 0x67
    assert screen.into(0x3B5) == 0xFF
    screen.out(0x3C2, 0x66)
    assert screen.get(0x3B4, 1) == 0x4F
    assert screen.into(0x3D5) == 0xFF


def test_retrace(screen):
    """70 frames a second, two lines of vertical retrace in each; blanking between lines too."""
    retraces, rises, blanked, before = 0, 0, 0, 0
    for now in range(0, 10_000_000, 50):
        status = screen.chip.read(0x3DA, 1, now)
        retrace = status & 8
        retraces, blanked = retraces + bool(retrace), blanked + (status & 1)
        rises += retrace > before
        before = retrace
    assert rises == 70
    assert retraces == pytest.approx(200_000 * 2 / 449, rel=0.02)
    assert blanked == pytest.approx(200_000 * (1 - 0.8 * 400 / 449), rel=0.02)


def test_text(screen):
    """80 columns, 25 rows, code page 437."""
    screen.print(0, b"Hello\xdb\x01")
    screen.print(24 * 80 + 79, b"!")
    rows = screen.chip.text()
    assert (len(rows), {len(row) for row in rows}) == (25, {80})
    assert rows[0].rstrip() == "Hello█☺"
    assert rows[24][79] == "!"
    assert len(GLYPHS) == 256


def test_start_address(screen):
    """Linux scrolls by the start address; the memory wraps."""
    screen.print(80, b"second row")
    screen.set(0x3D4, 0x0C, 0)
    screen.set(0x3D4, 0x0D, 80)
    assert screen.chip.text()[0].rstrip() == "second row"
    screen.print(0, b"first")
    screen.set(0x3D4, 0x0C, (0x4000 - 80) >> 8)
    screen.set(0x3D4, 0x0D, (0x4000 - 80) & 0xFF)
    assert screen.chip.text()[1].rstrip() == "first"


def test_fifty_rows(screen):
    """Glyphs of eight lines make 50 rows."""
    screen.set(0x3D4, 9, 0x47)
    assert len(screen.chip.text()) == 50


def test_cursor(screen):
    """Where it is, from the start of the screen; none if it is off."""
    screen.set(0x3D4, 0x0E, 0)
    screen.set(0x3D4, 0x0F, 165)
    assert screen.chip.cursor() == (2, 5)
    screen.set(0x3D4, 0x0D, 80)
    assert screen.chip.cursor() == (1, 5)
    screen.set(0x3D4, 0x0A, 0x20)
    assert screen.chip.cursor() is None


def test_mode_13h(screen):
    """320 × 200 pixels of 256 colours from A0000."""
    assert screen.chip.picture() is None
    screen.set(0x3CE, 5, 0x40)
    screen.set(0x3CE, 6, 0x05)
    screen.out(0x3C8, 9)
    screen.out(0x3C9, 63, 0, 21)
    screen.memory[320 * 7 + 5] = 9
    pixels = screen.chip.picture()
    assert pixels.shape == (200, 320, 3)
    assert pixels[7, 5].tolist() == [255, 0, 85]
    assert screen.chip.text() == []
    assert text(screen.chip) == ""


def test_terminal_text(screen):
    """Without the blanks at the ends."""
    screen.print(0, b"one  ")
    screen.print(80, b"two")
    assert text(screen.chip) == "one\ntwo"


def test_picture_with_the_guests_font(screen):
    """What firmware has loaded at A0000 is what is shown, in the attribute's colours."""
    screen.set(0x3D4, 0x0A, 0x20)
    screen.memory[32 * ord("A") : 32 * ord("A") + 16] = bytes([0x80] + [0] * 15)
    screen.print(1, b"A", 0x1E)
    pixels = picture(screen.chip)
    assert pixels.shape == (400, 640, 3)
    assert pixels[0, 8].tolist() == [255, 255, 85]
    assert pixels[0, 9].tolist() == [0, 0, 170]
    assert not pixels[16:].any()


def test_picture_of_the_cursor(screen):
    """It fills the lines that its registers say, in the attribute's colour."""
    screen.memory[32 * ord("A")] = 1
    screen.print(0, b" ", 0x02)
    screen.set(0x3D4, 0x0A, 3)
    screen.set(0x3D4, 0x0B, 4)
    pixels = picture(screen.chip)
    assert [bool(pixels[line, :8].all(axis=0)[1]) for line in range(6)] == [0, 0, 0, 1, 1, 0]


def test_png(screen, tmp_path):
    """With the host's font; the file is a picture of 640 × 400."""
    pillow()
    from PIL import Image

    screen.print(0, b"Hello \xc4\xb3", 0x0F)
    path = tmp_path / "screen.png"
    save_png(screen.chip, path)
    pixels = np.array(Image.open(path))
    assert pixels.shape == (400, 640, 3)
    assert pixels[:16, :40].any()
    assert not pixels[16:32].any()
    with pytest.raises(GuestFileError, match="cannot be written"):
        save_png(screen.chip, tmp_path / "none" / "screen.png")


def test_png_without_pillow(screen, tmp_path, monkeypatch):
    """It says what to install."""
    real = builtins.__import__

    def without(name, *rest):
        if name == "PIL":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GuestFileError, match="popek\\[screenshot\\]"):
        save_png(screen.chip, tmp_path / "screen.png")


def test_any_registers_give_some_picture(screen):
    """Nonsense in every register is no error for the host."""
    random = np.random.default_rng(5)
    screen.set(0x3D4, 0x11, 0)
    for _ in range(200):
        for port, size in ((0x3C4, 5), (0x3CE, 9), (0x3D4, 25)):
            screen.set(port, int(random.integers(size)), int(random.integers(256)))
        screen.set(0x3D4, 0x11, 0)
        screen.chip.text()
        screen.chip.cursor()
        screen.chip.picture()
