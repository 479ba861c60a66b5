"""Which storage holds translated code, and what to forget when it changes."""

from __future__ import annotations

from emu.memory import PAGE_SIZE, Mark, TranslatedMemory, pieces_of
from isa.fault import Fault
from isa.hints import Any, Callable, Hashable


class CodeMap:
    """Watches the storage behind translated blocks; `drop` gets the ids of blocks that changed."""

    def __init__(self, memory: Any, drop: Callable[[set[int]], None]) -> None:
        self._memory = memory
        self._paged = isinstance(memory, TranslatedMemory)
        self._storage = memory.physical if self._paged else memory
        self._drop = drop
        self._blocks: dict[int, dict[int, tuple[int, int]]] = {}  # frame -> block -> (start, end)
        self._frames: dict[tuple[int, int], int] = {}  # code page, privilege -> frame, as it was
        self._privileges: set[int] = set()  # that occur there
        self._mark: Mark = (0, 0)
        self.grew = False  # a page became watched since this was last cleared
        self._shared = 0  # the storage's `shared_code` when it was looked at
        self._storage.listeners.append(self._changed)

    @property
    def blocks(self) -> int:
        """How many blocks (counted once for each frame they touch) are remembered."""
        return sum(map(len, self._blocks.values()))

    def close(self) -> None:
        """Listen no more."""
        self._storage.listeners.remove(self._changed)

    def clear(self) -> None:
        """Forget all blocks; their storage stays watched until it is written."""
        self._blocks.clear()
        self._frames.clear()

    def watch(self, block: object, mode: Hashable, address: int, size: int) -> None:
        """Remember that `block`, of a mode, was translated from `size` units at `address`."""
        for start, count in self._pieces(mode, address, size):
            frame = start // PAGE_SIZE
            self.guard(start)
            self._blocks.setdefault(frame, {})[id(block)] = (start, start + count)
            self._storage.watch(start, count)

    def guard(self, where: int) -> None:
        """Have writes to the page of storage at `where` looked at: it holds code, or will."""
        frame = where // PAGE_SIZE
        if self._paged:
            self.grew |= self._storage.guard(frame)
        else:
            self.grew |= frame not in self._blocks

    def _pieces(self, mode: Hashable, address: int, size: int) -> list[tuple[int, int]]:
        """The physical pieces of a range of code."""
        if not self._paged:
            return [(address, size)]
        pieces, privilege = [], self._memory.privilege_in(mode)
        for start, count in pieces_of(address, size):
            where = self._memory.still(start, privilege)
            assert not isinstance(where, Fault), "code was read there a moment ago"
            self._frames[start // PAGE_SIZE, privilege] = where // PAGE_SIZE
            self._privileges.add(privilege)
            pieces.append((where, count))
        return pieces

    def _changed(self, address: int, size: int) -> None:
        """Some watched units were written: drop the blocks that contain them, watch no more."""
        self._storage.unwatch(address, size)
        gone: set[int] = set()
        for frame in range(address // PAGE_SIZE, (address + size - 1) // PAGE_SIZE + 1):
            for block, (start, end) in self._blocks.get(frame, {}).items():
                if start < address + size and address < end:
                    gone.add(block)
        self.forget(gone)

    def forget(self, gone: set[int]) -> None:
        """Watch some blocks (by their ids) no longer, and have them dropped."""
        for blocks in self._blocks.values():
            for block in gone & blocks.keys():
                del blocks[block]
        if gone:
            self._drop(gone)

    def refresh(self) -> list[int] | None:
        """After mappings changed, drop code that is no longer there; tell which pages changed, None
        if all may have, or writes to any may want a look now, as another session found code."""
        if not self._paged:
            return []
        pages: list[int] | None
        self._mark, pages = self._memory.changes_since(self._mark)
        if pages is None:
            self._check(list(self._frames))
        elif pages:
            keys = {(page, privilege) for page in pages for privilege in self._privileges}
            self._check(list(keys & self._frames.keys()))
        before, self._shared = self._shared, self._storage.shared_code
        return pages if self._shared == before else None

    def _check(self, keys: list[tuple[int, int]]) -> None:
        for page, privilege in keys:
            frame = self._frames[page, privilege]
            where = self._memory.still(page * PAGE_SIZE, privilege)
            if isinstance(where, Fault) or where // PAGE_SIZE != frame:
                del self._frames[page, privilege]
                self.forget(set(self._blocks.get(frame, {})))
