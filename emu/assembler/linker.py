"""A small static linker: one relocatable i386 object into an address space.

Section, symbol and relocation names are those of the System V ABI, i386 supplement, chapter 4.
"""

from __future__ import annotations

import io
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Section, Symbol, SymbolTableSection

from emu.assembler import elf
from emu.assembler.child import LINES_SECTION, MEASURED, MOST_ERRORS
from emu.assembler.errors import AssemblyError, Finding, failure

BASE = 0x0804_8000  # where the ABI's linkers put an i386 program
PAGE = 4096
LARGEST = 256 << 20

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_TLS = 1, 2, 4, 0x400


@dataclass(frozen=True, slots=True)
class Kind:
    """How a relocation type computes and stores: from the symbol, relative to the place or not."""

    name: str
    size: int
    relative: bool


RELOCATIONS = {
    1: Kind("R_386_32", 4, False),
    2: Kind("R_386_PC32", 4, True),
    4: Kind("R_386_PLT32", 4, True),
    20: Kind("R_386_16", 2, False),
    21: Kind("R_386_PC16", 2, True),
    22: Kind("R_386_8", 1, False),
    23: Kind("R_386_PC8", 1, True),
}


@dataclass(slots=True)
class Part:
    """A section with its place."""

    name: str
    flags: int
    data: bytearray
    size: int
    alignment: int
    stored: bool
    address: int = 0

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """Sections of one rank share pages: code, constants, data; what is not stored is last."""
        order = {SHF_EXECINSTR: 0, 0: 1, SHF_WRITE | SHF_EXECINSTR: 2, SHF_WRITE: 3}
        return order[self.permissions], not self.stored, self.name != ".text"

    @property
    def permissions(self) -> int:
        """The flags that matter to a page."""
        return self.flags & (SHF_WRITE | SHF_EXECINSTR)


@dataclass(slots=True)
class Linked:
    """Sections at their addresses, relocated."""

    parts: list[Part]
    entry: int
    symbols: dict[str, int]
    lines: list[tuple[int, int]] = field(default_factory=list)

    def image(self) -> bytes:
        """Return a static ELF executable."""
        segments: list[elf.Segment] = []
        for part in self.parts:
            flags = 4 | (part.flags & SHF_WRITE) << 1 | (part.flags & SHF_EXECINSTR) >> 2
            last = segments[-1] if segments else None
            if last is None or last.flags != flags:
                segments.append(elf.Segment(part.address, flags, bytearray()))
                last = segments[-1]
            last.size = part.address + part.size - last.address
            if part.stored and part.size:
                last.data.extend(bytes(part.address - last.address - len(last.data)))
                last.data.extend(part.data)
        sections = [elf.Section(p.name, p.address, p.size, p.flags, p.stored) for p in self.parts]
        return elf.executable(segments, self.entry, sections, self.symbols)

    def flat(self) -> bytes:
        """Return the bytes from the first section to the last one that has any."""
        stored = [part for part in self.parts if part.stored and part.size]
        if not stored:
            return b""
        start = min(part.address for part in stored)
        data = bytearray(max(part.address + part.size for part in stored) - start)
        for part in stored:
            data[part.address - start : part.address - start + part.size] = part.data
        return bytes(data)

    def end_of(self, address: int) -> int:
        """Return where the section that holds `address` ends."""
        return next(
            (p.address + p.size for p in self.parts if p.address <= address < p.address + p.size),
            address,
        )


def link(
    data: bytes,
    file: str,
    *,
    origin: int = BASE,
    paged: bool = True,
    source: Sequence[str] = (),
) -> Linked:
    """Place and relocate an object. Raises AssemblyError.

    `paged` starts a page wherever the permissions change, as a program in a process needs it.
    `source` serves errors in an object with line records.
    """
    return _Link(data, file, origin, paged, source).run()


class _Link:
    def __init__(
        self, data: bytes, file: str, origin: int, paged: bool, source: Sequence[str]
    ) -> None:
        self._object = ELFFile(io.BytesIO(data))
        table = self._object.get_section_by_name(".symtab")
        self._table: list[Symbol] = (
            list(table.iter_symbols()) if isinstance(table, SymbolTableSection) else []
        )
        self._file, self._origin, self._paged, self._source = file, origin, paged, source
        self._parts: dict[int, Part] = {}
        self._common: dict[str, Part] = {}
        self._findings: dict[str, Finding] = {}
        self._records: list[tuple[int, int]] = []

    def run(self) -> Linked:
        self._collect()
        self._place()
        relocations = [
            (section, self._parts[section["sh_info"]])
            for section in self._object.iter_sections()
            if isinstance(section, RelocationSection) and section["sh_info"] in self._parts
        ]
        relocations.sort(key=lambda entry: entry[1].name != LINES_SECTION)
        for section, part in relocations:
            self._relocate(section, part)
            if part.name == LINES_SECTION:
                self._records = sorted(struct.iter_unpack("<II", part.data))
        if self._findings:
            raise AssemblyError(self._file, list(self._findings.values())[:MOST_ERRORS])
        symbols = dict(self._symbols())
        parts = self._placed()
        return Linked(parts, self._entry(symbols, parts), symbols, self._records)

    # -- sections ---------------------------------------------------------------------------

    def _collect(self) -> None:
        for index, section in enumerate(self._object.iter_sections()):
            if section["sh_flags"] & SHF_TLS:
                raise failure(
                    self._file,
                    f"section {section.name} is thread-local",
                    "A program without a C library has no thread-local storage; use .data",
                )
            if section["sh_flags"] & SHF_ALLOC or section.name == LINES_SECTION:
                self._parts[index] = _part(section)
        for symbol in self._table:
            if symbol["st_shndx"] == "SHN_COMMON":
                size, alignment = symbol["st_size"], max(1, symbol["st_value"])
                part = Part(".bss", SHF_ALLOC | SHF_WRITE, bytearray(), size, alignment, False)
                self._common[symbol.name] = part

    def _placed(self) -> list[Part]:
        parts = [*self._parts.values(), *self._common.values()]
        return sorted((p for p in parts if p.flags & SHF_ALLOC), key=lambda p: p.rank)

    def _place(self) -> None:
        address, previous = self._origin, None
        for part in self._placed():
            if previous is not None and previous.permissions != part.permissions and self._paged:
                address = _aligned(address, PAGE) if previous.size or address % PAGE else address
            if previous is not None or self._paged:  # a flat image starts with its first section
                address = _aligned(address, part.alignment)
            part.address = address
            address += part.size
            previous = part
        size = address - self._origin
        if size > LARGEST or address > 1 << 32:
            raise failure(
                self._file,
                f"the program takes {size >> 20} MiB at {self._origin:#x}",
                f"The most is {LARGEST >> 20} MiB; ask for memory at run time (brk, mmap2)",
            )

    # -- symbols ----------------------------------------------------------------------------

    def _symbols(self) -> Iterator[tuple[str, int]]:
        """Every name of the source with its value."""
        for symbol in self._table:
            named = symbol.name and not symbol.name.startswith(MEASURED)
            if named and symbol["st_info"]["type"] in (
                "STT_NOTYPE",
                "STT_FUNC",
                "STT_OBJECT",
            ):
                value = self._value(symbol)
                if value is not None:
                    yield symbol.name, value

    def _value(self, symbol: Symbol) -> int | None:
        """Return where a symbol stands; None if nothing defines it."""
        index = symbol["st_shndx"]
        if index == "SHN_ABS":
            return int(symbol["st_value"])
        if index == "SHN_COMMON":
            return self._common[symbol.name].address
        if index == "SHN_UNDEF":
            return 0 if symbol["st_info"]["bind"] == "STB_WEAK" else None
        part = self._parts.get(index)
        return None if part is None else (part.address + symbol["st_value"]) & 0xFFFFFFFF

    def _entry(self, symbols: dict[str, int], parts: list[Part]) -> int:
        if "_start" in symbols:
            return symbols["_start"]
        code = [part for part in parts if part.flags & SHF_EXECINSTR and part.size]
        if not code:
            raise failure(
                self._file,
                "there is no code",
                "Write instructions in .text, the first one at the label _start",
            )
        return code[0].address

    # -- relocation -------------------------------------------------------------------------

    def _relocate(self, section: RelocationSection, part: Part) -> None:
        for offset, info in struct.iter_unpack("<II", section.data()):
            symbol, kind = self._table[info >> 8], RELOCATIONS.get(info & 0xFF)
            value = self._value(symbol)
            if kind is None:
                message = f"`{symbol.name}` needs relocation {info & 0xFF}, which is not known here"
                self._report(part.address + offset, symbol.name, message, _DYNAMIC)
            elif value is None:
                message = f"`{symbol.name}` is used but defined nowhere"
                self._report(part.address + offset, symbol.name, message, _UNDEFINED)
            else:
                self._patch(part, offset, kind, value, symbol.name or part.name)

    def _patch(self, part: Part, offset: int, kind: Kind, value: int, name: str) -> None:
        """Store S + A, or S + A - P; the addend A is what stands at the place."""
        end = offset + kind.size
        value += int.from_bytes(part.data[offset:end], "little", signed=True)
        if kind.relative:
            value -= part.address + offset
        bits = 8 * kind.size
        least, most = -(1 << bits - 1), 1 << (bits - 1 if kind.relative else bits)
        if kind.size < 4 and not least <= value < most:
            message = f"{name} is {value:#x} here, too far for {bits} bits ({kind.name})"
            self._report(part.address + offset, name, message, _TOO_FAR)
        part.data[offset:end] = (value & (1 << bits) - 1).to_bytes(kind.size, "little")

    def _report(self, address: int, name: str, message: str, hint: str) -> None:
        """Note an error at a place in the program, on its source line if there are records."""
        index = bisect_right(self._records, (address, 1 << 32)) - 1
        line = self._records[index][1] if index >= 0 else 0
        source = self._source[line - 1] if 0 < line <= len(self._source) else ""
        used = re.search(rf"(?<![\w.$]){re.escape(name)}(?![\w.$])", source)
        column = used.start() + 1 if used else 1
        finding = Finding(line, column, "error", message, source, hint)
        self._findings.setdefault(message, finding)


_UNDEFINED = "Define it with a label or `name = value`; there is no C library to link with"
_DYNAMIC = "Position-independent and dynamically linked code need a real linker"
_TOO_FAR = "Use a 32-bit operand, or place the program lower"


def _part(section: Section) -> Part:
    stored = section["sh_type"] != "SHT_NOBITS"
    data = bytearray(section.data()) if stored else bytearray()
    alignment = max(1, section["sh_addralign"])
    return Part(section.name, section["sh_flags"], data, section["sh_size"], alignment, stored)


def _aligned(address: int, alignment: int) -> int:
    return -(-address // alignment) * alignment
