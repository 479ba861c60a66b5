"""A virtual PC's storage: a range of the storage below, under addresses that start at 0."""

from __future__ import annotations

from emu.memory import PAGE_SIZE, PhysicalMemory


class PhysicalWindow(PhysicalMemory):
    """`size` bytes of another storage from `base` on, whole pages.

    Nothing is copied. Writes go through the storage below, so that whoever has translated code
    there notices; its own listeners are told of watched bytes that anybody wrote.
    """

    def __init__(self, below: PhysicalMemory, base: int, size: int) -> None:
        self.below = below
        self.base = base
        self.size = size
        self.array = below.array[base : base + size]
        self.view = below.view[base : base + size]
        self.code = below.code[base : base + size]
        self.code_frames: set[int] = set()
        self.watches = 0
        self.listeners = []
        self.dirty = None
        self._next_frame, self._free = 0, []
        below.listeners.append(self._changed_below)

    def _changed_below(self, address: int, size: int) -> None:
        start, end = max(address - self.base, 0), min(address + size - self.base, self.size)
        if start < end:
            super().notify(start, end - start)

    def watch(self, address: int, size: int) -> None:
        """See `PhysicalMemory`; below it is watched too."""
        super().watch(address, size)
        self.below.code_frames.add((self.base + address) // PAGE_SIZE)

    def release(self, frame: int) -> None:
        """See `PhysicalMemory`."""
        self.code_frames.discard(frame)
        real = self.base // PAGE_SIZE + frame
        if real in self.below.code_frames:
            self.below.release(real)
        else:
            super().notify(frame * PAGE_SIZE, PAGE_SIZE)

    def notify(self, address: int, size: int) -> None:
        """Tell the listeners below, and so ours."""
        self.below.notify(self.base + address, size)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes inside one frame. Engines may have watched it without telling below."""
        self.below.write(self.base + address, data)
        if self.dirty is not None:
            self.dirty.add(address // PAGE_SIZE)
        unseen = (self.base + address) // PAGE_SIZE not in self.below.code_frames
        if unseen and self.is_code(address, len(data)):
            super().notify(address, len(data))
