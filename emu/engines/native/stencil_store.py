"""The stencils of a process, kept on the disk in one file (see `stencils.py`)."""

from __future__ import annotations

from emu.engines.native.cache import DiskCache
from emu.engines.native.kinds import (
    READER,
    READER_BITS,
    FlagFacts,
    evaluator_of,
    pending_hole,
    read_by,
    settler_of,
)
from emu.engines.native.layout import FLAGS
from emu.room import Room, words_of
from isa.hints import TYPE_CHECKING, Any, Callable, Final, Hashable, Mapping, Sequence
from isa.record import NamedTuple

if TYPE_CHECKING:
    from emu.engines.native.pending import Pending
    from emu.engines.native.stencil_code import Stencil

FILE: Final = "stencils"
ROOM: Final = 16 << 20  # bytes of stencils; what comes later goes without
MOST_CALLED: Final = 1 << 10  # functions
MOST_KINDS: Final = 1 << 10  # of pending flags
MOST_READERS: Final = 1 << READER_BITS  # forms that read some, from 1 on
_ROW: Final = 4 * MOST_READERS
_TABLE: Final = MOST_KINDS * _ROW  # bytes before the stencils
_ALIGNMENT: Final = 8


class Met(NamedTuple):
    """Who reads flags, as forms and their fields by the symbols of their stencils, and what is left
    pending, by name."""

    readers: dict[str, tuple[Hashable, tuple[str, ...]]]
    pendings: dict[str, Pending]


class StencilStore:
    """Stencils by symbol: their addresses in this process, and their bytes on the disk.

    `function` tells where a function lies that a stencil calls, or one that settles flags (0 if
    that is not there). Native code looks them up in `calls` and `settlers`, and in `evaluators` the
    stencils that compute single flags. `readers` are for each kind what forms do while it is
    pending: how far from there a stencil is, by the form's number as a reader; 0: there is none.
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
        self.readers, self._table = self._room.address, self._room.halves()[: _TABLE // 4]
        self._readers = 0  # how many forms have a number as one
        self._used = _TABLE
        self._places: dict[str, int] = {}
        self._facts: dict[str, int] = {}  # packed, of forms that do something with flags
        self._met: dict[str, Met] = {}
        self._new = False
        found = cache.load(FILE) if load else None
        if found is not None and len(found[1]) <= ROOM - _TABLE:
            self._load(*found)

    def _load(self, head: Mapping[str, Any], content: memoryview) -> None:
        if not all(self._function(settler_of(kind)) for kind in head["kinds"]):
            return  # the handlers' file is another one's
        rows = _ROW * (len(head["kinds"]) + 1)
        self._room.view[:rows] = content[:rows]
        self._put(content[rows:])
        self._places = head["places"]
        self._readers = head["readers"]
        self._facts = head["facts"]  # with the numbers that kinds get below, in the same order
        for symbol in head["called"]:
            self._number(symbol)
        for kind in head["kinds"]:
            self._number_kind(kind)

    def _put(self, content: bytes | memoryview) -> int:
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
            self._evaluators[number * FLAGS : (number + 1) * FLAGS] = words_of(evaluators)
        return number

    def met(self, conditions: str) -> Met:
        """What was compiled in this process for sessions of some conditions."""
        return self._met.setdefault(conditions, Met({}, {}))

    def address(self, symbol: str) -> int:
        """Where a stencil is; 0 if there is none."""
        place = self._places.get(symbol)
        return 0 if place is None else self._room.address + place

    def addresses(self, symbols: Sequence[str]) -> list[int]:
        """The same of many."""
        place, room = self._places.get, self._room.address
        return [room + place(symbol, -room) for symbol in symbols]

    def facts(self, symbol: str) -> int:
        """What stitching knows of a stencil's form, see `FlagFacts`."""
        return self._facts.get(symbol, 0)

    def all_facts(self, symbols: Sequence[str]) -> list[int]:
        """The same of many."""
        facts = self._facts.get
        return [facts(symbol, 0) for symbol in symbols]

    def add(self, stencils: Mapping[str, Stencil], facts: Mapping[str, FlagFacts]) -> None:
        """Keep stencils, as long as there is room: what evaluates flags before the forms, and then
        what reads pending ones."""
        reading = {symbol: pair for symbol in stencils if (pair := read_by(symbol)) is not None}
        others = stencils.keys() - facts.keys() - reading.keys() - self._places.keys()
        for symbol in sorted(others):
            if self._has_room(stencils[symbol]):
                self._keep(symbol, stencils[symbol], {})
        for symbol, known in facts.items():
            found = stencils.get(symbol)
            if found is not None and symbol not in self._places and self._has_room(found):
                self._add_form(symbol, found, known)
        for symbol, (kind, form) in reading.items():
            if self._has_room(stencils[symbol]):
                self._add_reader(kind, form, stencils[symbol])

    def _add_form(self, symbol: str, stencil: Stencil, facts: FlagFacts) -> None:
        """Keep the stencil of a form, if what settles the flags that it leaves pending is there."""
        if facts.kind and not self._function(settler_of(facts.kind)):
            return
        named = {pending_hole(facts.kind): self._number_kind(facts.kind)} if facts.kind else {}
        self._keep(symbol, stencil, named)
        if facts.needs or facts.writes:
            reader = self._number_reader() if facts.is_reader else 0
            self._facts[symbol] = facts.packed(self._kinds.get(facts.kind, 0), reader)

    def _number_reader(self) -> int:
        """The number of one more form that reads pending flags; 0 if there are too many."""
        if self._readers + 1 == MOST_READERS:
            return 0
        self._readers += 1
        return self._readers

    def _add_reader(self, kind: str, form: str, stencil: Stencil) -> None:
        """Keep what a form does while a kind is pending, if it goes on in the same ways."""
        from emu.engines.native.stencil_code import ways_of  # what only a compiler needs

        number, reader = self._kinds.get(kind, 0), self.facts(form) >> READER
        cell = number * MOST_READERS + reader
        if not number or not reader or self._table[cell]:
            return
        if ways_of(stencil.content) == ways_of(self._room.view[self._places[form] :]):
            self._table[cell] = self._put(stencil.numbered(self._number))
            self._new = True

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
            rows = self._room.view[: _ROW * (len(self._kinds) + 1)]
            content = b"".join([rows, self._room.view[_TABLE : self._used]])
            head = {
                "places": self._places,
                "called": list(self._called),
                "kinds": list(self._kinds),
                "facts": self._facts,
                "readers": self._readers,
            }
            self._cache.save(FILE, head, content)
        self._new = False
