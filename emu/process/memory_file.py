"""Files that lie in memory and have no name (memfd_create): mappings share their very frames."""

from __future__ import annotations

from emu.memory import PAGE_MASK, PAGE_SIZE, OutOfMemoryError, PhysicalMemory, pieces_of
from emu.process.files import SeekableFile, Status
from emu.process.numbers import O_RDWR, S_IFREG, CallError, Errno


class MemoryFile(SeekableFile):
    """A file whose pages are frames of the machine's memory, held until it is closed."""

    def __init__(self, physical: PhysicalMemory) -> None:
        super().__init__(O_RDWR)
        self._physical = physical
        self._size = 0
        self.frames: list[int] = []

    def read_at(self, size: int, offset: int) -> bytes:
        """Read from its frames."""
        size = max(min(size, self._size - offset), 0)
        return b"".join(
            self._physical.read(self._where(start), count)
            for start, count in pieces_of(offset, size)
        )

    def write_at(self, data: bytes, offset: int) -> int:
        """Write to its frames, and make it longer if need be; ENOSPC."""
        self.truncate(max(self._size, offset + len(data)))
        done = 0
        for start, count in pieces_of(offset, len(data)):
            self._physical.write(self._where(start), data[done : done + count])
            done += count
        return done

    def _where(self, offset: int) -> int:
        return self.frames[offset // PAGE_SIZE] * PAGE_SIZE + (offset & PAGE_MASK)

    def status(self) -> Status:
        """A regular file without a name."""
        return Status(S_IFREG | 0o777, inode=4, links=0, size=self._size)

    def truncate(self, size: int) -> None:
        """Set the length, with zeros at the end; ENOSPC. Who has mapped what goes keeps it."""
        needed = -(-size // PAGE_SIZE)
        if needed - len(self.frames) > self._physical.free_frames:
            raise CallError(Errno.ENOSPC)
        while len(self.frames) < needed:
            self.frames.append(self._frame())
        for frame in self.frames[needed:]:
            self._physical.free_frame(frame)
        del self.frames[needed:]
        if size < self._size and size & PAGE_MASK:
            self._physical.write(self._where(size), bytes(PAGE_SIZE - (size & PAGE_MASK)))
        self._size = size

    def _frame(self) -> int:
        try:
            return self._physical.allocate_frame()
        except OutOfMemoryError:
            raise CallError(Errno.ENOSPC) from None

    def pages(self, offset: int, size: int) -> list[int]:
        """The frames of whole pages, to be mapped; EINVAL past its end.

        Linux lets those be mapped and ends who touches them.
        """
        first, end = offset // PAGE_SIZE, (offset + size) // PAGE_SIZE
        if end > len(self.frames):
            raise CallError(Errno.EINVAL)
        return self.frames[first:end]

    def close(self) -> None:
        """Whoever has mapped it keeps what he has."""
        self.truncate(0)
