"""Compiled code as bytes that can lie anywhere: made from LLVM's object code, kept on the disk.

An image is the object's code and constants one behind the other, with every reference between them
settled, so that only calls of functions elsewhere are left to be filled in when it is placed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from emu.engines.native.executable import ALIGNMENT

X86_64: Final = "EM_X86_64"
PC32, PLT32 = 2, 4  # relocation types: 32 bits relative to their own place (psABI, table 4.9)
SYMBOL: Final = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"),
     ("size", "<u8")]
)  # fmt: skip
RELOCATION: Final = np.dtype([("offset", "<u8"), ("info", "<u8"), ("addend", "<i8")])
UNDEFINED: Final = 0


class NotMovableError(Exception):
    """The object code has references that only LLVM's own linker understands."""


@dataclass(slots=True)
class Image:
    """Code, where its functions begin, and which calls lead out of it.

    `imports` are (offset of 32 bits in the code, symbol, addend): there goes the distance to the
    symbol. If `is_object`, `code` is object code for LLVM's linker instead.
    """

    code: bytes
    symbols: dict[str, int] = field(default_factory=dict)
    imports: list[tuple[int, str, int]] = field(default_factory=list)
    is_object: bool = False

    def head(self) -> dict[str, Any]:
        """Everything but the code, for JSON."""
        return {"symbols": self.symbols, "imports": self.imports, "is_object": self.is_object}

    @staticmethod
    def of(head: dict[str, Any], code: bytes) -> Image:
        """From what `head` told."""
        imports = [(at, name, addend) for at, name, addend in head["imports"]]
        return Image(code, head["symbols"], imports, head["is_object"])


def image_of(object_code: bytes, exports: Iterable[str]) -> Image:
    """The image of object code; the object code itself if it cannot be moved freely."""
    try:
        return _Mover(object_code).image()
    except NotMovableError:
        return object_image(object_code, exports)


def object_image(object_code: bytes, exports: Iterable[str]) -> Image:
    """Object code that is left to LLVM's linker."""
    return Image(object_code, dict.fromkeys(exports, 0), is_object=True)


def joined(images: Iterable[Image]) -> Image:
    """One image of several that can be moved."""
    code = bytearray()
    symbols: dict[str, int] = {}
    imports: list[tuple[int, str, int]] = []
    for image in images:
        code += bytes(-len(code) % ALIGNMENT)
        start = len(code)
        code += image.code
        symbols |= {name: start + at for name, at in image.symbols.items()}
        imports += [(start + at, name, addend) for at, name, addend in image.imports]
    return Image(bytes(code), symbols, imports)


class _Mover:
    """Lays an ELF object's sections out and settles its references."""

    def __init__(self, object_code: bytes) -> None:
        from elftools.elf.elffile import ELFFile  # slow to load, and a warm start compiles nothing

        self._elf = ELFFile(io.BytesIO(object_code))
        if self._elf["e_machine"] != X86_64:
            raise NotMovableError
        self._sections = list(self._elf.iter_sections())
        self._code = bytearray()
        self._starts: dict[int, int] = {}  # of a section by its number
        table: Any = self._elf.get_section_by_name(".symtab")
        self._symbols = np.frombuffer(table.data(), SYMBOL)
        self._names: bytes = self._sections[table["sh_link"]].data()

    def image(self) -> Image:
        """See `image_of`."""
        for number, section in enumerate(self._sections):
            if section["sh_flags"] & 2 and section.name != ".eh_frame":  # SHF_ALLOC
                self._lay(number, section)
        imports = [found for section in self._sections for found in self._settled(section)]
        symbols = {
            self._name(s): self._starts[int(s["section"])] + int(s["value"])
            for s in self._symbols
            if s["info"] >> 4 == 1 and int(s["section"]) in self._starts  # STB_GLOBAL
        }
        return Image(bytes(self._code), symbols, imports)

    def _lay(self, number: int, section: Any) -> None:
        if section["sh_type"] != "SHT_PROGBITS" or section["sh_flags"] & 1:  # SHF_WRITE
            raise NotMovableError
        align = max(section["sh_addralign"], 1)
        if align > ALIGNMENT:
            raise NotMovableError
        self._code += bytes(-len(self._code) % align)
        self._starts[number] = len(self._code)
        self._code += section.data()

    def _name(self, symbol: Any) -> str:
        start = int(symbol["name"])
        return self._names[start : self._names.index(0, start)].decode()

    def _settled(self, section: Any) -> Iterator[tuple[int, str, int]]:
        """Settle a section's references; what is left are imports."""
        if section["sh_type"] != "SHT_RELA" or section["sh_info"] not in self._starts:
            return
        start = self._starts[section["sh_info"]]
        for offset, info, addend in np.frombuffer(section.data(), RELOCATION).tolist():
            if info & 0xFFFFFFFF not in (PC32, PLT32):
                raise NotMovableError
            symbol = self._symbols[info >> 32]
            target = self._starts.get(int(symbol["section"]))
            at = start + offset
            if target is not None:
                distance = target + int(symbol["value"]) + addend - at
                self._code[at : at + 4] = distance.to_bytes(4, "little", signed=True)
            elif symbol["section"] == UNDEFINED:
                yield at, self._name(symbol), addend
            else:
                raise NotMovableError
