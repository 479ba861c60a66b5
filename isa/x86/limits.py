"""How long instructions are, and how much their encodings (`encoding.py`) have of everything."""

from __future__ import annotations

from isa.hints import Final

MAX_LENGTH: Final = 15  # bytes of an instruction (SDM volume 2, section 2.3.11)
MOST_PREFIXES: Final = 8  # more of them: ask the decoder
LONGEST: Final = 32  # `split` reads no byte from here on; pad shorter code

OPCODE_MAPS: Final = (b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a")
"""Escape bytes; an opcode's number is 256 × its map + its last byte."""
OPCODES: Final = 256 * len(OPCODE_MAPS)

MOST_IMMEDIATE: Final = 6  # bytes: a far pointer
CONSTANT: Final = 16  # sources of fields from here on are the constants 0, 1, …
CONSTANTS: Final = 16
