"""The gate: native code calls the Python handlers of exits without returning to the engine.

`enter` is how the engine calls native code. It holds the interpreter's lock for the first HELD
instructions and after each handler, as taking it costs more than calling a handler does; what runs
longer gives it up. The gate itself is reached by a tail call from wherever an exit happened, so
that nothing of the code that left is still at work when a handler changes it.
"""

from __future__ import annotations

from emu.engines.native.cache import DiskCache
from emu.engines.native.layout import (
    CONVENTION,
    METADATA,
    MOST_SERVED,
    MOST_VALUES,
    WORDS,
    Left,
    Word,
)
from emu.engines.native.linking import Library, kept, linker
from emu.engines.native.modes import ROW_BITS, ROW_WORDS, Modes, Places, factors
from emu.engines.native.names import digest
from emu.foreign import PYFUNCTYPE, c_uint64, c_void_p, place_of
from isa.hints import TYPE_CHECKING, Any, Callable, Final
from isa.light import cache, partial
from isa.registers import Register

if TYPE_CHECKING:
    from emu.engines.native.engine import NativeSession

HELD: Final = 10_000  # instructions with the interpreter's lock: some microseconds

FUNCTIONS: Final = (
    "PyEval_SaveThread", "PyEval_RestoreThread", "PyLong_FromUnsignedLongLong",
    "PyDict_SetItem", "PyDict_GetItemWithError", "PyObject_Size", "PyObject_Vectorcall",
    "Py_IncRef", "Py_DecRef", "PyLong_AsUnsignedLongLongMask",
)  # fmt: skip
ATTRIBUTES: Final = ("handlers", "values", "breakpoints", "interrupt_requested")
"""Of a state: what native code has to know, and looks at after a handler."""

OBJECTS: Final = (
    "none", "true", "false", "state", "clock", "done", "settled", "keep",
    "name.count", "name.reply", "name.generation", "generation",
    *ATTRIBUTES[:3], *(f"name.{name}" for name in ATTRIBUTES),
)  # fmt: skip
_PLACE: Final = {name: Word.PYTHON + n for n, name in enumerate((*FUNCTIONS, *OBJECTS))}
assert max(_PLACE.values()) < Word.SERVED

_Enter = PYFUNCTYPE(c_uint64, c_void_p, c_void_p, c_uint64)
"""enter(mailbox, function, number) -> Left, called and left with the interpreter's lock."""


class Gate:
    """The gate of a session. It keeps alive whatever native code knows by address."""

    def __init__(self, session: NativeSession) -> None:
        self.watched = session.watched
        self.answers: list[object] = []  # what handlers returned but None
        self._session = session
        self._kept: dict[int, object] = {}
        self._known: list[Any] = [None, None, None]
        self._generation = 0
        slots = tuple(sorted(r.slot for r in session.watched))
        if len(slots) > WORDS - Word.MODE:
            raise AssertionError("more registers decide on the mode than the mailbox holds")
        library = _library(slots, session.isa.pc)
        self.enter: Callable[[int, int, int], int] = _Enter(library.addresses["enter"])
        self._gate, self.look = library.addresses["gate"], library.addresses["look"]
        self.modes = Modes(slots)
        self._put(Word.MODES, self.modes.address)
        for name in FUNCTIONS:
            self._put(_PLACE[name], place_of(name))
        clock = vars(session.state.memory[session.isa.code_space])
        self._clock = clock if "generation" in clock else {"generation": 0}
        things: dict[str, object] = {
            "none": None, "true": True, "false": False, "state": vars(session.state),
            "clock": self._clock, "done": session.regions.done, "keep": self.answers.append,
            "settled": self._settled,
        }  # fmt: skip
        for name, thing in things.items():
            self._object(_PLACE[name], thing)
        for name in (*ATTRIBUTES, "count", "reply", "generation"):
            self._object(_PLACE[f"name.{name}"], name)
        self._served = 0
        for number, reason in session.ways.items():
            self.know(number, *reason)
        self.refresh()

    def _put(self, word: int, value: int | None) -> None:
        self._session.mail[word] = value or 0

    def _object(self, word: int, thing: object) -> None:
        self._kept[word] = thing
        self._put(word, id(thing))

    def refresh(self) -> None:
        """Take note of handlers, breakpoints and mappings as they are now."""
        state = self._session.state
        self._put(Word.GATE, self._gate if state.handlers else 0)
        self._generation = self._clock["generation"]
        self._object(_PLACE["generation"], self._generation)
        known = [state.handlers, state.values, state.breakpoints]
        if any(new is not old for new, old in zip(known, self._known, strict=True)):
            self._known = known
            for name, thing in zip(ATTRIBUTES[:3], known, strict=True):
                self._object(_PLACE[name], thing)

    def know(self, number: int, reason: str, count: int) -> None:
        """There is an exit with such a number, and so many values."""
        if reason == "trap" or self._served == MOST_SERVED:
            return
        word = Word.SERVED + 3 * self._served
        self._served += 1
        self._object(word + 1, reason)
        self._put(word + 2, count)
        self._put(word, number)

    def _settled(self, count: int) -> bool:
        """Whether native code may go on after a handler that was called at a count.

        Asked if a look at the objects themselves does not tell. Nothing of native code is at work
        now, so what mappings have changed can be forgotten here.
        """
        session, state = self._session, self._session.state
        handlers, values, _ = self._known
        settled = (
            state.count is count
            and not state.interrupt_requested
            and not session.regions.done
            and state.handlers is handlers
            and state.values is values
            and state.breakpoints == session.breakpoints
            and state.coverage is session.coverage
        )
        if settled and self._clock["generation"] != self._generation:
            session.refresh()
        return settled


@cache
def _library(slots: tuple[int, ...], pc: Register) -> Library:
    name = digest(repr(("gate", slots, pc.slot)).encode())
    return linker().link(
        kept(DiskCache.users(), name, partial(_text, slots, pc), ["enter", "gate", "look"])
    )


def _word(name: str, word: int, kind: str = "ptr") -> str:
    return (
        f"  %{name}.p = getelementptr i64, ptr %mailbox, i64 {int(word)}\n"
        f"  %{name} = load {kind}, ptr %{name}.p\n"
    )


def _known(*names: str) -> str:
    return "".join(_word(name, _PLACE[name]) for name in names)


def _mode(slots: tuple[int, ...]) -> tuple[str, str]:
    """Lines that remember the registers of the mode, and that compare them: `%differs`."""
    remember, compare, last = "", "", "0"
    for n, slot in enumerate(slots):
        now = (
            f"  %now{n}.p = getelementptr i64, ptr %registers, i64 {slot}\n"
            f"  %now{n} = load i64, ptr %now{n}.p\n"
        )
        place = f"  %old{n}.p = getelementptr i64, ptr %mailbox, i64 {Word.MODE + n}\n"
        remember += f"{now}{place}  store i64 %now{n}, ptr %old{n}.p\n"
        compare += (
            f"{now}{place}  %old{n} = load i64, ptr %old{n}.p\n"
            f"  %x{n} = xor i64 %now{n}, %old{n}\n  %any{n} = or i64 {last}, %x{n}\n"
        )
        last = f"%any{n}"
    return remember, f"{compare}  %differs = icmp ne i64 {last}, 0\n"


_PLACES: Final = Places(Word.PAGES, Word.JUMPS, Word.KEYS)


def _look(slots: tuple[int, ...], pc: Register) -> str:
    """The function that goes on in the mode that the registers say, if it is known."""
    remember, _ = _mode(slots)
    size = ROW_WORDS + len(slots)
    hashed, compare, last, same = "", "", "0", "true"
    for n, factor in enumerate(factors(len(slots))):
        hashed += f"  %mul{n} = mul i64 %now{n}, {_signed(factor)}\n"
        hashed += f"  %sum{n} = add i64 {last}, %mul{n}\n"
        compare += (
            f"  %there{n}.p = getelementptr i64, ptr %row, i64 {ROW_WORDS + n}\n"
            f"  %there{n} = load i64, ptr %there{n}.p\n"
            f"  %is{n} = icmp eq i64 %there{n}, %now{n}\n  %all{n} = and i1 {same}, %is{n}\n"
        )
        last, same = f"%sum{n}", f"%all{n}"
    switch = "".join(
        f"  %{name}.from = getelementptr i64, ptr %row, i64 {1 + n}\n"
        f"  %{name} = load i64, ptr %{name}.from\n"
        f"  %{name}.to = getelementptr i64, ptr %mailbox, i64 {int(word)}\n"
        f"  store i64 %{name}, ptr %{name}.to\n"
        for n, (name, word) in enumerate(_PLACES._asdict().items())
    )
    return f"""
define {CONVENTION} i64 @look(ptr %mailbox, i64 %why) {{
entry:
{_word("registers", Word.REGISTERS)}{_word("modes", Word.MODES)}{remember}{hashed}
  %number = lshr i64 {last}, {64 - ROW_BITS}
  %row = getelementptr [{size} x i64], ptr %modes, i64 %number
  %full = load i64, ptr %row
  %is_full = icmp ne i64 %full, 0
{compare}
  %known = and i1 {same}, %is_full
  br i1 %known, label %switch, label %unknown
unknown:
  ret i64 %why
switch:
{switch}
  %switched = getelementptr i64, ptr %mailbox, i64 {int(Word.SWITCHED)}
  store i64 1, ptr %switched
{_chain(pc, "switch")}
}}
"""


def _signed(number: int) -> int:
    """The same 64 bits as a signed number, as LLVM reads them."""
    return number - (number >> 63 << 64)


def _chain(pc: Register, label: str) -> str:
    from emu.engines.native.lowering import Lowering  # the code is on the disk but once
    from emu.engines.native.pieces import chain

    low = Lowering()
    low.label = label
    chain(low, "%pc")
    return (
        f"  %pc.p = getelementptr i64, ptr %registers, i64 {pc.slot}\n"
        "  %pc = load i64, ptr %pc.p\n" + "\n".join(low.lines) + "\n"
    )


def _quick() -> str:
    """Lines that compare, by identity, what settles most handlers: `%quick`."""
    wanted = {"count": "count.now", "interrupt_requested": "false"}
    wanted |= {name: name for name in ATTRIBUTES[:3]}
    rows = [("state", name, found) for name, found in wanted.items()]
    lines, last = "", "true"
    for where, name, found in [*rows, ("clock", "generation", "generation")]:
        got, here = f"%got.{name}", f"%same.{name}"
        lines += (
            f"  {got} = call ptr %PyDict_GetItemWithError(ptr %{where}, ptr %name.{name})\n"
            f"  {here}.one = icmp eq ptr {got}, %{found}\n  {here} = and i1 {last}, {here}.one\n"
        )
        last = here
    return f"""{lines}
  %size.breakpoints = call i64 %PyObject_Size(ptr %breakpoints)
  %size.done = call i64 %PyObject_Size(ptr %done)
  %sizes = or i64 %size.breakpoints, %size.done
  %empty = icmp eq i64 %sizes, 0
  %quick = and i1 {last}, %empty"""


_RELEASE = """  %thread.new = call ptr %PyEval_SaveThread()
  store ptr %thread.new, ptr %thread.p
"""
_TAKE = """  call void %PyEval_RestoreThread(ptr %thread)
  store ptr null, ptr %thread.p
"""


def _text(slots: tuple[int, ...], pc: Register) -> str:
    from emu.engines.native.samples import DEAL  # the code is on the disk but once

    remember, compare = _mode(slots)
    words = _word("registers", Word.REGISTERS) + _word("held", Word.HELD, "i64")
    words += _word("thread", Word.THREAD) + _word("later", Word.LATER, "i64")
    threads = _known("PyEval_SaveThread", "PyEval_RestoreThread")
    return f"""
{DEAL}
define i64 @enter(ptr %mailbox, ptr %code, i64 %number) {{
entry:
{words}{threads}{remember}
  %serving = getelementptr i64, ptr %mailbox, i64 {int(Word.SERVING)}
  store i64 0, ptr %serving
  %total = load i64, ptr %mailbox
  store ptr null, ptr %thread.p
  call void @deal(ptr %mailbox, i64 %total)
  %never = icmp eq i64 %held, 0
  br i1 %never, label %begin.free, label %begin
begin.free:
  %thread.begin = call ptr %PyEval_SaveThread()
  store ptr %thread.begin, ptr %thread.p
  br label %begin
begin:
  %left.first = call {CONVENTION} i64 %code(ptr %mailbox, i64 %number)
  br label %look
look:
  %left = phi i64 [%left.first, %begin], [%left.more, %more.now]
  %some = load i64, ptr %mailbox
  %more = load i64, ptr %later.p
  %both = add i64 %some, %more
  store i64 %both, ptr %mailbox
  store i64 0, ptr %later.p
  %is_budget = icmp eq i64 %left, {int(Left.BUDGET)}
  %has_more = icmp ne i64 %more, 0
  %again = and i1 %is_budget, %has_more
  br i1 %again, label %free.or.not, label %out
free.or.not: ; the lock is given up the first time
  %thread.now = load ptr, ptr %thread.p
  %is_held = icmp eq ptr %thread.now, null
  br i1 %is_held, label %free, label %more.now
free:
{_RELEASE}
  br label %more.now
more.now:
  call void @deal(ptr %mailbox, i64 %both)
  %left.more = call {CONVENTION} i64 @go_on(ptr %mailbox, i64 0)
  br label %look
out:
  %thread.out = load ptr, ptr %thread.p
  %lost = icmp ne ptr %thread.out, null
  br i1 %lost, label %take, label %return
take:
  call void %PyEval_RestoreThread(ptr %thread.out)
  br label %return
return:
  ret i64 %left
}}

define internal {CONVENTION} i64 @go_on(ptr %mailbox, i64 %number) {{
entry:
{_word("registers", Word.REGISTERS)}{_chain(pc, "entry")}
}}

define {CONVENTION} i64 @gate(ptr %mailbox, i64 %number) {{
entry:
  %arguments = alloca [{MOST_VALUES} x ptr]
  %at = alloca ptr
{words}{threads}{_known(*FUNCTIONS[2:], *OBJECTS)}{_word("reason", Word.REASON, "i64")}
  br label %search
search:
  %n = phi i64 [0, %entry], [%n.next, %other]
  %offset = mul i64 %n, 3
  %index = add i64 %offset, {int(Word.SERVED)}
  %row = getelementptr i64, ptr %mailbox, i64 %index
  %row.number = load i64, ptr %row
  %same = icmp eq i64 %row.number, %reason
  br i1 %same, label %found, label %other
other:
  %n.next = add i64 %n, 1
  %is_end = icmp eq i64 %row.number, 0
  br i1 %is_end, label %unknown, label %search
unknown:
  ret i64 %number
found:
  %free = icmp ne ptr %thread, null
  br i1 %free, label %take, label %locked
take:
{_TAKE}
  br label %locked
locked:
  %name.p = getelementptr i64, ptr %row, i64 1
  %name = load ptr, ptr %name.p
  %all = call ptr %PyDict_GetItemWithError(ptr %state, ptr %name.handlers)
  %handler = call ptr %PyDict_GetItemWithError(ptr %all, ptr %name)
  %nobody = icmp eq ptr %handler, null
  br i1 %nobody, label %unknown, label %count.it
count.it:
  %end.p = getelementptr i64, ptr %mailbox, i64 {int(Word.END)}
  %end = load i64, ptr %end.p
  %some = load i64, ptr %mailbox
  %total = add i64 %some, %later
  %now = sub i64 %end, %total
  %count.now = call ptr %PyLong_FromUnsignedLongLong(i64 %now)
  %set = call i32 %PyDict_SetItem(ptr %state, ptr %name.count, ptr %count.now)
  %serving = getelementptr i64, ptr %mailbox, i64 {int(Word.SERVING)}
  store i64 1, ptr %serving
  call void %Py_IncRef(ptr %handler)
  %length.p = getelementptr i64, ptr %row, i64 2
  %length = load i64, ptr %length.p
  br label %each
each:
  %i = phi i64 [0, %count.it], [%i.next, %one]
  %enough = icmp uge i64 %i, %length
  br i1 %enough, label %call, label %one
one:
  %value.at = add i64 %i, {int(Word.VALUES)}
  %value.p = getelementptr i64, ptr %mailbox, i64 %value.at
  %value = load i64, ptr %value.p
  %value.object = call ptr %PyLong_FromUnsignedLongLong(i64 %value)
  %slot = getelementptr ptr, ptr %arguments, i64 %i
  store ptr %value.object, ptr %slot
  %i.next = add i64 %i, 1
  br label %each
call:
  %result = call ptr %PyObject_Vectorcall(ptr %handler, ptr %arguments, i64 %length, ptr null)
  call void %Py_DecRef(ptr %handler)
  br label %drop
drop:
  %j = phi i64 [0, %call], [%j.next, %drop.one]
  %dropped = icmp uge i64 %j, %length
  br i1 %dropped, label %judge, label %drop.one
drop.one:
  %used.p = getelementptr ptr, ptr %arguments, i64 %j
  %used = load ptr, ptr %used.p
  call void %Py_DecRef(ptr %used)
  %j.next = add i64 %j, 1
  br label %drop
judge:
  %raised = icmp eq ptr %result, null
  br i1 %raised, label %stop, label %answered
answered:
  %is_none = icmp eq ptr %result, %none
  br i1 %is_none, label %ask, label %kept
kept:
  store ptr %result, ptr %at
  %ok = call ptr %PyObject_Vectorcall(ptr %keep, ptr %at, i64 1, ptr null)
  call void %Py_DecRef(ptr %ok)
  call void %Py_DecRef(ptr %result)
  br label %stop
stop:
  call void %Py_DecRef(ptr %count.now)
  ret i64 {int(Left.SERVED)}
ask:
  call void %Py_DecRef(ptr %result)
{_quick()}
  br i1 %quick, label %settled.now, label %ask.settled
settled.now:
  call void %Py_DecRef(ptr %count.now)
  br label %mode
ask.settled:
  store ptr %count.now, ptr %at
  %settles = call ptr %PyObject_Vectorcall(ptr %settled, ptr %at, i64 1, ptr null)
  call void %Py_DecRef(ptr %count.now)
  %failed = icmp eq ptr %settles, null
  br i1 %failed, label %leave, label %settles.or.not
settles.or.not:
  call void %Py_DecRef(ptr %settles)
  %yes = icmp eq ptr %settles, %true
  br i1 %yes, label %mode, label %leave
mode:
{compare}
  br i1 %differs, label %leave, label %reply.or.not
reply.or.not:
  %asks = icmp eq i64 %number, {int(Left.ASK)}
  br i1 %asks, label %reply, label %go
reply:
  %replied = call ptr %PyDict_GetItemWithError(ptr %state, ptr %name.reply)
  %silent = icmp eq ptr %replied, %none
  br i1 %silent, label %leave, label %reply.take
reply.take:
  %answer = call i64 %PyLong_AsUnsignedLongLongMask(ptr %replied)
  %wrong = icmp ugt i64 %answer, {0xFFFFFFFF}
  br i1 %wrong, label %leave, label %reply.give
reply.give:
  %gone = call i32 %PyDict_SetItem(ptr %state, ptr %name.reply, ptr %none)
  %reply.p = getelementptr i64, ptr %mailbox, i64 {int(Word.REPLY)}
  store i64 %answer, ptr %reply.p
  %replied.p = getelementptr i64, ptr %mailbox, i64 {int(Word.REPLIED)}
  store i64 1, ptr %replied.p
  br label %go
leave:
  ret i64 {int(Left.SERVED)}
go:
  store i64 0, ptr %serving
  call void @deal(ptr %mailbox, i64 %total)
  %never = icmp eq i64 %held, 0
  br i1 %never, label %release, label %next
release:
{_RELEASE}
  br label %next
next:
{_chain(pc, "next")}
}}

{_look(slots, pc)}
declare i64 @llvm.umin.i64(i64, i64)
{METADATA}
"""
