"""From LLVM's object code to stencils as bytes (see `stencils.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emu.engines.native.branches import JUMP, straight
from emu.engines.native.movable import ABSOLUTE, SIGNED, Function, Reference, functions_of
from emu.engines.native.site import LEADS
from emu.engines.native.stitch import HOLE, LEADS_BIT, STENCIL, WAY_BIT, Kind
from isa.hints import Final
from isa.record import NamedTuple
from isa.words import signed

_NEXT, _AGAIN = "next", "again"
_ARGUMENT: Final = 8  # where in a hole that is
_NAMES: Final = {
    "field": Kind.FIELD, "slot": Kind.SLOT, "pc": Kind.PC, "index": Kind.INDEX,
    "count": Kind.COUNT, "next": Kind.NEXT, "number": Kind.NUMBER,
    "stitched": Kind.STITCHED, "again": Kind.AGAIN, "pending": Kind.PENDING,
    "sum": Kind.SUM, "apart": Kind.AGAIN,
}  # fmt: skip
_LEADING: Final = {name: (Kind.LEADS, n) for n, name in enumerate(LEADS)} | {
    f"{name}{n}": (kind, n)
    for name, kind in (("link", Kind.LINK), ("goal", Kind.GOAL))
    for n in range(len(LEADS))
}
"""Holes of which there is one for each way on."""
_RELATIVE: Final = (
    Kind.NEXT, Kind.CALL, Kind.AGAIN, Kind.LEADS, Kind.LINK,
)  # fmt: skip
_NAMED: Final = (Kind.CALL, Kind.PENDING)
_WIDE: Final = (Kind.FIELD, Kind.PC, Kind.SUM)  # numbers that may have their highest bit set


class Stencil(NamedTuple):
    """A stencil as native code reads it; `names` are a hole's number and a symbol each, of a
    function or a kind of flags: who keeps the stencil numbers those."""

    content: bytes
    names: tuple[tuple[int, str], ...] = ()

    def numbered(self, number_of: Callable[[str], int]) -> bytes:
        """The content with the numbers of what it names."""
        content = bytearray(self.content)
        holes = STENCIL.size + _padded(STENCIL.unpack_from(content)[0])
        for hole, symbol in self.names:
            at = holes + hole * HOLE.size + _ARGUMENT
            content[at : at + 4] = number_of(symbol).to_bytes(4, "little")
        return bytes(content)


def ways_of(content: bytes | memoryview) -> int:
    """In which ways a stencil goes on, see `STENCIL`."""
    ways: int = STENCIL.unpack_from(content)[-1]
    return ways


def stencils_of(object_code: bytes) -> dict[str, Stencil]:
    """The stencils among an object's functions, by symbol: those that reach nothing but holes and
    other functions."""
    found = {name: _packed(function) for name, function in functions_of(object_code).items()}
    return {name: packed for name, packed in found.items() if packed is not None}


def _packed(function: Function) -> Stencil | None:
    """A stencil; None if it has constants elsewhere."""
    code, references = _without_last(*_led_away(*function))
    holes = [hole for reference in references if (hole := _hole(reference)) is not None]
    if len(holes) < len(references):
        return None
    goals = [goal for reference in references if (goal := _goal(reference)) is not None]
    leaves = any(hole[1] == Kind.AGAIN for hole in holes)
    leads = [hole[2] for hole in holes if hole[1] == Kind.LEADS]
    if sorted(leads) != list(range(len(leads))):  # which jump would be the one?
        return None
    ways = leaves | len(leads) << LEADS_BIT
    rows = holes + goals
    head = STENCIL.pack(len(code), len(rows), ways) + code.ljust(_padded(len(code)), b"\0")
    names = [(n, references[n].symbol) for n, hole in enumerate(holes) if hole[1] in _NAMED]
    return Stencil(head + b"".join(HOLE.pack(*row) for row in rows), tuple(names))


def _led_away(code: bytes, references: list[Reference]) -> Function:
    """A function whose branches to its last jump go themselves where that goes; as it was if it
    does not end in one to the handlers."""
    last = next((r for r in references if r.at == len(code) - 4 and r.symbol == _AGAIN), None)
    made = None if last is None else straight(code, frozenset(r.at for r in references))
    if last is None or made is None:
        return code, references
    moved = [r._replace(at=made.moved[r.at]) for r in references if r is not last]
    return made.code, moved + [last._replace(at=at) for at in made.away]


def _without_last(code: bytes, references: list[Reference]) -> Function:
    """A function without its last jump, if that leads to what stands behind it."""
    last = len(code) - 4
    if code[last - 1 : last] != JUMP or all(r.at != last or r.symbol != _NEXT for r in references):
        return code, references
    return code[: last - 1], [reference for reference in references if reference.at != last]


def _padded(size: int) -> int:
    return size + -size % 4


def _goal(reference: Reference) -> tuple[int, int, int, int] | None:
    """What tells where a way leads, for who needs it; None of what is no such way."""
    name, *numbers = reference.symbol.split(".")
    kind, way = _LEADING.get(name, (None, 0))
    if kind is not Kind.LEADS:
        return None
    *summands, constant = numbers
    return 0, Kind.TOLD, _sum_of(summands) | way << WAY_BIT, signed(32, int(constant))


def _sum_of(summands: Sequence[str]) -> int:
    """What a sum is of, as a symbol tells it: see `Kind.SUM`."""
    pc, length, word = map(int, summands)
    return pc | length << 1 | word << 2


def _hole(reference: Reference) -> tuple[int, int, int, int] | None:
    """Where a reference is, of what kind, what that needs, and the addend."""
    name, *numbers = reference.symbol.split(".")
    kind, way = _LEADING.get(name, (_NAMES.get(name, Kind.CALL), 0))
    absolute = reference.type in (ABSOLUTE, SIGNED)
    if not name or absolute == (kind in _RELATIVE):
        return None
    if kind in _NAMED or name in _LEADING:
        return reference.at, kind, way, reference.addend
    if reference.type == SIGNED and kind in _WIDE:
        return None
    if kind is Kind.SUM:
        return reference.at, kind, _sum_of(numbers), reference.addend
    word, chosen = (*map(int, numbers), 0, 0)[:2]
    return reference.at, kind, word | chosen << 8, reference.addend
