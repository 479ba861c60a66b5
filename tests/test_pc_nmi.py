"""The NMI: taken at once, whatever IF says, but one at a time and not where interrupts are held."""

from __future__ import annotations

import struct

import pytest

from emu.pc.loaders import flat_mode
from emu.pc.machine import PcMachine
from tests.machines import engines

CODE, HANDLER, TABLE, GATES, STACK = 0x100000, 0x101000, 0x8000, 0x9000, 0x7000
COUNTING = bytes.fromhex("43 EB FD")  # INC EBX; JMP to it
HANDLE = bytes.fromhex("41 90 90 90 CF")  # INC ECX; NOP three times; IRET


@pytest.fixture(params=engines())
def engine(request):
    return engines()[request.param]


def started(engine, code: bytes, handler: bytes = HANDLE) -> PcMachine:
    """Flat protected mode with IF clear, and a gate for the NMI."""
    machine = PcMachine(engine, memory=2 << 20)
    machine.memory.write(CODE, code)
    machine.memory.write(HANDLER, handler)
    machine.memory.write(GATES + 16, struct.pack("<HHHH", HANDLER & 0xFFFF, 8, 0x8E00, 0x10))
    flat_mode.enter(machine, CODE, TABLE, 8, 16, {})
    machine.state["idt_base"], machine.state["idt_limit"] = GATES, 0xFF
    machine.state["esp"] = STACK
    return machine


def on(machine: PcMachine, more: int) -> tuple[int, int, int]:
    """Run on; EIP, and what the program and the handler have counted."""
    machine.run(machine.state.count + more)
    return machine.state["eip"], machine.state["ebx"], machine.state["ecx"]


def test_it_comes_between_two_instructions(engine) -> None:
    """Though IF is clear; it counts as one, and IRET leads back to where it came."""
    machine = started(engine, COUNTING)
    assert on(machine, 6) == (CODE, 3, 0)
    machine.request_nmi()
    assert on(machine, 1) == (HANDLER, 3, 0)
    assert on(machine, 5) == (CODE, 3, 1)
    assert on(machine, 20) == (CODE, 13, 1)


def test_one_at_a_time(engine) -> None:
    """A second one waits for the handler's IRET, and comes before the instruction behind it."""
    machine = started(engine, COUNTING)
    machine.request_nmi()
    on(machine, 2)
    machine.request_nmi()
    machine.request_nmi()  # there is one place for those that wait
    assert on(machine, 4) == (CODE, 0, 1)
    assert on(machine, 1) == (HANDLER, 0, 1)
    assert on(machine, 5) == (CODE, 0, 2)
    assert on(machine, 20) == (CODE, 10, 2)


def test_int_2_is_not_an_nmi(engine) -> None:
    """INT 2 enters the same handler, in which an NMI is taken (SDM volume 3, section 6.7.1)."""
    machine = started(engine, b"\xcd\x02" + COUNTING)
    on(machine, 2)
    machine.request_nmi()
    assert on(machine, 1) == (HANDLER, 0, 1)


def test_it_ends_a_halt(engine) -> None:
    """HLT with IF clear, from which nothing else wakes."""
    machine = started(engine, b"\xf4" + COUNTING)
    assert machine.run(10).reason == "halt"
    machine.request_nmi()
    assert on(machine, 6) == (CODE + 1, 0, 1)


def test_the_board_keeps_it_back(engine) -> None:
    """Port 70h, bit 7, until that is written again."""
    write = b"\xe6\x70"  # OUT 70h, AL
    code = b"\xb0\x80" + write + b"\x43\x43\xb0\x00" + write + COUNTING
    machine = started(engine, code)
    on(machine, 2)
    machine.request_nmi()
    assert on(machine, 4) == (CODE + 10, 2, 0)
    assert on(machine, 1) == (HANDLER, 2, 0)


def test_not_behind_a_load_of_ss(engine) -> None:
    """MOV SS holds it back for one instruction."""
    machine = started(engine, b"\x8c\xd0\x8e\xd0" + COUNTING)
    on(machine, 2)
    machine.request_nmi()
    assert on(machine, 1) == (CODE + 5, 1, 0)
    assert on(machine, 1) == (HANDLER, 1, 0)


def test_a_reset_forgets_it(engine) -> None:
    machine = started(engine, COUNTING)
    machine.request_nmi()
    on(machine, 1)
    assert machine.state["nmi_blocked"] == 1
    machine.request_nmi()
    machine.reset()
    assert machine.state["nmi_blocked"] == 0
    assert on(machine, 1)[0] != HANDLER
