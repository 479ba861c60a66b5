"""Where native code finds decoded blocks: records in one arena, and rows of headers for pages.

No Python object stands for a block: what there is to know of it is in its header. `discover.py` has
the native code that reads and fills all this; Python makes pages ready, adds what native code
cannot decode, and forgets blocks whose code changed.
"""

from __future__ import annotations

from emu.engines.native.decode_tables import RECORD, RECORD_WORDS
from emu.engines.native.executable import arena
from emu.engines.native.layout import (
    BLOCK,
    END,
    LONGEST,
    PAGE_BITS,
    PAGES,
    PYTHONS,
    REGION,
    STITCHED,
    Header,
    Word,
)
from emu.engines.native.linking import Placed
from emu.engines.native.site import (
    HEADER_BITS,
    LINK,
    LINK_BITS,
    NO_SITE,
    NOTE,
    SITE,
    TAG,
    TO,
    way_on,
)
from emu.foreign import c_int32, c_uint32
from emu.memory import EXECUTE, PAGE_MASK, PAGE_SIZE, Mark, TranslatedMemory
from emu.room import Room
from isa.fault import Fault
from isa.hints import TYPE_CHECKING, Any, Hashable
from isa.light import defaultdict
from isa.record import NamedTuple
from isa.x86.limits import MAX_LENGTH

if TYPE_CHECKING:
    from emu.engines.native.engine import NativeSession

ARENA = 1 << 21  # records; then everything is forgotten
MOST_PAGES = 1 << 12  # ready at a time, in all modes; then everything is forgotten

CODE, MOST_CODE = 1 << 20, 64  # bytes taken for stitched code at a time, and how often
NOTES = 1 << 12  # of links that Python has not read yet
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
        self._records = Room(ARENA * RECORD.size)
        self._decoded = (0, 0)  # how much was, when changes were counted first
        self._changes: defaultdict[int, int] = defaultdict(int)  # of code since then, by frame
        self._notes = Room(NOTES * NOTE.size)
        self._words = self._records.halves()  # a record's begin at RECORD_WORDS times its number
        self.clear()
        memory.physical.listeners.append(self._changed)

    def close(self) -> None:
        """Listen no more."""
        self._memory.physical.listeners.remove(self._changed)

    def clear(self) -> None:
        """Forget all blocks."""
        slots, frames = Room(4 * MOST_PAGES * PAGE_SIZE, dense=True), Room(4 * MOST_PAGES)
        self._slots, self._slots_at = slots.halves(), slots.address  # headers, a page's in a row
        self._frames, self._frames_at = frames.halves(), frames.address
        self._pages: dict[Hashable, tuple[Any, int]] = {}
        self._ready: dict[int, Page] = {}  # by slot
        self._by_frame: dict[int, set[int]] = {}
        self._free: list[int] = []  # slots that were given back
        self._mail[Word.USED] = 1
        self._code: list[Placed] = []
        self._mail[Word.CODE] = self._mail[Word.ROOM] = 0
        # what leads from stitched code to other code or regions, by header: see `site.NOTE`
        self._links: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self._mail[Word.LINKS] = self._notes.address
        self._mail[Word.LAST_LINK] = self._notes.address + NOTES * NOTE.size
        self.attach()
        if self._mode is not None:
            self.use(self._mode)

    def attach(self) -> None:
        """Tell native code where everything is."""
        self._mail[Word.RECORDS] = self._records.address
        self._mail[Word.SLOTS] = self._slots_at
        self._mail[Word.FRAMES] = self._frames_at
        self._mail[Word.ARENA] = ARENA

    def use(self, mode: Hashable) -> None:
        """Let native code discover blocks of a mode."""
        self._mode = mode
        self._mail[Word.PAGES] = self._of(mode)[1]

    def _of(self, mode: Hashable) -> tuple[Any, int]:
        """The slots of a mode by page number, and where they are."""
        found = self._pages.get(mode)
        if found is None:
            room = Room(4 * PAGES)
            found = self._pages[mode] = room.halves(), room.address
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
        found: int = slots[number]
        return found

    def _make_ready(self, mode: Hashable, number: int) -> None:
        slots = self._of(mode)[0]
        if slots[number]:
            return
        where = self._memory.translate(number << PAGE_BITS, EXECUTE)
        if not isinstance(where, Fault):
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
        self._drop(slot, self._heads(slot, 0, PAGE_SIZE))
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
        return {slots[page] for slots, _ in self._pages.values() for page in pages} - {0}

    def _is_there(self, page: Page) -> bool:
        """Whether a page still is a frame whose writes are looked at."""
        where = self._memory.still(page.number << PAGE_BITS, page.privilege)
        frames = self._memory.physical.code_frames
        return where == page.frame << PAGE_BITS and page.frame in frames

    # -- blocks ----------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many instructions a block may still have."""
        free: int = ARENA - self._mail[Word.USED] - 2
        return max(min(LONGEST, free), 0)

    def code_at(self, slot: int, pc: int) -> bytes:
        """The code from `pc` to the end of its page."""
        start = self._ready[slot].frame << PAGE_BITS
        offset = pc & PAGE_MASK
        return self._memory.physical.read(start + offset, PAGE_SIZE - offset)

    def add(self, slot: int, pc: int, records: memoryview) -> None:
        """Enter a block, at most `room` records as words. Raises FullError."""
        header, count = self._mail[Word.USED], len(records) // RECORD_WORDS
        size = sum(records[RECORD_WORDS - 1 :: RECORD_WORDS])
        offset, page = pc & PAGE_MASK, self._ready[slot]
        inside = min(size, PAGE_SIZE - offset)
        after = self.page(page.mode, (page.number + 1) % PAGES) if size > inside else slot
        self._mail[Word.USED] = header + count + 2
        words, first = self._words, (header + 1) * RECORD_WORDS
        words[first : first + len(records)] = records
        words[first + len(records)] = END
        self._clear(header)
        self._put(header, Header.SIZE, size)
        if not self._session.regions.kept.may_have(pc):
            self._put(header, Header.COUNT, self._mail[Word.COUNT])
            self._put(header, Header.RECALLED, 1)
        watch = self._memory.physical.watch
        watch((page.frame << PAGE_BITS) + offset, inside)
        watch(self._ready[after].frame << PAGE_BITS, size - inside)
        self._slots[_place(slot, pc)] = header

    def _clear(self, header: int) -> None:
        start = header * RECORD.size
        self._records.view[start : start + RECORD.size] = bytes(RECORD.size)

    def _word(self, header: int, field: int) -> int:
        found: int = self._words[header * RECORD_WORDS + field]
        return found

    def _put(self, header: int, field: int, value: int) -> None:
        self._words[header * RECORD_WORDS + field] = value

    def _function(self, header: int) -> int:
        """The function of a region's header."""
        return self._word(header, Header.FUNCTION) | self._word(header, Header.FUNCTION + 1) << 32

    def _put_function(self, header: int, address: int) -> None:
        self._put(header, Header.FUNCTION, address & 0xFFFFFFFF)
        self._put(header, Header.FUNCTION + 1, address >> 32)

    def _header(self, mode: Hashable, pc: int) -> int:
        """Compilers ask too, in their threads, and must make nothing: what native code has been
        told of would be replaced, and given back to the host."""
        found = self._pages.get(mode)
        slot = 0 if found is None else found[0][pc >> PAGE_BITS]
        return self._slots[_place(slot, pc)] if slot else 0

    def _behind(self, header: int) -> int:
        """The block of a header: itself, or what a region or stitched code replaces."""
        while header and self._word(header, Header.KIND) != BLOCK:
            header = self._next_behind(header)
        return header

    def _next_behind(self, header: int) -> int:
        """What a header replaces, which is older; compilers ask while headers are made anew."""
        behind = self._word(header, Header.BEHIND)
        return behind if behind < header else 0

    def is_known(self, mode: Hashable, pc: int) -> bool:
        """Whether native code can go on at `pc`."""
        return self._header(mode, pc) != 0

    def block(self, mode: Hashable, key: int) -> ColdBlock | None:
        """The block at a key of the session, if one was decoded: only program counters are keys of
        blocks here."""
        header = self._behind(self._header(mode, key)) if key >> PAGE_BITS < PAGES else 0
        there = 0 < header < self._mail[Word.USED]  # compilers ask while headers are made anew
        return self._block(mode, key, header) if there else None

    def _block(self, mode: Hashable, pc: int, header: int) -> ColdBlock:
        return ColdBlock(mode, pc, header, self._word(header, Header.SIZE))

    def targets(self, block: ColdBlock) -> set[int]:
        """Where a block went the last times."""
        return {self._word(block.header, Header.TARGETS + n) for n in range(4)} - {0}

    def count_anew(self, block: ColdBlock, entries: int = 0) -> None:
        """Let a block be entered as often as the engine wants before it asks for a region; so
        often it has been already."""
        most = self._mail[Word.HOT] - 1 - self._mail[Word.COUNT] & 0xFFFFFFFF
        count = self._mail[Word.COUNT] + min(entries, most) & 0xFFFFFFFF
        self._put(block.header, Header.COUNT, count)

    def recalls(self, block: ColdBlock) -> bool:
        """Whether this is the first time that somebody asks."""
        was = bool(self._word(block.header, Header.RECALLED))
        self._put(block.header, Header.RECALLED, 1)
        return not was

    def forms_since(self, record: int) -> tuple[set[int], int]:
        """The form numbers in the records from one on, and how many records there are now."""
        used: int = self._mail[Word.USED]
        first = record if record <= used else 1
        return set(self._words[first * RECORD_WORDS : used * RECORD_WORDS : RECORD_WORDS]), used

    # -- regions ---------------------------------------------------------------------------------

    def offer(self, mode: Hashable, pc: int, address: int, entry: int) -> None:
        """Have native code find a region at `pc`, instead of the block there."""
        slot, header = self._of(mode)[0][pc >> PAGE_BITS], self._header(mode, pc)
        if not slot:
            return
        if not header or self._word(header, Header.KIND) != REGION:
            behind, header = header, self._mail[Word.USED]
            if header == ARENA:
                return
            self._mail[Word.USED] = header + 1
            self._clear(header)
            self._put(header, Header.BEHIND, behind)
            if stitched := self._stitched(behind):
                self._unlink(stitched)
        self._unlink(header)
        self._put_function(header, address)
        self._put(header, Header.ENTRY, entry)
        self._put(header, Header.KIND, REGION)
        self._slots[_place(slot, pc)] = header

    def withdraw(self, mode: Hashable, pc: int, address: int) -> None:
        """A region is gone: the block that it replaced is back."""
        slot, header = self._of(mode)[0][pc >> PAGE_BITS], self._header(mode, pc)
        is_region = header and self._word(header, Header.KIND) == REGION
        if is_region and self._function(header) == address:
            self._unlink(header)
            self._slots[_place(slot, pc)] = self._word(header, Header.BEHIND)

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
        found = self._heads(slot, first, min(end, PAGE_SIZE))
        gone = [offset for offset in found if offset + self._size(slot, offset) > start]
        self._drop(slot, gone)

    def _heads(self, slot: int, first: int, end: int) -> list[int]:
        """Where in a part of a page blocks begin."""
        row = self._slots[slot * PAGE_SIZE + first : slot * PAGE_SIZE + end].tolist()
        return [first + n for n, header in enumerate(row) if header] if any(row) else []

    def _size(self, slot: int, offset: int) -> int:
        """How many bytes the block has that begins somewhere in a page."""
        header = self._behind(self._slots[_place(slot, offset)])
        return max(self._word(header, Header.SIZE), 1)

    def _change_before(self, slot: int, start: int, end: int) -> None:
        """The same for the instruction that begins in the page before a slot's."""
        mode, number, *_ = self._ready[slot]
        before = self._of(mode)[0][(number - 1) % PAGES]
        if before and start < MAX_LENGTH:
            self._change(before, start + PAGE_SIZE, end + PAGE_SIZE)

    def _drop(self, slot: int, offsets: list[int]) -> None:
        """Forget the blocks that begin in some places of a page."""
        if not offsets:
            return
        mode, number, *_ = self._ready[slot]
        regions, jumps = self._session.regions, self._session.regions.jumps(mode)
        for offset in offsets:
            pc, place = (number << PAGE_BITS) + offset, _place(slot, offset)
            jumps.remove(pc, self._entry)
            if stitched := self._stitched(header := self._slots[place]):
                jumps.remove(pc, self._function(stitched))
                self._unlink(stitched)
            self._unlink(header)
            self._slots[place] = 0
            regions.asked.discard((mode, pc))

    def _stitched(self, header: int) -> int:
        """The header of the stitched code at a header, or behind it if a region replaces that; 0 if
        there is none."""
        while header and (kind := self._word(header, Header.KIND)) != STITCHED:
            header = 0 if kind == BLOCK else self._next_behind(header)
        return header

    # -- stitched code ---------------------------------------------------------------------------

    def _unlink(self, header: int) -> None:
        """Let no stitched code go on directly at what has a header."""
        self._take_notes()
        for place, behind in self._links.pop(header, ()):
            number, address = divmod(place, 1 << LINK_BITS)
            c_uint32.from_address(address).value = behind >> HEADER_BITS  # as it was
            if number == NO_SITE:
                continue
            link = address - TO
            c_uint32.from_address(link + TAG).value = 0
            last = link + SITE - number * LINK.size - 4
            c_int32.from_address(last).value = way_on(Word.LINK)

    def _take_notes(self) -> None:
        """Read what native code has noted of links."""
        first = self._notes.address
        words = self._notes.words()[: (self._mail[Word.LINKS] - first) // 8].tolist()
        self._mail[Word.LINKS] = first
        last = (1 << HEADER_BITS) - 1
        for note in zip(words[::2], words[1::2], strict=True):  # tens of thousands: as they are
            self._links[note[1] & last].append(note)

    def more_code(self) -> None:
        """Let native code stitch more blocks, or link more, whatever had no more room.

        Raises FullError if this session has its share, MemoryError if others have taken the rest.
        """
        if self._mail[Word.LINKS] == self._mail[Word.LAST_LINK]:
            self._take_notes()
            return
        code = arena()
        assert code is not None
        if len(self._code) >= MOST_CODE:
            raise FullError
        start, size = code.take(CODE)
        self._code.append(Placed(code, start, size, {"code": 0}))
        first = self._mail[Word.CODE] = self._code[-1].addresses["code"]
        self._mail[Word.ROOM] = first + size


def _place(slot: int, pc: int) -> int:
    """Where, among all slots, the header is of what begins at `pc`, or at an offset in a page."""
    return slot * PAGE_SIZE + (pc & PAGE_MASK)
