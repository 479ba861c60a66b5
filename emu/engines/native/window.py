"""Windows: a guest's address space as the host's memory management unit sees it.

A window is 4 GiB of the host's addresses, and a guard behind them, of which nothing can be reached
at first. Pages are shown in it by mapping the guest's storage there once more, with the rights that
the guest has, so that native code needs no look at any table.

What native code cannot reach is a fault of the host (SIGSEGV). An access in native code stands
behind a *mark*, an instruction that does nothing and has 32 bits to spare: the distance from the
access to where control goes on then. Faults elsewhere are left to who was told of them before.
"""

from __future__ import annotations

import mmap
import struct

from emu.engines.native.cache import DiskCache
from emu.engines.native.executable import ROOM, arena
from emu.engines.native.linking import Library, kept, linker
from emu.foreign import address_of, c_int, c_uint64, c_void_p, function
from emu.memory import ADDRESS_LIMIT, PAGE_SIZE, Reachable, runs_of
from emu.room import Room
from isa.hints import Any, Callable, Final, Iterable
from isa.light import WeakSet, cache, partial
from isa.record import NamedTuple

MARK: Final = b"\x0f\x1f\x80"
"""A no-operation with a distance of 32 bits (SDM volume 2, NOP); those follow."""
MOST_PIECES, MOST_OF_ALL = 1 << 14, 3 << 14
"""Of one window, and of all: the host gives a process 65,530, which it needs for other things."""
OFTEN: Final = 64  # pieces, after which somebody looks how many there are
GUARD: Final = 16 * PAGE_SIZE  # behind the last page: no access is wider
_NOTHING: Final = 0  # PROT_NONE
_MAY_MOVE, _FIXED = 1, 2  # of mremap
_FIXED_MAP, _NO_RESERVE = 0x10, 0x4000  # of mmap
_EMPTY: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
_FAULT: Final = 11  # SIGSEGV
_IGNORED: Final = 1  # SIG_IGN: handlers are above it
_WITH_INFORMATION, _ON_STACK = 4, 0x08000000  # flags of a signal's action
_RIP: Final = 168  # where a context has the program counter (ucontext_t of x86-64)
_ACTION, _SIGNAL_SET = 13, 8  # rt_sigaction's number, and bytes of a set of signals
_CATCHER: Final = "window_catcher"
_FACTS: Final = "window_facts"  # where code begins, how long it is, and who was told before


def _catcher() -> str:
    """The module of the function that a fault of the host comes to."""
    from emu.engines.native.site import assembly  # the code is on the disk but once

    return assembly(_ASSEMBLY)


_ASSEMBLY: Final = f"""
.globl {_FACTS}
.type {_FACTS}, @function
{_FACTS}:
0:  .quad 0
1:  .quad 0
2:  .quad 0
3:  .zero 32
.globl {_CATCHER}
.type {_CATCHER}, @function
{_CATCHER}:
    mov rax, [rdx + {_RIP}]
    mov rcx, rax
    sub rcx, [rip + 0b]
    cmp rcx, [rip + 1b]
    jae 4f
    mov ecx, [rax - {len(MARK) + 4}]
    and ecx, 0xffffff
    cmp ecx, {int.from_bytes(MARK, "little")}
    jne 4f
    movsxd rcx, dword ptr [rax - 4]
    add rax, rcx
    mov [rdx + {_RIP}], rax
    ret
4:  mov rax, [rip + 2b]
    cmp rax, {_IGNORED}
    jbe 5f
    jmp rax
5:  mov eax, {_ACTION}
    mov edi, {_FAULT}
    lea rsi, [rip + 3b]
    xor edx, edx
    mov r10d, {_SIGNAL_SET}
    syscall
    ret
"""


_ACTION_OF = struct.Struct("P128xiP")
"""What is done about a signal: handler, mask, flags and restorer, as the C library tells it."""


class _Catcher:
    """Who is told of the process's faults: native code, or somebody who came after us."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._address = library.addresses[_CATCHER]
        self._facts = (c_uint64 * 3).from_address(library.addresses[_FACTS])

    def is_told(self) -> bool:
        """Whether we are told of faults, from now on; not if somebody has taken our place."""
        now = self._handler()
        if now == self._address:
            return True
        if self._facts[1] and now > _IGNORED:
            return False
        code = arena()
        assert code is not None
        self._facts[:] = [code.address, ROOM, now]
        mine = bytearray(_ACTION_OF.pack(self._address, _WITH_INFORMATION | _ON_STACK, 0))
        return bool(_libc().sigaction(_FAULT, address_of(mine), None) == 0)

    def _handler(self) -> int:
        found = bytearray(_ACTION_OF.size)
        _libc().sigaction(_FAULT, None, address_of(found))
        handler: int = _ACTION_OF.unpack(found)[0]
        return handler


@cache
def _the_catcher() -> _Catcher:
    return _Catcher(linker().link(kept(DiskCache.users(), _CATCHER, _catcher, [_CATCHER])))


@cache
def _can_map() -> bool:
    """Whether the host maps shared memory once more: not every sandbox's does."""
    first, second = Room(PAGE_SIZE, shared=True), Room(PAGE_SIZE)
    there = second.address
    return bool(_libc().mremap(first.address, 0, PAGE_SIZE, _MAY_MOVE | _FIXED, there) == there)


class _Library(NamedTuple):
    """Functions of the C library."""

    mremap: Callable[..., Any]
    mmap: Callable[..., Any]
    munmap: Callable[..., Any]
    mprotect: Callable[..., Any]
    sigaction: Callable[..., Any]


@cache
def _libc() -> _Library:
    word, number = c_void_p, c_int  # sizes and offsets have as many bits as addresses
    return _Library(
        mremap=function("mremap", word, word, word, word, number, word),
        mmap=function("mmap", word, word, word, number, number, number, word),
        munmap=function("munmap", number, word, word),
        mprotect=function("mprotect", number, word, word, number),
        sigaction=function("sigaction", number, number, word, word),
    )


_all: WeakSet[Window] = WeakSet()


class Window:
    """A window on a guest's memory; `address` is where its first byte is."""

    _close: Callable[[], object] | None = None  # once there is something to close

    def __init__(self) -> None:
        """Raises OSError if the host has no addresses left, or tells somebody else of faults."""
        if not can_be() or not _can_map() or not _the_catcher().is_told():
            raise OSError("the host's faults are another one's")
        size = ADDRESS_LIMIT + GUARD
        found = _libc().mmap(None, size, _NOTHING, _EMPTY, -1, 0)
        if found in (None, c_void_p(-1).value):
            raise OSError("no room for a window")
        self.address: int = found
        self._shown: dict[int, int] = {}  # pages, and where they are in the host's storage
        self._pieces = 0  # at most, since nothing could be reached
        self._close = partial(_libc().munmap, found, size)
        _all.add(self)

    def __del__(self) -> None:
        """Give the addresses back; when Python ends, little else is there any more."""
        if self._close is not None:
            self._close()

    def show(self, run: Reachable) -> None:
        """Let pages be reached that are somewhere in the host's storage, and were not there before
        or only for reading. Raises OSError if the host cannot."""
        at, size = self.address + run.page * PAGE_SIZE, run.length * PAGE_SIZE
        pages = run.places
        there = all(self._shown.get(page) == place for page, place in pages.items())
        self._pieces += 1  # whatever comes of it
        if not self._pieces % OFTEN and self._is_too_much():
            raise OSError("windows are in too many pieces")
        rights = mmap.PROT_READ | mmap.PROT_WRITE if run.writable else mmap.PROT_READ
        if not there and _libc().mremap(run.where, 0, size, _MAY_MOVE | _FIXED, at) != at:
            raise OSError("a window is in too many pieces")
        if (there or not run.writable) and _libc().mprotect(at, size, rights):
            raise OSError("a window is in too many pieces")
        self._shown |= pages

    def _is_too_much(self) -> bool:
        return self._pieces > MOST_PIECES or sum(one._pieces for one in _all) > MOST_OF_ALL

    def hide(self, pages: Iterable[int]) -> None:
        """Let some pages be reached no longer."""
        gone = sorted(self._shown.keys() & pages)
        for first, count in runs_of(gone):
            self._empty(gone[first], count)
        for page in gone:
            del self._shown[page]

    def hide_all(self) -> None:
        """Let nothing be reached."""
        if self._pieces:
            self._pieces = 0
            self._shown.clear()
            self._empty(0, ADDRESS_LIMIT // PAGE_SIZE)

    def _empty(self, page: int, count: int) -> None:
        at, size = self.address + page * PAGE_SIZE, count * PAGE_SIZE
        if _libc().mmap(at, size, _NOTHING, _EMPTY | _FIXED_MAP, -1, 0) != at:
            raise MemoryError("a window cannot be closed")


def can_be() -> bool:
    """Whether there are windows on this host."""
    return mmap.PAGESIZE == PAGE_SIZE and arena() is not None  # which asks for the host
