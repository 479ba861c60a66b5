"""The instructions of a processor, found by decoding every opcode; one sample of each form.

A row of the table is a meaning with the kinds of system register that its operands are: "MOV Sreg"
is another row than MOV, but PUSHF and PUSHFD are one. A row has a sample for each way in which its
operands can be given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from isa.definition import TruncatedError
from isa.x86.decode import BAD, ESCAPE, TOO_LONG, UNIMPLEMENTED
from isa.x86.form import Form, Seg, Shape, Special
from isa.x86.machine import X86
from isa.x86.mode import Mode
from isa.x86.models import model_of
from isa.x86.table import INSTRUCTIONS

FILLER: Final = b"\x0b" * 12
"""What follows an opcode: as a selector it has RPL 3, as a vector or an offset it is harmless."""
REGISTER_3, MEMORY_3 = 0xC3, 0x03  # rm is EBX, and what [EBX] or [BP+DI] addresses
ESCAPES: Final = range(0xD8, 0xE0)
_SYSTEM_REGISTERS: Final = {"cr": "CRn", "dr": "DRn", "tr": "TRn"}


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes, and what they are to a mode."""

    code: bytes
    form: Form
    fields: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """A meaning with kinds of operand, and its samples in user mode."""

    name: str
    mnemonic: str
    samples: tuple[Sample, ...]

    @property
    def heading(self) -> str:
        """Its section of the manual."""
        return INSTRUCTIONS[self.mnemonic].heading


@cache
def rows(mode: Mode) -> Mapping[str, Row]:
    """Every row, in the order of the opcodes."""
    found: dict[str, dict[object, Sample]] = {}
    for code in _encodings(mode):
        sample = sample_of(code, mode)
        if sample is not None:
            kinds = tuple(map(_kind, sample.form.shapes))
            row = found.setdefault(row_name(sample.form), {})
            row.setdefault((sample.form.mnemonic, kinds), sample)
    return {
        name: Row(name, next(iter(samples.values())).form.mnemonic, tuple(samples.values()))
        for name, samples in found.items()
    }


def sample_of(code: bytes, mode: Mode) -> Sample | None:
    """What the bytes are; None if no instruction with a meaning."""
    try:
        found = X86(mode.model).decode(code + FILLER, mode)
    except TruncatedError:
        return None
    form = found.form
    assert isinstance(form, Form)
    if form.mnemonic in (BAD, ESCAPE, TOO_LONG, UNIMPLEMENTED):
        return None
    return Sample((code + FILLER)[: found.length], form, found.fields)


def alternatives(sample: Sample) -> Iterator[Sample]:
    """The same form with zeros for the last bytes: some meanings treat an operand of 0 apart."""
    for zeros in range(len(sample.code) - 1, 0, -1):
        code = sample.code[:-zeros] + bytes(zeros)
        found = sample_of(code, sample.form.mode)
        if found is not None and (found.code, found.form) == (code, sample.form):
            yield found
            return


def row_name(form: Form) -> str:
    """The name of a form's row."""
    kinds = dict.fromkeys(filter(None, map(_system_kind, form.shapes)))
    return " ".join([shared_name(form.mnemonic).upper(), *kinds])


def shared_name(mnemonic: str) -> str:
    """The shortest name of what a mnemonic means: PUSHF of PUSHFD."""
    return _shared_names().get(mnemonic, mnemonic)


@cache
def _shared_names() -> Mapping[str, str]:
    """For each mnemonic the shortest of those that have the same meaning."""
    same: dict[object, list[str]] = {}
    for name, entry in INSTRUCTIONS.items():
        same.setdefault((entry.meaning, repr(entry.parameters)), []).append(name)
    return {name: min(names, key=len) for names in same.values() for name in names}


def _system_kind(shape: Shape) -> str:
    if isinstance(shape, Seg):
        return "Sreg"
    if isinstance(shape, Special):
        return _SYSTEM_REGISTERS.get(shape.name[:2], shape.name.upper())
    return ""


def _kind(shape: Shape) -> object:
    """What tells operands apart: which system register, else only what kind; widths do not."""
    return shape if isinstance(shape, Seg | Special) else type(shape)


def _encodings(mode: Mode) -> Iterator[bytes]:
    """Every opcode of one and two bytes with every reg field, once with a register and memory.

    Those with an operand-size prefix come last: only what has a name of its own is new then.
    """
    prefixes = model_of(mode.model).prefixes
    for size in (b"", b"\x66") if model_of(mode.model).has("386") else (b"",):
        for opcode in range(256):
            if opcode != 0x0F and opcode not in prefixes:
                yield from _operands(size + bytes([opcode]), whole=not size and opcode in ESCAPES)
            yield from _operands(size + bytes([0x0F, opcode]), whole=False)


def _operands(opcode: bytes, *, whole: bool) -> Iterator[bytes]:
    """`whole`: the third field is a part of the opcode too, as with the coprocessor's."""
    for reg in range(8):
        for modrm in range(0xC0, 0xC8) if whole else (REGISTER_3,):
            yield opcode + bytes([modrm | reg << 3])
        yield opcode + bytes([MEMORY_3 | reg << 3])
