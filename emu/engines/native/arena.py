"""Where native code finds decoded blocks: records in one arena, and rows of headers for pages.

No Python object stands for a block: what there is to know of it is in its header. `discover.py` has
the native code that reads and fills all this; Python makes pages ready, adds what native code
cannot decode, and forgets blocks whose code changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from emu.engines.native.decode_tables import RECORD
from emu.engines.native.discover import BLOCK, END, LONGEST, PYTHONS, REGION
from emu.engines.native.layout import Header, Word
from emu.engines.native.runtime import PAGE_BITS, PAGES
from emu.memory import EXECUTE, PAGE_MASK, PAGE_SIZE, Mark, TranslatedMemory
from isa.fault import Fault
from isa.x86.encoding import MAX_LENGTH

if TYPE_CHECKING:
    from emu.engines.native.engine import NativeSession

ARENA = 1 << 21  # records; then everything is forgotten
MOST_PAGES = 1 << 12  # ready at a time, in all modes; then everything is forgotten

OVERWRITTEN = 16  # changes of a frame's code after which it has none
AHEAD = 16  # pages of constant code that are made ready together


class ColdBlock(NamedTuple):
    """A decoded block, as its header tells it."""

    mode: Hashable
    pc: int
    header: int
    size: int


class Page(NamedTuple):
    """A page that is ready: blocks of one mode begin in it, fetched with some privilege."""

    mode: Hashable
    number: int
    frame: int
    privilege: int


class FullError(Exception):
    """There is no room: everything must be forgotten."""


class Arena:
    """The decoded blocks of a session. Record 0 and slot 0 are nobody's."""

    def __init__(self, session: NativeSession, entry: int) -> None:
        memory = session.state.memory[session.isa.code_space]
        assert isinstance(memory, TranslatedMemory)
        self._session = session
        self._memory = memory
        self._entry = entry  # of `tier1`, as the jump cache names it
        self._mark: Mark = (0, 0)
        self._mail = session.mail
        self._mode: Hashable = None  # whose blocks native code discovers now
        self.records = np.zeros(ARENA, dtype=RECORD)
        self._decoded = (0, 0)  # how much was, when changes were counted first
        self._changes: Counter[int] = Counter()  # of code since then, by frame
        self._words = self.records.view(np.uint32).reshape(ARENA, -1)
        self.clear()
        memory.physical.listeners.append(self._changed)

    def close(self) -> None:
        """Listen no more."""
        self._memory.physical.listeners.remove(self._changed)

    def clear(self) -> None:
        """Forget all blocks."""
        self._slots = np.zeros((MOST_PAGES, PAGE_SIZE), dtype=np.uint32)
        self._frames = np.zeros(MOST_PAGES, dtype=np.uint32)
        self._pages: dict[Hashable, tuple[npt.NDArray[np.uint32], int]] = {}
        self._ready: dict[int, Page] = {}  # by slot
        self._by_frame: dict[int, set[int]] = {}
        self._free: list[int] = []  # slots that were given back
        self._mail[Word.USED] = 1
        self.attach()
        if self._mode is not None:
            self.use(self._mode)

    def attach(self) -> None:
        """Tell native code where everything is."""
        self._mail[Word.RECORDS] = self.records.ctypes.data
        self._mail[Word.SLOTS] = self._slots.ctypes.data
        self._mail[Word.FRAMES] = self._frames.ctypes.data
        self._mail[Word.ARENA] = len(self.records)

    def use(self, mode: Hashable) -> None:
        """Let native code discover blocks of a mode."""
        self._mode = mode
        self._mail[Word.PAGES] = self._of(mode)[1]

    def _of(self, mode: Hashable) -> tuple[npt.NDArray[np.uint32], int]:
        """The slots of a mode by page number, and where they are."""
        found = self._pages.get(mode)
        if found is None:
            slots = np.zeros(PAGES, dtype=np.uint32)
            found = self._pages[mode] = slots, slots.ctypes.data
        return found

    # -- pages -----------------------------------------------------------------------------------

    def page(self, mode: Hashable, number: int) -> int:
        """The slot of a page, which is made ready if need be; 0 if nothing can be fetched there.

        Raises FullError.
        """
        slots = self._of(mode)[0]
        if not slots[number]:
            self._make_ready(mode, number)
            for following in range(number + 1, number + self._constant(number)):
                self._make_ready(mode, following)
        return int(slots[number])

    def _make_ready(self, mode: Hashable, number: int) -> None:
        slots = self._of(mode)[0]
        where = self._memory.translate(number << PAGE_BITS, EXECUTE)
        if not slots[number] and not isinstance(where, Fault):
            page = Page(mode, number, where >> PAGE_BITS, self._memory.privilege_in(mode))
            slots[number] = self._hold(page)
            self._session.guard(number << PAGE_BITS, where)
            self._session.touch(number << PAGE_BITS, PAGE_SIZE)

    def _constant(self, number: int) -> int:
        """How many pages from one on, at most AHEAD, are there already and cannot be written."""
        most = min(AHEAD, MOST_PAGES - len(self._ready) - 1)
        return max(self._memory.constant_pages(number, most), 1)

    def is_ready(self, mode: Hashable, pc: int) -> bool:
        """Whether native code may look for blocks in the page of `pc`."""
        return bool(self._of(mode)[0][pc >> PAGE_BITS])

    def _hold(self, page: Page) -> int:
        slot = self._free.pop() if self._free else len(self._ready) + 1
        if slot >= MOST_PAGES:
            raise FullError
        stops = any(pc >> PAGE_BITS == page.number for pc in self._session.breakpoints)
        self._frames[slot] = PYTHONS if stops else page.frame << PAGE_BITS
        self._ready[slot] = page
        self._by_frame.setdefault(page.frame, set()).add(slot)
        return slot

    def _release(self, slot: int) -> None:
        """A page is not ready any more."""
        self._drop(slot, np.flatnonzero(self._slots[slot]))
        self._change_before(slot, 0, MAX_LENGTH)
        page = self._ready.pop(slot)
        self._by_frame[page.frame].remove(slot)
        self._of(page.mode)[0][page.number] = 0
        self._free.append(slot)

    def refresh(self) -> None:
        """After mappings changed, release the pages whose code is no longer there."""
        self._mark, pages = self._memory.changes_since(self._mark)
        for slot in list(self._ready) if pages is None else self._ready_in(pages):
            if not self._is_there(self._ready[slot]):
                self._release(slot)

    def _ready_in(self, pages: list[int]) -> set[int]:
        """The slots of some pages, in all modes."""
        return {int(slots[page]) for slots, _ in self._pages.values() for page in pages} - {0}

    def _is_there(self, page: Page) -> bool:
        """Whether a page still is a frame whose writes are looked at."""
        where = self._memory.still(page.number << PAGE_BITS, page.privilege)
        frames = self._memory.physical.code_frames
        return where == page.frame << PAGE_BITS and page.frame in frames

    # -- blocks ----------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many instructions a block may still have."""
        free: int = len(self.records) - self._mail[Word.USED] - 2
        return max(min(LONGEST, free), 0)

    def code_at(self, slot: int, pc: int) -> npt.NDArray[np.uint8]:
        """The code from `pc` to the end of its page."""
        start = self._ready[slot].frame << PAGE_BITS
        return self._memory.physical.array[start + (pc & PAGE_MASK) : start + PAGE_SIZE]

    def add(self, slot: int, pc: int, records: npt.NDArray[Any]) -> None:
        """Enter a block, at most `room` records. Raises FullError."""
        header, count = self._mail[Word.USED], len(records)
        size = int(records["length"].sum())
        offset, page = pc & PAGE_MASK, self._ready[slot]
        inside = min(size, PAGE_SIZE - offset)
        after = self.page(page.mode, (page.number + 1) % PAGES) if size > inside else slot
        self._mail[Word.USED] = header + count + 2
        self.records[header + 1 : header + 1 + count] = records
        self.records["form"][header + 1 + count] = END
        self._words[header] = 0
        self._words[header, Header.SIZE] = size
        watch = self._memory.physical.watch
        watch((page.frame << PAGE_BITS) + offset, inside)
        watch(self._ready[after].frame << PAGE_BITS, size - inside)
        self._slots[slot, offset] = header

    def _header(self, mode: Hashable, pc: int) -> int:
        slot = int(self._of(mode)[0][pc >> PAGE_BITS])
        return int(self._slots[slot, pc & PAGE_MASK]) if slot else 0

    def _behind(self, header: int) -> int:
        """The block of a header: itself, or what a region replaces."""
        is_region = self._words[header, Header.KIND] == REGION
        return int(self._words[header, Header.BEHIND]) if is_region else header

    def is_known(self, mode: Hashable, pc: int) -> bool:
        """Whether native code can go on at `pc`."""
        return self._header(mode, pc) != 0

    def block(self, mode: Hashable, key: int) -> ColdBlock | None:
        """The block at a key of the session, if one was decoded: only program counters are keys of
        blocks here."""
        header = self._behind(self._header(mode, key)) if key >> PAGE_BITS < PAGES else 0
        if not header:
            return None
        return ColdBlock(mode, key, header, int(self._words[header, Header.SIZE]))

    def targets(self, block: ColdBlock) -> set[int]:
        """Where a block went the last times."""
        words = self._words[block.header]
        return {int(words[Header.TARGETS + n]) for n in range(4)} - {0}

    def count_from(self, block: ColdBlock, number: int) -> None:
        """Let a block's entries count on from a number, negative ones too."""
        self._words[block.header, Header.COUNT] = number & 0xFFFFFFFF

    def recalls(self, block: ColdBlock) -> bool:
        """Whether this is the first time that somebody asks."""
        was = bool(self._words[block.header, Header.RECALLED])
        self._words[block.header, Header.RECALLED] = 1
        return not was

    def forms_since(self, record: int) -> tuple[set[int], int]:
        """The form numbers in the records from one on, and how many records there are now."""
        used: int = self._mail[Word.USED]
        first = record if record <= used else 1
        return set(self.records["form"][first:used].tolist()), used

    # -- regions ---------------------------------------------------------------------------------

    def offer(self, mode: Hashable, pc: int, address: int, entry: int) -> None:
        """Have native code find a region at `pc`, instead of the block there."""
        slot, header = int(self._of(mode)[0][pc >> PAGE_BITS]), self._header(mode, pc)
        if not slot:
            return
        if not header or self._words[header, Header.KIND] == BLOCK:
            behind, header = header, self._mail[Word.USED]
            if header == len(self.records):
                return
            self._mail[Word.USED] = header + 1
            self._words[header] = 0
            self._words[header, Header.BEHIND] = behind
        self._words[header, Header.FUNCTION : Header.FUNCTION + 2].view(np.uint64)[0] = address
        self._words[header, Header.ENTRY] = entry
        self._words[header, Header.KIND] = REGION
        self._slots[slot, pc & PAGE_MASK] = header

    def withdraw(self, mode: Hashable, pc: int, address: int) -> None:
        """A region is gone: the block that it replaced is back."""
        slot, header = int(self._of(mode)[0][pc >> PAGE_BITS]), self._header(mode, pc)
        words = self._words[header]
        function = words[Header.FUNCTION : Header.FUNCTION + 2].view(np.uint64)[0]
        if header and words[Header.KIND] == REGION and function == address:
            self._slots[slot, pc & PAGE_MASK] = words[Header.BEHIND]

    # -- changes ---------------------------------------------------------------------------------

    def _changed(self, address: int, size: int) -> None:
        """Some bytes of storage were written: drop the blocks that contain them."""
        for frame in range(address >> PAGE_BITS, (address + size - 1 >> PAGE_BITS) + 1):
            start = max(address - (frame << PAGE_BITS), 0)
            end = min(address + size - (frame << PAGE_BITS), PAGE_SIZE)
            guarded = frame in self._memory.physical.code_frames
            for slot in list(self._by_frame.get(frame, ())):
                if not guarded:
                    self._release(slot)
                    continue
                self._change(slot, start, end)
                self._change_before(slot, start, end)
            if guarded and self._is_overwritten(frame):
                self._memory.physical.release(frame)

    def _is_overwritten(self, frame: int) -> bool:
        """Whether code of a frame has changed often since anything was decoded: it is a frame of
        data by now, or will have other code."""
        decoded = self._mail[Word.USED], self._memory.physical.watches
        if decoded != self._decoded:
            self._decoded = decoded
            self._changes.clear()
        self._changes[frame] += 1
        return self._changes[frame] >= OVERWRITTEN

    def _change(self, slot: int, start: int, end: int) -> None:
        """The same in one page; from its end on, offsets are those of the next page."""
        first = max(start - LONGEST * MAX_LENGTH, 0)
        offsets = first + np.flatnonzero(self._slots[slot, first:end])
        if len(offsets):
            behind = [self._behind(int(header)) for header in self._slots[slot, offsets]]
            sizes = np.maximum(self._words[behind, Header.SIZE], 1)
            self._drop(slot, offsets[offsets + sizes > start])

    def _change_before(self, slot: int, start: int, end: int) -> None:
        """The same for the instruction that begins in the page before a slot's."""
        mode, number, *_ = self._ready[slot]
        before = int(self._of(mode)[0][(number - 1) % PAGES])
        if before and start < MAX_LENGTH:
            self._change(before, start + PAGE_SIZE, end + PAGE_SIZE)

    def _drop(self, slot: int, offsets: npt.NDArray[Any]) -> None:
        """Forget the blocks that begin in some places of a page."""
        mode, number, *_ = self._ready[slot]
        self._slots[slot, offsets] = 0
        pcs = offsets + (number << PAGE_BITS)
        self._session.regions.jumps(mode).remove_all(pcs, self._entry)
        for pc in pcs:
            self._session.regions.asked.discard((mode, int(pc)))
