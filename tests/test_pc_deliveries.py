"""Deliveries on every engine: as the reference engine does them, however often they happen."""

from __future__ import annotations

import struct

import pytest

from emu.engines import judge
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.pc.loaders import flat_mode
from emu.pc.machine import PcMachine
from isa.fault import Fault
from tests.machines import engines

ENGINES = engines()
MEGA = 1 << 20
CODE, HANDLER, TABLE, GATES, STACK = 0x100000, 0x101000, 0x8000, 0x9000, 0x7000
DIRECTORY, OTHER_DIRECTORY, HERE, THERE, TASK, OTHER_TASK = (
    0x1000,
    0x2000,
    0x3000,
    0x4000,
    0xA000,
    0xB000,
)
PAGE = 0x400000  # linear: what lies there tells whose page tables are in force


def gate(selector: int, offset: int, kind: int) -> bytes:
    return struct.pack("<HHHH", offset & 0xFFFF, selector, kind << 8, offset >> 16)


def started(engine, code: bytes, gates: dict[int, bytes]) -> PcMachine:
    """Flat protected mode with IF clear, and gates."""
    machine = PcMachine(engine, memory=2 * MEGA)
    machine.memory.write(CODE, code)
    for vector, content in gates.items():
        machine.memory.write(GATES + 8 * vector, content)
    flat_mode.enter(machine, CODE, TABLE, 8, 16, {})
    machine.state["idt_base"], machine.state["idt_limit"] = GATES, 0x7FF
    machine.state["esp"] = STACK
    return machine


def faulting(engine) -> PcMachine:
    """UD2, whose handler counts and skips it; every 16th time the gate of #UD is not there, which
    the handler of #NP mends."""
    count = b"\x43\x83\x04\x24\x02"  # INC EBX; ADD [ESP], 2
    breaks = b"\xf6\xc3\x0f\x75\x07\xc6\x05" + struct.pack("<I", GATES + 6 * 8 + 5) + b"\x0e"
    mend = b"\x41\xc6\x05" + struct.pack("<I", GATES + 6 * 8 + 5) + b"\x8e\x83\xc4\x04\xcf"
    machine = started(
        engine,
        b"\x0f\x0b\xeb\xfc",
        {6: gate(8, HANDLER, 0x8E), 11: gate(8, HANDLER + 0x100, 0x8E)},
    )
    machine.memory.write(HANDLER, count + breaks + b"\xcf")
    machine.memory.write(HANDLER + 0x100, mend)
    return machine


@pytest.mark.parametrize("name", [n for n in ENGINES if n != "reference"])
def test_many_deliveries(name: str) -> None:
    """More than it takes until they are compiled, faults in their middle included."""
    found, wanted = faulting(ENGINES[name]), faulting(Reference())
    for count in range(50, 9 * judge.HOT, 97):
        assert found.run(count) == wanted.run(count) == Exit("until")
        assert found.digest() == wanted.digest(), f"after {count} instructions"
    assert wanted.state["ebx"] > judge.HOT
    assert wanted.state["ecx"] > 2


def paged(engine) -> PcMachine:
    """Two tasks with page tables of their own; a task gate leads from one to the other."""
    machine = started(
        engine, b"\xa1" + struct.pack("<I", PAGE) + b"\xeb\xf9", {32: gate(40, 0, 0x85)}
    )
    for directory, frame in ((DIRECTORY, HERE), (OTHER_DIRECTORY, THERE)):
        machine.memory.store(directory, 4, 0x83)  # 4 MiB where they are
        machine.memory.store(directory + 4, 4, (directory + 0x4000) | 3)
        machine.memory.store(directory + 0x4000, 4, frame | 3)
        machine.memory.store(frame, 4, frame)
    tss = [
        struct.pack("<HHBBBB", 0x67, base, 0, kind, 0, 0)
        for base, kind in ((TASK, 0x8B), (OTHER_TASK, 0x89))
    ]
    machine.memory.write(TABLE + 32, b"".join(tss))
    registers = [OTHER_DIRECTORY, HANDLER, 2, 0, 0, 0, 0, STACK, 0, 0, 0]
    machine.memory.store(TASK + 28, 4, DIRECTORY)
    machine.memory.write(OTHER_TASK + 28, struct.pack("<17I", *registers, 16, 8, 16, 16, 0, 0))
    machine.memory.write(HANDLER, b"\xa1" + struct.pack("<I", PAGE) + b"\xcf\xeb\xf8")
    state = machine.state
    state["gdt_limit"] = 47
    state["tr"], state["tr_base"], state["tr_limit"], state["tr_attributes"] = 32, TASK, 0x67, 0x8B
    state["cr3"], state["pse"], state["pg"] = DIRECTORY, 1, 1
    machine.memory.changed()
    return machine


@pytest.mark.parametrize("name", ENGINES)
def test_a_task_gate_changes_the_page_tables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new task finds its own page where the old one has another, and back, compiled or not."""
    monkeypatch.setattr(judge, "HOT", 3)
    machine = paged(ENGINES[name])
    for _ in range(6):
        machine.state["eax"] = 0
        machine.memory.store(OTHER_TASK + 32, 4, HANDLER)
        machine.memory.store(OTHER_TASK + 40, 4, 0)
        machine.run(machine.state.count + 2)
        assert machine.state["eax"] == HERE
        assert machine.engine.deliver(machine.state, Fault(32))  # type: ignore[attr-defined]
        machine.run(machine.state.count + 2)  # its segments are loaded
        assert (machine.state["eip"], machine.state["eax"]) == (HANDLER + 5, THERE)
        machine.run(machine.state.count + 2)
