"""Instructions as text: the disassembler, from the same table as the assembler."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isa.toy.shape import Shape
from isa.toy.table import Row
from isa.words import signed

Fields = Mapping[str, int]


def _register(name: str) -> Callable[[Fields, int], str]:
    return lambda fields, _: f"r{fields[name]}"


def _number(fields: Fields, bits: int) -> str:
    return str(signed(bits, fields["imm"]))


def _memory(fields: Fields, bits: int) -> str:
    offset = signed(bits, fields["imm"])
    return f"[r{fields['ra']}{offset:+d}]" if offset else f"[r{fields['ra']}]"


_WRITERS: dict[str, Callable[[Fields, int], str]] = {
    "rd": _register("rd"),
    "ra": _register("ra"),
    "rb": _register("rb"),
    "number": _number,
    "natural": lambda fields, _: str(fields["imm"]),
    "address": lambda fields, _: f"{fields['imm']:#x}",
    "port": lambda fields, _: str(fields["imm"]),
    "[ra+offset]": _memory,
}


def instruction_text(row: Row, fields: Fields, shape: Shape) -> str:
    """The instruction in the assembler's language."""
    operands = ", ".join(_WRITERS[kind](fields, shape.imm_bits) for kind in row.operands)
    return f"{row.mnemonic} {operands}".rstrip()


def data_text(word: int) -> str:
    """A word that is no instruction."""
    return f".word {word:#x}"
