"""The stencils of a process, kept on the disk in one file (see `stencils.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from emu.engines.native.cache import DiskCache
from emu.room import Room

if TYPE_CHECKING:
    from emu.engines.native.stencil_code import Stencil

FILE: Final = "stencils"
ROOM: Final = 16 << 20  # bytes of stencils; what comes later goes without
MOST_CALLED: Final = 1 << 10  # functions
_ALIGNMENT: Final = 8


class StencilStore:
    """Stencils by symbol: their addresses in this process, and their bytes on the disk.

    `function` tells where a function lies that a stencil calls; `calls` is where native code looks
    that up.
    """

    def __init__(
        self, cache: DiskCache, function: Callable[[str], int], *, load: bool = True
    ) -> None:
        self._cache = cache
        self._function = function
        self._called: dict[str, int] = {}  # numbers
        room = Room(8 * MOST_CALLED)
        self._calls, self.calls = room.words(), room.address
        self._room = Room(ROOM)
        self._used = 0
        self._places: dict[str, int] = {}
        self._new = False
        found = cache.load(FILE) if load else None
        if found is not None and len(found[1]) <= ROOM:
            self._put(found[1])
            self._places = found[0]["places"]
            for symbol in found[0]["called"]:
                self._number(symbol)

    def _put(self, content: bytes) -> int:
        at = self._used
        self._room.view[at : at + len(content)] = content
        self._used += len(content) + -len(content) % _ALIGNMENT
        return at

    def _number(self, symbol: str) -> int:
        """The number of a function that is called."""
        number = self._called.get(symbol)
        if number is None:
            number = len(self._called)
            self._calls[number] = self._function(symbol)
            self._called[symbol] = number
        return number

    def address(self, symbol: str) -> int:
        """Where a stencil is; 0 if there is none."""
        place = self._places.get(symbol)
        return 0 if place is None else self._room.address + place

    def addresses(self, symbols: Sequence[str]) -> list[int]:
        """The same of many."""
        return [self.address(symbol) for symbol in symbols]

    def add(self, stencils: Mapping[str, Stencil]) -> None:
        """Keep stencils, as long as there is room."""
        for symbol, stencil in stencils.items():
            if symbol not in self._places and self._has_room(stencil):
                self._places[symbol] = self._put(stencil.calling(self._number))
                self._new = True

    def _has_room(self, stencil: Stencil) -> bool:
        fits = self._used + len(stencil.content) <= ROOM
        return fits and len(self._called) + len(stencil.calls) <= MOST_CALLED

    def save(self) -> None:
        """Put everything on the disk if something is new."""
        if self._new:
            content = self._room.view[: self._used].tobytes()
            head = {"places": self._places, "called": list(self._called)}
            self._cache.save(FILE, head, content)
        self._new = False
