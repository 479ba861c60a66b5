"""Writing ELF32 executables: segments, and section headers and symbols for debuggers."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PAGE = 4096
_IDENT = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
_EHDR = struct.Struct("<16sHHIIIIIHHHHHH")
_PHDR = struct.Struct("<IIIIIIII")
_SHDR = struct.Struct("<IIIIIIIIII")
_SYM = struct.Struct("<IIIBBH")
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS = 1, 2, 3, 8
SHN_ABS = 0xFFF1
PT_LOAD, PT_GNU_STACK = 1, 0x6474E551


@dataclass(slots=True)
class Segment:
    """What is mapped with one set of permissions (`flags`: 1 X, 2 W, 4 R)."""

    address: int
    flags: int
    data: bytearray
    size: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """A named part of a segment; `flags` are those of its section header."""

    name: str
    address: int
    size: int
    flags: int
    stored: bool


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")

    def add(self, text: str) -> int:
        self.data += text.encode() + b"\0"
        return len(self.data) - len(text.encode()) - 1


def executable(
    segments: Sequence[Segment],
    entry: int,
    sections: Sequence[Section] = (),
    symbols: Mapping[str, int] = {},
) -> bytes:
    """Return a static i386 program. Segments that are not executable leave the stack so, too."""
    segments = [segment for segment in segments if segment.size]
    body = bytearray(_EHDR.size + (len(segments) + 1) * _PHDR.size)
    headers = bytearray()
    for segment in segments:
        body.extend(bytes(-len(body) % PAGE + segment.address % PAGE))
        headers += _PHDR.pack(
            PT_LOAD, len(body), segment.address, segment.address,
            len(segment.data), segment.size, segment.flags, PAGE,
        )  # fmt: skip
        body += segment.data
    headers += _PHDR.pack(PT_GNU_STACK, 0, 0, 0, 0, 0, 6, 16)
    body[_EHDR.size : _EHDR.size + len(headers)] = headers
    table = _section_headers(body, segments, bytes(headers), sections, symbols)
    body.extend(bytes(-len(body) % 4))
    header = _EHDR.pack(
        _IDENT, 2, 3, 1, entry, _EHDR.size, len(body), 0,
        _EHDR.size, _PHDR.size, len(segments) + 1, _SHDR.size, len(table), len(table) - 1,
    )  # fmt: skip
    body[: _EHDR.size] = header
    return bytes(body + b"".join(table))


def _section_headers(
    body: bytearray,
    segments: Sequence[Segment],
    headers: bytes,
    sections: Sequence[Section],
    symbols: Mapping[str, int],
) -> list[bytes]:
    """Append the string and symbol tables to the body; return the section headers."""
    names, strings = _Strings(), _Strings()
    table = [_SHDR.pack(*[0] * 10)]
    offsets = [_PHDR.unpack_from(headers, i * _PHDR.size)[1] for i in range(len(segments))]
    for section in sections:
        offset = next(
            (o + section.address - s.address for o, s in zip(offsets, segments, strict=True)
             if s.address <= section.address < s.address + s.size), 0,
        )  # fmt: skip
        kind = SHT_PROGBITS if section.stored else SHT_NOBITS
        table.append(
            _SHDR.pack(names.add(section.name), kind, section.flags, section.address, offset,
                       section.size, 0, 0, 1, 0)
        )  # fmt: skip
    entries = bytearray(_SYM.size)
    for name, value in symbols.items():
        index = next(
            (i for i, s in enumerate(sections, 1) if s.address <= value < s.address + s.size),
            SHN_ABS,
        )
        entries += _SYM.pack(strings.add(name), value & 0xFFFFFFFF, 0, 0x10, 0, index)
    first = len(table)
    for name, kind, data, link, size in (
        (".symtab", SHT_SYMTAB, entries, first + 1, _SYM.size),
        (".strtab", SHT_STRTAB, strings.data, 0, 0),
        (".shstrtab", SHT_STRTAB, names.data, 0, 0),
    ):
        label = names.add(name)
        info = 1 if kind == SHT_SYMTAB else 0
        table.append(_SHDR.pack(label, kind, 0, 0, len(body), len(data), link, info, 1, size))
        body += data
    return table
