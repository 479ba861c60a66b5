"""The API for scripts: running, hooks that come and go, snapshots, patches, mistakes."""

from __future__ import annotations

import io
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import emu

PROGRAMS = Path(__file__).parents[1] / "programs" / "x86"
ENGINES = ("reference", "python", "native")
COUNTDOWN = "mov ecx, 5\nagain: dec ecx\njnz again\nmov eax, 7\nhlt"
AGAIN = 0x1005
CALLS = """
_start:
    mov esi, 3
again:
    mov eax, 20
    int 0x80
    call twice
    dec esi
    jnz again
    mov ebx, eax
    mov eax, 1
    int 0x80
twice:
    add eax, eax
    ret
"""

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def test_run_until_stops_before_and_goes_on_behind(engine):
    guest = emu.code(COUNTDOWN, engine=engine)
    counts = []
    while guest.run(until=AGAIN).reason == "until":
        assert guest.registers.eip == AGAIN
        counts.append((guest.count, guest.registers.ecx))
    assert counts == [(1, 5), (3, 4), (5, 3), (7, 2), (9, 1)]
    assert (guest.exit.reason, guest.count, guest.registers.eax) == ("halt", 13, 7)


def test_limits_are_exact(engine):
    guest = emu.code(COUNTDOWN, engine=engine)
    assert (guest.step(3).reason, guest.count) == ("limit", 3)
    assert (guest.run(timeout=2).reason, guest.count) == ("limit", 5)
    assert (guest.run(count=6).reason, guest.count) == ("limit", 6)
    with pytest.raises(emu.ScriptError, match="at instruction 6 already"):
        guest.run(count=2)


def test_what_a_hook_raises_leaves_a_precise_machine(engine):
    """The instruction announced has not happened; it is not announced again."""
    guest, seen = emu.code(COUNTDOWN, engine=engine), []

    def hook(address: int) -> None:
        seen.append(address)
        if len(seen) == 4:
            raise KeyError("enough")

    guest.hook.instruction(hook)
    with pytest.raises(KeyError, match="enough"):
        guest.run()
    assert (guest.count, guest.registers.eip, guest.registers.ecx) == (3, AGAIN, 4)
    assert guest.run().reason == "halt"
    assert len(seen) == guest.count == 13


def test_what_an_access_hook_raises_comes_behind_the_instruction(engine):
    guest = emu.code("push eax\npush ebx\nhlt", engine=engine)

    def hook(*access: object) -> None:
        raise ValueError(access[:1])

    guest.hook.memory(hook)
    top = guest.registers.esp
    with pytest.raises(ValueError, match="write"):
        guest.run()
    assert (guest.count, guest.registers.eip, guest.registers.esp) == (1, 0x1001, top - 4)


def test_hooks_set_in_a_system_call_hold_at_the_next_instruction(engine):
    """The engine at full speed is left in mid-run for watched code, and comes back."""
    guest, seen = emu.source(CALLS, engine=engine), []
    set_now = []

    def after(call) -> None:
        if not set_now:
            set_now.append(guest.hook.instruction(lambda at: seen.append((at, guest.count))))
        elif len(set_now) == 1:
            set_now.append(set_now[0].remove())

    guest.hook.call("getpid", after)
    guest.run()
    again = guest.symbols["again"]
    calls = [again + 7, guest.symbols["twice"], guest.symbols["twice"] + 2, again + 12, again + 13]
    assert seen == [(at, 3 + n) for n, at in enumerate([*calls, again, again + 5])]


def test_functions_are_told_with_arguments_and_results(engine):
    guest, seen = emu.source(CALLS, engine=engine), []
    guest.hook.call("getpid", lambda call: setattr(call, "result", 21))
    guest.hook.function(
        "twice",
        lambda call: seen.append((call.name, guest.registers.eax, call.return_address)),
        lambda call: seen.append(call.result),
    )
    assert guest.run().code == 42
    back = guest.symbols["again"] + 12
    assert seen == [("twice", 21, back), 42] * 3


@pytest.mark.parametrize("kind", ["block", "instruction", "memory"])
def test_hooks_are_called_for_as_long_as_it_takes(engine, kind):
    """Longer than native code may keep the interpreter's lock, or goes without a sample."""
    rounds = 100_000 if engine == "native" else 1_000
    guest = emu.code(f"mov ecx, {rounds}\nagain: push ecx\ndec ecx\njnz again\nhlt", engine=engine)
    guest.memory.map(0xB00000, 0x400000, "rw")
    guest.registers.esp, calls = 0xF00000, [0]

    def seen(*_: object) -> None:
        calls[0] += 1

    getattr(guest.hook, kind)(seen)
    assert guest.run().reason == "halt"
    blocks = rounds + 1  # the first one has the first round, too
    assert calls[0] == {"block": blocks, "instruction": 3 * rounds + 2, "memory": rounds}[kind]
    assert guest.count == 3 * rounds + 2


def test_every_kind_of_hook_together(engine):
    """Functions and addresses asked for are found in watched code too, in the same order."""
    if engine == "reference":
        pytest.skip("it is what the others are compared with")
    assert all_events(engine) == all_events("reference")


@cache
def all_events(engine: str) -> list[object]:
    guest, events = emu.source(CALLS, engine=engine), []
    guest.hook.function(
        "twice", lambda call: events.append(call.name), lambda call: events.append(call.result)
    )
    guest.hook.call(
        None, lambda call: events.append(str(call)), before=lambda call: events.append(call.name)
    )
    guest.hook.instruction(events.append, "twice")
    guest.hook.block(lambda at: events.append(("block", at)))
    guest.hook.read(lambda *access: events.append(access))
    while (ending := guest.run(until="again")).reason == "until":
        events.append((guest.count, guest.registers.esi))
    return [*events, str(ending)]


def test_functions_can_be_left_out_and_their_results_changed(engine):
    guest = emu.source(CALLS, engine=engine)
    guest.hook.function("twice", leave=lambda call: setattr(call, "result", call.result + 1))
    guest.hook.call("getpid", before=lambda call: call.replace(4))
    assert guest.run().code == 9
    guest = emu.source(CALLS, engine=engine)
    hook = guest.hook.function("twice", lambda call: call.skip(5))
    guest.run(until="twice")
    hook.remove()
    guest.hook.function("twice", lambda call: call.skip(6))
    assert guest.run().code == 6


def test_code_that_a_hook_writes_is_carried_out(engine):
    guest = emu.code(COUNTDOWN, engine=engine)
    guest.hook.instruction(lambda at: guest.patch(at + 1, "nop \n nop"), (AGAIN + 0, AGAIN + 1))
    assert guest.run().reason == "halt"
    assert (guest.count, guest.registers.ecx) == (6, 4)


def test_registers_in_parts(engine):
    guest = emu.code("mov eax, 0x11223344\nstc\nhlt", engine=engine)
    guest.run()
    r = guest.registers
    assert (r.eax, r.ax, r.ah, r.al, r["cf"], r.eflags & 1) == (
        0x11223344,
        0x3344,
        0x33,
        0x44,
        1,
        1,
    )
    r.ah, r.al, r.cf = 0xAB, 0x1CD, 0
    assert (r.eax, r.eflags & 1) == (0x1122ABCD, 0)
    with pytest.raises(emu.ScriptError, match="no register 'rax'"):
        r.rax = 1


@pytest.mark.parametrize("name", ["quicksort", "signal", "heap", "selfmod", "exec"])
def test_a_restored_guest_passes_through_the_same_states(engine, name):
    guest = emu.load(PROGRAMS / f"{name}.asm", engine=engine, stdout=io.BytesIO())
    guest.run(timeout=70)
    saved = guest.snapshot()
    first = states(guest)
    assert len(first) > 2
    for _ in range(2):
        guest.restore(saved)
        assert states(guest) == first


def states(guest: emu.ScriptGuest) -> list[object]:
    found: list[object] = []
    while guest.exit is None and len(found) < 30:
        guest.run(timeout=19)
        found.append((guest.count, dict(guest.state.registers()), str(guest.exit)))
    return found


def test_several_processes_have_no_snapshot_but_can_be_taken_back(engine):
    guest = emu.load(PROGRAMS / "fork.asm", engine=engine, stdout=io.BytesIO())
    saved = guest.snapshot()
    guest.run(timeout=2)  # fork has been served
    with pytest.raises(emu.ScriptError, match="2 processes"):
        guest.snapshot()
    first = states(guest)
    guest.restore(saved)
    guest.run(timeout=2)
    assert states(guest) == first


def test_snapshots_share_what_has_not_changed(engine):
    guest = emu.code(COUNTDOWN, engine=engine)
    guest.memory.map(0x100000, 64 << 12)
    guest.memory.write(0x100000, b"x" * (64 << 12))
    one = guest.snapshot()
    guest.memory[0x100000] = 1
    other = guest.snapshot()
    shared = [frame for frame in one.pages if one.pages[frame] is other.pages.get(frame)]
    assert len(shared) == len(one.pages) - 1
    guest.restore(one)
    assert guest.memory[0x100000] == ord("x")


def test_a_restored_process_reads_its_files_from_where_it_was(engine, tmp_path):
    (tmp_path / "text").write_bytes(b"abcdef")
    guest = emu.source(
        """
        .data
        name: .asciz "/text"
        buffer: .space 2
        .text
        _start:
            mov eax, 5
            mov ebx, offset name
            xor ecx, ecx
            int 0x80
            mov ebx, eax
        again:
            mov eax, 3
            mov ecx, offset buffer
            mov edx, 2
            int 0x80
            jmp again
        """,
        engine=engine,
        root=tmp_path,
    )
    read = guest.symbols["buffer"]
    seen = []
    guest.hook.call("read", lambda call: seen.append(guest.memory[read : read + 2]))
    guest.run(timeout=12)
    saved = guest.snapshot()
    guest.run(timeout=10)
    guest.restore(saved)
    guest.run(timeout=10)
    assert seen == [b"ab", b"cd", b"ef", b"cd", b"ef"]
    guest.close()


def test_faults_can_be_mended_and_tried_again(engine):
    guest = emu.code("mov eax, [0x50000]\nhlt", engine=engine)

    def mend(fault) -> bool:
        guest.memory.map(fault.address, 0x1000)
        guest.memory.write_int(fault.address, 99)
        return True

    hook = guest.hook.fault(mend)
    told = []
    guest.hook.instruction(told.append)
    assert (guest.run().reason, guest.registers.eax, len(told)) == ("halt", 99, 2)
    hook.remove()
    guest.registers.eip = 0x1000
    guest.memory.unmap(0x50000, 0x1000)
    ending = guest.run()
    assert (ending.reason, ending.fault.address) == ("fault", 0x50000)
    assert "0x50000" in str(ending)


def test_interrupts_and_ports_of_bare_code(engine):
    guest, seen = emu.code("in al, 0x60\nint 0x21\nout 0x61, al\nhlt", engine=engine), []
    guest.hook.port_read(lambda port, size: seen.append((port, size)) or 0x55)
    guest.hook.interrupt(lambda vector: seen.append(vector) or True)
    assert guest.run().reason == "port_write"
    assert seen == [(0x60, 1), 0x21]
    guest.hook.port_write(lambda *write: seen.append(write) or True)
    assert guest.run().reason == "halt"


def test_a_hook_can_end_the_run_but_not_begin_one(engine):
    guest = emu.code(COUNTDOWN, engine=engine)

    def hook(address: int) -> None:
        with pytest.raises(emu.ScriptError, match="running"):
            guest.step()
        with pytest.raises(emu.ScriptError, match="between two runs"):
            guest.snapshot()
        guest.stop()

    guest.hook.instruction(hook, AGAIN)
    assert (guest.run().reason, guest.count, guest.registers.eip) == ("stopped", 1, AGAIN)
    assert (guest.run().reason, guest.count) == ("stopped", 3)


def test_an_ended_guest_says_so(engine):
    guest = emu.source("_start: mov eax, 1\nxor ebx, ebx\nint 0x80", engine=engine)
    assert str(guest.run()) == "exit 0"
    with pytest.raises(emu.ScriptError, match="has ended"):
        guest.run()


def test_hooks_on_a_pc_see_what_the_reference_sees(engine):
    """Paging, segments, faults that the guest takes: instructions, blocks and accesses."""
    if engine == "reference":
        pytest.skip("it is what the others are compared with")
    assert pc_events(engine) == pc_events("reference")


def test_hooks_find_nothing_that_runs_without_hooks_have_kept(engine, tmp_path, monkeypatch):
    """Code that is found there does not note its accesses."""
    monkeypatch.setenv("POPEK_CACHE", str(tmp_path))
    command = ["-m", "emu", "run", "--engine", engine, PROGRAMS / "pc" / "paging.asm"]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=120)
    assert pc_events.__wrapped__(engine) == pc_events("reference")


@cache
def pc_events(engine: str) -> list[object]:
    guest, events = emu.load(PROGRAMS / "pc" / "paging.asm", engine=engine), []
    guest.run(count=7_050)
    guest.hook.instruction(lambda at: events.append((at, guest.count)))
    guest.hook.block(lambda at: events.append(("block", at)))
    guest.hook.memory(lambda *access: events.append(access))
    guest.run(timeout=350)
    return [*events, guest.registers.general()]


def test_a_restored_pc_is_the_same_machine(engine):
    if engine == "reference":
        pytest.skip("slow, and no engine of its own matters here")
    guest = emu.load(PROGRAMS / "pc" / "paging.asm", engine=engine)
    guest.run(count=4_000)
    saved, digests = guest.snapshot(), []
    for _ in range(2):
        guest.run(timeout=2_500)
        digests.append(guest._machine.machine.digest())
        guest.restore(saved)
    assert digests[0] == digests[1]
