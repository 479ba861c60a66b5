"""From LLVM's object code to an image: lays its sections out and settles its references."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from emu.engines.native.executable import ALIGNMENT
from emu.engines.native.image import Image, object_image
from isa.hints import Final
from isa.record import NamedTuple

X86_64: Final = 62  # EM_X86_64
PROGBITS, SYMTAB, RELA, NOBITS = 1, 2, 4, 8  # section types, as the gABI numbers them
WRITE, ALLOC = 1, 2  # section flags
_ELF64: Final = b"\x7fELF\x02"
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")  # Elf64_Shdr
PC32, PLT32 = 2, 4  # relocation types: 32 bits relative to their own place (psABI, table 4.9)
ABSOLUTE, SIGNED = 10, 11  # ... a symbol's value, and the same if 64 bits are made of its sign
_SYMBOL: Final = struct.Struct("<IBBHQQ")  # Elf64_Sym
_RELOCATION: Final = struct.Struct("<QQq")  # Elf64_Rela
UNDEFINED: Final = 0


class NotMovableError(Exception):
    """The object code has references that only LLVM's own linker understands."""


def image_of(object_code: bytes, exports: Iterable[str]) -> Image:
    """The image of object code; the object code itself if it cannot be moved freely."""
    try:
        return _Mover(object_code).image()
    except NotMovableError:
        return object_image(object_code, exports)


class Reference(NamedTuple):
    """What a function refers to: where it says so, how (a relocation's type), a symbol elsewhere,
    or "" for what is in the object itself, and what to add."""

    at: int
    type: int
    symbol: str
    addend: int


Function = tuple[bytes, list[Reference]]
"""A function's code, and what it refers to."""


def functions_of(object_code: bytes) -> dict[str, Function]:
    """An object's functions by symbol, with nothing settled; none of an object for other hosts."""
    try:
        return _Mover(object_code).functions()
    except NotMovableError:
        return {}


class _Section(NamedTuple):
    """A section header of an ELF object (gABI, figure 4-8), and what the section holds."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int
    content: bytes


class _Symbol(NamedTuple):
    """A row of a symbol table."""

    name: int
    info: int
    other: int
    section: int
    value: int
    size: int


class _Mover:
    """Lays an ELF object's sections out and settles its references."""

    def __init__(self, object_code: bytes) -> None:
        header = _HEADER.unpack_from(object_code)
        machine, start, number, names = header[2], header[6], header[12], header[13]
        if object_code[:5] != _ELF64 or machine != X86_64:
            raise NotMovableError
        self._sections = [_section(object_code, start + n * _SECTION.size) for n in range(number)]
        self._section_names = self._sections[names].content
        self._code = bytearray()
        self._starts: dict[int, int] = {}  # of a section by its number
        table = next(s for s in self._sections if s.type == SYMTAB)
        self._symbols = list(map(_Symbol._make, _SYMBOL.iter_unpack(table.content)))
        self._names = self._sections[table.link].content

    def image(self) -> Image:
        """See `image_of`."""
        for number, section in enumerate(self._sections):
            if section.flags & ALLOC and _text(self._section_names, section.name) != ".eh_frame":
                self._lay(number, section)
        imports = [found for section in self._sections for found in self._settled(section)]
        symbols = {
            self._name(s): self._starts[s.section] + s.value
            for s in self._symbols
            if s.info >> 4 == 1 and s.section in self._starts  # STB_GLOBAL
        }
        return Image(bytes(self._code), symbols, imports)

    def functions(self) -> dict[str, Function]:
        """See `functions_of`."""
        return {
            self._name(s): self._function(s)
            for s in self._symbols
            if s.info == 0x12 and s.section != UNDEFINED  # STB_GLOBAL, STT_FUNC
        }

    def _function(self, symbol: _Symbol) -> Function:
        first, end = symbol.value, symbol.value + symbol.size
        found = [
            Reference(offset - first, info & 0xFFFFFFFF, self._elsewhere(info >> 32), addend)
            for section in self._sections
            if section.type == RELA and section.info == symbol.section
            for offset, info, addend in _RELOCATION.iter_unpack(section.content)
            if first <= offset < end
        ]
        return self._sections[symbol.section].content[first:end], found

    def _elsewhere(self, number: int) -> str:
        """The name of a symbol by its number, if the object does not have it."""
        symbol = self._symbols[number]
        return self._name(symbol) if symbol.section == UNDEFINED else ""

    def _lay(self, number: int, section: _Section) -> None:
        if section.type != PROGBITS or section.flags & WRITE:
            raise NotMovableError
        align = max(section.alignment, 1)
        if align > ALIGNMENT:
            raise NotMovableError
        self._code += bytes(-len(self._code) % align)
        self._starts[number] = len(self._code)
        self._code += section.content

    def _name(self, symbol: _Symbol) -> str:
        return _text(self._names, symbol.name)

    def _settled(self, section: _Section) -> Iterator[tuple[int, str, int]]:
        """Settle a section's references; what is left are imports."""
        if section.type != RELA or section.info not in self._starts:
            return
        start = self._starts[section.info]
        for offset, info, addend in _RELOCATION.iter_unpack(section.content):
            if info & 0xFFFFFFFF not in (PC32, PLT32):
                raise NotMovableError
            symbol = self._symbols[info >> 32]
            target = self._starts.get(symbol.section)
            at = start + offset
            if target is not None:
                distance = target + symbol.value + addend - at
                self._code[at : at + 4] = distance.to_bytes(4, "little", signed=True)
            elif symbol.section == UNDEFINED:
                yield at, self._name(symbol), addend
            else:
                raise NotMovableError


def _section(object_code: bytes, at: int) -> _Section:
    facts = _SECTION.unpack_from(object_code, at)
    offset, size = facts[4], facts[5]
    content = b"" if facts[1] == NOBITS else object_code[offset : offset + size]
    return _Section._make([*facts, content])


def _text(table: bytes, start: int) -> str:
    """The name at a place of a table of strings."""
    return table[start : table.index(0, start)].decode()
