"""A VGA (IBM's PS/2 hardware manual); its picture is made when the host looks at it.

Video memory is plain guest memory, so planes exist only as far as text and mode 13h need none:
characters and attributes alternate, and a font that firmware loads lies at A0000h as it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from emu.devices import registers
from emu.devices.clock import MIPS, Clock
from emu.devices.device import PortRange
from isa.hints import Any, Final

MONO, COLOUR = 0x3B4, 0x3D4  # CRTC index of the two places
ATTRIBUTE, MISC, MISC_READ = 0x3C0, 0x3C2, 0x3CC
SEQUENCER, GRAPHICS, FEATURE_READ = 0x3C4, 0x3CE, 0x3CA
DAC_MASK, DAC_READ, DAC_WRITE, DAC_DATA = 0x3C6, 0x3C7, 0x3C8, 0x3C9
STATUS_OFFSET: Final = 6  # of input status 1 from the CRTC's index
IN_COLOUR: Final = 0x01  # MISC: registers are at 3Dx
DISPLAY_OFF, RETRACE = 0x01, 0x08  # input status 1
CHARACTER_HERTZ: Final = 3_146_875  # 25.175 MHz by eight
LINE, SHOWN = 100, 80  # characters
FRAME, VISIBLE, RETRACE_FIRST, RETRACE_LINES = 449, 400, 412, 2  # lines
SIZES: Final = {SEQUENCER: 5, GRAPHICS: 9, COLOUR: 25, ATTRIBUTE: 21}
CRTC_END_HORIZONTAL, CRTC_OVERFLOW, CRTC_MAX_LINE, CRTC_CURSOR, CRTC_CURSOR_END = 1, 7, 9, 10, 11
CRTC_START, CRTC_LOCATION, CRTC_PROTECT, CRTC_END_VERTICAL, CRTC_OFFSET = 12, 14, 17, 18, 19
PROTECTED, CURSOR_OFF = 0x80, 0x20
IS_GRAPHICS, CHAIN_256 = 0x01, 0x40  # graphics registers 6 and 5
BLINKS: Final = 0x08  # attribute mode control
TEXT_SIZE: Final = 0x8000
TEXT_PLACES: Final = {0: 0, 1: 0, 2: 0x10000, 3: 0x18000}  # by graphics register 6, from A0000
FONT_SIZE, GLYPH_ROWS = 0x2000, 32
GLYPHS: Final = (
    " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
    + bytes(range(32, 127)).decode("cp437")
    + "⌂"
    + bytes(range(128, 255)).decode("cp437")
    + " "
)

_MODE_3: Final = {  # the registers of 80 × 25 text, as a VGA BIOS sets them
    SEQUENCER: "03 00 03 00 02",
    GRAPHICS: "00 00 00 00 00 10 0e 00 ff",
    COLOUR: "5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff",
    ATTRIBUTE: "00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f 0c 00 0f 08 00",
}

Picture = npt.NDArray[np.uint8]


def _initial_palette() -> list[int]:
    """The 64 colours of the EGA: two bits each of red, green and blue."""
    levels = [
        0x2A * (i >> primary & 1) + 0x15 * (i >> primary + 3 & 1)
        for i in range(64)
        for primary in (2, 1, 0)
    ]
    return levels + [0] * (768 - len(levels))


def _mode_3() -> dict[str, list[int]]:
    return {_NAMES[base]: list(bytes.fromhex(text)) for base, text in _MODE_3.items()}


_NAMES: Final = {
    SEQUENCER: "sequencer",
    GRAPHICS: "graphics",
    COLOUR: "crtc",
    ATTRIBUTE: "attribute",
}


@dataclass(slots=True)
class Registers:
    """Everything but the video memory."""

    misc: int = 0x67
    feature: int = 0
    indices: dict[int, int] = field(default_factory=lambda: dict.fromkeys(SIZES, 0))
    sequencer: list[int] = field(default_factory=lambda: _mode_3()["sequencer"])
    graphics: list[int] = field(default_factory=lambda: _mode_3()["graphics"])
    crtc: list[int] = field(default_factory=lambda: _mode_3()["crtc"])
    attribute: list[int] = field(default_factory=lambda: _mode_3()["attribute"])
    attribute_data: bool = False  # the flip-flop: 3C0 takes data next
    palette: list[int] = field(default_factory=_initial_palette)
    dac_mask: int = 0xFF
    dac_index: int = 0  # of a level: three to a colour
    dac_reading: bool = False


class VGA:
    """Text modes and mode 13h over the 128 KiB of guest memory from A0000h."""

    ports = (
        PortRange(MONO, MONO + 1),
        PortRange(MONO + STATUS_OFFSET, MONO + STATUS_OFFSET),
        PortRange(ATTRIBUTE, GRAPHICS + 1),
        PortRange(COLOUR, COLOUR + 1),
        PortRange(COLOUR + STATUS_OFFSET, COLOUR + STATUS_OFFSET),
    )

    def __init__(self, memory: memoryview, mips: int | Fraction = MIPS) -> None:
        self._memory = memory
        self._clock = Clock(CHARACTER_HERTZ, mips)
        self.registers = Registers()

    # -- ports -------------------------------------------------------------------------------

    def _bank(self, base: int) -> list[int]:
        bank: list[int] = getattr(self.registers, _NAMES[base])
        return bank

    def _place(self, port: int) -> int | None:
        """The port as a colour adapter's; None if the adapter is at the other place."""
        if ATTRIBUTE <= port <= GRAPHICS + 1:
            return port
        in_colour = bool(self.registers.misc & IN_COLOUR)
        if (port >= COLOUR) != in_colour:
            return None
        return port if in_colour else port + COLOUR - MONO

    def read(self, port: int, size: int, now: int) -> int:
        """A register; input status 1 sets the attribute controller to take an index."""
        place, r = self._place(port), self.registers
        if place is None:
            return 0xFF
        if place == COLOUR + STATUS_OFFSET:
            r.attribute_data = False
            return self._status(now)
        if place in (SEQUENCER, GRAPHICS, COLOUR, ATTRIBUTE):
            return r.indices[place]
        if place - 1 in (SEQUENCER, GRAPHICS, COLOUR, ATTRIBUTE):
            return self._read_bank(place - 1)
        if place == DAC_DATA:
            return self._read_dac()
        plain = {MISC: 0x10, MISC_READ: r.misc, FEATURE_READ: r.feature, DAC_MASK: r.dac_mask}
        dac = {DAC_READ: 3 if r.dac_reading else 0, DAC_WRITE: r.dac_index // 3}
        return {**plain, **dac}.get(place, 0xFF)

    def _status(self, now: int) -> int:
        """Retrace and blanking of 70 frames a second."""
        line, character = divmod(self._clock.cycles(now) % (FRAME * LINE), LINE)
        retrace = RETRACE_FIRST <= line < RETRACE_FIRST + RETRACE_LINES
        off = line >= VISIBLE or character >= SHOWN
        return (RETRACE if retrace else 0) | (DISPLAY_OFF if off else 0)

    def _read_bank(self, base: int) -> int:
        index = self._index(base)
        return self._bank(base)[index] if index < SIZES[base] else 0

    def _index(self, base: int) -> int:
        """The register that was chosen; the attribute controller's index has a switch in it."""
        return self.registers.indices[base] & (0x1F if base == ATTRIBUTE else 0xFF)

    def write(self, port: int, size: int, value: int, now: int) -> None:
        """A register."""
        place, r = self._place(port), self.registers
        if place == ATTRIBUTE:
            self._write_attribute(value)
        elif place in (SEQUENCER, GRAPHICS, COLOUR):
            r.indices[place] = value
        elif place == COLOUR + 1:
            self._write_crtc(r.indices[COLOUR], value)
        elif place in (SEQUENCER + 1, GRAPHICS + 1):
            self._write_bank(place - 1, value)
        elif place == MISC:
            r.misc = value
        elif place == COLOUR + STATUS_OFFSET:
            r.feature = value
        elif place is not None:
            self._write_dac(place, value)

    def _write_bank(self, base: int, value: int) -> None:
        index = self._index(base)
        if index < SIZES[base]:
            self._bank(base)[index] = value

    def _write_attribute(self, value: int) -> None:
        """Index and data come at the same port in turn."""
        r = self.registers
        if r.attribute_data:
            self._write_bank(ATTRIBUTE, value)
        else:
            r.indices[ATTRIBUTE] = value & 0x3F
        r.attribute_data = not r.attribute_data

    def _write_crtc(self, index: int, value: int) -> None:
        """The first eight registers can be protected, but for one bit of the overflow register."""
        crtc = self.registers.crtc
        if index >= len(crtc):
            return
        if index <= CRTC_OVERFLOW and crtc[CRTC_PROTECT] & PROTECTED:
            if index == CRTC_OVERFLOW:
                crtc[index] = crtc[index] & ~0x10 | value & 0x10
            return
        crtc[index] = value

    def _write_dac(self, place: int, value: int) -> None:
        r = self.registers
        if place == DAC_MASK:
            r.dac_mask = value
        elif place in (DAC_READ, DAC_WRITE):
            r.dac_index, r.dac_reading = 3 * value, place == DAC_READ
        elif place == DAC_DATA:
            r.palette[r.dac_index] = value & 0x3F
            r.dac_index = (r.dac_index + 1) % len(r.palette)

    def _read_dac(self) -> int:
        r = self.registers
        level = r.palette[r.dac_index]
        r.dac_index = (r.dac_index + 1) % len(r.palette)
        return level

    # -- the picture -------------------------------------------------------------------------

    @property
    def is_graphics(self) -> bool:
        """Whether it shows pixels, not characters."""
        return bool(self.registers.graphics[6] & IS_GRAPHICS)

    @property
    def glyph_rows(self) -> int:
        """Lines of a character."""
        return (self.registers.crtc[CRTC_MAX_LINE] & 0x1F) + 1

    @property
    def _lines(self) -> int:
        """Lines that are shown."""
        crtc = self.registers.crtc
        overflow = crtc[CRTC_OVERFLOW]
        return (crtc[CRTC_END_VERTICAL] | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1

    def _start(self, place: int) -> int:
        crtc = self.registers.crtc
        return crtc[place] << 8 | crtc[place + 1]

    def cells(self) -> Picture:
        """Character and attribute of each place on the text screen: rows × columns × 2."""
        columns = self.registers.crtc[CRTC_END_HORIZONTAL] + 1
        rows = max(1, self._lines // self.glyph_rows)
        pitch = 2 * self.registers.crtc[CRTC_OFFSET]
        row_starts = self._start(CRTC_START) + np.arange(rows)[:, np.newaxis] * pitch
        places = (row_starts + np.arange(columns)) * 2 % TEXT_SIZE
        window = self._window(TEXT_PLACES[self.registers.graphics[6] >> 2 & 3], TEXT_SIZE)
        return np.stack([window[places], window[places + 1]], axis=2)

    def _window(self, start: int, size: int) -> Picture:
        return np.frombuffer(self._memory[start : start + size], dtype=np.uint8)

    def text(self) -> list[str]:
        """The rows of the text screen; none if it shows graphics."""
        if self.is_graphics:
            return []
        return ["".join(GLYPHS[code] for code in row) for row in self.cells()[:, :, 0]]

    def cursor(self) -> tuple[int, int] | None:
        """Row and column of the cursor; None if it is off or not on the screen."""
        crtc = self.registers.crtc
        pitch = 2 * crtc[CRTC_OFFSET]
        place = self._start(CRTC_LOCATION) - self._start(CRTC_START)
        if crtc[CRTC_CURSOR] & CURSOR_OFF or place < 0 or not pitch:
            return None
        row, column = divmod(place, pitch)
        rows, columns = self.cells().shape[:2]
        return (row, column) if row < rows and column < columns else None

    @property
    def cursor_lines(self) -> slice:
        """The lines of its character that the cursor fills."""
        crtc = self.registers.crtc
        return slice(crtc[CRTC_CURSOR] & 0x1F, (crtc[CRTC_CURSOR_END] & 0x1F) + 1)

    def font(self) -> Picture | None:
        """Glyphs that firmware has loaded, 256 of 32 lines of eight pixels; None if it has not."""
        glyphs = self._window(0, FONT_SIZE).reshape(256, GLYPH_ROWS)
        return glyphs if glyphs[ord("A")].any() else None

    def colours(self) -> Picture:
        """The 256 colours of the palette as red, green, blue."""
        levels = np.array(self.registers.palette, dtype=np.uint16).reshape(256, 3)
        return (levels * 255 // 63).astype(np.uint8)

    def text_colours(self) -> Picture:
        """The sixteen colours of attributes."""
        indices = [value & 0x3F for value in self.registers.attribute[:16]]
        return self.colours()[indices]

    @property
    def blinks(self) -> bool:
        """Whether bit 7 of an attribute blinks, and is no colour."""
        return bool(self.registers.attribute[16] & BLINKS)

    def picture(self) -> Picture | None:
        """The pixels of mode 13h, 200 × 320 × 3; None in other modes."""
        if not self.is_graphics or not self.registers.graphics[5] & CHAIN_256:
            return None
        start = 4 * self._start(CRTC_START)
        places = (start + np.arange(320 * 200)) % 0x10000
        pixels = self._window(0, 0x10000)[places] & self.registers.dac_mask
        shown: Picture = self.colours()[pixels].reshape(200, 320, 3)
        return shown

    def snapshot(self) -> Mapping[str, object]:
        """The registers; video memory is guest memory."""
        return registers.save(self.registers)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """The registers."""
        registers.restore(self.registers, saved)
