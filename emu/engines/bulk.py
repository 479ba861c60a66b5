"""The bulk operations of the IR (`copy fill scan compare`) for the `python` engine.

Each does as many iterations as one page, `budget` and the rules allow, at least one; see
`isa.semantics.Builder.copy` for the contract. It also carries what emitted code tells the engine.
"""

from __future__ import annotations

from emu.engines.access import FORMATS, CalledAccess, PagedAccess, Stop
from emu.exit import Exit
from emu.memory import PAGE_MASK, PAGE_SIZE, READ, WRITE
from isa.fault import Fault
from isa.hints import Any


class Bulk:
    """`B` in emitted source: bulk operations, and the mailbox of the instruction under way."""

    def __init__(self, accesses: dict[str, CalledAccess], undo: list[Any]) -> None:
        self.accesses = accesses
        self.undo = undo
        self.budget = 1  # iterations that may still be counted
        self.retired = 1
        self.stop: Exit | None = None
        self.index = 0  # instructions of the block done before a Stop

    # -- one page at a time --------------------------------------------------------------------

    def _window(self, space: str, address: int, size: int, write: bool) -> tuple[Any, int, int]:
        """The physical memory, offset and whole elements left in the page; 0 if not simple."""
        access = self.accesses[space]
        if not isinstance(access, PagedAccess) or size not in FORMATS:
            return None, 0, 0
        rights, room = WRITE if write else READ, PAGE_SIZE - (address & PAGE_MASK)
        where = access.pages.translate(address, rights)
        if isinstance(where, Fault):
            raise Stop(where)
        if room < size:  # a fault of the first element comes before those of the other side
            rest = access.pages.translate(address + room & 0xFFFFFFFF, rights)
            if isinstance(rest, Fault):
                raise Stop(rest)
        return access.pages.physical, where, room // size

    def _unit(self, space: str, width: int) -> int:
        return width // self.accesses[space].unit

    def copy(self, space: str, width: int, source: int, to: int, backwards: int, count: int) -> int:
        """[to] := [source], n times."""
        size = self._unit(space, width)
        physical, start, left = self._window(space, source, size, write=False)
        _, end, room = self._window(space, to, size, write=True)
        n = min(count, self.budget, left, room)
        if not backwards and 0 < (end - start) < n * size:
            n = (end - start) // size  # an overlap repeats itself: stop where it begins to
        if backwards or n < 2 or physical.is_code(end, n * size):
            self._one(space, source, to, size)
            return 1
        view = physical.view
        view[end : end + n * size] = bytes(view[start : start + n * size])
        return n

    def _one(self, space: str, source: int, to: int, size: int) -> None:
        access = self.accesses[space]
        access.store_now(to, size, access.load_now(source, size))

    def fill(self, space: str, width: int, to: int, value: int, backwards: int, count: int) -> int:
        """[to] := value, n times."""
        size = self._unit(space, width)
        physical, start, room = self._window(space, to, size, write=True)
        n = min(count, self.budget, room)
        if backwards or n < 2 or physical.is_code(start, n * size):
            self.accesses[space].store_now(to, size, value)
            return 1
        physical.view[start : start + n * size] = value.to_bytes(size, "little") * n
        return n

    def scan(
        self, space: str, width: int, while_equal: bool, at: int, value: int, backwards: int,
        count: int,
    ) -> int:  # fmt: skip
        """Compare value with [at] until the first (un)equal one, n times."""
        size = self._unit(space, width)
        physical, start, left = self._window(space, at, size, write=False)
        n = min(count, self.budget, left)
        if backwards or n < 2:
            self.accesses[space].load_now(at, size)
            return 1
        elements = physical.view[start : start + n * size].cast(FORMATS[size])
        return _first(n, lambda i: (elements[i] == value) != while_equal)

    def compare(
        self, space: str, width: int, while_equal: bool, one: int, other: int, backwards: int,
        count: int,
    ) -> int:  # fmt: skip
        """Compare [one] with [other] until the first (un)equal pair, n times."""
        size = self._unit(space, width)
        physical, start, left = self._window(space, one, size, write=False)
        _, second, right = self._window(space, other, size, write=False)
        n = min(count, self.budget, left, right)
        if backwards or n < 2:
            self.accesses[space].load_now(one, size)
            self.accesses[space].load_now(other, size)
            return 1
        a = physical.view[start : start + n * size].cast(FORMATS[size])
        b = physical.view[second : second + n * size].cast(FORMATS[size])
        if while_equal and a == b:
            return n
        return _first(n, lambda i: (a[i] == b[i]) != while_equal)


def _first(n: int, ends: Any) -> int:
    """How many iterations until `ends(i)`, that one included."""
    return next((i + 1 for i in range(n) if ends(i)), n)
