"""Watched machines on the native engine: tier 1, each of whose handlers is reached by a detour.

Tier 1 finds an instruction's handler in a table by its form, and between two handlers all registers
are in memory. So the table of a watched session has one function in every place, `watched`: it
calls Python for what is wanted there, and goes on to the real handler by a tail call. Handlers are
of a kind of their own: they note their accesses, and do one round of a repeated instruction.
What the function works on is `Hooked`, an array beside the mailbox.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from emu.engines.native.cache import DiskCache
from emu.engines.native.decode_tables import Flag
from emu.engines.native.engine import NativeSession
from emu.engines.native.gate import _PLACE
from emu.engines.native.handlers import PARAMETERS, HandlerCompiler, module
from emu.engines.native.layout import BEST, END, HOLD, MOST_FORMS, WORDS, Left, Word
from emu.engines.native.linking import kept, linker
from emu.engines.native.names import digest
from emu.engines.native.tier1 import Tier1
from emu.engines.python import MOST_BLOCKS, Python, Session
from emu.exit import Exit
from emu.script.stepping import NEVER, Stepping
from emu.script.watch import AGAIN, NOWHERE, READ, TELLS, WRITE, Watch
from emu.state import State
from isa.bits import Bits
from isa.hints import Any, Final
from isa.named import IntEnum
from isa.registers import Register

HOOKS: Final = WORDS - 1  # the word of the mailbox that points to `Hooked`
MOST_NOTED: Final = 512  # accesses of one instruction
NOTE: Final = 4  # words: kind and size, address, value (128 bits)
WROTE: Final = 1 << 8


class Hooked(IntEnum):
    """Words of the array."""

    COUNT = 0  # of the instruction that was announced last
    PC = 1
    KIND = 2  # flags of the form that was begun last
    LAST = 3  # its program counter
    BEFORE = 4  # instructions that remained when Python was called
    NOTED = 5  # accesses that are to be told
    LEFT = 6  # 1: left for a hook
    CHANGED = 7  # -> 1 if a hook changed what the engine must look at
    HANDLERS = 8  # -> the real handlers
    NOTES = 9  # -> accesses
    BLOCKS = 10  # -> callback of blocks, or null
    INSTRUCTIONS = 11
    LOW = 12  # ... for addresses from here
    HIGH = 13
    ACCESSES = 14
    ACCESS_LOW = 15
    ACCESS_HIGH = 16
    READ = 17  # -> the strings
    WRITE = 18
    WIDE = 19  # -> a function that joins two words
    NOW_COUNT = 20  # where Python was called last
    NOW_PC = 21


def _word(name: str, word: int, kind: str = "i64") -> str:
    return (
        f"  %{name}.p = getelementptr i64, ptr %hooked, i64 {int(word)}\n"
        f"  %{name} = load {kind}, ptr %{name}.p\n"
    )


def _put(word: int, value: str, where: str = "put") -> str:
    """`where` is part of a name: another for each time in one function."""
    return (
        f"  %{where}.{int(word)}.p = getelementptr i64, ptr %hooked, i64 {int(word)}\n"
        f"  store i64 {value}, ptr %{where}.{int(word)}.p\n"
    )


def _now(where: str) -> str:
    """What is told: the count before, count and program counter."""
    words = (Hooked.BEFORE, "%before"), (Hooked.NOW_COUNT, "%count"), (Hooked.NOW_PC, "%pc")
    return "".join(_put(word, value, where) for word, value in words)


def _function(name: str) -> str:
    return (
        f"  %{name}.p = getelementptr i64, ptr %mailbox, i64 {int(_PLACE[name])}\n"
        f"  %{name} = load ptr, ptr %{name}.p\n"
    )


_HOOKED: Final = (
    f"  %hooked.p = getelementptr i64, ptr %mailbox, i64 {HOOKS}\n"
    "  %hooked = load ptr, ptr %hooked.p\n"
)
_CALLS: Final = "".join(
    map(_function, ("PyLong_FromUnsignedLongLong", "PyObject_Vectorcall", "Py_DecRef"))
)

_TELL: Final = f"""
; call a callback with one number; answers 1 if it raised
define internal i64 @tell(ptr %mailbox, ptr %callback, i64 %number) noinline {{
entry:
  %at = alloca ptr
{_CALLS}
  %object = call ptr %PyLong_FromUnsignedLongLong(i64 %number)
  store ptr %object, ptr %at
  %result = call ptr %PyObject_Vectorcall(ptr %callback, ptr %at, i64 1, ptr null)
  call void %Py_DecRef(ptr %object)
  %raised = icmp eq ptr %result, null
  br i1 %raised, label %bad, label %good
good:
  call void %Py_DecRef(ptr %result)
  ret i64 0
bad:
  ret i64 1
}}
"""

_DELIVER: Final = f"""
; tell what the last instruction has read and written; answers 1 if a callback raised
define internal i64 @deliver(ptr %mailbox, ptr %hooked) noinline {{
entry:
  %arguments = alloca [5 x ptr]
  %pair = alloca [2 x ptr]
{_CALLS}{_word("noted", Hooked.NOTED)}{_word("notes", Hooked.NOTES, "ptr")}
{_word("callback", Hooked.ACCESSES, "ptr")}{_word("pc", Hooked.LAST)}
{_word("low", Hooked.ACCESS_LOW)}{_word("high", Hooked.ACCESS_HIGH)}
{_word("read", Hooked.READ, "ptr")}{_word("write", Hooked.WRITE, "ptr")}
{_word("wide", Hooked.WIDE, "ptr")}
{_put(Hooked.NOTED, "0")}
  %nobody = icmp eq ptr %callback, null
  br i1 %nobody, label %good, label %next
next:
  %n = phi i64 [0, %entry], [%n.next, %other]
  %is_end = icmp uge i64 %n, %noted
  br i1 %is_end, label %good, label %look
look:
  %note = getelementptr [{NOTE} x i64], ptr %notes, i64 %n
  %n.next = add i64 %n, 1
  %what = load i64, ptr %note
  %size = and i64 %what, {WROTE - 1}
  %wrote.bit = and i64 %what, {WROTE}
  %wrote = icmp ne i64 %wrote.bit, 0
  %kind = select i1 %wrote, ptr %write, ptr %read
  %address.p = getelementptr i64, ptr %note, i64 1
  %address = load i64, ptr %address.p
  %end = add i64 %address, %size
  %is_below = icmp ult i64 %address, %high
  %is_above = icmp ugt i64 %end, %low
  %touches = and i1 %is_below, %is_above
  br i1 %touches, label %one, label %other
one:
  %value.p = getelementptr i64, ptr %note, i64 2
  %value = load i64, ptr %value.p
  %upper.p = getelementptr i64, ptr %note, i64 3
  %upper = load i64, ptr %upper.p
  %object.value = call ptr %PyLong_FromUnsignedLongLong(i64 %value)
  %is_wide = icmp ugt i64 %size, 8
  br i1 %is_wide, label %join, label %ready
join:
  %object.upper = call ptr %PyLong_FromUnsignedLongLong(i64 %upper)
  store ptr %object.value, ptr %pair
  %pair.upper = getelementptr ptr, ptr %pair, i64 1
  store ptr %object.upper, ptr %pair.upper
  %joined = call ptr %PyObject_Vectorcall(ptr %wide, ptr %pair, i64 2, ptr null)
  call void %Py_DecRef(ptr %object.value)
  call void %Py_DecRef(ptr %object.upper)
  br label %ready
ready:
  %object = phi ptr [%object.value, %one], [%joined, %join]
  %object.address = call ptr %PyLong_FromUnsignedLongLong(i64 %address)
  %object.size = call ptr %PyLong_FromUnsignedLongLong(i64 %size)
  %object.pc = call ptr %PyLong_FromUnsignedLongLong(i64 %pc)
  store ptr %kind, ptr %arguments
  %a1 = getelementptr ptr, ptr %arguments, i64 1
  store ptr %object.address, ptr %a1
  %a2 = getelementptr ptr, ptr %arguments, i64 2
  store ptr %object.size, ptr %a2
  %a3 = getelementptr ptr, ptr %arguments, i64 3
  store ptr %object, ptr %a3
  %a4 = getelementptr ptr, ptr %arguments, i64 4
  store ptr %object.pc, ptr %a4
  %result = call ptr %PyObject_Vectorcall(ptr %callback, ptr %arguments, i64 5, ptr null)
  call void %Py_DecRef(ptr %object.address)
  call void %Py_DecRef(ptr %object.size)
  call void %Py_DecRef(ptr %object)
  call void %Py_DecRef(ptr %object.pc)
  %raised = icmp eq ptr %result, null
  br i1 %raised, label %bad, label %told
told:
  call void %Py_DecRef(ptr %result)
  br label %other
other:
  br label %next
good:
  ret i64 0
bad:
  ret i64 1
}}
"""


def _counted() -> str:
    """Lines that compute `%count` from `%before`."""
    words = ""
    for name, word in (("end", Word.END), ("later", Word.LATER)):
        words += (
            f"  %{name}.p = getelementptr i64, ptr %mailbox, i64 {int(word)}\n"
            f"  %{name} = load i64, ptr %{name}.p\n"
        )
    return f"{words}  %not_later = sub i64 %end, %later\n  %count = sub i64 %not_later, %before\n"


def _watched(pc: Register) -> str:
    """The detour: what is told before a record's handler."""
    return f"""
define i64 @watched({PARAMETERS}) {{
entry:
{_HOOKED}{_word("handlers", Hooked.HANDLERS, "ptr")}{_word("noted", Hooked.NOTED)}
  %form = load i32, ptr %record
  %form64 = zext i32 %form to i64
  %handler.p = getelementptr ptr, ptr %handlers, i64 %form64
  %handler = load ptr, ptr %handler.p
  %pc.p = getelementptr i64, ptr %registers, i64 {pc.slot}
  %pc = load i64, ptr %pc.p
  %changed.word = getelementptr i64, ptr %hooked, i64 {int(Hooked.CHANGED)}
  %changed.p = load ptr, ptr %changed.word
{_counted()}
  %has_notes = icmp ne i64 %noted, 0
  br i1 %has_notes, label %deliver, label %done
deliver:
{_put(Hooked.BEFORE, "%before")}{_put(Hooked.NOW_COUNT, "%count")}{_put(Hooked.NOW_PC, "%pc")}
  %bad = call i64 @deliver(ptr %mailbox, ptr %hooked)
  %is_bad = icmp ne i64 %bad, 0
  br i1 %is_bad, label %leave, label %done
done:
  %is_end = icmp eq i32 %form, {END}
  %is_over = icmp sle i64 %before, 0
  %is_plain = or i1 %is_end, %is_over
  br i1 %is_plain, label %plain, label %look
plain:
  %left.plain = musttail call i64 %handler(ptr %mailbox, ptr %record, ptr %registers, i64 %before)
  ret i64 %left.plain
look:
  %changed = load i64, ptr %changed.p
  %pc.now = load i64, ptr %pc.p
  %moved = icmp ne i64 %pc.now, %pc
  %is_changed = icmp ne i64 %changed, 0
  %must_leave = or i1 %moved, %is_changed
  br i1 %must_leave, label %leave, label %ask
ask:
{_word("told.count", Hooked.COUNT)}{_word("told.pc", Hooked.PC)}
  %same.count = icmp eq i64 %told.count, %count
  %same.pc = icmp eq i64 %told.pc, %pc
  %same = and i1 %same.count, %same.pc
  br i1 %same, label %run, label %announce
announce:
  store i64 %count, ptr %told.count.p
  store i64 %pc, ptr %told.pc.p
{_word("blocks", Hooked.BLOCKS, "ptr")}
  %no_blocks = icmp eq ptr %blocks, null
  br i1 %no_blocks, label %instructions, label %starts
starts:
{_word("kind", Hooked.KIND)}{_word("last", Hooked.LAST)}
  %ends.bit = and i64 %kind, {int(Flag.ENDS)}
  %ends = icmp ne i64 %ends.bit, 0
  %repeats.bit = and i64 %kind, {int(Flag.REPEATS)}
  %repeats = icmp ne i64 %repeats.bit, 0
  %stays = icmp eq i64 %last, %pc
  %goes_on = and i1 %repeats, %stays
  %leaves = xor i1 %goes_on, true
  %is_block = and i1 %ends, %leaves
  br i1 %is_block, label %block, label %instructions
block:
{_now("now.block")}  %block.bad = call i64 @tell(ptr %mailbox, ptr %blocks, i64 %pc)
  %block.pc = load i64, ptr %pc.p
  %block.moved = icmp ne i64 %block.pc, %pc
  %block.raised = icmp ne i64 %block.bad, 0
  %block.leaves = or i1 %block.moved, %block.raised
  br i1 %block.leaves, label %leave, label %instructions
instructions:
{_word("callback", Hooked.INSTRUCTIONS, "ptr")}
{_word("low", Hooked.LOW)}{_word("high", Hooked.HIGH)}
  %some = icmp ne ptr %callback, null
  %is_above = icmp uge i64 %pc, %low
  %is_below = icmp ult i64 %pc, %high
  %inside.1 = and i1 %is_above, %is_below
  %inside = and i1 %inside.1, %some
  br i1 %inside, label %tell, label %told
tell:
{_now("now.tell")}  %raised = call i64 @tell(ptr %mailbox, ptr %callback, i64 %pc)
  %has_raised = icmp ne i64 %raised, 0
  br i1 %has_raised, label %leave, label %told
told:
  %changed.then = load i64, ptr %changed.p
  %pc.then = load i64, ptr %pc.p
  %moved.then = icmp ne i64 %pc.then, %pc
  %is_changed.then = icmp ne i64 %changed.then, 0
  %leaves.then = or i1 %moved.then, %is_changed.then
  br i1 %leaves.then, label %leave, label %run
run:
  %flags.word = getelementptr i64, ptr %mailbox, i64 {int(Word.FLAGS)}
  %flags = load ptr, ptr %flags.word
  %flag.p = getelementptr i8, ptr %flags, i64 %form64
  %flag = load i8, ptr %flag.p
  %flag64 = zext i8 %flag to i64
  %run.kind.p = getelementptr i64, ptr %hooked, i64 {int(Hooked.KIND)}
  store i64 %flag64, ptr %run.kind.p
  %run.last.p = getelementptr i64, ptr %hooked, i64 {int(Hooked.LAST)}
  store i64 %pc, ptr %run.last.p
  store i64 0, ptr %noted.p
  %left = musttail call i64 %handler(ptr %mailbox, ptr %record, ptr %registers, i64 %before)
  ret i64 %left
leave:
  %left.p = getelementptr i64, ptr %hooked, i64 {int(Hooked.LEFT)}
  store i64 1, ptr %left.p
  store i64 %before, ptr %mailbox
  ret i64 {int(Left.STEP)}
}}
"""


class NotingCompiler(HandlerCompiler):
    """Prints handlers that note their accesses, and do one round of a repeated instruction."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._plain_load, self._plain_store = self.load, self.store
        self.load, self.store = self._load, self._store
        self._noted = 0

    def _load(self, node: Bits, address: str) -> str:
        value = self._plain_load(node, address)
        self._note(0, node, address, value)
        return value

    def _store(self, node: Bits, address: str, value: str) -> None:
        self._plain_store(node, address, value)
        self._note(WROTE, node, address, value)

    def _note(self, kind: int, node: Bits, address: str, value: str) -> None:
        """Lines that put an access behind the others."""
        space, width = node.attribute
        if space in TELLS:
            return
        self._noted += 1
        assert self._noted <= MOST_NOTED
        low, unit = self.low, self.isa.spaces[space]
        hooked = self._pointer(HOOKS, "%mailbox")
        notes = self._pointer(Hooked.NOTES, hooked)
        at = low.emit(f"getelementptr i64, ptr {hooked}, i64 {int(Hooked.NOTED)}")
        n = low.emit(f"load i64, ptr {at}")
        note = low.emit(f"getelementptr [{NOTE} x i64], ptr {notes}, i64 {n}")
        words = [f"{kind | width // unit}", self._wide(address, node.args[0].width)]
        words += self._halves(value, width)
        for number, word in enumerate(words):
            place = low.emit(f"getelementptr i64, ptr {note}, i64 {number}")
            low.line(f"store i64 {word}, ptr {place}")
        low.line(f"store i64 {low.emit(f'add i64 {n}, 1')}, ptr {at}")

    def _pointer(self, word: int, base: str) -> str:
        at = self.low.emit(f"getelementptr i64, ptr {base}, i64 {int(word)}")
        return self.low.emit(f"load ptr, ptr {at}")

    def _wide(self, text: str, width: int) -> str:
        return self.low.emit(f"zext i{width} {text} to i64") if width < 64 else text

    def _halves(self, value: str, width: int) -> list[str]:
        low = self.low
        if width <= 64:
            return [self._wide(value, width)]
        upper = low.emit(f"lshr i{width} {value}, 64")
        return [low.emit(f"trunc i{width} {text} to i64") for text in (value, upper)]

    def bulk(self, node: Bits, arguments: list[str]) -> str:
        """See `Context`: one round, by the accesses that define it."""
        space, width, *_ = node.attribute
        addresses = node.args
        if node.op == "copy":
            value = self.load(_load(addresses[0], space, width), arguments[0])
            self.store(_store(addresses[1], space, width), arguments[1], value)
        elif node.op == "fill":
            self.store(_store(addresses[0], space, width), *arguments[:2])
        else:
            for number in range(1 if node.op == "scan" else 2):
                self.load(_load(addresses[number], space, width), arguments[number])
        return "1"


def _load(address: Bits, space: str, width: int) -> Bits:
    return Bits("load", width, (address,), (space, width))


def _store(address: Bits, space: str, width: int) -> Bits:
    return Bits("store", 0, (address, Bits.of(0, width)), (space, width))


class WatchedTier1(Tier1):
    """Tier 1 with the detour before every handler."""

    prefix = "w"
    stitches = False  # what is hooked is done by handlers

    def _start(self) -> None:
        session, isa = self._session, self._session.isa
        name = digest(repr(("watched", isa.pc.slot, HOOKS)).encode())

        def text() -> str:
            return module([_TELL, _DELIVER, _watched(isa.pc)])

        library = linker().link(kept(session.cache, name, text, ["watched"]))
        self._libraries.append(library)
        self._detours = np.full(MOST_FORMS, library.addresses["watched"], dtype=np.uint64)
        super()._start()

    def attach(self) -> None:
        """See `Tier1`."""
        super().attach()
        self._session.mail[Word.HANDLERS] = self._detours.ctypes.data

    def _compiler_type(self) -> type[HandlerCompiler]:
        return NotingCompiler


class WatchedNativeSession(Stepping, NativeSession):
    """The native engine at work on a watched machine: tier 1 only, the rest by stepping."""

    tier1_type = WatchedTier1
    switches = False  # what was accessed is told before the mode changes

    def __init__(self, state: State, watch: Watch) -> None:
        self._hooked = np.zeros(len(Hooked), dtype=np.uint64)
        self._words: Any = memoryview(self._hooked)  # type: ignore[arg-type]  # numpy's stubs
        self._notes = np.zeros((MOST_NOTED, NOTE), dtype=np.uint64)
        super().__init__(state, NEVER, 1, NEVER, BEST, DiskCache.users(), wait=False)
        self.watched_by(watch)
        self._kept: list[object] = []
        words = self._words
        words[Hooked.CHANGED] = watch.flag.buffer_info()[0]
        words[Hooked.NOTES] = self._notes.ctypes.data
        words[Hooked.READ], words[Hooked.WRITE] = self._object(READ), self._object(WRITE)
        words[Hooked.WIDE] = self._object(_joined)

    def _object(self, thing: object) -> int:
        """The address of an object, which stays alive; 0 for None."""
        if thing is None:
            return 0
        self._kept.append(thing)
        return id(thing)

    def _attach(self) -> None:
        super()._attach()
        if len(self.watched) > HOOKS - Word.MODE:
            raise AssertionError("more registers decide on the mode than the mailbox holds")
        self.mail[Word.HOT] = 0  # no block is ever hot
        self.mail[HOOKS] = self._hooked.ctypes.data
        if self.tier1 is not None:
            self._words[Hooked.HANDLERS] = self.tier1.handlers_at

    def _held(self) -> int:
        return HOLD  # hooks need the interpreter's lock all the time

    def _hot_block(self, mode: Hashable, pc: int) -> None:
        """None gets a region."""

    # -- native code -----------------------------------------------------------------------------

    def _native(self, function: int, number: int, until: int) -> Exit | Left | None:
        watch, words = self.observer, self._words
        self._tell_native()
        self.mail[Word.GATE] = 0  # exits come here first, so that accesses are told before them
        try:
            left = super()._native(function, number, until)
        finally:
            watch.count = None
            self._learn()
        if words[Hooked.LEFT]:
            return AGAIN if watch.changed else Left.LOOK
        if left is Left.LOOK:
            self._tell_notes()
        words[Hooked.NOTED] = 0
        return AGAIN if watch.changed and not isinstance(left, Exit) else left

    def _tell_native(self) -> None:
        """What the detour has to know."""
        watch, words, state = self.observer, self._words, self.state
        here = state.count, state.pc
        words[Hooked.COUNT], words[Hooked.PC] = (n & _ALL for n in watch.announced)
        goes_on = watch.inside == here
        words[Hooked.KIND] = 0 if goes_on else int(Flag.ENDS)
        words[Hooked.LAST] = _ALL
        words[Hooked.NOTED] = words[Hooked.LEFT] = 0
        words[Hooked.NOW_COUNT] = _ALL
        kept = len(self._kept)
        words[Hooked.BLOCKS] = self._object(watch.blocks)
        words[Hooked.INSTRUCTIONS] = self._object(watch.instructions)
        words[Hooked.LOW], words[Hooked.HIGH] = watch.low, watch.high
        words[Hooked.ACCESSES] = self._object(watch.accesses)
        words[Hooked.ACCESS_LOW], words[Hooked.ACCESS_HIGH] = watch.access_low, watch.access_high
        self._callbacks, self._kept[kept:] = self._kept[kept:], []
        watch.count = self._count_now

    def _count_now(self) -> int:
        """The count while native code calls Python."""
        mail = self.mail
        count: int = mail[Word.END] - mail[Word.LATER] - self._words[Hooked.BEFORE]
        return count

    def _learn(self) -> None:
        """What the detour has told and where it stands."""
        watch, words, state = self.observer, self._words, self.state
        if words[Hooked.COUNT] != _ALL:
            watch.announced = words[Hooked.COUNT], words[Hooked.PC]
        pc = words[Hooked.NOW_PC] if words[Hooked.NOW_COUNT] == state.count else state.pc
        kind = words[Hooked.KIND]
        stays = kind & Flag.REPEATS and words[Hooked.LAST] == pc
        watch.inside = NOWHERE if kind & Flag.ENDS and not stays else (state.count, pc)

    def _exit(self) -> Exit | Left:
        """See `NativeSession`; what the instruction did is told before."""
        self.observer.count = None
        self._learn()
        if self._way(self.mail[Word.REASON])[0] != "port_read":
            self._tell_notes()
        self._words[Hooked.NOTED] = 0
        return super()._exit()

    def _tell_notes(self) -> None:
        """Tell the accesses of the instruction that left native code."""
        noted, watch = self._words[Hooked.NOTED], self.observer
        self._words[Hooked.NOTED] = 0
        for what, address, low, high in self._notes[:noted].tolist():
            kind, size = WRITE if what & WROTE else READ, what & WROTE - 1
            value = low | high << 64 if size > 8 else low
            watch.log.append((kind, address, size, value))
        watch.tell(self._words[Hooked.LAST])

    # -- what it cannot do -----------------------------------------------------------------------

    def _block_once(
        self, mode: Hashable, key: int, pc: int, until: int, *, warm: bool
    ) -> Exit | Left | None:
        """One instruction, in the python engine."""
        table = self.tables.setdefault(mode, {})
        single = table.get(key)
        if single is None:
            if self.code.blocks >= MOST_BLOCKS:
                self.forget()
                return Left.LOOK
            fetched = self.fetcher(mode) is not None
            single = table[key] = self._discover(key >> 32 if fetched else pc, mode)
        self.block = single
        stop = self._one(single)
        return Left.LOOK if stop is None and single.checks else stop


_ALL: Final = (1 << 64) - 1


def _joined(low: int, high: int) -> int:
    return low | high << 64


class WatchedNative(Python):
    """The native engine for watched machines."""

    name = "native"

    def __init__(self, watch: Watch) -> None:
        super().__init__(hot=NEVER, longest=1)
        self._watch = watch

    def session(self, state: State) -> Session:
        """A new session on a machine."""
        return WatchedNativeSession(state, self._watch)
