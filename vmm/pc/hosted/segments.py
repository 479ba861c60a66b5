"""Which of a guest's segments a process can have: local descriptors, cut before the monitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from emu.process.descriptors import UserDesc

CODE, CONFORMING_OR_DOWN, WRITABLE, SYSTEM_OR_CODE = 8, 4, 2, 16
BIG = 1 << 10
MOST_BYTES: Final = 1 << 20  # a limit that needs no units of pages
PAGE: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a processor has behind a selector (`isa.x86.registers.Segment`)."""

    base: int
    limit: int
    attributes: int

    @property
    def is_null(self) -> bool:
        """Whether nothing can be reached by it."""
        return not self.attributes

    def is_for(self, name: str) -> bool:
        """Whether a segment register can have it in protected mode. Just after real mode CS still
        has data behind it, with which no handler of a signal returns."""
        kind = self.attributes & (CODE | WRITABLE)
        if name == "cs":
            return bool(kind & CODE)
        return name != "ss" or kind == WRITABLE


def descriptor(hidden: Hidden, end: int) -> UserDesc | None:
    """A process's descriptor of a segment, with nothing in it at `end` or above.

    None if there is none: the segment begins there, or grows down from there, or is one that Linux
    gives to nobody: conforming code, or a single byte at 0.
    """
    attributes, is_code = hidden.attributes, bool(hidden.attributes & CODE)
    special = bool(attributes & CONFORMING_OR_DOWN)
    if not attributes & SYSTEM_OR_CODE or (is_code and special):
        return None
    limit, by_pages = hidden.limit, False
    if special:
        reaches = hidden.base + (0xFFFFFFFF if attributes & BIG else 0xFFFF)
        if reaches >= end or limit >= MOST_BYTES:
            return None
    else:
        limit = min(limit, end - 1 - hidden.base)
        if limit < 0:
            return None
        by_pages = limit >= MOST_BYTES
        limit = (limit + 1) // PAGE - 1 if by_pages else limit
    found = UserDesc(hidden.base, limit, _flags(attributes, by_pages=by_pages))
    return None if found.empty else found


def _flags(attributes: int, *, by_pages: bool) -> int:
    high = (attributes & 0xFF) << 8 | attributes >> 8 << 20  # as in the descriptor
    units = UserDesc.LIMIT_IN_PAGES
    found = UserDesc.decode(high << 32).flags & ~(units | UserDesc.SEG_NOT_PRESENT)
    return found | units * by_pages
