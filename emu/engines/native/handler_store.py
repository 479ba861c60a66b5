"""Handlers of all sessions of a process: compiled once, and kept on the disk in one file.

A handler reaches everything through the mailbox, so one serves every session with such memory.
"""

from __future__ import annotations

import atexit

from emu.engines.native.cache import DiskCache
from emu.engines.native.image import Image, joined
from emu.engines.native.kinds import is_settler
from emu.engines.native.layout import number_of
from emu.engines.native.linking import Library, linker
from emu.engines.native.stencil_store import StencilStore
from isa.hints import TYPE_CHECKING, Any, Final, Hashable, Iterable, MutableMapping, Sequence
from isa.light import cache

if TYPE_CHECKING:
    from weakref import WeakKeyDictionary

FILE: Final = "handlers"
MOST: Final = 1 << 15  # handlers of a store, after which machines that come get a new one


class HandlerStore:
    """Handlers by symbol: their addresses in this process; `reasons` are the exits that any of them
    may leave by, by number. `stencils` are those of the same forms."""

    def __init__(self, cache: DiskCache, *, load: bool = True) -> None:
        self._cache = cache
        self._images: list[Image] = []
        self._libraries: list[Library] = []
        self.addresses: dict[str, int] = {}
        self.reasons: dict[int, str] = {}
        self._rough: set[str] = set()  # compiled in a hurry
        self._new = False
        if load:
            self._load()
        self.stencils = StencilStore(cache, self._called, load=load)

    def _called(self, symbol: str) -> int:
        """Where a function is that handlers call, as their file has it, or on its own; 0 for one
        that settles flags and is not there."""
        found = self.addresses.get(symbol)
        if found is None:
            return 0 if is_settler(symbol) else linker().address(symbol)
        return found

    def _load(self) -> None:
        found = self._cache.load(FILE)
        if found is not None:
            self._add(Image.of(*found), found[0]["reasons"])
            self._rough = set(found[0]["rough"])

    def _add(self, image: Image, reasons: Iterable[str]) -> None:
        library = linker().link(image)
        self._libraries.append(library)
        self._images.append(image)
        self.reasons |= {number_of(reason): reason for reason in reasons}
        self.addresses |= library.addresses

    @property
    def is_full(self) -> bool:
        """Whether it has more handlers than one guest needs: guests that came one after the other
        asked for them."""
        return len(self.addresses) >= MOST

    def is_rough(self, symbol: str) -> bool:
        """Whether a handler was compiled in a hurry, and could be faster."""
        return symbol in self._rough

    def rough_of(self, symbols: Sequence[str]) -> list[int]:
        """Which of some handlers, by place, were compiled in a hurry; mostly nobody was."""
        return [n for n, s in enumerate(symbols) if s in self._rough] if self._rough else []

    def add(self, image: Image, reasons: Iterable[str], *, rough: bool) -> None:
        """Keep what was compiled: an image, and how it may leave."""
        self._add(image, reasons)
        self._rough.difference_update(image.symbols)
        if rough:
            self._rough.update(image.symbols)
        self._new = True

    def save(self) -> None:
        """Put everything on the disk if something is new."""
        self.stencils.save()
        movable = not any(image.is_object for image in self._images)
        if self._new and movable:
            handlers = joined(self._images)
            self._images = [joined([handlers, *linker().called(handlers)])]  # one file has all
            image = self._images[0]
            self._cache.save(FILE, self._head(image), image.code)
        self._new = False

    def _head(self, image: Image) -> dict[str, Any]:
        return image.head() | {
            "reasons": sorted(self.reasons.values()),
            "rough": sorted(self._rough),
        }


_stores: dict[str, HandlerStore] = {}


@cache
def _unkept() -> WeakKeyDictionary[DiskCache, HandlerStore]:
    """The stores of caches without a place, which know no key."""
    from weakref import WeakKeyDictionary

    return WeakKeyDictionary()


def handlers_of(disk: DiskCache) -> HandlerStore:
    """The process's handlers that are kept where a cache is: every engine has a cache of its own,
    and a copy of all handlers for each would fill the room for code.

    If there are too many, an empty store takes the place of theirs, which goes with the last
    machine that uses it.
    """
    if disk.place is None:
        return _store_in(_unkept(), disk, DiskCache(None))
    return _store_in(_stores, disk.place, disk)


def _store_in(
    stores: MutableMapping[Any, HandlerStore], key: Hashable, disk: DiskCache
) -> HandlerStore:
    found = stores.get(key)
    if found is None or found.is_full:
        found = stores[key] = HandlerStore(disk, load=found is None)
    return found


@atexit.register
def _save_all() -> None:
    for store in list(_stores.values()):
        store.save()
