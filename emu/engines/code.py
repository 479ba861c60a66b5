"""Which storage holds translated code, and what to forget when it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emu.memory import EXECUTE, PAGE_MASK, PAGE_SIZE, AddressSpace
from isa.fault import Fault


class CodeMap:
    """Watches the storage behind translated blocks; `drop` gets the ids of blocks that changed."""

    def __init__(self, memory: Any, drop: Callable[[set[int]], None]) -> None:
        self._memory = memory
        self._paged = isinstance(memory, AddressSpace)
        self._storage = memory.physical if self._paged else memory
        self._drop = drop
        self._blocks: dict[int, dict[int, tuple[int, int]]] = {}  # frame -> block -> (start, end)
        self._frames: dict[int, int] = {}  # code page -> frame, as when it was translated
        self._generation = getattr(memory, "generation", 0)
        self.grew = False  # a page became watched since this was last cleared
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

    def watch(self, block: object, address: int, size: int) -> None:
        """Remember that `block` was translated from `size` units at `address`."""
        for start, count in self._pieces(address, size):
            frame = start // PAGE_SIZE
            # A frame that was freed is data to those who reached it since, though it is known here.
            known = not self._paged or frame in self._storage.code_frames
            self.grew |= frame not in self._blocks or not known
            self._blocks.setdefault(frame, {})[id(block)] = (start, start + count)
            self._storage.watch(start, count)

    def _pieces(self, address: int, size: int) -> list[tuple[int, int]]:
        """The physical pieces of a range of code."""
        if not self._paged:
            return [(address, size)]
        pieces = []
        while size > 0:
            count = min(size, PAGE_SIZE - (address & PAGE_MASK))
            where = self._memory.translate(address, EXECUTE)
            assert not isinstance(where, Fault), "code was read there a moment ago"
            self._frames[address // PAGE_SIZE] = where // PAGE_SIZE
            pieces.append((where, count))
            address, size = address + count, size - count
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

    def refresh(self) -> bool:
        """After mappings changed, drop code that is no longer there; tell whether they changed."""
        generation = getattr(self._memory, "generation", 0)
        if generation == self._generation:
            return False
        self._generation = generation
        for page, frame in list(self._frames.items()):
            where = self._memory.translate(page * PAGE_SIZE, EXECUTE)
            if isinstance(where, Fault) or where // PAGE_SIZE != frame:
                del self._frames[page]
                self.forget(set(self._blocks.get(frame, {})))
        return True
