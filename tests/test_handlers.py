"""Handlers of exits: called between two instructions, alike on every engine."""

from __future__ import annotations

import signal
import threading

import pytest
from machines import CODE, DATA, NO_CACHE, PAGE, engines, picture, x86_machine

from emu.engines.auto import Auto
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.memory import AddressSpace

ENGINES = engines() | {
    "native-region": Native(hot=3, wait=True, cache=NO_CACHE),
    "auto": Auto(patience=20),
}
IO = {"eflags": 0x3202}  # IOPL 3
FAR = 1 << 40

CALLS = bytes.fromhex("b9 28000000 89c8 cd80 01c3 49 75f7 f4")
"""1: mov eax, ecx; int 80h; add ebx, eax; dec ecx; jnz 1b; 40 times, then HLT faults."""
PORTS = bytes.fromhex("b9 28000000 88c8 e680 49 75f9 f4")
"""1: mov al, cl; out 80h, al; dec ecx; jnz 1b; 40 times."""
READS = bytes.fromhex("b9 28000000 e460 01c3 49 75f9 f4")
"""1: in al, 60h; add ebx, eax; dec ecx; jnz 1b; 40 times."""
CLOCKS = bytes.fromhex("b9 28000000 0f31 01c3 cd80 0f31 31c3 01d6 d1c3 49 75ef f4")
"""1: rdtsc; add ebx, eax; int 80h; rdtsc; xor ebx, eax; add esi, edx; rol ebx, 1; dec ecx;
jnz 1b; 40 times."""
INT, AFTER_INT = CODE + 7, CODE + 9


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The tests' programs are few: each is compiled once for an engine."""
    for name, engine in ENGINES.items():
        if isinstance(engine, Native):
            engine._cache = DiskCache(tmp_path_factory.mktemp(name))


@pytest.fixture(params=ENGINES)
def engine(request):
    """Every engine; regions of a few blocks too, and `auto` that changes in the middle."""
    if request.param == "auto":
        return Auto(patience=20)
    return ENGINES[request.param]


def both(engine, make, until=FAR):
    """Run machines of a maker on the reference and an engine; they must end alike."""
    pictures = []
    for one in (Reference(), engine):
        state, log = make()
        stop = one.run(state, until)
        pictures.append((picture(state, stop), log))
    assert pictures[0] == pictures[1]
    return pictures[1]


def calls(act, code=CALLS, **registers):
    """A maker of machines whose INT is handled by `act(state, n, log)`, n counted from 1."""

    def make():
        state, log = x86_machine(code, IO | registers), []

        def handler(vector):
            log.append((vector, state.count, state.pc, state["ecx"], state["eax"]))
            return act(state, len(log), log)

        state.handlers["interrupt"] = handler
        return state, log

    return make


def test_values_time_and_registers_are_exact(engine):
    (count, registers, _, stop), log = both(engine, calls(lambda s, n, log: None))
    assert (stop.reason, count) == ("fault", 1 + 40 * 5)
    assert log == [(0x80, 5 * n - 2, AFTER_INT, 41 - n, 41 - n) for n in range(1, 41)]
    assert registers["ebx"] == sum(range(41))


def test_the_time_stamp_counter_knows_of_time_that_a_handler_lets_pass(engine):
    def act(state, n, log):
        if n % 4 == 0:
            state.count += 1 << 31 if n % 8 else 30_000

    (count, registers, _, _), _ = both(engine, calls(act, CLOCKS))
    assert count == 1 + 40 * 9 + 5 * ((1 << 31) + 30_000)
    assert registers["esi"] == 16 * 1 + 13 * 2  # EDX is 1 from the 12th time on, 2 from the 28th


def test_registers_that_a_handler_changes(engine):
    def act(state, n, log):
        state["eax"] = 1000 + n
        state.values[state.isa.registers["edx"].slot] += n

    (_, registers, _, _), _ = both(engine, calls(act))
    assert registers["ebx"] == sum(range(1001, 1041))
    assert registers["edx"] == sum(range(41))


def test_a_handler_moves_the_program_counter(engine):
    def act(state, n, log):
        if n % 3 == 0:
            state.pc = AFTER_INT + 2  # skip the ADD

    (_, registers, _, _), _ = both(engine, calls(act))
    assert registers["ebx"] == sum(41 - n for n in range(1, 41) if n % 3)


def test_a_handler_writes_code(engine):
    def act(state, n, log):
        if n == 20:
            state.memory["linear"].poke(AFTER_INT, b"\x29\xc3")  # SUB

    (_, registers, _, _), _ = both(engine, calls(act))
    assert registers["ebx"] == (sum(range(22, 41)) - sum(range(1, 22))) & 0xFFFFFFFF


def test_a_handler_sets_and_takes_away_breakpoints(engine):
    for place in (AFTER_INT, AFTER_INT + 2, CODE + 5):

        def act(state, n, log, place=place):
            if n == 20:
                state.breakpoints = {place}
            if n == 21:
                state.breakpoints.clear()

        make = calls(act)
        states = []
        for one in (Reference(), engine):
            state, log = make()
            stop = one.run(state, FAR)
            assert (stop.reason, state.pc, len(log)) == ("breakpoint", place, 20)
            first = picture(state, stop)
            while stop.reason == "breakpoint":
                stop = one.run(state, FAR)
            states.append((first, picture(state, stop), log))
        assert states[0] == states[1]
        assert len(states[0][2]) == 40


def test_a_handler_takes_away_the_right_to_write(engine):
    """The loop stores; from the 20th call on it must not."""
    loop = bytes.fromhex("b9 28000000 890f cd80 49 75f9 f4")

    def act(state, n, log):
        if n == 20:
            state.memory["linear"].protect(DATA, PAGE, 4)

    (_, registers, memory, stop), log = both(engine, calls(act, loop, edi=DATA))
    assert (stop.reason, stop.fault.address, len(log)) == ("fault", DATA, 20)
    assert memory[DATA // PAGE][0] == registers["ecx"] + 1 == 21


def test_a_handler_moves_the_page_under_the_code(engine):
    """The code's page is replaced by another one, with ADD ebx, 1 for ADD ebx, eax."""

    def act(state, n, log):
        if n == 20:
            space = state.memory["linear"]
            code = space.read(CODE, len(CALLS)).replace(b"\x01\xc3", b"\x43\x90")  # INC, NOP
            space.map(CODE, PAGE, 5, "other")
            space.poke(CODE, code)

    (_, registers, _, _), _ = both(engine, calls(act))
    assert registers["ebx"] == sum(range(22, 41)) + 21


def test_a_handler_changes_the_mode(engine):
    """Another base of CS: the same code a page further on, where INT's second byte differs."""

    def act(state, n, log):
        if n == 20:
            space = state.memory["linear"]
            space.poke(CODE + PAGE, space.read(CODE, len(CALLS)).replace(b"\xcd\x80", b"\xcd\x81"))
            state["cs_base"] = PAGE

    _, log = both(engine, calls(act))
    assert [vector for vector, *_ in log] == [0x80] * 20 + [0x81] * 20


def test_a_handler_answers_with_an_exit(engine):
    def act(state, n, log):
        return Exit("halt", values=(n,)) if n == 20 else None

    (count, _, _, stop), _ = both(engine, calls(act))
    assert (stop, count) == (Exit("halt", values=(20,)), 98)


def test_an_exit_that_a_handler_answers_with_is_nobody_elses(engine):
    """Not even if it has the reason that the handler is for, or the engine's own."""
    for reason in ("interrupt", "until", "breakpoint"):

        def act(state, n, log, reason=reason):
            return Exit(reason, values=(1,)) if n == 20 else None

        (_, _, _, stop), log = both(engine, calls(act))
        assert (stop, len(log)) == (Exit(reason, values=(1,)), 20)


def test_the_run_goes_on_after_an_answer(engine):
    state, _ = calls(lambda s, n, log: Exit("halt") if n % 7 == 0 else None)()
    stops = []
    while not stops or stops[-1] == "halt":
        stops.append(engine.run(state, FAR).reason)
    assert stops == ["halt"] * 5 + ["fault"]
    assert state["ebx"] == sum(range(41))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_a_handler_raises_leaves_run(engine, error):
    def act(state, n, log):
        if n % 10 == 5:
            raise error("from the handler")

    states = []
    for one in (Reference(), engine):
        state, log = calls(act)()
        for n in range(4):
            with pytest.raises(error, match="from the handler"):
                one.run(state, FAR)
            assert (state.count, state.pc) == (5 * (10 * n + 5) - 2, AFTER_INT)
        states.append((picture(state, one.run(state, FAR)), log))
    assert states[0] == states[1]
    assert states[0][0][1]["ebx"] == sum(range(41))


def test_the_hosts_interrupt_reaches_a_handler(engine):
    def act(state, n, log):
        if n == 20:
            signal.raise_signal(signal.SIGINT)

    state, log = calls(act)()
    with pytest.raises(KeyboardInterrupt):
        engine.run(state, FAR)
    assert (state.count, len(log)) == (98, 20)
    engine.run(state, FAR)
    assert state["ebx"] == sum(range(41))


def test_an_answer_that_is_no_exit_is_refused(engine):
    state, _ = calls(lambda s, n, log: 0 if n == 20 else None)()
    with pytest.raises(TypeError, match=r"interrupt.*returned 0"):
        engine.run(state, FAR)
    assert state.count == 98
    engine.run(state, FAR)
    assert state["ebx"] == sum(range(41))


def test_a_handler_cannot_run_its_machine(engine):
    def act(state, n, log):
        if n == 20:
            with pytest.raises(RuntimeError, match="is running"):
                engine.run(state, FAR)
            with pytest.raises(RuntimeError, match="is running"):
                Reference().run(state, FAR)

    (_, registers, _, _), _ = both(engine, calls(act))
    assert registers["ebx"] == sum(range(41))


def test_a_handler_can_run_another_machine(engine):
    def act(state, n, log):
        if n % 10 == 0:
            other, others = calls(lambda s, n, log: None)()
            assert engine.run(other, FAR).reason == "fault"
            assert (len(others), other["ebx"]) == (40, sum(range(41)))

    (_, registers, _, _), _ = both(engine, calls(act))
    assert registers["ebx"] == sum(range(41))


def test_a_handler_can_run_many_machines(engine):
    """More than an engine remembers: the one that waits for the handler is not forgotten."""

    def act(state, n, log):
        if n == 20:
            others = [calls(lambda s, n, log: None)()[0] for _ in range(9)]
            for other in others:
                assert engine.run(other, 30).reason == "until"
            state.memory["linear"].poke(AFTER_INT, b"\x29\xc3")  # SUB

    (_, registers, _, _), _ = both(engine, calls(act))
    assert registers["ebx"] == (sum(range(22, 41)) - sum(range(1, 22))) & 0xFFFFFFFF


def test_every_until_is_exact(engine):
    """Also that which an exit reaches: the handler is called, and the run ends."""
    for until in (*range(1, 12), 97, 98, 99, 100, 102, 103):
        (count, _, _, stop), log = both(engine, calls(lambda s, n, log: None), until)
        assert (count, stop.reason, len(log)) == (until, "until", (until + 2) // 5)


def test_time_that_a_handler_lets_pass(engine):
    def act(state, n, log):
        if n == 20:
            state.count += 1000

    (count, _, _, _), log = both(engine, calls(act))
    assert count == 1 + 40 * 5 + 1000
    assert log[20][1] == 5 * 21 - 2 + 1000
    (count, _, _, stop), log = both(engine, calls(act), 500)
    assert (count, stop.reason, len(log)) == (1098, "until", 20)


def test_handlers_are_looked_up_each_time(engine):
    def act(state, n, log):
        if n == 10:
            state.handlers["interrupt"] = lambda vector: log.append(vector)

    _, log = both(engine, calls(act))
    assert log[10:] == [0x80] * 30

    def forget(state, n, log):
        if n == 10:
            del state.handlers["interrupt"]

    (count, _, _, stop), log = both(engine, calls(forget))
    assert (count, stop, len(log)) == (53, Exit("interrupt", values=(0x80,)), 10)

    def replace(state, n, log):
        if n == 10:
            state.handlers = {"fault": lambda fault: Exit("halt", values=(fault.vector,))}

    (count, _, _, stop), log = both(engine, calls(replace))
    assert (count, stop) == (53, Exit("interrupt", values=(0x80,)))


def test_handlers_that_come_after_the_first_run(engine):
    """A machine that has run without any is the same machine."""
    state = x86_machine(CALLS, IO)
    for _ in range(20):
        assert engine.run(state, FAR).reason == "interrupt"
    seen = []
    state.handlers["interrupt"] = seen.append
    assert engine.run(state, FAR).reason == "fault"
    assert (len(seen), state["ebx"]) == (20, sum(range(41)))
    state.handlers.clear()
    state.pc = CODE
    assert engine.run(state, FAR).reason == "interrupt"


def test_a_requested_interrupt_waits_for_its_window(engine):
    """A user program has no window: the request changes nothing."""

    def act(state, n, log):
        state.interrupt_requested = n % 2 == 0

    (_, registers, _, stop), log = both(engine, calls(act))
    assert (stop.reason, len(log), registers["ebx"]) == ("fault", 40, sum(range(41)))


def test_registers_may_move(engine):
    """The state's array is replaced: native code must not go on with the old one."""

    def act(state, n, log):
        if n == 20:
            state.values = state.save()
            state["ebx"] = 0

    (_, registers, _, _), _ = both(engine, calls(act))
    assert registers["ebx"] == sum(range(22))


# -- other exits ------------------------------------------------------------------------------


def test_faults_and_breakpoints_have_handlers(engine):
    def make():
        state, log = calls(lambda s, n, log: None)()
        state.breakpoints = {CODE + 5, CODE + 11}
        state.handlers["breakpoint"] = lambda: log.append(("breakpoint", state.pc))

        def fault(fault):
            log.append((fault, state.pc, state.count))
            if len(log) < 200:
                state.pc = CODE
                return None
            return Exit("halt")

        state.handlers["fault"] = fault
        return state, log

    (_, _, _, stop), log = both(engine, make)
    assert stop == Exit("halt")
    assert log.count(("breakpoint", CODE + 5)) == 80
    assert log.count(("breakpoint", CODE + 11)) == 80


def test_a_fault_that_a_handler_repairs(engine):
    """The page becomes writable; the instruction is done again."""
    loop = bytes.fromhex("b9 28000000 890f cd80 49 75f9 f4")

    def make():
        state, log = calls(lambda s, n, log: None, loop, edi=DATA + 2 * PAGE)()

        def fault(fault):
            log.append((fault, state.count, state.pc))
            if fault.vector == 14:
                state.memory["linear"].protect(DATA + 2 * PAGE, PAGE, 6)
                return None
            return Exit("halt")

        state.handlers["fault"] = fault
        return state, log

    (_, _, _, stop), log = both(engine, make)
    assert (stop, len(log)) == (Exit("halt"), 42)


def test_port_writes(engine):
    def make():
        state, log = x86_machine(PORTS, IO), []
        state.handlers["port_write"] = lambda *values: log.append((values, state.count, state.pc))
        return state, log

    (count, _, _, _), log = both(engine, make)
    assert count == 161
    assert log == [((0x80, 1, 41 - n), 4 * n - 1, CODE + 9) for n in range(1, 41)]


def test_port_writes_of_every_form(engine):
    """OUT imm8 and DX; AL, AX and EAX; with and without the right to."""
    code = bytes.fromhex("e611 66e722 e733 ee 66ef ef f4")

    def make(flags):
        def machine():
            state, log = x86_machine(code, {"eflags": flags, "eax": 0x12345678, "edx": 0xFFFF}), []
            state.handlers["port_write"] = lambda *values: log.append(values)
            return state, log

        return machine

    _, log = both(engine, make(0x3202))
    assert log == [
        (0x11, 1, 0x78), (0x22, 2, 0x5678), (0x33, 4, 0x12345678),
        (0xFFFF, 1, 0x78), (0xFFFF, 2, 0x5678), (0xFFFF, 4, 0x12345678),
    ]  # fmt: skip
    (count, _, _, stop), log = both(engine, make(0x202))
    assert (count, stop.fault.vector, log) == (0, 13, [])


def test_port_reads(engine):
    """The handler is called before the instruction, and replies."""

    def make():
        state, log = x86_machine(READS, IO), []

        def read(port, size):
            log.append((port, size, state.count, state.pc))
            state.reply = len(log)

        state.handlers["port_read"] = read
        return state, log

    (count, registers, _, _), log = both(engine, make)
    assert (count, registers["ebx"]) == (161, sum(range(41)))
    assert log == [(0x60, 1, 4 * n - 3, CODE + 5) for n in range(1, 41)]


def test_port_reads_with_a_breakpoint_on_them(engine):
    """It stops once for each instruction, not again when the reply is there."""

    def make():
        state, log = x86_machine(READS, IO), []
        state.breakpoints = {CODE + 5}

        def read(port, size):
            log.append(state.count)
            state.reply = 1

        state.handlers["port_read"] = read
        state.handlers["breakpoint"] = lambda: log.append(-state.count)
        return state, log

    _, log = both(engine, make)
    assert log == [x for n in range(1, 41) for x in (-(4 * n - 3), 4 * n - 3)]


def test_exits_without_a_handler_leave(engine):
    """A handler of another exit changes nothing for them."""
    state = x86_machine(CALLS, IO)
    state.handlers["port_write"] = lambda *values: None
    for n in range(40):
        assert engine.run(state, FAR) == Exit("interrupt", values=(0x80,))
        assert state.count == 5 * n + 3
    assert engine.run(state, FAR).reason == "fault"


# -- the native engine's gate -------------------------------------------------------------------


def stays_native(monkeypatch):
    """Forbid what an exit costs when it leaves native code."""
    from emu.engines.native.engine import NativeSession

    def exit_(session):
        raise AssertionError("an exit left native code")

    monkeypatch.setattr(NativeSession, "_exit", exit_)


@pytest.mark.parametrize("hot", [0, 3, 1 << 30])
@pytest.mark.parametrize("code", [CALLS, PORTS, READS], ids=["calls", "writes", "reads"])
def test_exits_with_a_handler_stay_in_native_code(monkeypatch, code, hot):
    engine, state = Native(hot=hot, wait=True, cache=NO_CACHE), x86_machine(code, IO)

    def read(port, size):
        state.reply = 1

    ignore = {"interrupt": lambda vector: None, "port_write": lambda *values: None}
    state.handlers = ignore | {"port_read": read}
    engine.run(state, FAR)
    stays_native(monkeypatch)
    state.pc = CODE
    assert engine.run(state, FAR).reason == "fault"
    assert state["ecx"] == 0


@pytest.mark.parametrize("hot", [0, 1 << 30])
def test_other_threads_run_beside_native_code(monkeypatch, hot):
    """A guest that waits for another thread's write: native code does not keep the lock for long,
    and comes back to Python only at the end."""
    monkeypatch.setattr("emu.engines.native.engine.SLICE", FAR)
    waits = bytes.fromhex("cd80 833f00 74fb f4")  # int 80h; 1: cmp dword [edi], 0; je 1b
    engine = Native(hot=hot, wait=True, cache=NO_CACHE)
    state = x86_machine(waits, IO | {"edi": DATA})
    engine.run(state, 1000)  # compiled
    engine.run(state, 2000)
    go = threading.Event()
    writer = threading.Thread(
        target=lambda: (go.wait(), state.memory["linear"].poke(DATA, b"\1")), daemon=True
    )
    writer.start()
    state.handlers["interrupt"] = lambda vector: go.set()
    state.pc = CODE
    assert engine.run(state, 1 << 34).reason == "fault"
    writer.join()


def test_machines_with_handlers_take_turns():
    engine = Native(hot=0, wait=True, cache=NO_CACHE)
    machines = [calls(lambda s, n, log: None)() for _ in range(3)]
    for until in range(10, 300, 10):
        for state, _ in machines:
            engine.run(state, until)
    assert [(state["ebx"], len(log)) for state, log in machines] == [(sum(range(41)), 40)] * 3


def test_more_reasons_than_native_code_knows():
    """Exits beyond its table leave it, and are handled all the same."""
    engine, state = Native(hot=0, wait=True, cache=NO_CACHE), x86_machine(CALLS, IO)
    seen = []
    state.handlers["interrupt"] = seen.append
    engine.run(state, 1)
    gate = engine._session_of(state).gate
    for number in range(1, 20):
        gate.know(number, f"reason {number}", 0)
    assert engine.run(state, FAR).reason == "fault"
    assert (len(seen), state["ebx"]) == (40, sum(range(41)))


def call_to(at, function):
    """CALL rel32."""
    return b"\xe8" + (function - at - 5).to_bytes(4, "little", signed=True)


@pytest.mark.parametrize("calls_of_h", range(17, 24))
def test_a_handler_maps_other_code_where_a_region_is_about_to_be_installed(calls_of_h):
    """What is installed afterwards must not hide that the page of older regions has changed."""
    g, h = PAGE, PAGE + 64  # add ebx, 1; ret and add edx, 1; ret
    code = b"\xcd\x80"  # which native code leaves for, and knows of the next time
    for function in [g] * 25 + [h] * calls_of_h:
        code += call_to(len(code), function)
    code += b"\xcd\x80"
    code += call_to(len(code), g) + b"\xf4"

    def functions(step):
        return (b"\x83\xc3" + bytes([step]) + b"\xc3").ljust(64, b"\xcc") + b"\x83\xc2\x01\xc3"

    state = x86_machine(code.ljust(PAGE, b"\xcc") + functions(1))
    space, pages = state.memory["linear"], (CODE // PAGE + 1, CODE // PAGE + 8)
    space.map(pages[1] * PAGE, PAGE, 7, "other code")
    space.poke(pages[1] * PAGE, functions(100))

    def swap(vector):
        if state["ebx"] == 0:
            return
        here, there = (space.frames[page] for page in pages)
        space.frames.update(zip(pages, (there, here), strict=True))
        space.pages_changed(list(pages))

    state.handlers["interrupt"] = swap
    assert Native(hot=20, wait=True, cache=NO_CACHE).run(state, FAR).reason == "fault"
    assert (state["ebx"], state["edx"]) == (125, calls_of_h)


def test_code_is_written_at_another_address_of_its_page(engine):
    """As by compilers that have their memory twice, to write and to execute."""
    page, alias, code = CODE + PAGE, CODE + 8 * PAGE, b""
    for value, times in ((1, 1), (10, 41), (100, 1)):
        code += b"\xc6\x05" + (alias + 2).to_bytes(4, "little") + bytes([value])
        for _ in range(times):
            code += call_to(CODE + len(code), page)
    state = x86_machine((code + b"\xf4").ljust(PAGE, b"\xcc") + b"\x83\xc3\x00\xc3")
    space = state.memory["linear"]
    space.map(alias, PAGE, 6, "to write")
    space.frames[alias // PAGE] = space.physical.share_frame(space.frames[page // PAGE])
    assert engine.run(state, FAR).reason == "fault"
    assert state["ebx"] == 1 + 41 * 10 + 100


def test_code_is_written_by_another_process(engine):
    """In memory that both have: one writes what the other executes, in turns."""
    page = CODE + PAGE
    store = b"".join(
        b"\xc6\x05" + (page + 2).to_bytes(4, "little") + bytes([value, 0xF4])
        for value in (1, 10, 100)
    )
    writer = x86_machine(store.ljust(PAGE, b"\xcc") + b"\x83\xc3\x00\xc3")
    reader, theirs = x86_machine(b""), writer.memory["linear"]
    space = AddressSpace(theirs.physical)
    space.map(CODE, 2 * PAGE, 7, "code")
    space.map(DATA, PAGE, 6, "data")
    space.poke(CODE, call_to(CODE, page) + b"\xf4")
    space.frames[page // PAGE] = theirs.physical.share_frame(theirs.frames[page // PAGE])
    reader.memory = {"linear": space, "system": space}
    for value in (1, 10, 100):
        assert engine.run(writer, FAR).reason == "fault"
        writer.pc += 1
        before = reader["ebx"]
        for _ in range(30):
            reader.pc = CODE
            assert engine.run(reader, FAR).reason == "fault"
        assert reader["ebx"] == before + 30 * value
