"""A virtual PC's storage: a range of the storage below, under addresses that start at 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from emu.memory import PAGE_SIZE, PhysicalMemory


class _Frames:
    """The frames of a window that hold code: those of the storage below, by their numbers here. So
    whoever has translated code there, above or below, nobody writes to it without a look."""

    def __init__(self, below: PhysicalMemory, base: int, size: int) -> None:
        self._below = below
        self._first = base // PAGE_SIZE
        self._range = range(size // PAGE_SIZE)

    def __contains__(self, frame: int) -> bool:
        return frame in self._range and self._first + frame in self._below.code_frames

    def __iter__(self) -> Iterator[int]:
        return (n - self._first for n in self._below.code_frames if n - self._first in self._range)

    def __bool__(self) -> bool:
        return bool(self._below.code_frames)

    def add(self, frame: int) -> None:
        """There is code in it."""
        self._below.code_frames.add(self._first + frame)


class PhysicalWindow(PhysicalMemory):
    """`size` bytes of another storage from `base` on, whole pages.

    Nothing is copied. Writes go through the storage below, so that whoever has translated code
    there notices; its own listeners are told of watched bytes that anybody wrote.
    """

    def __init__(self, below: PhysicalMemory, base: int, size: int) -> None:
        self.below = below
        self.base = base
        self.size = size
        self.view, self.address = below.view[base : base + size], below.address + base
        self.code, self.code_address = below.code[base : base + size], below.code_address + base
        self.code_frames = cast("set[int]", _Frames(below, base, size))
        self.watches = self.shared_code = 0
        self.listeners = []
        self.dirty = None
        self._next_frame, self._free, self._more_users = 0, [], {}
        below.listeners.append(self._changed_below)

    def _changed_below(self, address: int, size: int) -> None:
        start, end = max(address - self.base, 0), min(address + size - self.base, self.size)
        if start < end:
            super().notify(start, end - start)

    def release(self, frame: int) -> None:
        """See `PhysicalMemory`."""
        self.below.release(self.base // PAGE_SIZE + frame)

    def notify(self, address: int, size: int) -> None:
        """Tell the listeners below, and so ours."""
        self.below.notify(self.base + address, size)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes inside one frame."""
        self.below.write(self.base + address, data)
        if self.dirty is not None:
            self.dirty.add(address // PAGE_SIZE)
