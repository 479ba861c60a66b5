"""Zeroed memory of the host, at an address that native code can be told."""

from __future__ import annotations

import mmap
import struct

from emu.foreign import address_of
from emu.late import np
from isa.hints import TYPE_CHECKING, Any, Collection
from isa.light import suppress

if TYPE_CHECKING:
    import numpy.typing as npt


def words_of(numbers: Collection[int]) -> memoryview:
    """Numbers as words of 64 bits, which can be changed. The module `array` would do the same, but
    imports ten others, a thirtieth of a short run."""
    return memoryview(bytearray(struct.pack(f"{len(numbers)}Q", *numbers))).cast("Q")


def copy_of(words: memoryview) -> memoryview:
    """The same words elsewhere."""
    return memoryview(bytearray(words)).cast("Q")


def in_large_pages(memory: mmap.mmap) -> None:
    """Let the host commit memory in large pages, if it has some."""
    with suppress(AttributeError, OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)


LARGE_PAGE = 1 << 21  # bytes, on x86-64


class Room:
    """`size` bytes, which the host commits page by page when they are touched first.

    What is `shared` can be mapped once more elsewhere (see `emu.engines.native.window`). Of what is
    `dense` much is touched, here and there: the host may commit it in large pages, which takes no
    longer than some twenty small ones do.

    `view` are the bytes, `address` is where they lie, for as long as the room is there.
    """

    def __init__(self, size: int, *, shared: bool = False, dense: bool = False) -> None:
        flags = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        flags |= mmap.MAP_ANONYMOUS
        unit = LARGE_PAGE if dense else 1
        host = mmap.mmap(-1, -(-max(size, 1) // unit) * unit, flags=flags)
        if dense:
            in_large_pages(host)
        memory = memoryview(host)
        self.view, self.address = memory[:size], address_of(memory)

    def words(self) -> Any:
        """The same as words of 64 bits."""
        return self.view.cast("Q")

    def halves(self) -> Any:
        """The same as words of 32 bits."""
        return self.view.cast("I")

    def array(self, kind: Any) -> npt.NDArray[Any]:
        """The same for numpy."""
        return np.frombuffer(self.view, kind)
