"""Words and instructions: opcode | rd | ra | immediate, or rb in the lowest bits.

A word decodes only if every bit that its instruction does not use is 0 and every register exists,
so that words and texts of instructions correspond one to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isa.toy.registers import GENERAL_REGISTERS
from isa.toy.shape import OPCODE_BITS, REGISTER_FIELD_BITS, Shape
from isa.toy.table import Row
from isa.words import mask


class Encoding:
    """Encodes and decodes the given instructions in words of a shape."""

    def __init__(self, shape: Shape, rows: Iterable[Row]) -> None:
        self._by_opcode = {row.opcode: row for row in rows}
        self._opcode_low = shape.word - OPCODE_BITS
        ra_low = shape.imm_bits
        self.places = {  # field -> (lowest bit, bits)
            "rd": (ra_low + REGISTER_FIELD_BITS, REGISTER_FIELD_BITS),
            "ra": (ra_low, REGISTER_FIELD_BITS),
            "rb": (0, REGISTER_FIELD_BITS),
            "imm": (0, shape.imm_bits),
        }

    def encode(self, row: Row, fields: Mapping[str, int]) -> int:
        """The word of an instruction; a field that it does not have is left out."""
        word = row.opcode << self._opcode_low
        for name in row.fields:
            low, width = self.places[name]
            word |= (fields[name] & mask(width)) << low
        return word

    def decode(self, word: int) -> tuple[Row, dict[str, int]] | None:
        """The instruction and its fields, or None if there is no such instruction."""
        row = self._by_opcode.get(word >> self._opcode_low)
        if row is None:
            return None
        fields = {}
        for name in row.fields:
            low, width = self.places[name]
            fields[name] = word >> low & mask(width)
            if name != "imm" and fields[name] >= len(GENERAL_REGISTERS):
                return None
        return (row, fields) if self.encode(row, fields) == word else None
