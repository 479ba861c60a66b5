"""Random x86 programs that run for as long as one likes, under a small operating system.

A program is pieces in an outer loop, from `random_programs` and from here. Whatever leaves the
engine is handled by a `Kernel`, the same way for each engine: faults are repaired and restarted,
skipped, or end in another piece; pages are taken away and given back, code is patched, breakpoints
come and go, and interrupts are requested at random counts and end in a handler of guest code.
"""

from __future__ import annotations

import itertools
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from emu.engines import Engine
from emu.engines.fetch import decode_at
from emu.engines.python import Python, Session
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.memory import PAGE_SIZE, AddressSpace, PhysicalMemory
from emu.state import State
from isa.fault import Fault
from isa.semantics import Builder
from isa.trace import Trace
from isa.x86.machine import X86
from isa.x86.registers import IF
from tests.machines import CODE, DATA, PAGE, user_state
from tests.random_programs import (
    EAX,
    EDX,
    PIECES,
    POINTERS,
    STRINGS,
    Piece,
    alu,
    body,
    branch,
    call,
    edge,
    lea,
    leave,
    loop,
    memory,
    modify,
    move,
    pointer,
    repeat,
    stack,
    widen,
)
from tests.silicon.cases import value

CODE_PAGES, DATA_PAGES = 4, 3
STACK, HANDLER, SYSTEM = 0x00C00000, 0x00D00000, 0x00E00000
TOP = STACK + PAGE - 128
TABLE = STACK + 0x100  # where indirect jumps find their targets
COUNTER = STACK + 0x80  # interrupts that the guest has handled
TARGETS = 8  # a power of two
WINDOWS = ((CODE, CODE_PAGES), (DATA, DATA_PAGES + 1), (STACK, 1), (HANDLER, 1))

SHORT = 400  # stretches up to that many instructions are as short at any pace
LONGEST_WATCHED = 8_000  # instructions that the reference engine repeats at a time

READ_WRITE, ALL, READ_ONLY = 6, 7, 5
FLAGS = 0x3202  # IF, and IOPL 3: CLI, STI and ports are the program's own
TRAP_FLAG, INTERRUPT_FLAG, DIRECTION_FLAG, ALIGNMENT_FLAG = 0x100, 0x200, 0x400, 0x40000
USER_CODE, USER_DATA = 0x00CFFB000000FFFF, 0x00CFF3000000FFFF
GDT = struct.pack("<16Q", *([0] * 14), USER_CODE, USER_DATA)  # 73h and 7Bh, for IRET


class InterruptibleX86(X86):
    """The x86 with its interrupt flag in force, as an engine meets it in a whole machine."""

    fingerprint = "x86 with interrupts"
    mode_registers = X86.mode_registers | {IF}

    def interruptible(self, mode: object) -> Trace | None:
        """IF."""
        return _interrupt_flag()


@cache
def _interrupt_flag() -> Trace:
    m = Builder()
    return m.finish("interruptible", m.get(IF))


def machine() -> State:
    """Code, data, a stack, handlers of interrupts, a descriptor table; see `Program.load`."""
    space = AddressSpace(PhysicalMemory(32 * PAGE))
    state = user_state(space)
    state.isa = InterruptibleX86()
    system = AddressSpace(PhysicalMemory(PAGE))
    system.map(0, PAGE, READ_WRITE)
    system.poke(0, GDT)
    state.memory["system"] = system
    state["gdt_limit"] = len(GDT) - 1
    return state


# -- pieces -----------------------------------------------------------------------------------


def _load(register: int, number: int) -> bytes:
    return bytes([0xB8 | register]) + struct.pack("<I", number & 0xFFFFFFFF)


def point(rng: random.Random, at: int) -> bytes:
    """Pointers to where there is memory, mostly."""
    chosen = rng.sample(POINTERS, rng.randrange(1, 4))
    code = b"".join(_load(register, inside(rng)) for register in chosen)
    return code + (_load(4, TOP - 4 * rng.randrange(64)) if rng.random() < 0.4 else b"")


def inside(rng: random.Random) -> int:
    """An address of data that can be written, or one near an edge."""
    if rng.random() < 0.2:
        return pointer(rng)
    return DATA + rng.randrange(64, 2 * PAGE - 64)


def indirect(rng: random.Random, at: int) -> bytes:
    """A jump through the table, or a call of a function through it."""
    pick = b"\x83\xe2" + bytes([TARGETS - 1])  # and edx, 7
    call = rng.random() < 0.6
    how, table = (b"\xff\x14\x95", TABLE) if call else (b"\xff\x24\x95", TABLE + 4 * TARGETS)
    return pick + how + struct.pack("<I", table)


def masks(rng: random.Random, at: int) -> bytes:
    """CLI, STI, PUSHF and POPF, CLD."""
    return rng.choice((b"\xfa", b"\xfb", b"\xfb", b"\x9c\x9d", b"\xfc"))


def flags(rng: random.Random, at: int) -> bytes:
    """POPF of odd flags: alignment checked, single steps, backwards strings."""
    chosen = FLAGS & ~INTERRUPT_FLAG | rng.getrandbits(12) & 0xAD5
    for flag, likely in ((INTERRUPT_FLAG, 0.7), (TRAP_FLAG, 0.15), (ALIGNMENT_FLAG, 0.15)):
        chosen |= flag if rng.random() < likely else 0
    chosen &= ~0x800 & ~DIRECTION_FLAG | (DIRECTION_FLAG if rng.random() < 0.1 else 0)
    return b"\x68" + struct.pack("<I", chosen) + b"\x9d"


def port(rng: random.Random, at: int) -> bytes:
    """IN and OUT, which leave the engine."""
    return rng.choice((b"\xe4\x21", b"\xed", b"\x66\xed", b"\xe6\x80", b"\xef", b"\xee"))


def long_repeat(rng: random.Random, at: int) -> bytes:
    """A repeated string instruction over more than a page; some run into the end of memory."""
    source, to = pointer(rng) if rng.random() < 0.3 else inside(rng), inside(rng)
    if rng.random() < 0.3:
        to = source + rng.randrange(-9, 10)
    count = _load(1, rng.randrange(40, 2500))
    down = rng.random() < 0.15
    op = rng.choice((b"", b"", b"\x66"))
    op += bytes([rng.choice((0xF3, 0xF3, 0xF2)), rng.choice(STRINGS)])
    middle = _load(6, source) + _load(7, to) + count + op
    return (b"\xfd" + middle + b"\xfc") if down else middle


def calm(rng: random.Random, at: int, most: int = 9) -> bytes:
    """Work on registers, and on memory through EBP, that seldom faults."""
    chosen = [rng.choice((alu, alu, lea, widen, _registers, _frame)) for _ in range(most)]
    return b"".join(piece(rng, at) for piece in chosen)


def _registers(rng: random.Random, at: int) -> bytes:
    return bytes([rng.choice((0x89, 0x8B, 0x01, 0x31, 0x11, 0x19)), 0xC0 | rng.choice((
        EAX, EDX, 3)) << 3 | rng.choice((EAX, EDX, 3))])  # fmt: skip


def _frame(rng: random.Random, at: int) -> bytes:
    """A load, store or read-modify-write of a word in the data, by its address."""
    op = rng.choice((0x89, 0x8B, 0x01, 0x03, 0x29, 0x33, 0x11))
    address = DATA + 4 * rng.randrange(2 * PAGE // 4 - 1) + (rng.random() < 0.2)
    return bytes([op, 0x05 | rng.choice((EAX, EDX, 3)) << 3]) + struct.pack("<I", address)


def long_loop(rng: random.Random, at: int) -> bytes:
    """Calm work some hundred times; now and then something that is not calm."""
    inside = calm(rng, at, rng.randrange(3, 8))
    if rng.random() < 0.3:
        inside += branch(rng, at)
    if rng.random() < 0.2:
        inside += memory(rng, at)
    back = -len(inside) - 7
    return _load(1, rng.randrange(30, 600)) + inside + b"\x49\x0f\x85" + struct.pack("<i", back)


def critical(rng: random.Random, at: int) -> bytes:
    """Work with interrupts held back, which they end by STI or POPF."""
    back = b"\xfb" if rng.random() < 0.6 else b"\x68" + struct.pack("<I", FLAGS) + b"\x9d"
    return b"\xfa" + rng.choice((calm, long_loop))(rng, at) + back + calm(rng, at, 2)


def overwrite(rng: random.Random, at: int) -> bytes:
    """Code over code by REP MOVS and STOS, both ways; or a store across pages of code."""
    if rng.random() < 0.4:
        edge = CODE + PAGE * rng.randrange(1, CODE_PAGES) - rng.randrange(1, 4)
        return (
            b"\xc7\x05" + struct.pack("<I", edge) + rng.choice((b"\x90\x40\x90\x4a", b"\x40" * 4))
        )
    source, to = at + rng.randrange(-60, 60), at + rng.randrange(-60, 60)
    op = rng.choice((b"\xf3\xa4", b"\xf3\xa5", b"\xf3\xaa"))
    fill = bytes([0xB0, rng.choice((0x90, 0x40, 0x4A))])
    middle = fill + _load(6, source) + _load(7, to) + _load(1, rng.randrange(1, 9)) + op
    return (b"\xfd" + middle + b"\xfc") if rng.random() < 0.3 else middle


PIECES_OF: dict[str, tuple[Piece, ...]] = {
    "calm": (long_loop, long_loop, calm, calm, call, loop, indirect, stack, masks, critical),
    "repeating": (long_repeat, long_repeat, repeat, repeat, loop, body, calm),
    "mixed": (
        long_loop, long_repeat, repeat, loop, loop, call, indirect, branch, body, body, edge,
        memory, stack, widen, lea, move, flags, masks, masks, critical, port, modify, leave,
    ),
    "modifying": (
        modify, modify, overwrite, overwrite, loop, loop, long_loop, body, branch, call, calm,
        indirect,
    ),
    "wild": (*PIECES, flags, masks, critical, overwrite, port, indirect, repeat, edge),
}  # fmt: skip
"""What programs of each kind are made of."""


# -- programs ---------------------------------------------------------------------------------


class Program:
    """An image of code, data and tables, and where to go on if control is lost."""

    def __init__(
        self, seed: int, kind: str | None = None, pace: int = 1, room: int | None = None
    ) -> None:
        rng = random.Random(f"program {seed}")
        self.room = room  # bytes of code, about
        self.seed = seed
        self.pace = pace
        self.kind = kind or rng.choice([*PIECES_OF, "calm"])
        self.starts: list[int] = []
        self.functions: list[int] = []
        code = self._code(rng)
        self.pages = _pages(CODE, code.ljust(CODE_PAGES * PAGE, b"\xcc"))
        self.pages |= _pages(DATA, rng.randbytes(DATA_PAGES * PAGE))
        self.pages |= _pages(STACK, bytes(PAGE))
        self.pages |= _pages(HANDLER, _handlers(rng).ljust(PAGE, b"\xcc"))
        table = [rng.choice(self.functions) for _ in range(TARGETS)]
        table += [rng.choice(self.starts) for _ in range(TARGETS)]
        self.table = struct.pack(f"<{2 * TARGETS}I", *table)

    def __str__(self) -> str:
        return f"Program({self.seed}, {self.kind!r}, {self.pace}, {self.room})"

    def _code(self, rng: random.Random) -> bytes:
        """Pieces in an outer loop; it begins so that it crosses pages, or ends at the last one."""
        room = self.room or rng.choice((500, 1500, PAGE, 3 * PAGE))
        code = bytearray(rng.choice((0, 5, PAGE - 300, CODE_PAGES * PAGE - room - 40)))
        first = len(code)
        while len(code) < first + room:
            at = CODE + len(code)
            self.starts.append(at)
            code += point(rng, at) if rng.random() < 0.7 else b""
            code += rng.choice(PIECES_OF[self.kind])(rng, max(at - 30, CODE))
            if rng.random() < 0.15 or not self.functions:
                function = body(rng, at, 3) + b"\xc3"
                code += bytes([0xEB, len(function)])
                self.functions.append(CODE + len(code))
                code += function
        code = code[: CODE_PAGES * PAGE - 5]
        return bytes(code + b"\xe9" + struct.pack("<i", first - len(code) - 5))

    def load(self, state: State) -> None:
        """Put a machine where the program begins, whatever it did before."""
        space = space_of(state)
        for (start, count), rights in zip(WINDOWS, (ALL, READ_WRITE, READ_WRITE, 5), strict=True):
            space.map(start, count * PAGE, rights)
        space.protect(DATA + (DATA_PAGES - 1) * PAGE, PAGE, READ_ONLY)
        space.unmap(DATA + DATA_PAGES * PAGE, PAGE)
        for page, content in self.pages.items():
            space.poke(page, content)
        space.poke(TABLE, self.table)
        state.count, state.breakpoints, state.reply = 0, set(), None
        state.interrupt_requested = False
        state.values[:] = _unused().values
        state.pc = self.starts[0]
        for name in ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi"):
            state[name] = DATA
        state["eflags"], state["esp"] = FLAGS, TOP


def _pages(start: int, content: bytes) -> dict[int, bytes]:
    return {start + n: content[n : n + PAGE] for n in range(0, len(content), PAGE)}


def _handlers(rng: random.Random) -> bytes:
    """Handlers of interrupts, 128 bytes each: they count, work a little, and return by IRET."""
    count = b"\xff\x05" + struct.pack("<I", COUNTER)
    made = b""
    for _ in range(4):
        work = calm(rng, HANDLER, 3) + (b"\xfb" if rng.random() < 0.3 else b"")  # STI: they nest
        made += (b"\x50\x52\x53" + count + work + b"\x5b\x5a\x58\xcf").ljust(128, b"\xcc")
    return made


def space_of(state: State) -> AddressSpace:
    """The program's memory."""
    space = state.memory["linear"]
    assert isinstance(space, AddressSpace)
    return space


def settle(state: State) -> None:
    """Flat segments of user mode, as in the beginning."""
    for name in _SEGMENT_REGISTERS:
        state[name] = _flat()[name]


@cache
def _unused() -> State:
    """A machine that has run nothing: its registers, of the x87 too."""
    return machine()


@cache
def _flat() -> State:
    return user_state(AddressSpace(PhysicalMemory(PAGE)))


_SEGMENT_REGISTERS = [
    name
    for segment in ("es", "cs", "ss", "ds", "fs", "gs")
    for name in (segment, f"{segment}_base", f"{segment}_limit", f"{segment}_attributes")
] + ["cpl"]


# -- the operating system ---------------------------------------------------------------------


class Kernel:
    """What happens between two runs of the engine: all from one seed, and from the state."""

    def __init__(self, program: Program, state: State) -> None:
        self.program = program
        self.state = state
        self.space = space_of(state)
        self.rng = random.Random(f"kernel {program.seed}")
        self.stuck = 0  # faults without an instruction between
        self.before = -1
        self.events: dict[str, int] = {}

    def until(self) -> int:
        """The count at which to stop next: often soon."""
        rng = self.rng
        most = rng.choices((1, 30, 400, 3000, 8000), (1, 2, 3, 6, 3))[0]
        most *= self.program.pace if most > SHORT else 1
        return self.state.count + rng.randrange(1, most + 1)

    def handle(self, stop: Exit) -> None:
        """Do what the stop asks for."""
        self.note(stop.reason)
        if stop.fault is not None:
            self.fault(stop.fault)
        elif stop.reason == "window":
            self.interrupt()
        elif stop.reason == "port_read":
            self.state.reply = self.rng.getrandbits(8 * stop.values[1])
        elif stop.reason == "interrupt":
            self.system_call()
        elif stop.reason == "unimplemented":
            self.elsewhere()
        elif stop.reason == "until":
            self.tick()

    def note(self, event: str) -> None:
        """Count what happened."""
        self.events[event] = self.events.get(event, 0) + 1

    # -- faults ------------------------------------------------------------------------------

    def fault(self, fault: Fault) -> None:
        """Repair and restart, skip, or go elsewhere; not the same twice without an instruction."""
        self.note(f"fault {fault.vector}")
        state, again = self.state, self.before == self.state.count
        self.before, self.stuck = state.count, self.stuck + 1 if again else 0
        if self.stuck > 3:
            self.renew()
        elif fault.vector == 1:
            if self.rng.random() < 0.1:
                state["tf"] = 0
        elif again:
            self.elsewhere()
        elif fault.address is not None:
            self.page_fault(fault.address)
        elif self.rng.random() < 0.5:
            self.skip()
        else:
            self.elsewhere()

    def page_fault(self, address: int) -> None:
        """Demand paging, other pointers, or a lost program."""
        chosen = self.rng.randrange(5)
        if chosen < 2 and any(s <= address < s + n * PAGE for s, n in WINDOWS):
            self.page_in(address)
        elif chosen < 4:
            self.repoint()
        else:
            self.elsewhere()

    def page_in(self, address: int) -> None:
        """Allow what was not allowed; a page that is not there comes back as it was at first."""
        self.note("page in")
        page = address & -PAGE
        if not self.space.is_mapped(page, PAGE):
            self.space.map(page, PAGE, ALL)
            self.space.poke(page, self.program.pages.get(page, bytes(PAGE)))
            if page == STACK:
                self.space.poke(TABLE, self.program.table)
        elif page != HANDLER:
            self.space.protect(page, PAGE, ALL)

    def repoint(self) -> None:
        """Restart the instruction with other pointers; a repeated one goes on elsewhere."""
        self.note("restart")
        for name in ("esi", "edi", "ebp"):
            self.state[name] = inside(self.rng)
        self.state["esp"] = TOP - 4 * self.rng.randrange(64)

    def skip(self) -> None:
        """Step over the instruction that faulted."""
        found = decode_at(self.state, self.state.pc)
        length = 1 if isinstance(found, Fault) else found.length
        self.state.pc = self.state.pc + length & 0xFFFFFFFF

    def elsewhere(self) -> None:
        """Another piece, with fresh registers: a switch of contexts."""
        rng, state = self.rng, self.state
        settle(state)
        for name in ("eax", "ecx", "edx", "ebx"):
            state[name] = rng.choice((value(rng), rng.randrange(100))) & 0xFFFFFFFF
        state["ecx"] = rng.randrange(200)
        self.repoint()
        state["eflags"] = FLAGS | rng.getrandbits(8) & 0xD5
        state.pc = rng.choice(self.program.starts)
        if rng.random() < 0.1:
            self.renew()

    def renew(self) -> None:
        """The program's code as it was; everything else that a program cannot do without."""
        self.note("renew")
        for (start, count), rights in zip(WINDOWS, (ALL, READ_WRITE, READ_WRITE, 5), strict=True):
            for page in range(start, start + count * PAGE, PAGE):
                if page != DATA + DATA_PAGES * PAGE and not self.space.is_mapped(page, PAGE):
                    self.space.map(page, PAGE, rights)
                    self.space.poke(page, self.program.pages[page])
        for page in range(CODE, CODE + CODE_PAGES * PAGE, PAGE):
            if self.space.read(page, PAGE) != self.program.pages[page]:
                self.space.poke(page, self.program.pages[page])
        self.space.poke(TABLE, self.program.table)
        settle(self.state)
        self.stuck = 0
        self.state["eflags"], self.state["esp"] = FLAGS, TOP
        self.state.pc = self.rng.choice(self.program.starts)

    # -- interrupts and system calls ---------------------------------------------------------

    def interrupt(self) -> None:
        """Enter a handler as a gate would: EFLAGS, CS and EIP on the stack, IF and TF clear."""
        state = self.state
        state.interrupt_requested = False
        frame = struct.pack("<3I", state.pc, state["cs"], state["eflags"])
        if self.space.write(state["esp"] - 12 & 0xFFFFFFFF, frame) is not None:
            state["esp"] = TOP
            if self.space.write(TOP - 12, frame) is not None:
                self.elsewhere()
                return
        state["esp"] = state["esp"] - 12 & 0xFFFFFFFF
        state["if"] = state["tf"] = 0
        state.pc = HANDLER + 128 * self.rng.randrange(4)

    def system_call(self) -> None:
        """A result in EAX; sometimes in memory too, in code as well."""
        self.state["eax"] = self.rng.getrandbits(32)
        if self.rng.random() < 0.2:
            self.space.write(pointer(self.rng), self.rng.randbytes(self.rng.randrange(1, 9)))

    # -- what comes without being asked for --------------------------------------------------

    def tick(self) -> None:
        """Between two stretches: often nothing."""
        events = (
            self.nothing, self.request, self.elsewhere, self.evict, self.protect, self.patch,
            self.breakpoint,
        )  # fmt: skip
        if self.state.breakpoints and self.rng.random() < 0.3:
            self.state.breakpoints = set()
        self.rng.choices(events, (60, 30, 6, 2, 2, 2, 1))[0]()

    def nothing(self) -> None:
        """The program goes on."""

    def request(self) -> None:
        """An interrupt: at once, or when IF is next set."""
        self.note("request")
        self.state.interrupt_requested = True

    def evict(self) -> None:
        """A page goes away; the next touch finds it as it was at first."""
        self.note("evict")
        start, count = self.rng.choice(WINDOWS[:2])
        self.space.unmap(start + PAGE * self.rng.randrange(count), PAGE)

    def protect(self) -> None:
        """A page can be written no longer, or again."""
        self.note("protect")
        start, count = self.rng.choice(WINDOWS[:3])
        rights = self.rng.choice((READ_ONLY, ALL))
        self.space.protect(start + PAGE * self.rng.randrange(count), PAGE, rights)

    def patch(self) -> None:
        """A debugger writes into code."""
        self.note("patch")
        address = self.rng.choice(self.program.starts) + self.rng.randrange(8)
        if self.space.is_mapped(address, 1):
            self.space.poke(address, self.rng.choice((b"\x90", b"\x40", b"\xcc", b"\xf8")))

    def breakpoint(self) -> None:
        """Some breakpoints, or none."""
        self.note("breakpoints")
        chosen = self.rng.sample(self.program.starts, min(2, len(self.program.starts)))
        self.state.breakpoints = set() if self.state.breakpoints else set(chosen)


# -- what is compared -------------------------------------------------------------------------


def digest(state: State) -> int:
    """Everything in memory that the program can see, in one number."""
    space, found = space_of(state), 0
    space.settle()
    view = space.physical.view
    for page, frame in sorted(space.frames.items()):
        content = view[frame * PAGE_SIZE : (frame + 1) * PAGE_SIZE]
        if content[0] or content != ZERO:  # untouched pages are zero too
            found = zlib.crc32(content, found ^ page)
    return found


ZERO = memoryview(bytes(PAGE_SIZE))

Seen = tuple[int, Exit, bytes, int]
"""Count, stop, registers, digest of memory (0 if it was not looked at)."""


def look(state: State, stop: Exit, *, memory: bool) -> Seen:
    """What two engines must agree on after a stop."""
    return state.count, stop, state.values.tobytes(), digest(state) if memory else 0


class Guest:
    """One engine with one machine, which is set back for each program: handlers stay compiled."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.state = machine()
        self.kernel: Kernel | None = None

    def run(self, program: Program, most: int, watch: Watch | None = None) -> Iterator[Seen]:
        """What there is to see after each stretch, up to about `most` instructions."""
        program.load(self.state)
        kernel = self.kernel = Kernel(program, self.state)
        for number in itertools.count():
            until = kernel.until()
            done = watch.before(self.state, until) if watch else None
            stop = self.engine.run(self.state, until)
            if done is not None:
                done(stop)
            yield look(self.state, stop, memory=stop.reason == "until" or number % 8 == 0)
            if self.state.count >= most:
                return
            kernel.handle(stop)


class Watch:
    """The reference engine looks over another's shoulder: it repeats a share of the stretches."""

    def __init__(self, seed: int, share: float) -> None:
        self.reference = Counting()
        self.share = share
        self.rng = random.Random(f"watch {seed}")
        self.instructions = self.stretches = 0

    def before(self, state: State, until: int) -> Callable[[Exit], None] | None:
        """Whether this stretch is repeated: what to call with the stop after it."""
        if until - state.count > LONGEST_WATCHED or self.rng.random() >= self.share:
            return None
        mirror = copied(state)
        start, pc = state.count, state.pc

        def compare(stop: Exit) -> None:
            expected = look(mirror, self.reference.run(mirror, until), memory=True)
            found = look(state, stop, memory=True)
            assert found == expected, f"from {start} at {pc:#x}: {differing(found, expected)}"
            self.instructions += mirror.count - start
            self.stretches += 1

        return compare


class CountingPython(Python):
    """The python engine, and how many rounds of repeated instructions it did at a time."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self.rounds = 0

    def session(self, state: State) -> Session:
        """See `Python`."""
        return _CountingSession(state, self)


class _CountingSession(Session):
    def __init__(self, state: State, owner: CountingPython) -> None:
        super().__init__(state, owner._hot, owner._longest)
        self.owner = owner

    def _after(self) -> Exit | None:
        self.owner.rounds += self.bulk.retired if self.bulk.retired > 1 else 0
        return super()._after()


class Counting(Reference):
    """The reference engine, and how many of its steps were rounds of a repeated instruction."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    def step(self, state: State) -> Exit | None:
        """See `Reference`: a step that stays where it is repeats itself."""
        pc, count = state.pc, state.count
        stop = super().step(state)
        self.rounds += state.pc == pc and state.count > count
        return stop


def copied(state: State) -> State:
    """A machine in the same state, that shares nothing."""
    other, space, mine = machine(), AddressSpace(PhysicalMemory(32 * PAGE)), space_of(state)
    for region in mine.regions:
        space.map(region.start, region.end - region.start, region.permissions)
    for page, frame in mine.frames.items():
        space.poke(page * PAGE, mine.physical.read(frame * PAGE, PAGE))
    other.memory["linear"] = space
    other.set_values(state.values)
    other.count, other.breakpoints, other.reply = state.count, set(state.breakpoints), state.reply
    other.interrupt_requested = state.interrupt_requested
    return other


def differing(found: Seen, expected: Seen) -> str:
    """What is not as it should be, in few words."""
    lines = [f"{a} instead of {b}" for a, b in zip(found[:2], expected[:2], strict=True) if a != b]
    ours, theirs = (memoryview(seen[2]).cast("Q") for seen in (found, expected))
    lines += [
        f"{r.name} {ours[r.slot]:#x} instead of {theirs[r.slot]:#x}"
        for r in InterruptibleX86.registers
        if ours[r.slot] != theirs[r.slot]
    ]
    return "; ".join([*lines, *(["memory"] if found[3] != expected[3] else [])])
