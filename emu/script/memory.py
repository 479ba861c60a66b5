"""A guest's memory, as a script sees it: whatever is there, whatever its permissions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from emu.memory import (
    ADDRESS_LIMIT,
    EXECUTE,
    PAGE_BITS,
    PAGE_MASK,
    PAGE_SIZE,
    READ,
    WRITE,
    AddressSpace,
    OutOfMemoryError,
    Region,
    pieces_of,
)
from emu.pc.memory import PhysicalMap
from emu.pc.paging import UserMemory
from emu.script.errors import ScriptError
from emu.script.watch import Watch
from emu.state import State
from isa.hints import Final

PERMISSIONS: Final = {"r": READ, "w": WRITE, "x": EXECUTE}


class ScriptMemory(ABC):
    """`memory[0x1000]` is a byte, `memory[0x1000:0x1010]` bytes; both can be assigned to.

    Reading and writing here is none of the guest's: it faults nowhere, changes nothing besides, and
    code that is written is carried out from the next instruction on. Addresses at which there is
    nothing raise ScriptError.
    """

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """Bytes."""

    @abstractmethod
    def write(self, address: int, data: bytes) -> None:
        """Put bytes."""

    @abstractmethod
    def ranges(self) -> Iterator[tuple[int, int]]:
        """Where there may be something: from the first address up to but without the last."""

    def map(self, address: int, size: int, permissions: str = "rwx", name: str = "") -> None:
        """Map zeros over whole pages, replacing what was there. As on a 32-bit processor without
        NX, what can be read can be executed."""
        raise ScriptError(
            "Nothing can be mapped here",
            where=f"{address:#x}",
            why="A PC's pages are mapped by the tables that its guest has made",
            advice="Write those tables",
        )

    def unmap(self, address: int, size: int) -> None:
        """Unmap whole pages."""
        self.map(address, size)

    def __getitem__(self, where: int | slice) -> int | bytes:
        if isinstance(where, slice):
            start, size = _sliced(where)
            return self.read(start, size)
        return self.read(where, 1)[0]

    def __setitem__(self, where: int | slice, data: int | bytes) -> None:
        if not isinstance(where, slice):
            self.write(where, bytes([data]) if isinstance(data, int) else bytes(data))
            return
        start, size = _sliced(where)
        content = bytes(data) if not isinstance(data, int) else bytes([data]) * size
        if len(content) != size:
            raise ScriptError(
                f"{len(content)} bytes do not fill {size}",
                where=f"{start:#x} to {start + size:#x}",
                why="What is assigned to a slice of memory is as long as the slice",
                advice="Use memory.write(address, data)",
            )
        self.write(start, content)

    def read_int(self, address: int, size: int = 4) -> int:
        """A little-endian number."""
        return int.from_bytes(self.read(address, size), "little")

    def write_int(self, address: int, value: int, size: int = 4) -> None:
        """Put a little-endian number; negative ones too."""
        bits = (1 << 8 * size) - 1
        self.write(address, (value & bits).to_bytes(size, "little"))

    def string(self, address: int, limit: int = 1 << 16) -> bytes:
        """The bytes up to a NUL, at most `limit`."""
        found = b""
        for start, count in pieces_of(address, limit):
            head, nul, _ = self.read(start, count).partition(b"\0")
            found += head
            if nul:
                break
        return found

    def search(self, pattern: bytes, start: int = 0, end: int = ADDRESS_LIMIT) -> Iterator[int]:
        """The addresses at which the bytes stand, in order; they may overlap."""
        if not pattern:
            raise ScriptError("There is nothing to search for", why="The pattern is empty")
        for low, high in self.ranges():
            low, high = max(low, start), min(high, end)
            if low < high:
                data = self.read(low, high - low)
                at = data.find(pattern)
                while at >= 0:
                    yield low + at
                    at = data.find(pattern, at + 1)


def _sliced(where: slice) -> tuple[int, int]:
    start, stop = where.start, where.stop
    if start is None or stop is None or where.step not in (None, 1) or stop < start:
        raise ScriptError(
            "A slice of memory has a first address and an end behind it",
            where=repr(where),
            advice="Write memory[0x1000:0x1010], or memory.read(address, size)",
        )
    return start, stop - start


class MappedMemory(ScriptMemory):
    """The address space of a program: regions that are mapped."""

    def __init__(self, space: AddressSpace, watch: Watch) -> None:
        space.settle()
        self._space = space
        self._watch = watch

    def read(self, address: int, size: int) -> bytes:
        """See `ScriptMemory`."""
        self._check(address, size)
        found = []
        for start, count in pieces_of(address, size):
            frame = self._space.frames.get(start >> PAGE_BITS)
            where = 0 if frame is None else (frame << PAGE_BITS) + (start & PAGE_MASK)
            found.append(bytes(count) if frame is None else self._space.physical.read(where, count))
        return b"".join(found)

    def write(self, address: int, data: bytes) -> None:
        """See `ScriptMemory`."""
        self._check(address, len(data))
        try:
            self._space.poke(address, bytes(data))
        except OutOfMemoryError as error:
            raise ScriptError(
                "The guest's memory is full", where=f"{address:#x}", why=str(error)
            ) from None

    def _check(self, address: int, size: int) -> None:
        if size < 0 or not 0 <= address <= ADDRESS_LIMIT - size:
            raise ScriptError(
                f"{size} bytes at {address:#x} are no addresses", why="They have 32 bits"
            )
        if not self._space.is_mapped(address, size):
            regions = ", ".join(f"{r.start:#x}-{r.end:#x}" for r in self._space.regions[:8])
            raise ScriptError(
                f"No memory is mapped at {address:#x}, or not {size} bytes of it",
                why=f"There is memory at {regions or 'no address'}",
                advice="Map it: guest.memory.map(address, size)",
            )

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `ScriptMemory`: neighbours are one."""
        start = end = -1
        for region in self._space.regions:
            if region.start != end:
                if start >= 0:
                    yield start, end
                start = region.start
            end = region.end
        if start >= 0:
            yield start, end

    @property
    def regions(self) -> list[Region]:
        """What is mapped: start, end, permissions (4 read, 2 write, 1 execute), name."""
        return list(self._space.regions)

    def map(self, address: int, size: int, permissions: str = "rwx", name: str = "") -> None:
        """See `ScriptMemory`."""
        unknown = set(permissions) - PERMISSIONS.keys()
        if unknown:
            raise ScriptError(f"{permissions!r} are no permissions", advice="Use r, w and x")
        first, end = _pages(address, size)
        rights = sum(PERMISSIONS[letter] for letter in set(permissions))
        self._space.map(first, end - first, rights, name)
        self._watch.changed = True

    def unmap(self, address: int, size: int) -> None:
        """See `ScriptMemory`."""
        first, end = _pages(address, size)
        self._space.unmap(first, end - first)
        self._watch.changed = True


def _pages(address: int, size: int) -> tuple[int, int]:
    """The pages in which a range lies, from the first address up to but without the last."""
    if size <= 0 or not 0 <= address <= ADDRESS_LIMIT - size:
        raise ScriptError(f"{size} bytes at {address:#x} cannot be mapped", why="There are 4 GiB")
    return address & ~PAGE_MASK, address + size + PAGE_MASK & ~PAGE_MASK


class PhysicalView(ScriptMemory):
    """A PC's memory at physical addresses: RAM, ROM, and ones where nothing is."""

    def __init__(self, memory: PhysicalMap) -> None:
        self._memory = memory

    def _where(self, address: int, access: int) -> int:
        return self._memory.place(address, access)

    def read(self, address: int, size: int) -> bytes:
        """See `ScriptMemory`."""
        pieces = [(self._where(start, READ), count) for start, count in pieces_of(address, size)]
        return b"".join([self._memory.physical.read(where, count) for where, count in pieces])

    def write(self, address: int, data: bytes) -> None:
        """See `ScriptMemory`; ROM is written too."""
        pieces = [(self._where(at, READ), count) for at, count in pieces_of(address, len(data))]
        done = 0
        for where, count in pieces:
            self._memory.physical.write(where, bytes(data[done : done + count]))
            done += count

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `ScriptMemory`."""
        yield 0, self._memory.ram


class LinearView(PhysicalView):
    """A PC's memory at linear addresses, as its page tables map them now."""

    def __init__(self, memory: PhysicalMap, state: State, user: UserMemory) -> None:
        super().__init__(memory)
        self._state = state
        self._user = user

    def _where(self, address: int, access: int) -> int:
        where = self._user.peek(address)
        if where is None:
            raise ScriptError(
                f"No page is mapped at the linear address {address:#x}",
                where=f"page tables at {self._state['cr3']:#x}",
                advice="guest.physical reads physical addresses",
            )
        return self._memory.place(where, access)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `ScriptMemory`: pages that are mapped."""
        if not self._state["pg"]:
            yield from super().ranges()
            return
        for page in range(0, ADDRESS_LIMIT, PAGE_SIZE):
            if self._user.peek(page) is not None:
                yield page, page + PAGE_SIZE
