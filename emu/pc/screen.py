"""The picture of a VGA for people: as text, and as PNG (with Pillow, the extra `screenshot`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emu.devices.vga import GLYPHS, VGA, Picture
from emu.errors import GuestFileError, unwritable
from isa.hints import Any, Final

WIDTH, HEIGHT = 8, 16  # of a glyph of the host's
PLAIN: Final = str.maketrans(dict(zip("─═│║█▓▒░▄▀▌▐", "-=||###:_-||", strict=True)))


def text(vga: VGA) -> str:
    """The text screen without the blanks at the ends of its lines; empty if it shows graphics."""
    return "\n".join(line.rstrip() for line in vga.text()).rstrip("\n")


def picture(vga: VGA) -> Picture:
    """The screen in pixels, height × width × 3; black in a mode that is not known.

    Raises GuestFileError if the host's font is needed and Pillow is not there.
    """
    pixels = vga.picture()
    if pixels is not None:
        return pixels
    if vga.is_graphics:
        return np.zeros((200, 320, 3), dtype=np.uint8)
    return _text_picture(vga)


def _text_picture(vga: VGA) -> Picture:
    cells = vga.cells()
    glyphs = vga.font()
    if glyphs is None:
        glyphs = _host_font()
    set_pixels = np.unpackbits(glyphs, axis=1).reshape(256, -1, WIDTH)[:, : vga.glyph_rows]
    shown = set_pixels[cells[:, :, 0]].astype(bool)
    cursor = vga.cursor()
    if cursor is not None:
        shown[cursor][vga.cursor_lines] = True
    colours, attributes = vga.text_colours(), cells[:, :, 1]
    ground = attributes >> 4 & (7 if vga.blinks else 15)
    front, back = (colours[i][:, :, np.newaxis, np.newaxis] for i in (attributes & 15, ground))
    blocks: Picture = np.where(shown[..., np.newaxis], front, back)
    rows, columns, height, width, _ = blocks.shape
    return blocks.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)


def _host_font() -> Picture:
    """Pillow's own font, for a guest that has loaded none; it has no lines and blocks."""
    image_module, draw_module, font_module = _pillow()
    font = font_module.load_default_imagefont()
    glyphs = np.zeros((256, 32), dtype=np.uint8)
    for code, character in enumerate(GLYPHS.translate(PLAIN)):
        image = image_module.new("1", (WIDTH, HEIGHT))
        known = character if character.isascii() or "\xa0" < character <= "\xff" else "?"
        draw_module.Draw(image).text((1, 2), known, fill=1, font=font)
        glyphs[code, :HEIGHT] = np.packbits(np.array(image, dtype=bool), axis=1)[:, 0]
    return glyphs


def _pillow() -> tuple[Any, Any, Any]:
    """Pillow's modules, which only screenshots need."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise GuestFileError(
            "a screenshot needs Pillow", advice="pip install 'popek[screenshot]'"
        ) from error
    return Image, ImageDraw, ImageFont


def save_png(vga: VGA, path: Path) -> None:
    """Write the picture; raises GuestFileError if it cannot be written."""
    image_module, _, _ = _pillow()
    try:
        image_module.fromarray(picture(vga)).save(path, format="PNG")
    except OSError as error:
        raise unwritable(path, error) from error
