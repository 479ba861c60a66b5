"""Handlers of all sessions of a process: compiled once, and kept on the disk in one file.

A handler reaches everything through the mailbox, so one serves every session with such memory.
"""

from __future__ import annotations

import atexit
import weakref
from typing import Any, Final, NamedTuple

from emu.engines.native.cache import DiskCache
from emu.engines.native.image import Image, joined
from emu.engines.native.linking import Library, linker

FILE: Final = "handlers"


class Handler(NamedTuple):
    """A handler in this process, and the exits that it may leave by."""

    address: int
    reasons: list[str]


class HandlerStore:
    """Handlers by symbol."""

    def __init__(self, cache: DiskCache) -> None:
        self._cache = cache
        self._images: list[Image] = []
        self._libraries: list[Library] = []
        self._reasons: dict[str, list[str]] = {}
        self._rough: set[str] = set()  # compiled in a hurry
        self._found: dict[str, Handler] = {}
        self._new = False
        self._load()

    def _load(self) -> None:
        found = self._cache.load(FILE)
        if found is not None:
            self._add(Image.of(*found), found[0]["reasons"])
            self._rough = set(found[0]["rough"])

    def _add(self, image: Image, reasons: dict[str, list[str]]) -> None:
        library = linker().link(image)
        self._libraries.append(library)
        self._images.append(image)
        self._reasons |= reasons
        for symbol, address in library.addresses.items():
            self._found[symbol] = Handler(address, reasons[symbol])

    def find(self, symbol: str) -> Handler | None:
        """A handler that there is."""
        return self._found.get(symbol)

    def is_rough(self, symbol: str) -> bool:
        """Whether a handler was compiled in a hurry, and could be faster."""
        return symbol in self._rough

    def add(self, image: Image, reasons: dict[str, list[str]], *, rough: bool) -> None:
        """Keep what was compiled: an image, and for each of its symbols how it may leave."""
        self._add(image, reasons)
        self._rough.difference_update(reasons)
        if rough:
            self._rough.update(reasons)
        self._new = True

    def save(self) -> None:
        """Put everything on the disk if something is new."""
        movable = not any(image.is_object for image in self._images)
        if self._new and movable:
            self._images = [joined(self._images)]
            image = self._images[0]
            self._cache.save(FILE, self._head(image), image.code)
        self._new = False

    def _head(self, image: Image) -> dict[str, Any]:
        return image.head() | {"reasons": self._reasons, "rough": sorted(self._rough)}


_stores: weakref.WeakKeyDictionary[DiskCache, HandlerStore] = weakref.WeakKeyDictionary()


def handlers_of(cache: DiskCache) -> HandlerStore:
    """The process's handlers that are kept in a cache."""
    found = _stores.get(cache)
    if found is None:
        found = _stores[cache] = HandlerStore(cache)
    return found


@atexit.register
def _save_all() -> None:
    for store in list(_stores.values()):
        store.save()
