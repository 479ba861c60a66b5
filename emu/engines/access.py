"""Ways for emitted Python to reach memory: inlined page look-ups for paged memory, else calls.

A page table cache maps a page number to a memoryview of that page in the host's memory, one cache
for each width and direction. A page that cannot be used that way answers with an object that
raises `Stop`, so that emitted code has no checks of its own.
"""

from __future__ import annotations

import sys

from emu.exit import Exit
from emu.memory import (
    PAGE_BITS,
    PAGE_MASK,
    PAGE_SIZE,
    READ,
    WRITE,
    Memory,
    TranslatedMemory,
    replaced,
)
from isa.fault import Fault
from isa.hints import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from emu.toy.memory import WordMemory

FORMATS: dict[int, Any] = {1: "B", 2: "H", 4: "I"}  # size -> memoryview format


class Stop(Exception):  # noqa: N818 — not an error: control flow out of emitted code
    """Leaves emitted code in the middle of an instruction, which then has not happened.

    `why` is the fault, the exit, or None if the reference engine has to do it: the instruction
    writes to translated code, or its fault changes registers.
    """

    def __init__(self, why: Fault | Exit | None) -> None:
        self.why = why


class _FaultPage:
    """Stands for a page whose access faults: any use raises with the exact address."""

    def __init__(self, space: TranslatedMemory, page: int, size: int, access: int) -> None:
        self._space = space
        self._base = page << PAGE_BITS
        self._size = size
        self._access = access

    def __getitem__(self, index: int) -> int:
        fault = self._space.translate(self._base + index * self._size, self._access)
        assert isinstance(fault, Fault)
        raise Stop(fault)

    def __setitem__(self, index: int, value: int) -> None:
        self[index]


class _CodePage:
    """A writable page that holds translated code: a write to a byte of it raises Stop(None)."""

    def __init__(self, space: TranslatedMemory, where: int, size: int) -> None:
        self._physical = space.physical
        self._where = where
        self._size = size

    def __getitem__(self, index: int) -> int:
        address = self._where + index * self._size
        return int.from_bytes(self._physical.view[address : address + self._size], "little")

    def __setitem__(self, index: int, value: int) -> None:
        address = self._where + index * self._size
        if self._physical.is_code(address, self._size):
            raise Stop(None)
        self._physical.view[address : address + self._size] = value.to_bytes(self._size, "little")


class _SplitPage:
    """A page whose reads find something else than writes leave: ROM under what is thrown away."""

    def __init__(self, space: TranslatedMemory, page: int, size: int) -> None:
        self._space = space
        self._base = page << PAGE_BITS
        self._size = size

    def __getitem__(self, index: int) -> int:
        value = self._space.load_for_write(self._base + index * self._size, self._size)
        assert not isinstance(value, Fault), "the page was translated"
        return value

    def __setitem__(self, index: int, value: int) -> None:
        self._space.store(self._base + index * self._size, self._size, value)


class _Readable(dict[int, Any]):
    """Page number -> what to index for a read of one width."""

    def __init__(self, space: TranslatedMemory, size: int) -> None:
        self._space = space
        self._size = size

    def __missing__(self, page: int) -> Any:
        where = self._space.translate(page << PAGE_BITS, READ)
        if isinstance(where, Fault):
            return _FaultPage(self._space, page, self._size, READ)
        view = self._space.physical.view[where : where + PAGE_SIZE].cast(FORMATS[self._size])
        self[page] = view
        return view


class _Writable(_Readable):
    """Page number -> what to index for a write of one width."""

    def __missing__(self, page: int) -> Any:
        where = self._space.translate(page << PAGE_BITS, WRITE)
        if isinstance(where, Fault):
            return _FaultPage(self._space, page, self._size, WRITE)
        if self._space.is_split(page << PAGE_BITS):
            return _SplitPage(self._space, page, self._size)
        if where >> PAGE_BITS in self._space.physical.code_frames:
            view: Any = _CodePage(self._space, where, self._size)
        else:
            view = self._space.physical.view[where : where + PAGE_SIZE].cast(FORMATS[self._size])
        self[page] = view
        return view


class CalledAccess:
    """Any memory, by calls: `load_SPACE(address, units)`, `store_SPACE(address, units, value)`."""

    def __init__(self, space: str, memory: Memory, unit: int, undo: list[Any]) -> None:
        self.space = space
        self.memory = memory
        self.unit = unit
        self._undo = undo

    def names(self) -> dict[str, Any]:
        """Global names that the emitted source uses."""
        return {
            f"load_{self.space}": self.load_now,
            f"load_for_write_{self.space}": self.load_for_write_now,
            f"store_{self.space}": self.store_now,
            f"store_undo_{self.space}": self.store_logged,
        }

    def flush(self) -> None:
        """Forget cached pages."""

    def flush_pages(self, pages: list[int]) -> None:
        """Forget some of them."""

    def load_now(self, address: int, size: int) -> int:
        """Load, raising Stop on a fault."""
        value = self.memory.load(address, size)
        if isinstance(value, Fault):
            raise Stop(value)
        return value

    def load_for_write_now(self, address: int, size: int) -> int:
        """Load what will be written, raising Stop on a fault."""
        value = self.memory.load_for_write(address, size)
        if isinstance(value, Fault):
            raise Stop(value)
        return value

    def is_code(self, address: int, size: int) -> bool:
        """Whether a write there would change translated code."""
        return bool(getattr(self.memory, "is_code", _never)(address, size))

    def store_now(self, address: int, size: int, value: int) -> None:
        """Store, raising Stop on a fault or if translated code lies there."""
        if self.is_code(address, size):
            raise Stop(None)
        fault = self.memory.store(address, size, value)
        if fault is not None:
            raise Stop(fault)

    def store_logged(self, address: int, size: int, value: int) -> None:
        """Store, remembering what was there."""
        old = replaced(self.memory, address, size)
        self.store_now(address, size, value)
        self._undo.append((self.memory, address, size, old))

    def load(self, address: str, width: int, for_write: bool = False) -> str:
        """See `Access`."""
        name = f"load_for_write_{self.space}" if for_write else f"load_{self.space}"
        return f"{name}({address}, {width // self.unit})"

    def store(self, address: str, width: int, value: str, undo: bool) -> list[str]:
        """See `Access`."""
        name = f"store_undo_{self.space}" if undo else f"store_{self.space}"
        return [f"{name}({address}, {width // self.unit}, {value})"]


def _never(address: int, size: int) -> bool:
    return False


class PagedAccess(CalledAccess):
    """A process's address space: aligned accesses are two index operations."""

    def __init__(self, space: str, memory: TranslatedMemory, unit: int, undo: list[Any]) -> None:
        super().__init__(space, memory, unit, undo)
        self.pages = memory
        self.readable = {size: _Readable(memory, size) for size in FORMATS}
        self.writable = {size: _Writable(memory, size) for size in FORMATS}

    def names(self) -> dict[str, Any]:
        """Global names that the emitted source uses."""
        caches = {f"R{size}_{self.space}": cache for size, cache in self.readable.items()}
        caches |= {f"W{size}_{self.space}": cache for size, cache in self.writable.items()}
        return super().names() | caches

    def flush(self) -> None:
        """Forget cached pages."""
        for cache in (*self.readable.values(), *self.writable.values()):
            cache.clear()

    def flush_pages(self, pages: list[int]) -> None:
        """Forget some of them."""
        for cache in (*self.readable.values(), *self.writable.values()):
            for page in pages:
                cache.pop(page, None)

    def is_code(self, address: int, size: int) -> bool:
        """Whether a write there would change translated code."""
        pieces = [(address, size)]
        room = PAGE_SIZE - (address & PAGE_MASK)
        if room < size:
            pieces = [(address, room), (address + room & 0xFFFFFFFF, size - room)]
        for start, count in pieces:
            where = self.pages.translate(start, WRITE)
            if isinstance(where, Fault):  # before the other page has been looked for
                return False
            if self.pages.physical.is_code(where, count):
                return True
        return False

    def load(self, address: str, width: int, for_write: bool = False) -> str:
        """See `Access`."""
        slow = super().load(address, width, for_write)
        if width // 8 not in FORMATS:
            return slow
        cache = "W" if for_write else "R"
        fast = f"{cache}{width // 8}_{self.space}[{_page(address)}][{_index(address, width // 8)}]"
        return self._aligned(address, width, fast, slow)

    def _aligned(self, address: str, width: int, fast: str, slow: str) -> str:
        if address.isdigit():
            return slow if int(address) & width // 8 - 1 else fast
        return fast if width == 8 else f"{slow} if {address} & {width // 8 - 1} else {fast}"

    def store(self, address: str, width: int, value: str, undo: bool) -> list[str]:
        """See `Access`."""
        slow = super().store(address, width, value, undo)
        if undo or width // 8 not in FORMATS:
            return slow
        fast = (
            f"W{width // 8}_{self.space}[{_page(address)}][{_index(address, width // 8)}] = {value}"
        )
        if width == 8:
            return [fast]
        return [f"if {address} & {width // 8 - 1}: {slow[0]}", f"else: {fast}"]


def _page(address: str) -> str:
    return str(int(address) >> PAGE_BITS) if address.isdigit() else f"{address} >> {PAGE_BITS}"


def _index(address: str, size: int) -> str:
    shift = size.bit_length() - 1
    if address.isdigit():
        return str((int(address) & PAGE_MASK) >> shift)
    return f"{address} & {PAGE_MASK}" if not shift else f"({address} & {PAGE_MASK}) >> {shift}"


class WordAccess(CalledAccess):
    """Storage of words without pages (the toy's): the meaning has checked the address."""

    def __init__(self, space: str, memory: Any, unit: int, undo: list[Any]) -> None:
        super().__init__(space, memory, unit, undo)
        self.words = memory

    def names(self) -> dict[str, Any]:
        """Global names that the emitted source uses."""
        mine = {f"M_{self.space}": self.words.view, f"C_{self.space}": self.words.watched}
        return super().names() | mine

    def is_code(self, address: int, size: int) -> bool:
        """Whether a write there would change translated code."""
        return 1 in self.words.watched[address : address + size]

    def load(self, address: str, width: int, for_write: bool = False) -> str:
        """See `Access`."""
        slow = super().load(address, width, for_write)
        return f"M_{self.space}[{address}]" if width == self.unit else slow

    def store(self, address: str, width: int, value: str, undo: bool) -> list[str]:
        """See `Access`."""
        if undo or width != self.unit:
            return super().store(address, width, value, undo)
        place = f"_{self.space}[{address}]"
        return [f"if C{place}: raise Stop(None)", f"M{place} = {value}"]


def has_words(memory: object) -> TypeGuard[WordMemory]:
    """Whether a memory is of the toy machine; most processes need not load what that is."""
    return isinstance(getattr(memory, "watched", None), bytearray)


def access_for(space: str, memory: Memory, unit: int, undo: list[Any]) -> CalledAccess:
    """The fastest access that fits the memory; inlining reads host words, so little-endian only."""
    if isinstance(memory, TranslatedMemory) and sys.byteorder == "little":
        return PagedAccess(space, memory, unit, undo)
    if has_words(memory):
        return WordAccess(space, memory, unit, undo)
    return CalledAccess(space, memory, unit, undo)
