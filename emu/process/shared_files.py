"""Files that mappings share (MAP_SHARED): one frame a page, whoever has mapped it.

While a file is mapped so, those of its pages that were touched lie in frames of the machine's
memory, as in Linux's page cache. What guests write there reaches the host's file before anybody
looks at that by other means (`settle`), at the latest when nobody maps it any more; what is
written to the file by other means is written to the frames as well (`written`, `resized`).
"""

from __future__ import annotations

import errno
import os

from emu.memory import PAGE_MASK, PAGE_SIZE, AddressSpace, Mappings
from emu.process.files import identity
from emu.process.namespace import Storage, Supply
from isa.hints import Any, Callable, Iterable
from isa.light import suppress


class SharedFile:
    """One file of the host's that is mapped: the `Backing` of regions."""

    def __init__(self, owner: SharedFiles, descriptor: int) -> None:
        self._owner = owner
        self._descriptor = descriptor
        self._writable = False
        self._physical = owner.space.physical
        self._frames: dict[int, int] = {}
        self._changed: set[int] = set()  # pages that may have been written since they were settled

    def __deepcopy__(self, memo: Any) -> SharedFile:
        return self  # a snapshot's regions show the same file

    def use(self, descriptor: int, writable: bool) -> None:
        """Have a way to write, if this descriptor is the first one that is."""
        if writable and not self._writable:
            os.dup2(descriptor, self._descriptor, inheritable=False)
            self._writable = True

    def frame(self, page: int) -> int | None:
        """See `Backing`. What the host cannot read is not there either."""
        with suppress(OSError):
            if page not in self._frames and page * PAGE_SIZE < self._size():
                data = os.pread(self._descriptor, PAGE_SIZE, page * PAGE_SIZE)
                frame = self._frames[page] = self._physical.allocate_frame()
                self._physical.write(frame * PAGE_SIZE, data)
        return self._frames.get(page)

    def may_change(self, page: int) -> None:
        """See `Backing`."""
        self._changed.add(page)

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def settle(self) -> None:
        """Write to the file what was written to its pages, and never past its end.

        Raises OSError; what could not be written can be tried again.
        """
        if not self._changed:
            return
        self._owner.space.changed()  # so that the next write to a page is noticed
        size = self._size()
        for page in sorted(self._changed):
            start = page * PAGE_SIZE
            count = max(min(PAGE_SIZE, size - start), 0)
            data = self._physical.read(self._frames[page] * PAGE_SIZE, count)
            if os.pwrite(self._descriptor, data, start) < count:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._changed.remove(page)
        self._owner.stamp(self._descriptor)

    def written(self, data: bytes, offset: int) -> None:
        """The same was written to the file."""
        end = offset + len(data)
        for page in range(offset // PAGE_SIZE, -(-end // PAGE_SIZE)):
            start = page * PAGE_SIZE
            low, high = max(offset, start), min(end, start + PAGE_SIZE)
            if page in self._frames:
                where = self._frames[page] * PAGE_SIZE + low - start
                self._physical.write(where, data[low - offset : high - offset])

    def resized(self, old: int, new: int) -> None:
        """The file got another length: pages past its end are gone, and zeros follow the bytes
        that are left, whatever was written to the last page behind them."""
        cut = min(old, new)
        last = self._frames.get(cut // PAGE_SIZE)
        if last is not None and cut & PAGE_MASK:
            rest = PAGE_SIZE - (cut & PAGE_MASK)
            self._physical.write((last + 1) * PAGE_SIZE - rest, bytes(rest))
        gone = [page for page in self._frames if page * PAGE_SIZE >= new]
        if gone:
            self._drop(gone)

    def _drop(self, gone: list[int]) -> None:
        """Take pages away from whoever has mapped them."""
        for mappings in self._owner.mappings():
            for region in (r for r in mappings.regions if r.backing is self):
                first, end = region.start // PAGE_SIZE, region.end // PAGE_SIZE
                for page in (n - region.shift for n in gone):
                    if first <= page < end and page in mappings.frames:
                        self._physical.free_frame(mappings.frames.pop(page))
        for page in gone:
            self._physical.free_frame(self._frames.pop(page))
        self._changed.difference_update(gone)
        self._owner.space.changed()

    def close(self) -> int:
        """Nobody maps it any more; returns the descriptor, which is the caller's now.

        What the host has no space for is lost, as with Linux.
        """
        with suppress(OSError):
            self.settle()
        for frame in self._frames.values():
            self._physical.free_frame(frame)
        self._frames.clear()
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def save(self) -> tuple[int, dict[int, int]]:
        """A descriptor of its own, and which frames there are (snapshots)."""
        return os.dup(self._descriptor), dict(self._frames)

    def load(self, descriptor: int, frames: dict[int, int]) -> None:
        """Have the frames that were saved, as the memory is that of then; the file is as it is now,
        and so is what they show."""
        if self._descriptor < 0:
            self._descriptor, self._writable = os.dup(descriptor), False
        self.abandon()
        self._frames.update(frames)
        for page, frame in frames.items():
            data = os.pread(self._descriptor, PAGE_SIZE, page * PAGE_SIZE)
            self._physical.write(frame * PAGE_SIZE, data.ljust(PAGE_SIZE, b"\0"))

    def abandon(self) -> None:
        """The frames are the memory's again, which forgot that they were in use."""
        self._frames.clear()
        self._changed.clear()


class PastEnd:
    """What a mapping shows past the end of its file: nothing, which is SIGBUS. A `Backing`."""

    def __deepcopy__(self, memo: Any) -> PastEnd:
        return self

    def frame(self, page: int) -> int | None:
        """See `Backing`."""
        return None

    def may_change(self, page: int) -> None:
        """See `Backing`."""

    def settle(self) -> None:
        """See `Backing`."""


PAST_END = PastEnd()

Saved = list[tuple[tuple[int, int], SharedFile, int, dict[int, int]]]


class SharedFiles:
    """The files of a machine that are mapped so. Each holds one of the host's descriptors."""

    space: AddressSpace
    mappings: Callable[[], Iterable[Mappings]]  # of all processes

    def __init__(self, supply: Supply, storage: Storage | None, now: Callable[[], int]) -> None:
        self._supply = supply
        self._storage = storage
        self._now = now
        self._files: dict[tuple[int, int], SharedFile] = {}

    def __bool__(self) -> bool:
        return bool(self._files)

    def __deepcopy__(self, memo: Any) -> SharedFiles:
        return self  # a copied descriptor is one of the same machine

    def attach(self, space: AddressSpace, mappings: Callable[[], Iterable[Mappings]]) -> None:
        """Know the memory."""
        self.space, self.mappings = space, mappings

    def of(self, descriptor: int) -> SharedFile | None:
        """What is mapped of the file behind a host's descriptor; None if nothing is."""
        return self._files.get(identity(os.fstat(descriptor))) if self._files else None

    def open(self, descriptor: int, *, writable: bool) -> SharedFile:
        """The file behind a host's descriptor, to be mapped; ENFILE."""
        key = identity(os.fstat(descriptor))
        if key not in self._files:
            self._files[key] = self._new(descriptor)
            if self._storage is not None:
                self._storage.opened(key)
        self._files[key].use(descriptor, writable)
        return self._files[key]

    def _new(self, descriptor: int) -> SharedFile:
        self._supply.take()
        try:
            return SharedFile(self, os.dup(descriptor))
        except BaseException:
            self._supply.give_back()
            raise

    def stamp(self, descriptor: int) -> None:
        """Give a written file the guest's time; one that somebody else owns keeps the host's."""
        with suppress(OSError):
            os.utime(descriptor, ns=(self._now(), self._now()))

    def settle(self) -> None:
        """Bring every file up to date."""
        for file in self._files.values():
            file.settle()

    def sweep(self) -> None:
        """Let go of the files that nobody maps any more."""
        if not self._files:
            return
        used = {id(region.backing) for mappings in self.mappings() for region in mappings.regions}
        for key in [key for key, file in self._files.items() if id(file) not in used]:
            self._close(key)

    def _close(self, key: tuple[int, int]) -> None:
        descriptor = self._files.pop(key).close()
        found = os.fstat(descriptor)
        os.close(descriptor)
        self._supply.give_back()
        if self._storage is not None:
            self._storage.closed(key, found.st_nlink, found.st_size)

    def save(self) -> Saved:
        """Which there are, for `load`."""
        return [(key, file, *file.save()) for key, file in self._files.items()]

    def load(self, saved: Saved) -> None:
        """Have those that were saved: the memory is that of then, mappings included."""
        for key in self._files.keys() - {key for key, *_ in saved}:
            self._files[key].abandon()
            self._close(key)
        for key, file, descriptor, frames in saved:
            if key not in self._files and self._storage is not None:
                self._storage.opened(key)
            self._files[key] = file
            file.load(descriptor, frames)

    def close(self) -> None:
        """The machine has ended."""
        for key in list(self._files):
            self._close(key)
