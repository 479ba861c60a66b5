"""Names of `typing`, for readers and for mypy: while a program runs, nothing stands behind them.

`typing` takes as long to import as thirty modules of our own, and a run of a few milliseconds asks
it for nothing. What it is asked for elsewhere is there: type variables, and protocols that are
checked while a program runs.
"""

from __future__ import annotations

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
    "IO", "TYPE_CHECKING", "Any", "BinaryIO", "Final", "NoReturn", "Protocol", "Self", "StrPath",
    "TypeGuard", "cast",
]  # fmt: skip
