"""A compiled region, as the compiler makes it and the disk keeps it."""

from __future__ import annotations

from emu.engines.native.image import Image
from isa.hints import Any
from isa.record import NamedTuple


class Compiled(NamedTuple):
    """A region's object code, and what must be true for it to be used.

    For each block `code_ranges` has (address, units, digest of the code there) and `blocks` its
    program counter and where its indirect jump was seen to go; `entries` are (program counter,
    address, entry number), the head first; `reasons` the exits that it may leave by.
    """

    code_ranges: list[tuple[int, int, str]]
    blocks: list[tuple[int, list[int]]]
    entries: list[tuple[int, int, int]]
    reasons: list[str]
    covers: bool  # counts what it executes
    length: int  # instructions
    first: tuple[int, int, bytes]  # program counter, address and code of the head
    image: Image
    pays: bool = True  # or it is known not to be worth entering (see `visits`), and has no code

    def content(self) -> tuple[dict[str, Any], bytes | memoryview]:
        """Everything but the code, and the code, for the cache."""
        image = self.image if self.pays else Image(b"", {})
        head = {name: getattr(self, name) for name in _FACTS} | {"image": image.head()}
        return head, image.code

    @staticmethod
    def of(head: dict[str, Any], code: bytes | memoryview) -> Compiled:
        """From the cache."""
        image = Image.of(head["image"], code)
        facts = {name: head[name] for name in _FACTS}
        for name in ("code_ranges", "blocks", "entries"):
            facts[name] = [tuple(row) for row in facts[name]]
        return Compiled(**facts, first=(0, 0, b""), image=image)


_FACTS = ("code_ranges", "blocks", "entries", "reasons", "covers", "length", "pays")
