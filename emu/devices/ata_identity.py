"""The 256 words with which an ATA disk describes itself (ATA/ATAPI-6, IDENTIFY DEVICE)."""

from __future__ import annotations

import struct

from isa.hints import Final

WORDS: Final = 256
HEADS, TRACK, MOST_CYLINDERS = 16, 63, 16383  # of the default translation
MOST_MULTIPLE: Final = 16
MOST_28: Final = (1 << 28) - 1
FIXED: Final = {  # words that are the same for every disk
    0: 0x0040,  # not removable
    47: 0x8000 | MOST_MULTIPLE,
    48: 0x0001,  # 32-bit access to the data port
    49: 0x0200,  # LBA
    50: 0x4000,
    51: 0x0200,  # PIO 2
    53: 0x0003,  # words 54-58 and 64-70 are valid
    64: 0x0003,  # PIO 3 and 4
    67: 120,
    68: 120,
    80: 0x0078,  # ATA-3 to ATA-6
    82: 0x4000,  # NOP
    83: 0x7400,  # 48-bit addresses, FLUSH CACHE and its EXT
    84: 0x4000,
    85: 0x4000,
    86: 0x3400,
    87: 0x4000,
}


def _text(text: str, words: int) -> list[int]:
    """Two characters to a word, the first one in its high byte."""
    data = text.encode("ascii").ljust(2 * words)
    return [first << 8 | second for first, second in zip(data[::2], data[1::2], strict=True)]


def default_cylinders(sectors: int) -> int:
    """Cylinders of the default translation."""
    return max(1, min(MOST_CYLINDERS, sectors // (HEADS * TRACK)))


def identity(number: int, sectors: int, heads: int, track: int, multiple: int) -> bytes:
    """The answer of disk `number` with its current translation and sectors for a block."""
    words = [FIXED.get(i, 0) for i in range(WORDS)]
    cylinders = max(1, min(0xFFFF, sectors // (heads * track)))
    words[1], words[3], words[6] = default_cylinders(sectors), HEADS, TRACK
    words[10:20] = _text(f"POPEK{number:05}", 10)
    words[23:27] = _text("1.0", 4)
    words[27:47] = _text("POPEK HARDDISK", 20)
    capacity = min(cylinders * heads * track, sectors)
    words[54:59] = [cylinders, heads, track, capacity & 0xFFFF, capacity >> 16 & 0xFFFF]
    words[59] = 0x0100 | multiple if multiple else 0
    words[60:62] = [min(sectors, MOST_28) & 0xFFFF, min(sectors, MOST_28) >> 16]
    words[100:104] = [sectors >> 16 * i & 0xFFFF for i in range(4)]
    return struct.pack(f"<{WORDS}H", *words)
