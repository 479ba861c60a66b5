"""The symbol table of an ELF file (System V ABI, chapter 4)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SYMTAB, DYNSYM = 2, 11
FUNCTION, OBJECT, NOTYPE = 2, 1, 0
_SECTION = struct.Struct("<10I")
_SYMBOL = struct.Struct("<IIIBBH")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name for addresses; `size` is 0 where the file does not tell it."""

    name: str
    address: int
    size: int = 0


class Symbols(Mapping[str, int]):
    """Addresses by name; `near` goes the other way."""

    def __init__(self, symbols: list[Symbol]) -> None:
        self._named = {symbol.name: symbol for symbol in symbols}
        self._sorted = sorted(self._named.values(), key=lambda symbol: symbol.address)

    def __getitem__(self, name: str) -> int:
        return self._named[name].address

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def extent(self, name: str) -> tuple[int, int]:
        """Where a symbol begins and ends: before the next one, if the file does not tell."""
        symbol = self._named[name]
        if symbol.size:
            return symbol.address, symbol.address + symbol.size
        above = bisect_right(self._sorted, symbol.address, key=lambda s: s.address)
        end = self._sorted[above].address if above < len(self._sorted) else symbol.address + 1
        return symbol.address, end

    def near(self, address: int) -> str | None:
        """`name` or `name+0x12` for an address, by the nearest symbol at or below it."""
        index = bisect_right(self._sorted, address, key=lambda s: s.address) - 1
        if index < 0:
            return None
        symbol = self._sorted[index]
        distance = address - symbol.address
        if symbol.size and distance >= symbol.size:
            return None
        return symbol.name if not distance else f"{symbol.name}+{distance:#x}"


def symbols_of(image: bytes, base: int = 0) -> list[Symbol]:
    """The symbols of an ELF32 file that is loaded at `base`; none if it has no (whole) table."""
    try:
        return list(_read(image, base))
    except (struct.error, IndexError):
        return []


def _read(image: bytes, base: int) -> Iterator[Symbol]:
    if image[:5] != b"\x7fELF\x01":
        return
    (offset,) = struct.unpack_from("<I", image, 32)
    size, count = struct.unpack_from("<HH", image, 46)
    sections = [_SECTION.unpack_from(image, offset + size * i) for i in range(count)]
    for _, kind, _, _, start, length, link, *_ in sections:
        if kind in (SYMTAB, DYNSYM):
            names = sections[link][4]
            for at in range(start, start + length, _SYMBOL.size):
                yield from _symbol(image, names, base, _SYMBOL.unpack_from(image, at))


def _symbol(image: bytes, names: int, base: int, fields: tuple[int, ...]) -> Iterator[Symbol]:
    name_at, value, size, info, _, section = fields
    end = image.find(b"\0", names + name_at)
    name = image[names + name_at : end].decode("utf-8", "replace")
    if name and section and value and info & 15 in (FUNCTION, OBJECT, NOTYPE):
        yield Symbol(name, value + base, size)
