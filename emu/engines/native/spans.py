"""Accesses of one block at fixed distances from one address: they share a look at the page tables.

What a function keeps on the stack, or in a structure, mostly lies in one page. Where a block first
touches such a *span*, its first and last byte are looked at together; if both are in one page that
allows all of it, each access of the block is a plain one. Tables do not change before the region is
left. Where the span does not lie so, each access is looked at alone, outside of the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from isa.bits import Bits

WIDEST = 512  # bytes of a span: the wider, the more often pages end inside
_ACCESSES = ("load", "load_for_write", "store")
_SIGNS = {"add": 1, "sub": -1}


@dataclass(slots=True)
class Span:
    """Offsets from an address, from the first byte to behind the last one."""

    space: str
    root: Bits | None  # None: offsets are addresses
    first: int
    end: int
    writes: bool = False
    members: dict[int, int] = field(default_factory=dict)  # offsets, by the id of an access
    place: tuple[str, str] | None = None  # LLVM's: whether it is direct, and the first byte's place

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.first

    def takes(self, first: int, end: int) -> bool:
        """Whether it would not become too wide."""
        return max(self.end, end) - min(self.first, first) <= WIDEST

    def add(self, node: Bits, first: int, end: int) -> None:
        """Let an access be one of it."""
        self.first, self.end = min(self.first, first), max(self.end, end)
        self.writes |= node.op != "load"
        self.members[id(node)] = first


def spans_of(effects: Iterable[Bits], units: Mapping[str, int]) -> dict[int, Span]:
    """The spans of two accesses and more, by the ids of these; `units` are bits by address space.

    The first access of a span is always carried out, so that the others can rely on it.
    """
    open_: dict[tuple[str, int], Span] = {}
    found: list[Span] = []
    for node, always in _accesses(effects, True):
        space, width = node.attribute
        if space not in units:
            continue
        root, offset = _apart(node.args[0])
        key, end = (space, id(root)), offset + width // units[space]
        span = open_.get(key)
        if span is None or not span.takes(offset, end):
            if not always:
                continue
            span = open_[key] = Span(space, root, offset, end)
            found.append(span)
        span.add(node, offset, end)
    return {key: span for span in found if len(span.members) > 1 for key in span.members}


def _accesses(effects: Iterable[Bits], always: bool) -> Iterator[tuple[Bits, bool]]:
    """Accesses in order, and whether they are carried out whatever happens in the block."""
    for effect in effects:
        if effect.op in _ACCESSES:
            yield effect, always
        elif effect.op == "when":
            yield from _accesses(effect.attribute.region.effects, False)


def _apart(address: Bits) -> tuple[Bits | None, int]:
    """An address as another one and what is added to it."""
    offset, size = 0, 1 << address.width
    while address.op in _SIGNS and address.args[1].is_const:
        offset += _SIGNS[address.op] * address.args[1].value
        address = address.args[0]
    if address.is_const:
        return None, (address.value + offset) % size
    offset %= size
    return address, offset - size if offset >= size // 2 else offset
