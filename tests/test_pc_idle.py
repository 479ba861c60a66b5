"""A halted PC at whose serial port somebody may type lets the host rest; without one time flies."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from emu.devices.clock import MIPS
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.pc import rest
from emu.pc.loaders import flat_mode
from emu.pc.machine import PcMachine
from emu.pc.options import Options
from emu.pc.serial import StreamSerial

CODE, TABLE = 0x100000, 0x8000
HALTED_FOR_EVER = bytes.fromhex("FB F4 EB FD")  # STI; HLT; JMP to the HLT
SECOND = MIPS * 1_000_000
TENTH = SECOND // 10
Pipe = tuple[PcMachine, int]


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how many seconds the host was to rest; its clock moves by these only."""
    found: list[float] = []
    waits = SimpleNamespace(select=lambda *arguments: found.append(arguments[-1]))
    monkeypatch.setattr(rest, "select", waits)
    monkeypatch.setattr(rest, "time", SimpleNamespace(perf_counter=lambda: sum(found)))
    return found


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A halted machine, and the end of a pipe at which one types for it."""
    reader, writer = os.pipe()
    serial = StreamSerial(io.BytesIO(), reader)
    machine = PcMachine(Reference(), memory=2 << 20, options=Options(serial=[serial]))
    machine.memory.write(CODE, HALTED_FOR_EVER)
    flat_mode.enter(machine, CODE, TABLE, 8, 16, {})
    yield machine, writer
    os.close(reader)


def test_the_host_rests(rests: list[float], pipe: Pipe) -> None:
    """As long as the guest does."""
    machine, writer = pipe
    assert machine.run(10 * TENTH) == Exit("until")
    assert sum(rests) == pytest.approx(1, abs=0.01)
    os.close(writer)


def test_the_host_does_not_rest_while_the_guest_is_behind_its_clock(
    rests: list[float], pipe: Pipe
) -> None:
    machine, writer = pipe
    rests.append(5)  # what the guest's instructions took
    assert machine.run(10 * TENTH) == Exit("until")
    assert rests == [5]
    os.close(writer)


def test_what_is_typed_is_not_waited_for(pipe: Pipe) -> None:
    """It arrives at the port, and its end ends the waiting."""
    machine, writer = pipe
    os.write(writer, b"typed")
    os.close(writer)
    assert machine.run(10 * SECOND) == Exit("halt")
    assert machine.board.serial[0].registers.received == list(b"t")
