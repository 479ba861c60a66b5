"""A compiled region, as the compiler makes it and the disk keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emu.engines.native.image import Image


@dataclass(slots=True)
class Compiled:
    """A region's object code, and what must be true for it to be used.

    `code_ranges` are (address, units, digest of the code there); `entries` (program counter,
    address, entry number), the head first; `reasons` the exits that it may leave by.
    """

    code_ranges: list[tuple[int, int, str]]
    entries: list[tuple[int, int, int]]
    reasons: list[str]
    quick: bool  # compiled in a hurry: to be replaced
    covers: bool  # counts what it executes
    first: tuple[int, int, bytes]  # program counter, address and code of the head
    image: Image

    def head(self) -> dict[str, Any]:
        """Everything but the code, for the cache."""
        names = ("code_ranges", "entries", "reasons", "quick", "covers")
        return {name: getattr(self, name) for name in names} | {"image": self.image.head()}

    @staticmethod
    def of(head: dict[str, Any], code: bytes) -> Compiled:
        """From the cache."""
        ranges = [(a, n, d) for a, n, d in head["code_ranges"]]
        entries = [(p, a, n) for p, a, n in head["entries"]]
        image = Image.of(head["image"], code)
        facts = head["reasons"], head["quick"], head["covers"]
        return Compiled(ranges, entries, *facts, (0, 0, b""), image)
