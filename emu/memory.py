"""Guest memory: physical storage, and a process's paged address space over it.

Everything a guest can reach is bounds-checked here; every host-side access goes through the same
checks. Accesses answer with the value or with a `Fault`; they never raise for a guest's mistake.
"""

from __future__ import annotations

import bisect
from abc import ABC, abstractmethod
from itertools import takewhile

from emu.late import np
from emu.room import Room
from isa.fault import Fault
from isa.hints import (
    TYPE_CHECKING,
    Any,
    Callable,
    Collection,
    Hashable,
    Iterator,
    Mapping,
    Protocol,
    Sequence,
)
from isa.light import attrgetter, cached_property
from isa.record import NamedTuple

if TYPE_CHECKING:
    import numpy.typing as npt

PAGE_SIZE = 4096
PAGE_MASK = PAGE_SIZE - 1
PAGE_BITS = PAGE_SIZE.bit_length() - 1
READ, WRITE, EXECUTE = 4, 2, 1  # permission bits, as in ELF program headers
ANY = READ | WRITE | EXECUTE  # without PAE, what is mapped at all can be read and executed
ADDRESS_LIMIT = 1 << 32

PAGE_FAULT = 14  # SDM volume 3, section 6.15, interrupt 14
PAGE_FAULT_PRESENT, PAGE_FAULT_WRITE, PAGE_FAULT_USER = 1, 2, 4


class OutOfMemoryError(Exception):
    """The machine's physical memory is used up."""


Mark = tuple[int, int]
"""A point in the history of a memory's translations; (0, 0) is the beginning."""
MOST_CHANGES = 1 << 12  # of single pages that are told one by one
MANY_CHANGES = 1 << 10  # at a time: to forget everything takes less then
MOST_SHARES = 8  # times that a frame is shared, on average
AROUND = 32  # pages, from a multiple of as many, that engines may learn of at one touch, and that
# get their frames together: an engine that asks for a page takes as long as for some of them
MANY_FREE = 1 << 10  # frames of storage that is not short of them
NEAR = 8  # pages, from a multiple of as many, whose late content comes together

CodeListener = Callable[[int, int], None]
"""Called as listener(physical address, size) after watched bytes were written."""


class Memory(Protocol):
    """What an engine needs of one address space. Sizes are in addressable units."""

    def load(self, address: int, size: int) -> int | Fault:
        """Read `size` units as one little-endian number."""

    def load_for_write(self, address: int, size: int) -> int | Fault:
        """Read units that will be written: the fault is the one that a write would meet."""

    def store(self, address: int, size: int, value: int) -> Fault | None:
        """Write `size` units."""

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """Read up to `size` units of code as bytes, and the fault of the first missing unit.

        Fewer units without a fault: the rest lies in a page of its own, and is fetched if needed.
        """


class PhysicalMemory:
    """Bytes of RAM, lazily committed by the host; frames are handed out from the bottom.

    `watch` marks bytes that hold translated code; a write to any of them calls the listeners.
    `dirty`, if set, collects the frames that may be written from when it was set (`log_writes`).
    """

    def __init__(self, size: int) -> None:
        self.size = size
        room, marks = Room(size, shared=True), Room(size)
        self.view, self.address = room.view, room.address
        self.code, self.code_address = marks.view, marks.address  # 1: a byte of translated code
        self.code_frames: set[int] = set()  # frames that hold some
        self.watches = 0  # how often units were marked
        self.shared_code = 0  # frames with more users that came to hold code, whoever noticed
        self.listeners: list[CodeListener] = []
        self.dirty: set[int] | None = None
        self.promised = 0  # frames for late content, see `AddressSpace.fill`
        self._next_frame = 0
        self._free: list[int] = []
        self._more_users: dict[int, int] = {}  # of shared frames, beside the first user
        self._shares = 0  # their sum
        self._constants: dict[int, int | None] = {}  # frame -> hash of its content, None: not yet
        self._by_hash: dict[int, int] = {}

    @cached_property
    def array(self) -> npt.NDArray[np.uint8]:
        """The bytes for numpy."""
        return np.frombuffer(self.view, np.uint8)

    def allocate_frame(self) -> int:
        """Return the number of a zeroed frame; raises OutOfMemoryError."""
        return self.allocate_frames(1)[0]

    def allocate_frames(self, count: int) -> list[int]:
        """So many zeroed frames, ascending as far as can be; raises OutOfMemoryError, and gives
        none then."""
        frames, used = self._taken(count)
        self._write_frames(frames[:used], memoryview(bytes(used * PAGE_SIZE)))
        return frames

    def filled_frames(self, data: memoryview) -> list[int]:
        """Frames with so many bytes in them, and zeros behind those; raises OutOfMemoryError."""
        frames, used = self._taken(-(-len(data) // PAGE_SIZE))
        self._write_frames(frames, data)
        rest = -len(data) % PAGE_SIZE
        if rest and used == len(frames):
            end = (frames[-1] + 1) * PAGE_SIZE
            self.view[end - rest : end] = bytes(rest)
        return frames

    def _taken(self, count: int) -> tuple[list[int], int]:
        """Frames as they are, and how many of them, the first ones, had users before."""
        self._check_free(count)
        again = min(count, len(self._free))
        last = self._next_frame + count - again
        frames = self._free[len(self._free) - again :]
        del self._free[len(self._free) - again :]
        frames += range(self._next_frame, last)
        self._next_frame = last
        return frames, again

    def _check_free(self, count: int) -> None:
        if count > self.free_frames:
            raise OutOfMemoryError(f"all {self.size >> 20} MiB of guest memory are in use")

    def promise(self, count: int) -> None:
        """Keep so many frames for somebody, or if negative let them go; raises OutOfMemoryError."""
        self._check_free(count)
        self.promised += count

    def _write_frames(self, frames: Sequence[int], data: memoryview) -> None:
        """Write to frames, one after the other, as far as there are bytes."""
        for start, count in runs_of(frames):
            where, first = frames[start] * PAGE_SIZE, start * PAGE_SIZE
            piece = data[first : first + count * PAGE_SIZE]
            self.view[where : where + len(piece)] = piece

    @property
    def most_used(self) -> int:
        """How many bytes were in use at a time, at most."""
        return self._next_frame * PAGE_SIZE

    def free_frame(self, frame: int) -> None:
        """Give a frame back, the last of its users for good. Code translated from it is forgotten
        then."""
        if self._more_users.get(frame):
            self._more_users[frame] -= 1
            self._shares -= 1
            return
        if frame in self._constants:
            self.make_private(frame)
        if frame in self.code_frames:
            self.release(frame)
        self._free.append(frame)

    # -- frames with more than one user -----------------------------------------------------

    def share_frame(self, frame: int) -> int:
        """Give a frame one more user; returns it. Raises OutOfMemoryError."""
        if not self.free_shares:
            raise OutOfMemoryError("too many pages are shared")
        self._more_users[frame] = self._more_users.get(frame, 0) + 1
        self._shares += 1
        return frame

    def has_more_users(self, frame: int) -> bool:
        """Whether a frame was given another user, and still has one."""
        return bool(self._more_users.get(frame))

    @property
    def free_shares(self) -> int:
        """How often frames can still be shared: each time costs the host something, too."""
        return MOST_SHARES * (self.size // PAGE_SIZE) - self._shares

    def is_shared(self, frame: int) -> bool:
        """Tell whether a frame has more than one user, or may get another by its content."""
        return bool(self._more_users.get(frame)) or frame in self._constants

    def make_private(self, frame: int) -> None:
        """Let nobody else find a frame by its content; its one user may write to it."""
        number = self._constants.pop(frame, None)
        if number is not None and self._by_hash.get(number) == frame:
            del self._by_hash[number]

    def copy_frames(self, frames: Sequence[int]) -> list[int]:
        """New frames with the same content; raises OutOfMemoryError."""
        copies, _ = self._taken(len(frames))
        for first, count in runs_of(frames, copies):
            source, target = frames[first] * PAGE_SIZE, copies[first] * PAGE_SIZE
            size = count * PAGE_SIZE
            self.view[target : target + size] = self.view[source : source + size]
        return copies

    def constant_frames(self, data: memoryview) -> list[int]:
        """Frames with the content of pages that nobody will write, the last one filled up with
        zeros; equal ones are one as soon as they are indexed. Raises OutOfMemoryError."""
        if self._by_hash:
            whole = memoryview(bytes(data).ljust(-(-len(data) // PAGE_SIZE) * PAGE_SIZE, b"\0"))
            pages = range(0, len(whole), PAGE_SIZE)
            return [self._constant_frame(whole[at : at + PAGE_SIZE]) for at in pages]
        frames = self.filled_frames(data)
        self._constants |= dict.fromkeys(frames)
        return frames

    def _constant_frame(self, page: memoryview) -> int:
        found = self._constant_like(page)
        if found is not None:
            return self.share_frame(found)
        [frame] = self.filled_frames(page)
        self._constants[frame] = None
        return frame

    def index_constants(self) -> None:
        """Have the constant pages of now be found again. A machine that never starts a second
        program never pays for that."""
        for frame, number in self._constants.items():
            if number is None:
                number = hash(self.read(frame * PAGE_SIZE, PAGE_SIZE))
                self._constants[frame] = number
                self._by_hash.setdefault(number, frame)

    def _constant_like(self, page: memoryview) -> int | None:
        frame = self._by_hash.get(hash(page))
        same = frame is not None and self.read(frame * PAGE_SIZE, PAGE_SIZE) == page
        return frame if same else None

    @property
    def free_frames(self) -> int:
        """How many frames can still be handed out."""
        return len(self._free) + self.size // PAGE_SIZE - self._next_frame - self.promised

    def watch(self, address: int, size: int) -> None:
        """Mark `size` bytes from `address` (inside one frame) as translated code."""
        self.watches += 1
        self.guard(address // PAGE_SIZE)
        self.code[address : address + size] = b"\1" * size

    def guard(self, frame: int) -> bool:
        """Have writes to a frame looked at, as it holds code or will; False if they are already."""
        if frame in self.code_frames:
            return False
        self.code_frames.add(frame)
        self.shared_code += self.has_more_users(frame)
        return True

    def unwatch(self, address: int, size: int) -> None:
        """Take the mark off `size` bytes (inside one frame): what was translated is forgotten."""
        self.code[address : address + size] = bytes(size)

    def is_code(self, address: int, size: int) -> bool:
        """Tell whether any of the bytes holds translated code."""
        if address // PAGE_SIZE not in self.code_frames:
            return False
        return 1 in self.code[address : address + size].tobytes()

    def holds_code(self, frame: int) -> bool:
        """Tell whether any byte of a frame is marked as translated code."""
        return 1 in self.code[frame * PAGE_SIZE : (frame + 1) * PAGE_SIZE].tobytes()

    def release(self, frame: int) -> None:
        """Writes to a frame need no look any more. Code translated from it is forgotten."""
        self.code_frames.remove(frame)
        self.notify(frame * PAGE_SIZE, PAGE_SIZE)

    def notify(self, address: int, size: int) -> None:
        """Tell the listeners that `size` bytes from `address` (inside one frame) changed."""
        for listener in self.listeners:
            listener(address, size)

    def read(self, address: int, size: int) -> bytes:
        """Read bytes; the caller has checked the range."""
        return bytes(self.view[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        """Write bytes; the caller has checked the range."""
        self.view[address : address + len(data)] = data
        frames = range(address // PAGE_SIZE, (address + len(data) - 1) // PAGE_SIZE + 1)
        if self.dirty is not None:
            self.dirty.update(frames)
        if self.code_frames.isdisjoint(frames):
            return
        for start, count in pieces_of(address, len(data)):
            if self.is_code(start, count):
                self.notify(start, count)


def pieces_of(address: int, size: int) -> Iterator[tuple[int, int]]:
    """Split a range at page boundaries into (address, size), wrapping at 4 GiB."""
    while size > 0:
        address &= ADDRESS_LIMIT - 1
        count = min(size, PAGE_SIZE - (address & PAGE_MASK))
        yield address, count
        address, size = address + count, size - count


def runs_of(*columns: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where sequences of one length begin to count up together, and how long they do."""
    length = len(columns[0])
    if not length:
        return
    if all(list(column) == list(range(column[0], column[0] + length)) for column in columns):
        yield 0, length  # nearly always
        return
    first = 0
    for at in range(1, length + 1):
        if at == length or any(column[at] != column[at - 1] + 1 for column in columns):
            yield first, at - first
            first = at


class Backing(Protocol):
    """What a region shows that is no memory of its own: a file."""

    def frame(self, page: int) -> int | None:
        """The frame of one of its pages, which is somebody else's too; None past its end. Raises
        OutOfMemoryError."""

    def may_change(self, page: int) -> None:
        """Writes may reach a page that `frame` told, until all translations are forgotten."""

    def settle(self) -> None:
        """Bring to the file what was written so. Raises OSError."""


class Region(NamedTuple):
    """A mapped range of whole pages with one set of permissions.

    What a `backing` shows at a page is its page of that number plus `shift`; `fixed` forbids that
    it is ever written.
    """

    start: int
    end: int
    permissions: int
    name: str = ""
    backing: Backing | None = None
    shift: int = 0
    fixed: bool = False

    def allows(self, access: int) -> bool:
        """Whether its permissions are enough, WRITE or anything else."""
        return bool(self.permissions & (WRITE if access == WRITE else ANY))


_start = attrgetter("start")
_end = attrgetter("end")
SHARED = "shared"  # the name of regions whose pages a copy of the address space shares


class Mappings:
    """What one process has mapped: sorted, disjoint regions, the frames of touched pages, and late
    content, which others get when they are touched."""

    def __init__(
        self, regions: list[Region] | None = None, frames: dict[int, int] | None = None
    ) -> None:
        self.regions = [] if regions is None else regions
        self.frames = {} if frames is None else frames  # page number -> frame number
        self.late: dict[int, memoryview] = {}  # page number -> what it and the next ones show

    @property
    def resident(self) -> int:
        """How many pages have content, as far as a guest can tell."""
        return len(self.frames) + len(self.late)


class TranslatedMemory(ABC):
    """Linear addresses over physical storage, a page at a time; how is `_walk`'s business.

    `generation` grows whenever a translation or right may have changed; engines then ask
    `changes_since` what to drop of what they cached.
    """

    def __init__(self, physical: PhysicalMemory) -> None:
        self.physical = physical
        self.generation = 0
        self._whole = 0  # how often everything changed
        self._changed_pages: list[int] = []  # since then
        readable: dict[int, int] = {}  # page number -> where it lies in storage, as a TLB
        self._cached = {READ: readable, EXECUTE: readable, WRITE: dict[int, int]()}

    def changed(self) -> None:
        """Forget every cached translation, here and in the engines."""
        self.generation += 1
        self._whole += 1
        self._changed_pages.clear()
        self._cached[READ].clear()
        self._cached[WRITE].clear()

    def pages_changed(self, pages: Collection[int]) -> None:
        """The same for some pages."""
        for page in pages:
            self._cached[READ].pop(page, None)
            self._cached[WRITE].pop(page, None)
        self.tell_changed(pages)

    def tell_changed(self, pages: Collection[int]) -> None:
        """Have the engines forget some pages; all, if these are too many to be told one by one."""
        self.generation += 1
        if len(self._changed_pages) + len(pages) > MOST_CHANGES:
            self._whole += 1
            self._changed_pages.clear()
        else:
            self._changed_pages.extend(pages)

    def log_writes(self, dirty: set[int] | None) -> None:
        """Have storage's frames collected that are written from now on; None: no longer.

        Engines reach a page directly once they have asked for it, so they have to ask again. No
        translation is forgotten: a guest cannot tell.
        """
        self.physical.dirty = dirty
        self.generation += 1
        self._whole += 1
        self._changed_pages.clear()

    def changes_since(self, mark: Mark) -> tuple[Mark, list[int] | None]:
        """The mark of now, and the pages that changed since a mark; None: everything may have."""
        now = self._whole, len(self._changed_pages)
        return now, self._changed_pages[mark[1] :] if mark[0] == now[0] else None

    @abstractmethod
    def _walk(self, address: int, access: int) -> int | Fault:
        """Translate, and remember the answer."""

    # -- accesses ---------------------------------------------------------------------------

    def translate(self, address: int, access: int) -> int | Fault:
        """Return where `address` lies in storage, or the page fault of the access.

        `access` is READ, WRITE or EXECUTE. Page permissions are those of a 32-bit page table: what
        can be read can be executed, what can be written can be read (SDM volume 3, section 4.6).
        """
        base = self._cached[access].get(address // PAGE_SIZE)
        where = self._walk(address, access) if base is None else base + (address & PAGE_MASK)
        if access == WRITE and self.physical.dirty is not None and not isinstance(where, Fault):
            self.physical.dirty.add(where // PAGE_SIZE)
        return where

    def may_be_written(self, address: int, where: int) -> bool:
        """Whether somebody may have cached how to write to a page of storage, at `where`: at
        `address`, where it is found, or elsewhere if it has other users."""
        written, frame = self._cached[WRITE], where // PAGE_SIZE
        if address // PAGE_SIZE in written:
            return True
        return self.physical.has_more_users(frame) and frame * PAGE_SIZE in written.values()

    # What engines ask of code and of pages that they would like to reach directly.

    def privilege_in(self, mode: Hashable) -> int:
        """With whose rights code is fetched in a mode; part of what makes a page of code valid."""
        return 0

    def still(self, address: int, privilege: int) -> int | Fault:
        """Where code lies now for such a privilege; a fault also if fetching it would change
        anything (accessed bits)."""
        return self.translate(address, EXECUTE)

    def look(self, address: int, size: int, privilege: int) -> bytes:
        """Code as `still` finds it, up to the first byte that is not there."""
        found = b""
        for start, count in pieces_of(address, size):
            where = self.still(start, privilege)
            if isinstance(where, Fault):
                break
            found += self.physical.read(where, count)
        return found

    def is_split(self, address: int) -> bool:
        """Whether reads of the page of `address` find something else than writes leave (ROM)."""
        return False

    def constant_pages(self, page: int, most: int) -> int:
        """How many pages from one on, at most so many, can be fetched now and never written."""
        return 0

    def around(self, address: int) -> list[Reachable]:
        """Pages near one that has been reached which can be reached now, too; nothing that a guest
        could tell changes by that."""
        return []

    def _pieces(self, address: int, size: int, access: int) -> list[tuple[int, int]] | Fault:
        """An access as (physical address, size) of what lies together in storage, or a fault."""
        pieces: list[tuple[int, int]] = []
        behind = -1
        for start, count in pieces_of(address, size):
            where = self.translate(start, access)
            if isinstance(where, Fault):
                return where
            if where == behind:
                first, before = pieces.pop()
                pieces.append((first, before + count))
            else:
                pieces.append((where, count))
            behind = where + count
        return pieces

    def read(self, address: int, size: int, access: int = READ) -> bytes | Fault:
        """Read bytes as the guest could."""
        pieces = self._pieces(address, size, access)
        if isinstance(pieces, Fault):
            return pieces
        return b"".join([self.physical.read(where, count) for where, count in pieces])

    def fetch(self, address: int, size: int) -> tuple[bytes, Fault | None]:
        """Read up to `size` bytes of code, and the fault of the first missing byte."""
        code = self.read(address, size, EXECUTE)
        if not isinstance(code, Fault):
            return code, None
        head = self.read(address, min(size, PAGE_SIZE - (address & PAGE_MASK)), EXECUTE)
        return (b"", head) if isinstance(head, Fault) else (head, code)

    def write(self, address: int, data: bytes) -> Fault | None:
        """Write bytes as the guest could; on a fault nothing is written."""
        pieces = self._pieces(address, len(data), WRITE)
        if isinstance(pieces, Fault):
            return pieces
        self._scatter(pieces, data)
        return None

    def _scatter(self, pieces: list[tuple[int, int]], data: bytes) -> None:
        """Write `data` over translated pieces in turn."""
        done = 0
        for where, count in pieces:
            self.physical.write(where, data[done : done + count])
            done += count

    def read_string(self, address: int, limit: int = 4096) -> bytes | Fault | None:
        """Read a NUL-terminated string; None if no NUL comes within `limit` bytes."""
        found = b""
        for start, count in pieces_of(address, limit):
            piece = self.read(start, count)
            if isinstance(piece, Fault):
                return piece
            head, nul, _ = piece.partition(b"\0")
            found += head
            if nul:
                return found
        return None

    def load(self, address: int, size: int) -> int | Fault:
        """Read `size` bytes as a little-endian number."""
        data = self.read(address, size)
        return data if isinstance(data, Fault) else int.from_bytes(data, "little")

    def load_for_write(self, address: int, size: int) -> int | Fault:
        """The same for a place that will be written: the fault is a write's."""
        data = self.read(address, size, WRITE)
        return data if isinstance(data, Fault) else int.from_bytes(data, "little")

    def store(self, address: int, size: int, value: int) -> Fault | None:
        """Write `size` bytes of a little-endian number."""
        return self.write(address, value.to_bytes(size, "little"))


class Reachable(NamedTuple):
    """Pages that can be read: the number of the first, how many they are, where they lie in storage
    one behind the other, and whether they can be written without anybody's having a look."""

    page: int
    length: int
    where: int
    writable: bool

    @property
    def pages(self) -> range:
        """Their numbers."""
        return range(self.page, self.page + self.length)

    @property
    def places(self) -> dict[int, int]:
        """Where each of them lies in storage, by number."""
        places = range(self.where, self.where + self.length * PAGE_SIZE, PAGE_SIZE)
        return dict(zip(self.pages, places, strict=True))


def replaced(memory: Memory, address: int, size: int) -> int | Fault:
    """What a store would write over, or the fault that it would meet: a walk for reading instead
    might set accessed bits of a page that cannot be written."""
    if not isinstance(memory, TranslatedMemory):
        return memory.load_for_write(address, size)
    data = memory.read(address, size, WRITE)
    return data if isinstance(data, Fault) else int.from_bytes(data, "little")


class AddressSpace(TranslatedMemory):
    """The linear memory of one process: regions, and frames allocated at first touch.

    It can change to the mappings of another process, as a processor does with its page tables.
    `exhausted` is set once an access faulted only because physical memory was used up.
    """

    def __init__(self, physical: PhysicalMemory) -> None:
        super().__init__(physical)
        self.exhausted = False
        self.mappings = Mappings()
        self._take_up(self.mappings)

    # -- whole address spaces ---------------------------------------------------------------

    def use(self, mappings: Mappings) -> None:
        """Change to other mappings."""
        if mappings is not self.mappings:
            self.mappings = mappings
            self._take_up(mappings)
            self.changed()

    def _take_up(self, mappings: Mappings) -> None:
        self.regions, self.frames, self._late = mappings.regions, mappings.frames, mappings.late

    def settle(self) -> None:
        """Have all late content where it belongs: for whoever looks at frames."""
        self._bring(0, ADDRESS_LIMIT)

    def log_writes(self, dirty: set[int] | None) -> None:
        """See `TranslatedMemory`."""
        self.settle()
        super().log_writes(dirty)

    def copy(self) -> Mappings:
        """Return mappings with the same content, for a new process: what can be written is copied,
        the rest shared. Raises OutOfMemoryError, and has changed nothing then."""
        self.settle()
        private, shared = self._pages_to_copy()
        physical = self.physical
        if len(private) > physical.free_frames or len(shared) > physical.free_shares:
            raise OutOfMemoryError(f"no memory is left for {len(private) + len(shared)} pages")
        copies = physical.copy_frames([self.frames[page] for page in private])
        frames = dict(zip(private, copies, strict=True))
        frames |= {page: physical.share_frame(self.frames[page]) for page in shared}
        return Mappings(list(self.regions), frames)

    def _pages_to_copy(self) -> tuple[list[int], list[int]]:
        """Return the touched pages that a copy gets copied, and those it shares."""
        private: list[int] = []
        shared: list[int] = []
        for region in self.regions:
            if region.name == SHARED and region.backing is None:
                self._touch(region)
            alone = region.permissions & WRITE and region.name != SHARED
            (private if alone else shared).extend(self._touched_pages(region.start, region.end))
        return private, shared

    def _touch(self, region: Region) -> None:
        """Give every page of a region its frame."""
        pages = range(region.start // PAGE_SIZE, region.end // PAGE_SIZE)
        self._give([page for page in pages if page not in self.frames])

    def _give(self, pages: Sequence[int]) -> None:
        """Give pages frames; raises OutOfMemoryError, and gives none then."""
        self.frames |= zip(pages, self.physical.allocate_frames(len(pages)), strict=True)

    def release(self, mappings: Mappings) -> None:
        """Give back what some mappings hold; nobody uses them any more."""
        for frame in mappings.frames.values():
            self.physical.free_frame(frame)
        self.physical.promise(-len(mappings.late))
        mappings.late.clear()
        mappings.frames.clear()
        mappings.regions.clear()
        if mappings is self.mappings:
            self.changed()

    def _make_private(self, page: int) -> None:
        """Give a touched page a frame that only this address space has; raises OutOfMemoryError."""
        frame, physical = self.frames[page], self.physical
        physical.make_private(frame)
        if physical.is_shared(frame):
            [self.frames[page]] = physical.copy_frames([frame])
            physical.free_frame(frame)
            self.pages_changed([page])

    # -- mappings ---------------------------------------------------------------------------

    def region_at(self, address: int) -> Region | None:
        """Return the region that holds `address`, or None."""
        i = bisect.bisect_right(self.regions, address, key=_start) - 1
        if i >= 0 and address < self.regions[i].end:
            return self.regions[i]
        return None

    def overlapping(self, start: int, end: int) -> list[Region]:
        """Return the regions that have a byte in [start, end)."""
        return self.regions[self._slice(start, end)]

    def _slice(self, start: int, end: int) -> slice:
        """Where the regions that touch [start, end) stand in the list."""
        first = bisect.bisect_right(self.regions, start, key=_end)
        return slice(first, max(first, bisect.bisect_left(self.regions, end, key=_start)))

    def _replace(self, start: int, end: int, inside: list[Region]) -> None:
        """Put `inside` where [start, end) was, keeping what sticks out on either side."""
        where = self._slice(start, end)
        old = self.regions[where]
        if old and old[0].start < start:
            inside = [old[0]._replace(end=start), *inside]
        if old and old[-1].end > end:
            inside = [*inside, old[-1]._replace(start=end)]
        self.regions[where] = inside
        self._join(max(where.start - 1, 0), where.start + len(inside))
        self._range_changed(start, end)

    def _range_changed(self, start: int, end: int) -> None:
        """Have everybody forget the pages of [start, end), or all if these are many."""
        pages = range(start // PAGE_SIZE, end // PAGE_SIZE)
        if len(pages) > MANY_CHANGES:
            self.changed()
        else:
            self.pages_changed(pages)

    def _join(self, first: int, last: int) -> None:
        """Merge neighbours of equal permissions and name, so that the list stays short."""
        for i in range(min(last, len(self.regions) - 1), first, -1):
            low, high = self.regions[i - 1], self.regions[i]
            if low._replace(start=high.start, end=high.end) == high and low.end == high.start:
                self.regions[i - 1 : i + 1] = [low._replace(end=high.end)]

    def map(self, start: int, size: int, permissions: int, name: str = "") -> None:
        """Map zeroed pages over [start, start + size), replacing what was there.

        `start` and `size` are multiples of the page size inside the 32-bit space; raises ValueError
        otherwise.
        """
        if start & PAGE_MASK or size & PAGE_MASK or not 0 < size <= ADDRESS_LIMIT - start:
            raise ValueError(f"cannot map {size:#x} bytes at {start:#x}")
        self._drop_frames(start, start + size)
        self._replace(start, start + size, [Region(start, start + size, permissions, name)])

    def map_backing(self, region: Region) -> None:
        """Map what a backing shows, over the whole of a region, replacing what was there."""
        self._drop_frames(region.start, region.end)
        self._replace(region.start, region.end, [region])

    def map_frames(self, start: int, frames: Sequence[int], permissions: int) -> None:
        """Map frames that somebody else holds, for both to write. Raises as `map` does, and
        OutOfMemoryError."""
        if len(frames) > self.physical.free_shares:
            raise OutOfMemoryError("too many pages are shared")
        self.map(start, len(frames) * PAGE_SIZE, permissions, SHARED)
        for page, frame in enumerate(frames, start // PAGE_SIZE):
            self.frames[page] = self.physical.share_frame(frame)

    def unmap(self, start: int, size: int) -> None:
        """Unmap the pages of [start, start + size); unmapped holes are no error."""
        self._drop_frames(start, start + size)
        self._replace(start, start + size, [])

    def discard(self, start: int, size: int) -> None:
        """Forget the contents of [start, start + size): the next touch finds zeros."""
        self._drop_frames(start, start + size)
        self._range_changed(start, start + size)

    def move(self, start: int, size: int, target: int) -> None:
        """Move the pages of [start, start + size) to `target`, replacing what was there."""
        pieces = [
            r._replace(start=max(r.start, start), end=min(r.end, start + size))
            for r in self.overlapping(start, start + size)
        ]
        self._bring(start, start + size)
        pages, by = self._touched_pages(start, start + size), target - start
        moved = {page + by // PAGE_SIZE: self.frames.pop(page) for page in pages}
        self._replace(start, start + size, [])
        for r in pieces:
            there = r._replace(start=r.start + by, end=r.end + by, shift=r.shift - by // PAGE_SIZE)
            self.map_backing(there if r.backing else there._replace(shift=0))
        self.frames.update(moved)

    def _touched_pages(self, start: int, end: int) -> list[int]:
        """Return the pages of [start, end) that have a frame."""
        return _pages_in(self.frames, start, end)

    def _drop_frames(self, start: int, end: int) -> None:
        late = _pages_in(self._late, start, end)
        for page in late:
            del self._late[page]
        self.physical.promise(-len(late))
        for page in self._touched_pages(start, end):
            self.physical.free_frame(self.frames.pop(page))

    def protect(self, start: int, size: int, permissions: int) -> bool:
        """Change permissions of [start, start + size); False if part of it is not mapped.

        Raises OutOfMemoryError if pages that were shared may be written now and cannot be copied.
        """
        if not self.is_mapped(start, size):
            return False
        end = start + size
        if permissions & WRITE:
            self._make_writable(start, end)
        pieces = [
            r._replace(start=max(r.start, start), end=min(r.end, end), permissions=permissions)
            for r in self.overlapping(start, end)
        ]
        self._replace(start, end, pieces)
        return True

    def _make_writable(self, start: int, end: int) -> None:
        for region in self.overlapping(start, end):
            if region.permissions & WRITE or region.name == SHARED:
                continue
            for page in self._touched_pages(max(region.start, start), min(region.end, end)):
                if self.physical.is_shared(self.frames[page]):
                    self._make_private(page)

    def is_mapped(self, start: int, size: int) -> bool:
        """Tell whether every page of [start, start + size) is mapped."""
        while size > 0:
            r = self.region_at(start)
            if r is None:
                return False
            start, size = r.end, size - (r.end - start)
        return True

    def accessible(self, start: int, size: int, access: int) -> int:
        """Return how many of `size` bytes from `start` allow `access` before the first that faults.

        Costs time for regions, not for pages, so that a hostile size is cheap.
        """
        allowed = WRITE if access == WRITE else ANY
        here, end = start, min(start + size, ADDRESS_LIMIT)
        while here < end:
            r = self.region_at(here)
            if r is None or not r.permissions & allowed:
                break
            here = r.end
        return min(here, end) - start

    def find_free(self, size: int, low: int, high: int) -> int | None:
        """Return the highest page-aligned start of a free gap of `size` in [low, high), or None."""
        ceiling = high
        for r in reversed(self.regions[: bisect.bisect_left(self.regions, high, key=_start)]):
            if ceiling - r.end >= size:
                break
            ceiling = min(ceiling, r.start)
        return ceiling - size if ceiling - size >= low else None

    # -- accesses ---------------------------------------------------------------------------

    def _walk(self, address: int, access: int) -> int | Fault:
        """Translate by the regions, and remember the answer."""
        region = self.region_at(address)
        if region is None or not region.allows(access):
            return _page_fault(region, address, access)
        frame = self._frame_of(address // PAGE_SIZE, region)
        if frame is None:
            return _page_fault(None, address, access)
        if access == WRITE and region.backing is not None:
            region.backing.may_change(address // PAGE_SIZE + region.shift)
        self._cached[access][address // PAGE_SIZE] = frame * PAGE_SIZE
        return frame * PAGE_SIZE + (address & PAGE_MASK)

    def _frame_of(self, page: int, region: Region) -> int | None:
        """Return the frame of a mapped page, allocated at first touch; None if none is left, or
        past the end of a backing."""
        frame = self.frames.get(page)
        if frame is None:
            try:
                frame = self._first_touch(page, region)
            except OutOfMemoryError:
                self.exhausted = True
        if frame is not None:
            self.frames[page] = frame
        return frame

    def _first_touch(self, page: int, region: Region) -> int | None:
        if page in self._late:
            self._bring_run(self._late_around(page, _near(page, region, NEAR)))
            return self.frames[page]
        if region.backing is None:
            self._give(self._due(page, region))
            return self.frames[page]
        found = region.backing.frame(page + region.shift)
        return None if found is None else self.physical.share_frame(found)

    def _due(self, page: int, region: Region) -> Sequence[int]:
        """A page that is touched first, and others, ascending: engines reach them with this one,
        see `around`. All that are near as long as memory is plenty; then those behind or before it
        where touches go on beside touched pages; just this one where memory is short."""
        free, near = self.physical.free_frames, _near(page, region)
        if free < MANY_FREE:
            return [page]
        if free * PAGE_SIZE > self.physical.size // 2:
            return [other for other in near if self._is_empty(other)]
        step = -1 if self._is_empty(page - 1) else 1
        if self._is_empty(page - step):
            return [page]
        pages = range(page, near.stop) if step > 0 else range(near.start, page + 1)[::-1]
        found = list(takewhile(self._is_empty, pages))
        return found[::step]

    def _is_empty(self, page: int) -> bool:
        return page not in self.frames and page not in self._late

    def around(self, address: int) -> list[Reachable]:
        """See `TranslatedMemory`: those of its region that have been touched."""
        region = self.region_at(address)
        if region is None:
            return []
        pages = [page for page in _near(address // PAGE_SIZE, region) if page in self.frames]
        frames = [self.frames[page] for page in pages]
        writes = region.permissions & WRITE and region.backing is None
        free = bool(writes) and self.physical.dirty is None
        code = self.physical.code_frames.intersection(frames) if free else ()
        runs = ((at, 1) for at in range(len(pages))) if code else runs_of(pages, frames)
        found = [
            Reachable(pages[at], count, frames[at] * PAGE_SIZE, free and frames[at] not in code)
            for at, count in runs
        ]
        for run in found:
            self._remember(run)
        return found

    def _remember(self, run: Reachable) -> None:
        """Keep how to translate pages."""
        known = run.places
        self._cached[READ] |= known
        if run.writable:
            self._cached[WRITE] |= known

    def still(self, address: int, privilege: int) -> int | Fault:
        """See `TranslatedMemory`: a page that was never touched holds no code, and is not touched
        by being asked for."""
        region = self.region_at(address)
        page = address // PAGE_SIZE
        if region is None or not region.permissions & ANY or self._is_empty(page):
            return _page_fault(region, address, EXECUTE)
        frame = self._frame_of(page, region)
        assert frame is not None
        return frame * PAGE_SIZE + (address & PAGE_MASK)

    def constant_pages(self, page: int, most: int) -> int:
        """See `TranslatedMemory`; pages that were never touched do not count."""
        region = self.region_at(page * PAGE_SIZE)
        if region is None or region.permissions & WRITE or region.name == SHARED:
            return 0
        last = min(region.end // PAGE_SIZE, page + most)
        return next((n - page for n in range(page, last) if n not in self.frames), last - page)

    def poke(self, address: int, data: bytes) -> None:
        """Write bytes whatever the permissions (loaders, debuggers).

        Raises ValueError if a byte is not mapped, OutOfMemoryError if no frame is left; nothing is
        written then.
        """
        if not self.is_mapped(address, len(data)):
            raise ValueError(f"no memory is mapped at {address:#x}, or not {len(data)} bytes of it")
        pieces = []
        for start, count in pieces_of(address, len(data)):
            frame = self._frame_to_write(start // PAGE_SIZE)
            pieces.append((frame * PAGE_SIZE + (start & PAGE_MASK), count))
        self._scatter(pieces, data)

    def _frame_to_write(self, page: int) -> int:
        """The frame of a page, which nobody else sees; raises OutOfMemoryError."""
        region = self.region_at(page * PAGE_SIZE)
        frame = None if region is None else self._frame_of(page, region)
        if region is None or frame is None:
            raise OutOfMemoryError(f"no memory is left for the page at {page * PAGE_SIZE:#x}")
        if region.backing is not None:
            region.backing.may_change(page + region.shift)
        if self.physical.is_shared(frame) and region.name != SHARED:
            self._make_private(page)
        return self.frames[page]

    def fill(self, address: int, data: bytes | memoryview, *, late: bool = False) -> None:
        """Write bytes of a file to pages that were just mapped, as `poke`; those that cannot be
        written are one with equal pages of other processes.

        If it may be `late`, and `data` never changes, whole pages are written when they are touched
        first: a short run touches a small part of its program. Their frames are promised, so that
        memory gets full when it would otherwise.
        """
        before = address & PAGE_MASK
        if before and address // PAGE_SIZE not in self.frames:
            address, data = address - before, bytes(before) + data
        data = memoryview(data).toreadonly()
        done = 0
        while done < len(data):
            size = self._untouched(address + done, len(data) - done)
            if size and late:
                self._fill_late(address + done, data[done : done + size])
            elif size:
                self._fill_pages(_pages_from(address + done, size), data[done : done + size])
            else:
                size = min(PAGE_SIZE - (address + done & PAGE_MASK), len(data) - done)
                self.poke(address + done, bytes(data[done : done + size]))
            done += size

    def _untouched(self, address: int, size: int) -> int:
        """How many bytes of so many are on pages of one region that nobody has touched."""
        region = self.region_at(address)
        if region is None or address & PAGE_MASK or region.backing is not None:
            return 0
        pages = _pages_from(address, min(size, region.end - address))
        if not all(known.keys().isdisjoint(pages) for known in (self.frames, self._late)):
            pages = range(pages.start, next(page for page in pages if not self._is_empty(page)))
        return min(len(pages) * PAGE_SIZE, size)

    def _fill_pages(self, pages: Sequence[int], data: memoryview) -> None:
        """Write to whole pages of one region, the rest of the last one too, that nobody has
        touched."""
        region, physical = self.region_at(pages[0] * PAGE_SIZE), self.physical
        constant = region is not None and not region.permissions & WRITE
        frames = physical.constant_frames(data) if constant else physical.filled_frames(data)
        self.frames |= zip(pages, frames, strict=True)

    def _fill_late(self, address: int, data: memoryview) -> None:
        """The same when they are touched."""
        pages = _pages_from(address, len(data))
        self.physical.promise(len(pages))
        self._late |= {
            page: data[at:] for page, at in zip(pages, range(0, len(data), PAGE_SIZE), strict=True)
        }

    def _bring(self, start: int, end: int) -> None:
        """Write late content to its pages in [start, end)."""
        for region in self.overlapping(start, end) if self._late else ():
            first, last = max(region.start, start), min(region.end, end)
            within = range(first // PAGE_SIZE, last // PAGE_SIZE)
            for page in _pages_in(self._late, first, last):
                if page in self._late:  # it did not come with one before it
                    self._bring_run(self._late_around(page, within))

    def _late_around(self, page: int, within: range) -> range:
        """A late page and those around it, without a gap and of one file."""
        first, end = page, page + 1
        while first > within.start and self._goes_on(first - 1):
            first -= 1
        while end < within.stop and self._goes_on(end - 1):
            end += 1
        return range(first, end)

    def _goes_on(self, page: int) -> bool:
        """Whether the late content of a page goes on in the next one."""
        here, there = self._late.get(page), self._late.get(page + 1)
        return here is not None and there is not None and len(there) == len(here) - PAGE_SIZE

    def _bring_run(self, pages: Sequence[int]) -> None:
        content = [self._late.pop(page) for page in pages]
        self.physical.promise(-len(pages))
        self._fill_pages(pages, content[0][: len(pages) * PAGE_SIZE])


def _pages_from(address: int, size: int) -> range:
    """The pages of so many bytes, of which the first one begins a page."""
    return range(address // PAGE_SIZE, -(-(address + size) // PAGE_SIZE))


def _pages_in(known: Mapping[int, Any], start: int, end: int) -> list[int]:
    """The pages of [start, end) among those known, by whichever way is shorter."""
    first, last = start // PAGE_SIZE, end // PAGE_SIZE
    if last - first <= len(known):
        return [page for page in range(first, last) if page in known]
    return sorted(page for page in known if first <= page < last)


def _near(page: int, region: Region, count: int = AROUND) -> range:
    """The pages of a region that are looked at together with one of them: at most so many, from a
    multiple of that."""
    start = page & -count
    first, last = region.start // PAGE_SIZE, region.end // PAGE_SIZE
    return range(max(start, first), min(start + count, last))


def _page_fault(region: Region | None, address: int, access: int) -> Fault:
    """The page fault of a user-mode access; SDM volume 3, figure 4-12 has the error code."""
    code = PAGE_FAULT_USER | (PAGE_FAULT_WRITE if access == WRITE else 0)
    if region is not None and region.permissions:
        code |= PAGE_FAULT_PRESENT
    return Fault(PAGE_FAULT, code, address)
