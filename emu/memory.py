"""Guest memory: physical storage on numpy, and a process's paged address space over it.

Everything a guest can reach is bounds-checked here; every host-side access goes through the same
checks. Accesses answer with the value or with a `Fault`; they never raise for a guest's mistake.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isa.fault import Fault

PAGE_SIZE = 4096
PAGE_MASK = PAGE_SIZE - 1
READ, WRITE, EXECUTE = 4, 2, 1  # permission bits, as in ELF program headers
ADDRESS_LIMIT = 1 << 32

PAGE_FAULT = 14  # SDM volume 3, section 6.15, interrupt 14
PAGE_FAULT_PRESENT, PAGE_FAULT_WRITE, PAGE_FAULT_USER = 1, 2, 4


class OutOfMemoryError(Exception):
    """The machine's physical memory is used up (the process machine answers ENOMEM)."""


CodeListener = Callable[[int, int], None]
"""Called as listener(physical address, size) after watched bytes were written."""


class Memory(Protocol):
    """What an engine needs of one address space. Sizes are in addressable units."""

    def load(self, address: int, size: int) -> int | Fault:
        """Read `size` units as one little-endian number."""

    def store(self, address: int, size: int, value: int) -> Fault | None:
        """Write `size` units."""

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """Read up to `size` units of code as bytes, and the fault of the first missing unit."""


class PhysicalMemory:
    """Bytes of RAM, lazily committed by the host; frames are handed out from the bottom.

    `watch` marks bytes that hold translated code; a write to any of them calls the listeners.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.array = np.zeros(size, dtype=np.uint8)
        self.view = memoryview(self.array)  # type: ignore[arg-type]  # numpy's stubs lack Buffer
        self.watched: dict[int, bytearray] = {}  # frame number -> one flag for each byte
        self.listeners: list[CodeListener] = []
        self._next_frame = 0
        self._free: list[int] = []

    def allocate_frame(self) -> int:
        """Return the number of a zeroed frame; raises OutOfMemoryError."""
        if self._free:
            frame = self._free.pop()
            self.array[frame * PAGE_SIZE : (frame + 1) * PAGE_SIZE] = 0
            return frame
        if (self._next_frame + 1) * PAGE_SIZE > self.size:
            raise OutOfMemoryError(f"all {self.size >> 20} MiB of guest memory are in use")
        self._next_frame += 1
        return self._next_frame - 1

    def free_frame(self, frame: int) -> None:
        """Give a frame back. Code translated from it is forgotten."""
        if frame in self.watched:
            self.notify(frame * PAGE_SIZE, PAGE_SIZE)
        self._free.append(frame)

    def watch(self, address: int, size: int) -> None:
        """Mark `size` bytes from `address` (inside one frame) as translated code."""
        frame, offset = divmod(address, PAGE_SIZE)
        flags = self.watched.setdefault(frame, bytearray(PAGE_SIZE))
        flags[offset : offset + size] = b"\1" * size

    def is_code(self, address: int, size: int) -> bool:
        """Tell whether any of the bytes holds translated code."""
        flags = self.watched.get(address // PAGE_SIZE)
        offset = address & PAGE_MASK
        return flags is not None and 1 in flags[offset : offset + size]

    def notify(self, address: int, size: int) -> None:
        """Tell the listeners that `size` bytes from `address` (inside one frame) changed."""
        for listener in self.listeners:
            listener(address, size)

    def read(self, address: int, size: int) -> bytes:
        """Read bytes; the caller has checked the range."""
        return bytes(self.view[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        """Write bytes inside one frame; the caller has checked the range."""
        self.view[address : address + len(data)] = data
        if self.watched and self.is_code(address, len(data)):
            self.notify(address, len(data))


@dataclass(slots=True)
class Region:
    """A mapped range of whole pages with one set of permissions."""

    start: int
    end: int
    permissions: int
    name: str = ""


class AddressSpace:
    """The linear memory of one process: regions, and frames allocated at first touch.

    `generation` grows whenever a mapping or permission changes; engines drop what they cached.
    """

    def __init__(self, physical: PhysicalMemory) -> None:
        self.physical = physical
        self.regions: list[Region] = []  # sorted, disjoint
        self.frames: dict[int, int] = {}  # page number -> frame number
        self.generation = 0

    # -- mappings ---------------------------------------------------------------------------

    def region_at(self, address: int) -> Region | None:
        """Return the region that holds `address`, or None."""
        i = bisect.bisect_right(self.regions, address, key=lambda r: r.start) - 1
        if i >= 0 and address < self.regions[i].end:
            return self.regions[i]
        return None

    def _carve(self, start: int, end: int) -> list[Region]:
        """Cut [start, end) out of the regions and return the pieces that lay inside it."""
        kept: list[Region] = []
        inside: list[Region] = []
        for r in self.regions:
            if r.end <= start or r.start >= end:
                kept.append(r)
                continue
            if r.start < start:
                kept.append(Region(r.start, start, r.permissions, r.name))
            if r.end > end:
                kept.append(Region(end, r.end, r.permissions, r.name))
            inside.append(Region(max(start, r.start), min(end, r.end), r.permissions, r.name))
        self.regions = sorted(kept, key=lambda r: r.start)
        self.generation += 1
        return inside

    def map(self, start: int, size: int, permissions: int, name: str = "") -> None:
        """Map zeroed pages over [start, start + size), replacing what was there.

        `start` and `size` are multiples of the page size inside the 32-bit space; raises ValueError
        otherwise.
        """
        if start & PAGE_MASK or size & PAGE_MASK or not 0 < size <= ADDRESS_LIMIT - start:
            raise ValueError(f"cannot map {size:#x} bytes at {start:#x}")
        self.unmap(start, size)
        bisect.insort(
            self.regions, Region(start, start + size, permissions, name), key=lambda r: r.start
        )

    def unmap(self, start: int, size: int) -> None:
        """Unmap the pages of [start, start + size); unmapped holes are no error."""
        for r in self._carve(start, start + size):
            for page in range(r.start // PAGE_SIZE, r.end // PAGE_SIZE):
                frame = self.frames.pop(page, None)
                if frame is not None:
                    self.physical.free_frame(frame)

    def protect(self, start: int, size: int, permissions: int) -> bool:
        """Change permissions of [start, start + size); False if part of it is not mapped."""
        if not self.is_mapped(start, size):
            return False
        for r in self._carve(start, start + size):
            bisect.insort(
                self.regions, Region(r.start, r.end, permissions, r.name), key=lambda r: r.start
            )
        return True

    def is_mapped(self, start: int, size: int) -> bool:
        """Tell whether every page of [start, start + size) is mapped."""
        while size > 0:
            r = self.region_at(start)
            if r is None:
                return False
            start, size = r.end, size - (r.end - start)
        return True

    def find_free(self, size: int, low: int, high: int) -> int | None:
        """Return the highest page-aligned start of a free gap of `size` in [low, high), or None."""
        ceiling = high
        for r in reversed(self.regions):
            if r.start >= ceiling:
                continue
            if ceiling - r.end >= size and ceiling - size >= low:
                return ceiling - size
            ceiling = min(ceiling, r.start)
        return ceiling - size if ceiling - size >= low else None

    # -- accesses ---------------------------------------------------------------------------

    def translate(self, address: int, access: int) -> int | Fault:
        """Return the physical address of `address`, or the page fault of a user-mode access.

        `access` is READ, WRITE or EXECUTE. Page permissions are those of a 32-bit page table: what
        can be read can be executed, what can be written can be read (SDM volume 3, section 4.6).
        """
        region = self.region_at(address)
        if region is None or not region.permissions & (WRITE if access == WRITE else 7):
            code = PAGE_FAULT_USER | (PAGE_FAULT_WRITE if access == WRITE else 0)
            if region is not None and region.permissions:
                code |= PAGE_FAULT_PRESENT
            return Fault(PAGE_FAULT, code, address)
        page = address // PAGE_SIZE
        frame = self.frames.get(page)
        if frame is None:
            frame = self.frames[page] = self.physical.allocate_frame()
        return frame * PAGE_SIZE + (address & PAGE_MASK)

    def _pieces(self, address: int, size: int, access: int) -> list[tuple[int, int]] | Fault:
        """Split an access at page boundaries into (physical address, size), or fault."""
        pieces = []
        while size:
            where = self.translate(address, access)
            if isinstance(where, Fault):
                return where
            count = min(size, PAGE_SIZE - (address & PAGE_MASK))
            pieces.append((where, count))
            address, size = (address + count) & (ADDRESS_LIMIT - 1), size - count
        return pieces

    def read(self, address: int, size: int, access: int = READ) -> bytes | Fault:
        """Read bytes as the guest could."""
        pieces = self._pieces(address, size, access)
        if isinstance(pieces, Fault):
            return pieces
        return b"".join(self.physical.read(where, count) for where, count in pieces)

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """Read up to `size` bytes of code, and the fault of the first missing byte."""
        code = self.read(address, size, EXECUTE)
        if not isinstance(code, Fault):
            return code, None
        room = PAGE_SIZE - (address & PAGE_MASK)
        head = self.read(address, min(size, room), EXECUTE)
        return (b"", head) if isinstance(head, Fault) else (head, code)

    def write(self, address: int, data: bytes) -> Fault | None:
        """Write bytes as the guest could; on a fault nothing is written."""
        pieces = self._pieces(address, len(data), WRITE)
        if isinstance(pieces, Fault):
            return pieces
        done = 0
        for where, count in pieces:
            self.physical.write(where, data[done : done + count])
            done += count
        return None

    def poke(self, address: int, data: bytes) -> None:
        """Write bytes whatever the permissions (loaders, debuggers); raises ValueError if unmapped."""
        for offset in range(len(data)):
            if offset and (address + offset) & PAGE_MASK:
                continue
            start = address + offset
            region = self.region_at(start)
            if region is None:
                raise ValueError(f"no memory is mapped at {start:#x}")
            page = start // PAGE_SIZE
            if page not in self.frames:
                self.frames[page] = self.physical.allocate_frame()
            count = min(len(data) - offset, PAGE_SIZE - (start & PAGE_MASK))
            where = self.frames[page] * PAGE_SIZE + (start & PAGE_MASK)
            self.physical.write(where, data[offset : offset + count])

    def read_string(self, address: int, limit: int = 4096) -> bytes | Fault | None:
        """Read a NUL-terminated string; None if no NUL comes within `limit` bytes."""
        found = b""
        while len(found) < limit:
            count = PAGE_SIZE - ((address + len(found)) & PAGE_MASK)
            piece = self.read((address + len(found)) & (ADDRESS_LIMIT - 1), count)
            if isinstance(piece, Fault):
                return piece
            head, nul, _ = piece.partition(b"\0")
            found += head
            if nul:
                return found if len(found) < limit else None
        return None

    def load(self, address: int, size: int) -> int | Fault:
        """Read `size` bytes as a little-endian number."""
        data = self.read(address, size)
        return data if isinstance(data, Fault) else int.from_bytes(data, "little")

    def store(self, address: int, size: int, value: int) -> Fault | None:
        """Write `size` bytes of a little-endian number."""
        return self.write(address, value.to_bytes(size, "little"))
