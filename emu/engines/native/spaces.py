"""How native code reaches the address spaces: page tables kept here for paged memory, or words.

A *page table* of a paged space has for each page of 4 KiB a tag and an offset: the tag is the
page's last address (so that an empty entry, 0, never matches), the offset what to add to an address
to get the place in storage. An access is direct if the tag equals the page of its last byte: one
comparison for presence, permission and page crossing. There are three tables: pages that can be
read, that can be written, and that can be written but hold translated code, where the slow path
(`runtime`) looks at every byte.
"""

from __future__ import annotations

import sys

from emu.engines.access import has_words
from emu.engines.native.layout import (
    BULK,
    CODE,
    ELEMENTS,
    PAGE_BITS,
    PAGES,
    READABLE,
    SLOW_LOADS,
    SLOW_MOST,
    SLOW_STORE,
    UNLIKELY,
    WRITABLE,
    Left,
    Word,
    bulk_name,
)
from emu.foreign import address_of
from emu.memory import (
    PAGE_MASK,
    PAGE_SIZE,
    READ,
    WRITE,
    AddressSpace,
    Reachable,
    TranslatedMemory,
    runs_of,
)
from emu.room import Room, words_of
from isa.fault import Fault
from isa.hints import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Protocol
from isa.light import partial, suppress
from isa.record import NamedTuple

if TYPE_CHECKING:
    from emu.engines.native.lowering import Lowering
    from emu.engines.native.spans import Span
    from emu.toy.memory import WordMemory
    from isa.bits import Bits


class Space(Protocol):
    """An address space as native code sees it."""

    number: int
    paged: bool
    kind: str  # what decides the code for it
    spans: bool  # whether accesses are cheaper together, see `spans`
    base: int  # the word of the mailbox that has the pointer to what accesses are relative to

    def can(self, node: Bits) -> bool:
        """Whether native code can do an access or a repeated operation."""

    def words(self) -> dict[int, int]:
        """Its words of the mailbox, by number: three from `Word.SPACES` on, and perhaps `base`."""

    def fill(self, address: int, why: Left) -> bool:
        """Make an access that missed possible; False if that changed nothing, so that somebody
        else must do it."""

    def flush(self) -> None:
        """Forget what was filled."""

    def flush_pages(self, pages: list[int]) -> None:
        """Forget what was filled of some pages."""

    def load(
        self, low: Lowering, node: Bits, address: str, span: Span | None = None, *,
        written: bool = False,
    ) -> str:  # fmt: skip
        """Lower a load, which may be one of a span; `written`: a store to its place follows it in
        the instruction, whatever happens."""

    def store(
        self, low: Lowering, node: Bits, address: str, value: str, span: Span | None = None
    ) -> None:
        """Lower a store, which may be one of a span."""

    def bulk(self, low: Lowering, node: Bits, arguments: list[str], budget: str) -> str:
        """Lower a repeated operation; `budget` (i64) is how many iterations may be counted."""


def space_for(number: int, memory: Any, unit: int, *, looks: bool = False) -> Space | None:
    """The native way to a memory, or None if there is none; host words are little-endian only.

    Without `looks` a process's memory is reached without any if the host can do that.
    """
    if sys.byteorder != "little":
        return None
    if isinstance(memory, AddressSpace) and not looks:
        from emu.engines.native.mapped import MappedSpace

        with suppress(OSError):
            return MappedSpace(number, memory)
    if isinstance(memory, TranslatedMemory):
        return PagedSpace(number, memory)
    if has_words(memory):
        return WordSpace(number, memory, unit)
    return None


class PagedSpace:
    """Bytes through page tables."""

    paged = spans = True
    kind = "paged"

    def __init__(self, number: int, memory: TranslatedMemory) -> None:
        self.number = number
        self.memory = memory
        room = Room(3 * PAGES * 8)
        self._at, self._entries = room.address, room.words()  # an entry is offset << 32 | tag
        self._filled: set[int] = set()
        self.base = first_word(number)
        self._seen: set[int] = set()  # frames with code that writes were looked at of

    def words(self) -> dict[int, int]:
        """See `Space`."""
        physical = self.memory.physical
        words = physical.address, self._at, physical.code_address
        return dict(enumerate(words, first_word(self.number)))

    def fill(self, address: int, why: Left) -> bool:
        """See `Space`."""
        access = WRITE if why == Left.WRITE else READ
        where = self.memory.translate(address, access)
        if isinstance(where, Fault) or (access == WRITE and self.memory.is_split(address)):
            return False
        table = self._table_for_writes(where >> PAGE_BITS) if access == WRITE else READABLE
        page = address >> PAGE_BITS
        if self._has(table, page):
            return False  # the access is too wide to cross pages, or writes to what is translated
        parts = (part for run in self.memory.around(address) for part in self._missing(run))
        if not all(self._enter(READABLE, part) for part in parts):
            return False
        if self._has(table, page):
            return True
        alone = Reachable(page, 1, where - (address & PAGE_MASK), writable=table == WRITABLE)
        return self._enter(table, alone)

    def _missing(self, run: Reachable) -> Iterator[Reachable]:
        """Those of some pages that cannot be reached yet as they could be."""
        first = (WRITABLE if run.writable else READABLE) * PAGES + run.page
        there = self._entries[first : first + run.length].tolist()
        if not any(there):
            yield run
            return
        missing = [at for at, entry in enumerate(there) if not entry]
        for first, length in runs_of(missing):
            page, where = run.page + missing[first], run.where + (missing[first] << PAGE_BITS)
            yield Reachable(page, length, where, run.writable)

    def _enter(self, table: int, run: Reachable) -> bool:
        """Let pages be reached by a table, and by that for writes if they are writable; False if
        that cannot be."""
        start = run.page << PAGE_BITS
        first = (run.where - start & 0xFFFFFFFF) << 32 | start | PAGE_MASK
        entries = words_of(range(first, first + (run.length << PAGE_BITS), PAGE_SIZE))
        for each in {table, WRITABLE} if run.writable else {table}:
            at = each * PAGES + run.page
            self._entries[at : at + run.length] = entries
        self._filled.update(run.pages)
        return True

    def _has(self, table: int, page: int) -> bool:
        """Whether a table has a page."""
        return bool(self._entries[table * PAGES + page])

    def _table_for_writes(self, frame: int) -> int:
        """Whether writes to a frame need a look; one in which nothing is left of its code is data
        from now on. It was written some times by then: see `LOOKS`."""
        physical = self.memory.physical
        if frame not in physical.code_frames:
            return WRITABLE
        if frame not in self._seen or physical.holds_code(frame):
            self._seen.add(frame)
            return CODE
        physical.release(frame)
        return WRITABLE

    def can(self, node: Bits) -> bool:
        """See `Space`."""
        if node.op in BULK:
            return node.attribute[1] in ELEMENTS
        return node.attribute[1] in (8, 16, 32, 64, 80, 128)

    def flush(self) -> None:
        """See `Space`."""
        self._clear(self._filled)
        self._filled.clear()

    def flush_pages(self, pages: list[int]) -> None:
        """See `Space`."""
        self._clear(self._filled.intersection(pages))
        self._filled.difference_update(pages)

    def _clear(self, pages: Iterable[int]) -> None:
        entries = self._entries
        for page in pages:
            entries[page] = entries[PAGES + page] = entries[2 * PAGES + page] = 0

    # -- lowering --------------------------------------------------------------------------------

    def _entry(self, low: Lowering, address: str, size: int, table: int) -> tuple[str, str]:
        """A table's entry for the page of an address, and whether it allows all of an access."""
        page = low.emit(f"lshr i32 {address}, {PAGE_BITS}")
        index = low.emit(f"zext i32 {page} to i64")
        tables = f"%space{self.number}.tables"
        entry = low.emit(
            f"getelementptr [{PAGES} x {{i32, i32}}], ptr {tables}, i64 {table}, i64 {index}"
        )
        tag = low.emit(f"load i32, ptr {entry}, !invariant.load !2")
        last = low.emit(f"add i32 {address}, {size - 1}") if size > 1 else address
        wanted = low.emit(f"or i32 {last}, {PAGE_MASK}")
        return entry, low.emit(f"icmp eq i32 {tag}, {wanted}")

    def _storage(self, low: Lowering, entry: str, address: str) -> str:
        """A pointer to what lies at an address of a page that an entry is for."""
        place = low.emit(f"getelementptr {{i32, i32}}, ptr {entry}, i64 0, i32 1")
        offset = low.emit(f"load i32, ptr {place}, !invariant.load !2")
        moved = low.emit(f"zext i32 {low.emit(f'add i32 {address}, {offset}')} to i64")
        return low.emit(f"getelementptr i8, ptr %space{self.number}.storage, i64 {moved}")

    def load(
        self, low: Lowering, node: Bits, address: str, span: Span | None = None, *,
        written: bool = False,
    ) -> str:  # fmt: skip
        """See `Space`."""

        def direct(place: str, how: str = "") -> str:
            return low.emit(f"load {how} i{node.width}, ptr {place}, align 1")

        def slow() -> str:
            name, size = SLOW_LOADS[node.op], node.attribute[1] // 8
            given = f"ptr %mailbox, i64 {self.number}, i32 {address}, i32 {size}"
            value = low.emit(f"call preserve_mostcc i64 @{name}({given})")
            _done(low)
            return low.emit(f"trunc i64 {value} to i{node.width}") if node.width < 64 else value

        return self._access(low, node, address, span, Access(direct, slow, written=written))

    def store(
        self, low: Lowering, node: Bits, address: str, value: str, span: Span | None = None
    ) -> None:
        """See `Space`."""
        width = node.args[1].width

        def direct(place: str, how: str = "") -> str:
            low.line(f"store {how} i{width} {value}, ptr {place}, align 1")
            return ""

        def slow() -> str:
            is_wide = width == 64 or value.isdigit()
            wide = value if is_wide else low.emit(f"zext i{width} {value} to i64")
            given = f"ptr %mailbox, i64 {self.number}, i32 {address}, i32 {width // 8}, i64 {wide}"
            low.line(f"call preserve_mostcc void @{SLOW_STORE}({given})")
            _done(low)
            return ""

        self._access(low, node, address, span, Access(direct, slow, value))

    def _access(
        self, low: Lowering, node: Bits, address: str, span: Span | None, access: Access
    ) -> str:
        """Do an access, which may be one of a span; what it yields.

        One of a span has two places: the code for the second one, by a look of its own, is aside,
        for spans that do not lie as they mostly do; that it is "volatile" keeps LLVM from making
        one access of both, at a computed place.
        """
        if span is None:
            return self._alone(low, node, address, access)
        is_direct, first = span.place = span.place or self._span(low, span)
        distance = span.members[id(node)] - span.first

        def plain() -> str:
            return access.direct(low.emit(f"getelementptr i8, ptr {first}, i64 {distance}"))

        def aside() -> str:
            apart = access._replace(direct=partial(access.direct, how="volatile"))
            return self._alone(low, node, address, apart)

        return either(low, node, _if(low, is_direct), plain, aside)

    def _alone(self, low: Lowering, node: Bits, address: str, access: Access) -> str:
        """Do an access by a look of its own; what it yields."""
        why, table = (Left.READ, READABLE) if node.op == "load" else (Left.WRITE, WRITABLE)
        size = node.attribute[1] // 8
        entry, is_direct = self._entry(low, address, size, table)

        def found() -> str:
            return access.direct(self._storage(low, entry, address))

        if low.context.is_patient and size <= SLOW_MOST:
            return either(low, node, _if(low, is_direct), found, access.slow)
        low.likely(is_direct, low.context.missed_at(address, why, self.number))
        return found()

    def _span(self, low: Lowering, span: Span) -> tuple[str, str]:
        """Whether a span is direct, and where its first byte is if so."""
        address = str(span.first)
        if span.root is not None:
            address = low.emit(f"add i32 {low.value(span.root)}, {span.first}")
        table = WRITABLE if span.writes else READABLE
        entry, direct = self._entry(low, address, span.size, table)
        return direct, self._storage(low, entry, address)

    def bulk(self, low: Lowering, node: Bits, arguments: list[str], budget: str) -> str:
        """See `Space`."""
        kinds = [f"i{a.width}" for a in node.args]
        given = ", ".join(f"{k} {a}" for k, a in zip(kinds, arguments, strict=True))
        name = bulk_name(node)
        done = low.emit(f"call i64 @{name}(ptr %mailbox, i64 {self.number}, {given}, i64 {budget})")
        low.likely(low.emit(f"icmp ne i64 {done}, 0"), low.context.missed())
        return low.emit(f"trunc i64 {done} to i{node.width}") if node.width < 64 else done


class Access(NamedTuple):
    """How an access is done at a place, and how by the functions of `runtime`, which either do it
    or say why not; and the value that it stores, or None. Both tell what it yields."""

    direct: Callable[..., str]
    slow: Callable[[], str]
    value: str | None = None
    written: bool = False  # see `Space.load`


def _done(low: Lowering) -> None:
    """Go on if such a function has done it."""
    missed = low.emit("load i64, ptr %missed")
    low.likely(low.emit(f"icmp eq i64 {missed}, 0"), low.context.missed())


def _if(low: Lowering, condition: str) -> Callable[[str, str], None]:
    """What ends a basic block: mostly the condition holds."""
    return lambda plain, aside: low.branch(condition, plain, aside, UNLIKELY)


def either(
    low: Lowering, node: Bits, branch: Callable[[str, str], None], usual: Callable[[], str],
    rare: Callable[[], str],
) -> str:  # fmt: skip
    """Do an access in one of two ways, the rare one aside; what it yields. `branch` goes to one of
    two labels."""
    plain, aside, after = low.fresh("plain"), low.fresh("aside"), low.fresh("after")
    branch(plain, aside)
    ways = []
    with low.aside():
        low.start(aside)
        ways.append((rare(), low.label))
        low.jump(after)
    low.start(plain)
    ways.append((usual(), low.label))
    low.jump(after)
    low.start(after)
    if node.op == "store":
        return ""
    return low.emit(f"phi i{node.width} {', '.join(f'[{value}, %{at}]' for value, at in ways)}")


def first_word(number: int) -> int:
    """The first of a space's three words of the mailbox."""
    return Word.SPACES + 3 * number


class WordSpace:
    """Words of at most 32 bits, each in 32 bits of storage; the bound is the storage's size."""

    paged = spans = False

    def __init__(self, number: int, memory: WordMemory, unit: int) -> None:
        self.number = number
        self.unit = unit
        self.memory = memory
        self.kind = f"words of {unit}"
        self._flags = memory.flags
        self.base = first_word(number)

    def words(self) -> dict[int, int]:
        """See `Space`."""
        words = self.memory.array.ctypes.data, self.memory.size, address_of(self._flags)
        return dict(enumerate(words, self.base))

    def fill(self, address: int, why: Left) -> bool:
        """See `Space`: whatever is inside is direct already."""
        return False

    def flush(self) -> None:
        """See `Space`."""

    def flush_pages(self, pages: list[int]) -> None:
        """See `Space`."""

    def can(self, node: Bits) -> bool:
        """See `Space`."""
        return node.op not in BULK

    def bulk(self, low: Lowering, node: Bits, arguments: list[str], budget: str) -> str:
        """See `Space`."""
        raise AssertionError("word-addressed machines have no repeated operations")

    def _index(self, low: Lowering, node: Bits, address: str, units: int) -> str:
        """The address as an index if `units` from it are inside."""
        index = low.emit(f"zext i{node.args[0].width} {address} to i64")
        end = low.emit(f"add i64 {index}, {units}")
        inside = low.emit(f"icmp ule i64 {end}, %space{self.number}.size")
        low.likely(inside, low.context.given_up())
        return index

    def _word(self, low: Lowering, index: str, number: int) -> str:
        at = low.emit(f"add i64 {index}, {number}") if number else index
        return low.emit(f"getelementptr i32, ptr %space{self.number}.storage, i64 {at}")

    def load(
        self, low: Lowering, node: Bits, address: str, span: Span | None = None, *,
        written: bool = False,
    ) -> str:  # fmt: skip
        """See `Space`."""
        _, width = node.attribute
        units = width // self.unit
        index = self._index(low, node, address, units)
        value = "0"
        for n in range(units):
            word = low.emit(f"load i32, ptr {self._word(low, index, n)}")
            value = self._above(low, word, value, n, width)
        return value

    def _above(self, low: Lowering, word: str, value: str, number: int, width: int) -> str:
        """`value` with a word put at its place."""
        sized = word
        if width != 32:
            sized = low.emit(f"{'zext' if width > 32 else 'trunc'} i32 {word} to i{width}")
        if number:
            sized = low.emit(f"shl i{width} {sized}, {number * self.unit}")
            sized = low.emit(f"or i{width} {sized}, {value}")
        return sized

    def store(
        self, low: Lowering, node: Bits, address: str, value: str, span: Span | None = None
    ) -> None:
        """See `Space`."""
        _, width = node.attribute
        units = width // self.unit
        index = self._index(low, node, address, units)
        for n in range(units):
            at = low.emit(f"add i64 {index}, {n}")
            flag = low.emit(f"getelementptr i8, ptr %space{self.number}.watched, i64 {at}")
            plain = low.emit(f"icmp eq i8 {low.emit(f'load i8, ptr {flag}')}, 0")
            low.likely(plain, low.context.given_up())
        for n in range(units):
            part = low.emit(f"lshr i{width} {value}, {n * self.unit}") if n else value
            if self.unit < width:
                part = low.emit(f"trunc i{width} {part} to i{self.unit}")
            if self.unit < 32:
                part = low.emit(f"zext i{self.unit} {part} to i32")
            low.line(f"store i32 {part}, ptr {self._word(low, index, n)}")
