"""The process's memory for compiled code."""

from __future__ import annotations

import mmap
from _thread import allocate_lock

from emu.engines.native.host import is_usual
from emu.foreign import address_of
from emu.room import in_large_pages
from isa.hints import Final
from isa.light import cache, deque

ROOM: Final = 192 << 20  # bytes of code in the process; 32 bits must span it
ALIGNMENT: Final = 64


class Arena:
    """Memory for code, handed out in pieces (first fit) and taken back.

    Raises OSError if the host gives no memory that is both written and executed.
    """

    def __init__(self, size: int = ROOM) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        rights = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._memory = mmap.mmap(-1, size, flags=flags, prot=rights)
        in_large_pages(self._memory)
        self.address = address_of(self._memory)
        self._free = [(0, size)]  # sorted pieces
        self._returned: deque[tuple[int, int]] = deque()  # not yet among them
        self._lock = allocate_lock()

    def put(self, code: bytes | memoryview) -> tuple[int, int]:
        """Copy code in; returns where it starts and the size of its piece.

        Raises MemoryError if there is no room.
        """
        start, size = self.take(len(code))
        self._memory[start : start + len(code)] = code
        return start, size

    def take(self, length: int) -> tuple[int, int]:
        """Room for so many bytes of code: where it starts, and how large it is.

        Raises MemoryError if there is none.
        """
        size = _rounded(length)
        with self._lock:
            self._take_back()
            for n, (start, room) in enumerate(self._free):
                if room >= size:
                    self._free[n : n + 1] = [(start + size, room - size)] if room > size else []
                    return start, size
        raise MemoryError("no room for code")

    def free(self, start: int, size: int) -> None:
        """Give a piece of so many bytes back.

        Takes no lock: Python's collector may call this anywhere, in the middle of `put` too.
        """
        self._returned.append((start, size))

    @property
    def room(self) -> int:
        """Bytes that are free."""
        with self._lock:
            self._take_back()
            return sum(size for _, size in self._free)

    def _take_back(self) -> None:
        """Join the pieces that were given back to the free ones beside them."""
        while self._returned:
            pieces = sorted([*self._free, self._returned.popleft()])
            self._free = [pieces[0]]
            for at, room in pieces[1:]:
                last, before = self._free[-1]
                if last + before == at:
                    self._free[-1] = (last, before + room)
                else:
                    self._free.append((at, room))


@cache
def arena() -> Arena | None:
    """The process's memory for code; None where LLVM's linker has to do it."""
    if not is_usual():
        return None
    try:
        return Arena()
    except OSError:  # a hardened kernel
        return None


def _rounded(size: int) -> int:
    return max(-(-size // ALIGNMENT), 1) * ALIGNMENT
