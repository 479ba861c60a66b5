"""The stencils of a process, kept on the disk in one file (see `stencils.py`)."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence

from emu.engines.native.cache import DiskCache
from emu.engines.native.kinds import FlagFacts, evaluator_of, pending_hole, settler_of
from emu.engines.native.layout import FLAGS
from emu.room import Room
from isa.hints import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from emu.engines.native.stencil_code import Stencil

FILE: Final = "stencils"
ROOM: Final = 16 << 20  # bytes of stencils; what comes later goes without
MOST_CALLED: Final = 1 << 10  # functions
MOST_KINDS: Final = 1 << 10  # of pending flags
_ALIGNMENT: Final = 8


class StencilStore:
    """Stencils by symbol: their addresses in this process, and their bytes on the disk.

    `function` tells where a function lies that a stencil calls, or one that settles flags (0 if
    that is not there). Native code looks them up in `calls` and `settlers`, and in `evaluators` the
    stencils that compute single flags.
    """

    def __init__(
        self, cache: DiskCache, function: Callable[[str], int], *, load: bool = True
    ) -> None:
        self._cache = cache
        self._function = function
        self._called: dict[str, int] = {}  # numbers
        self._kinds: dict[str, int] = {}  # ... from 1 on
        calls, settlers = Room(8 * MOST_CALLED), Room(8 * MOST_KINDS)
        evaluators = Room(8 * MOST_KINDS * FLAGS)
        self._calls, self.calls = calls.words(), calls.address
        self._settlers, self.settlers = settlers.words(), settlers.address
        self._evaluators, self.evaluators = evaluators.words(), evaluators.address
        self._room = Room(ROOM)
        self._used = 0
        self._places: dict[str, int] = {}
        self._facts: dict[str, int] = {}  # packed, of forms that do something with flags
        self._new = False
        found = cache.load(FILE) if load else None
        if found is not None and len(found[1]) <= ROOM:
            self._load(*found)

    def _load(self, head: Mapping[str, Any], content: bytes) -> None:
        if not all(self._function(settler_of(kind)) for kind in head["kinds"]):
            return  # the handlers' file is another one's
        self._put(content)
        self._places = head["places"]
        self._facts = head["facts"]  # with the numbers that kinds get below, in the same order
        for symbol in head["called"]:
            self._number(symbol)
        for kind in head["kinds"]:
            self._number_kind(kind)

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

    def _number_kind(self, kind: str) -> int:
        """The number of a kind of flags, whose stencils are there."""
        number = self._kinds.get(kind)
        if number is None:
            number = self._kinds[kind] = len(self._kinds) + 1
            self._settlers[number] = self._function(settler_of(kind))
            evaluators = self.addresses([evaluator_of(kind, flag) for flag in range(FLAGS)])
            self._evaluators[number * FLAGS : (number + 1) * FLAGS] = array("Q", evaluators)
        return number

    def address(self, symbol: str) -> int:
        """Where a stencil is; 0 if there is none."""
        place = self._places.get(symbol)
        return 0 if place is None else self._room.address + place

    def addresses(self, symbols: Sequence[str]) -> list[int]:
        """The same of many."""
        places = map(self._places.get, symbols)
        return [0 if place is None else self._room.address + place for place in places]

    def facts(self, symbol: str) -> int:
        """What stitching knows of a stencil's form, see `FlagFacts`."""
        return self._facts.get(symbol, 0)

    def all_facts(self, symbols: Sequence[str]) -> list[int]:
        """The same of many."""
        return [self._facts.get(symbol, 0) for symbol in symbols]

    def add(self, stencils: Mapping[str, Stencil], facts: Mapping[str, FlagFacts]) -> None:
        """Keep stencils, as long as there is room: what evaluates flags before the forms."""
        for symbol, stencil in stencils.items():
            if symbol not in facts and symbol not in self._places and self._has_room(stencil):
                self._keep(symbol, stencil, {})
        for symbol, known in facts.items():
            found = stencils.get(symbol)
            if found is not None and symbol not in self._places and self._has_room(found):
                self._add_form(symbol, found, known)

    def _add_form(self, symbol: str, stencil: Stencil, facts: FlagFacts) -> None:
        """Keep the stencil of a form, if what settles the flags that it leaves pending is there."""
        if facts.kind and not self._function(settler_of(facts.kind)):
            return
        named = {pending_hole(facts.kind): self._number_kind(facts.kind)} if facts.kind else {}
        self._keep(symbol, stencil, named)
        if facts.needs or facts.writes:
            self._facts[symbol] = facts.packed(self._kinds.get(facts.kind, 0))

    def _keep(self, symbol: str, stencil: Stencil, kinds: Mapping[str, int]) -> None:
        def number_of(name: str) -> int:
            return kinds[name] if name in kinds else self._number(name)

        self._places[symbol] = self._put(stencil.numbered(number_of))
        self._new = True

    def _has_room(self, stencil: Stencil) -> bool:
        fits = self._used + len(stencil.content) <= ROOM
        numbers = len(self._called) + len(stencil.names) <= MOST_CALLED
        return fits and numbers and len(self._kinds) + 1 < MOST_KINDS

    def save(self) -> None:
        """Put everything on the disk if something is new."""
        if self._new:
            content = self._room.view[: self._used].tobytes()
            head = {
                "places": self._places,
                "called": list(self._called),
                "kinds": list(self._kinds),
                "facts": self._facts,
            }
            self._cache.save(FILE, head, content)
        self._new = False
