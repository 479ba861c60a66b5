"""Interrupts, timer, console and disk of the toy machine: exact in instructions on every engine."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_machines import ENGINES, engine, machine_at, mpr, quick, step, storage, toy, trapped, word

from emu.devices.toy_console import DELAY as CONSOLE_DELAY
from emu.devices.toy_disk import DELAY as DISK_DELAY
from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK, run_program
from isa.fault import Fault
from isa.toy.assembler import assemble
from isa.toy.ports import Port
from isa.toy.traps import Trap

pytestmark = pytest.mark.parametrize("engine_name", ENGINES)

ISA = toy()
SPIN = "spin: jmp spin\n"


def running(engine_name, text, **options):
    """A machine with an assembled program."""
    program = assemble(text)
    return ToyMachine(
        ISA, program.image, engine=engine(engine_name), entry=program.entry, **options
    )


def in_user_mode(engine_name, **options):
    """A machine that spins in user mode with all of storage; its trap handler halts."""
    machine = running(
        engine_name, f".org 1\n.psw s, stop, 0, WORDS\nstart: {SPIN}stop: halt", **options
    )
    machine.state["mode"] = 1
    return machine


@quick
@given(n=st.integers(1, 300))
def test_timer_fires_after_exactly_n_instructions(engine_name, n):
    """n instructions run after STIMER; the old PSW is that of the one that would have followed."""
    machine = in_user_mode(engine_name)
    machine.state["mode"] = 0
    machine.memory.view[machine.state["p"]] = word(ISA, "STIMER", ra=1)
    machine.memory.view[machine.state["p"] + 1] = word(ISA, "LPSW", imm=100)
    machine.memory.view[100] = ISA.known.psw.pack(
        [0] * 8 + [1, 101, 0, ISA.shape.all_granules] + [0] * 4
    )
    machine.memory.view[101] = word(ISA, "ADDI", rd=2, ra=2, imm=1)
    machine.memory.view[102] = word(ISA, "JMP", imm=101)
    machine.memory.view[1] = ISA.known.psw.pack([0] * 8 + [0, 200, 0, 256] + [0] * 4)
    machine.memory.view[200] = word(ISA, "HALT")
    machine.state["r1"] = n
    assert machine.run(10_000).reason == "halt"
    assert trapped(machine) == Trap.TIMER
    assert machine.state.count == 1 + n + 1 + 1  # STIMER, n instructions, the trap, HALT
    assert machine.state["r2"] == n // 2
    assert machine.memory.view[0] >> 17 & ISA.shape.words - 1 == 101 + (n - 1) % 2


def test_timer_of_zero_is_off(engine_name):
    """STIMER with 0 disarms."""
    machine = running(
        engine_name, f"start: li r1, 5\nstimer r1\nli r1, 0\nstimer r1\nin r2, TIMER\n{SPIN}"
    )
    machine.run(100)
    assert (machine.state["armed"], machine.state["r2"], trapped(machine)) == (0, 0, 0)


def test_timer_can_be_read(engine_name):
    """IN TIMER tells what is left before it."""
    machine = running(engine_name, f"start: li r1, 50\nstimer r1\nnop\nin r2, TIMER\n{SPIN}")
    machine.run(10)
    assert machine.state["r2"] == 49


def test_interrupts_wait_for_user_mode(engine_name):
    """In supervisor mode a request stays; it is taken right after M becomes u."""
    machine = in_user_mode(engine_name)
    machine.state["mode"] = 0
    machine.timer.requested = True
    machine.run(50)
    assert (trapped(machine), machine.state.count) == (0, 50)
    machine.state["mode"] = 1
    machine.run(51)
    assert trapped(machine) == Trap.TIMER
    assert mpr(machine)[:2] == (0, 3)


@quick
@given(p=st.integers(3, 60), base=st.integers(1, 100), new=st.integers(0, 2**32 - 1))
def test_interrupt_swaps_psws_and_changes_nothing_else(engine_name, p, base, new):
    """As for any trap; P is that of the next instruction."""
    machine = machine_at(engine_name, word(ISA, "NOP"), mode=1, p=p, base=base, memory={1: new})
    machine.disk.requested = True
    before, old = storage(machine), machine.state["psw"]
    step(machine)
    assert (trapped(machine), machine.state["info"]) == (Trap.DISK, 0)
    assert machine.state["psw"] == new
    assert storage(machine) == [old, *before[1:]]
    assert not machine.disk.requested


def test_interrupts_come_by_priority(engine_name):
    """Timer, console, disk."""
    machine = in_user_mode(engine_name)
    machine.memory.view[1] |= 1 << 31  # the handler runs in user mode: all come at once
    for device in machine.devices:
        device.requested = True
    causes = []
    for _ in range(3):
        step(machine)
        causes.append(trapped(machine))
    assert causes == [Trap.TIMER, Trap.CONSOLE, Trap.DISK]


def test_monitor_takes_traps_and_interrupts(engine_name):
    """With intercept_traps they leave the machine untaken, as Exits."""
    machine = in_user_mode(engine_name)
    machine.state.intercept_traps = True
    machine.timer.requested = True
    before = storage(machine)
    stop = machine.run(10)
    assert (stop.reason, stop.fault) == ("fault", Fault(Trap.TIMER, 0))
    machine.acknowledge(stop.fault)
    machine.memory.view[machine.state["p"]] = before[2] = word(ISA, "SVC", imm=7)
    stop = machine.run(10)
    assert (stop.reason, stop.fault.vector, stop.fault.code) == ("fault", Trap.SVC, 7)
    assert storage(machine) == before
    assert machine.state.count == 0


# -- console ------------------------------------------------------------------------------------


def test_console_character_comes_after_its_delay(engine_name):
    """The receiver is asked at one count and answers at another, whatever happens between."""
    machine = in_user_mode(engine_name, source=io.BytesIO(b"x"))
    machine.write_port(Port.CONSOLE_CONTROL, 1)
    machine.run(CONSOLE_DELAY)
    assert (trapped(machine), machine.read_port(Port.CONSOLE_STATUS)) == (0, 0)
    machine.run(CONSOLE_DELAY + 1)
    assert trapped(machine) == Trap.CONSOLE
    assert machine.read_port(Port.CONSOLE_STATUS) == 1
    assert machine.read_port(Port.CONSOLE_DATA) == ord("x")


def test_console_is_not_read_unless_asked(engine_name):
    """A guest that never asks never makes the host wait for its user."""

    class Untouchable(io.BytesIO):
        def read(self, *_):
            raise AssertionError("nobody asked for input")

    machine = in_user_mode(engine_name, source=Untouchable())
    machine.run(5 * CONSOLE_DELAY)


def test_polling_input_to_its_end(engine_name):
    """Supervisor programs poll STATUS; the end of the input reads as -1 and stays."""
    text = """
    start:  li   r1, 1
            out  r1, CONSOLE_CONTROL
    next:   in   r2, CONSOLE_STATUS
            bz   r2, next
            in   r3, CONSOLE_DATA
            li   r4, -1
            beq  r3, r4, end
            out  r3, CONSOLE_DATA
            jmp  next
    end:    in   r0, CONSOLE_DATA
            halt
    """
    output = io.BytesIO()
    outcome = run_program(
        assemble(text), ISA, engine(engine_name), output=output, source=io.BytesIO(b"abc\xff")
    )
    assert (outcome.stop, outcome.exit_code) == ("halt", 255)
    assert output.getvalue() == b"abc\xff"


# -- disk ---------------------------------------------------------------------------------------


def test_disk_moves_a_sector_when_it_is_done(engine_name):
    """Busy until then; the words move at completion."""
    image = b"".join(i.to_bytes(4, "little") for i in range(128))
    machine = in_user_mode(engine_name, disk=image)
    for port, value in (
        (Port.DISK_SECTOR, 1),
        (Port.DISK_ADDRESS, 1000),
        (Port.DISK_COMMAND, 1),
        (Port.DISK_SECTOR, 0),  # ignored: busy
    ):
        machine.write_port(port, value)
    machine.run(DISK_DELAY)
    assert (machine.read_port(Port.DISK_STATUS), machine.memory.view[1001]) == (1, 0)
    machine.run(DISK_DELAY + 1)
    assert trapped(machine) == Trap.DISK
    assert machine.read_port(Port.DISK_STATUS) == 0
    assert machine.memory.read(1000, 64) == list(range(64, 128))


@pytest.mark.parametrize(
    ("sector", "address", "command"), [(16, 0, 1), (0, 16384 - 63, 2), (0, 2**32 - 1, 1), (0, 0, 3)]
)
def test_disk_refuses_what_it_cannot_do(engine_name, sector, address, command):
    """A sector or memory that does not exist: status 2, nothing changes, and an interrupt."""
    machine = in_user_mode(engine_name, disk=BLANK_DISK)
    before = storage(machine)
    machine.write_port(Port.DISK_SECTOR, sector)
    machine.write_port(Port.DISK_ADDRESS, address)
    machine.write_port(Port.DISK_COMMAND, command)
    machine.run(DISK_DELAY)
    machine._tick()
    assert (machine.read_port(Port.DISK_STATUS), machine.disk.requested) == (2, True)
    assert storage(machine) == before
    assert machine.disk.image == BLANK_DISK


def test_disk_can_replace_code_that_has_run(engine_name):
    """A transfer over translated code: the new instructions run."""
    machine = in_user_mode(engine_name, disk=(word(ISA, "SVC", imm=9)).to_bytes(4, "little") * 64)
    machine.memory.view[1] |= 1 << 31
    machine.run(100)
    machine.write_port(Port.DISK_ADDRESS, 0)
    machine.write_port(Port.DISK_COMMAND, 1)
    machine.state.intercept_traps = True
    machine.disk.requested = False
    stop = machine.run(100 + DISK_DELAY + 50)
    machine.acknowledge(stop.fault)
    stop = machine.run(100 + DISK_DELAY + 50)
    assert (stop.fault.vector, stop.fault.code) == (Trap.SVC, 9)


# -- ends of a run ------------------------------------------------------------------------------


def test_exit_code_is_the_low_byte_of_r0(engine_name):
    outcome = run_program(assemble("li r0, 0x1ff - 8\nhalt"), ISA, engine(engine_name))
    assert (outcome.stop, outcome.exit_code) == ("halt", 0xF7)


def test_limit_is_reported(engine_name):
    outcome = run_program(assemble(SPIN, "spin.asm"), ISA, engine(engine_name), limit=1000)
    facts = outcome.facts()
    assert (facts["stop"], facts["exit_code"], facts["instructions"]) == ("limit", 124, 1000)
    assert "supervisor mode after 1000 instructions" in outcome.explanation
    assert "jmp 0x2 (spin.asm:1)" in outcome.explanation


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("start: svc 1", "memory trap"),  # E[1] = 0: no window at all
        (
            ".org 1\n.psw s, handler, 0, WORDS\nstart: svc 1\nhandler: .word 0",
            "illegal instruction",
        ),
        (".org 1\n.psw s, handler, 0, WORDS\nstart: svc 1\nhandler: svc 2", "supervisor call"),
        (".org 1\n.psw s, handler, 0, WORDS\nhandler: st r0, [r1-1]", "memory trap"),
    ],
)
def test_trap_storm_is_reported(engine_name, text, cause):
    """A handler whose first instruction traps will trap for ever."""
    outcome = run_program(assemble(text), ISA, engine(engine_name), limit=10**9)
    assert outcome.stop == "storm"
    assert cause in outcome.explanation
    assert outcome.exit_code == 125


def test_handler_that_works_is_no_storm(engine_name):
    """The state right after a trap looks like a storm's; only the next instruction tells."""
    machine = running(engine_name, ".org 1\n.psw s, start, 0, WORDS\nstart: st r1, [r2]\nsvc 1")
    machine.state["r1"] = machine.memory.view[0] = machine.memory.view[1]
    before = storage(machine)
    assert machine.state["psw"] == machine.memory.view[1]
    assert not machine.in_storm()
    assert storage(machine) == before
    assert machine.run(5000).reason == "until"
    assert machine.state["cause"] == Trap.SVC
