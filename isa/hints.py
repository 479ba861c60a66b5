"""Names of `typing`, for readers and for mypy: while a program runs, nothing stands behind them;
and those of `collections.abc`, which are what they are there.

`typing` takes as long to import as thirty modules of our own, `collections` as ten, and a run of a
few milliseconds asks them for nothing. What `typing` is asked for elsewhere is there: type
variables, and protocols that are checked while a program runs.
"""

from __future__ import annotations

from _collections_abc import (  # which `collections.abc` is, and Python's own start has imported
    Callable,
    Collection,
    Container,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)

TYPE_CHECKING = False

if TYPE_CHECKING:
    from os import PathLike
    from typing import IO, Any, BinaryIO, Final, NoReturn, Protocol, Self, TypeGuard, cast

    StrPath = str | PathLike[str]
else:
    IO = Any = BinaryIO = Final = NoReturn = Self = StrPath = TypeGuard = object

    class Protocol:
        """What a class has to have."""

        __slots__ = ()

    def cast(kind, value):
        """The value itself."""
        return value


__all__ = [
    "IO", "TYPE_CHECKING", "Any", "BinaryIO", "Callable", "Collection", "Container", "Final",
    "Generator", "Hashable", "Iterable", "Iterator", "Mapping", "MutableMapping",
    "NoReturn", "Protocol", "Self", "Sequence", "StrPath", "TypeGuard", "cast",
]  # fmt: skip
