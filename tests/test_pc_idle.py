"""A halted PC at whose serial port somebody may type lets the host rest; without one time flies."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator

import pytest

from emu.devices.clock import MIPS
from emu.engines.reference import Reference
from emu.exit import Exit
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
def pipe() -> Iterator[Pipe]:
    """A halted machine, and the end of a pipe at which one types for it."""
    reader, writer = os.pipe()
    serial = StreamSerial(io.BytesIO(), reader)
    machine = PcMachine(Reference(), memory=2 << 20, options=Options(serial=[serial]))
    machine.memory.write(CODE, HALTED_FOR_EVER)
    flat_mode.enter(machine, CODE, TABLE, 8, 16, {})
    yield machine, writer
    os.close(reader)


def passed(machine: PcMachine, count: int, stop: str = "until") -> tuple[float, float]:
    """Seconds on the wall and of the processor until a machine reaches a count, or stops so."""
    began, busy = time.perf_counter(), time.process_time()
    assert machine.run(count) == Exit(stop)
    return time.perf_counter() - began, time.process_time() - busy


def test_the_host_rests(pipe: Pipe) -> None:
    """As long as the guest does, but for what it was behind the host's clock."""
    machine, writer = pipe
    wall, busy = passed(machine, 10 * TENTH)
    assert wall > 0.5
    assert busy < 0.3
    os.close(writer)


def test_what_is_typed_is_not_waited_for(pipe: Pipe) -> None:
    """It arrives at the port, and its end ends the waiting."""
    machine, writer = pipe
    os.write(writer, b"typed")
    os.close(writer)
    wall, _ = passed(machine, 10 * SECOND, "halt")
    assert wall < 5
    assert machine.board.serial[0].registers.received == list(b"t")
