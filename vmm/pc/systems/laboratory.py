"""Machines on which generated systems are tried one after the other, in lock-step.

The bare machine passes through a system's states once, an instruction at a time, and each is noted.
Then each monitor runs it, and wherever it has got control back its guest's state must be the one
that was noted for that time; at the end memory, devices and output too. Machines are set back, not
made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from emu.engines import Engine
from emu.engines.python import Python
from emu.engines.stepper import Stepper
from emu.exit import UNTIL, Exit
from emu.memory import PAGE_SIZE
from emu.pc.machine import PcMachine
from emu.pc.options import Options
from emu.pc.serial import MemorySerial
from emu.state import State
from vmm import pc
from vmm.divergence import Divergence
from vmm.pc import MONITORS
from vmm.pc.allocation import Allocation, allocation_for
from vmm.pc.compare import in_control
from vmm.pc.control_program import Monitor
from vmm.pc.equivalence import BOUNDARY, Pair, first_divergence
from vmm.pc.guest import POISON
from vmm.pc.hosted.arrangement import NATIVE, machine_below
from vmm.pc.machine import VirtualPc
from vmm.pc.systems import layout as at
from vmm.pc.systems.generator import System, image, start

LIMIT: Final = 600  # instructions
MODEL: Final = "pentium2"
CURES: Final = ("hybrid", "translation", "hardware-assist", "interpretation")
MakeEngine = Callable[[], Engine]


def _options() -> Options:
    return Options(serial=[MemorySerial()], pci=False, vga=False, fw_cfg=False)


def new_bare(engine: Engine) -> PcMachine:
    """A bare machine for systems."""
    return PcMachine(engine, model=MODEL, memory=at.MEMORY, options=_options())


def new_virtual(monitor: type[Monitor], engine: Engine, arrangement: str = NATIVE) -> VirtualPc:
    """A virtual machine for systems, on a machine below that is just large enough."""
    allocation, needed = allocation_for(at.MEMORY)
    below = machine_below(
        arrangement, monitor.name, engine, model=MODEL, memory=needed, options=_options()
    )
    below.memory.physical.array[allocation.end : needed] = POISON

    def make(machine: PcMachine, given: Allocation) -> Monitor:
        return monitor(machine, given, umip=True)

    return VirtualPc(make, below, allocation, options=_options())


class Bench:
    """One machine with the board that it had when it was made."""

    def __init__(self, machine: PcMachine) -> None:
        self.machine = machine
        self._board = machine.board.snapshot()
        storage = machine.memory.physical
        self._storage = machine.below.memory.physical if isinstance(machine, VirtualPc) else storage

    @property
    def output(self) -> bytearray:
        """What came out of the serial port."""
        backend = self.machine.board.options.serial[0]
        assert isinstance(backend, MemorySerial)
        return backend.output

    def set_back(self, system: System, content: bytes) -> PcMachine:
        """The machine just before the first instruction of a system."""
        machine, storage = self.machine, self._storage
        for frame in sorted(storage.code_frames):
            storage.notify(frame * PAGE_SIZE, PAGE_SIZE)
        machine.memory.physical.array[: len(content)] = np.frombuffer(content, np.uint8)
        machine.board.restore(self._board)
        self.output.clear()
        start(machine, system)
        return machine


@dataclass(slots=True)
class Noted:
    """What the bare machine has passed through: its registers by time, and its end."""

    states: dict[int, memoryview] = field(default_factory=dict)
    outputs: dict[int, int] = field(default_factory=dict)
    stop: Exit = UNTIL
    digest: str = ""
    output: bytes = b""


@dataclass(frozen=True, slots=True)
class Found:
    """A difference: under which monitor, when, of what."""

    monitor: str
    count: int
    part: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return (
            f"{self.monitor}: after {self.count} instructions {self.part} should be "
            f"{self.expected} and is {self.actual}"
        )


class Laboratory:
    """A bare machine and one of each monitor, on engines of a kind."""

    def __init__(
        self,
        make_engine: MakeEngine = Python,
        monitors: Iterable[str] = CURES,
        bare: Bench | None = None,
        paging: str | None = None,
        arrangement: str = NATIVE,
    ) -> None:
        self._make_engine = make_engine
        self._arrangement = arrangement
        self._bare = bare or Bench(new_bare(Stepper()))
        known = pc.monitors(paging)
        self._virtual = {
            name: Bench(new_virtual(known[name], make_engine(), arrangement)) for name in monitors
        }

    def violation(self, system: System, limit: int = LIMIT) -> Found | None:
        """The first difference of any monitor, or the first loss of control."""
        return self.compare(system, self.note(system, limit), limit)

    def compare(self, system: System, noted: Noted, limit: int = LIMIT) -> Found | None:
        """The same, with what the bare machine has passed through."""
        content = image(system)
        for name, bench in self._virtual.items():
            found = self._compare(name, bench, system, content, noted, limit)
            if found is not None:
                return found
        return None

    def note(self, system: System, limit: int = LIMIT) -> Noted:
        """Run the bare machine."""
        machine, noted = self._bare.set_back(system, image(system)), Noted()
        state, output = machine.state, self._bare.output
        while state.count < limit:
            noted.states[state.count] = state.save()
            noted.outputs[state.count] = len(output)
            noted.stop = machine.run(state.count + 1)
            if noted.stop.reason != "until":
                break
        noted.states[state.count] = state.save()
        noted.outputs[state.count] = len(output)
        noted.digest, noted.output = machine.digest(), bytes(output)
        return noted

    def _compare(
        self, name: str, bench: Bench, system: System, content: bytes, noted: Noted, limit: int
    ) -> Found | None:
        machine = bench.set_back(system, content)
        assert isinstance(machine, VirtualPc)
        watch = _Watch(noted, bench.output)
        machine.monitor.boundary = watch
        stop = machine.run(limit)
        found = watch.found or watch.end(machine, stop)
        if found is None and not in_control(machine):
            found = "resource control", "kept", "lost"
        return None if found is None else Found(name, machine.state.count, *found)

    def explain(self, system: System, monitor: str, limit: int = LIMIT) -> Divergence | None:
        """The instruction at which a monitor goes wrong, on machines of its own."""

        def pair() -> Pair:
            benches = (
                Bench(new_bare(self._make_engine())),
                Bench(new_virtual(MONITORS[monitor], self._make_engine(), self._arrangement)),
            )
            bare, virtual = (bench.set_back(system, image(system)) for bench in benches)
            serial = [bench.machine.board.options.serial[0] for bench in benches]
            return Pair(bare, virtual, *serial)  # type: ignore[arg-type]

        return first_divergence(pair, limit)[0]


class _Watch:
    """Compares at each boundary with what was noted."""

    def __init__(self, noted: Noted, output: bytearray) -> None:
        self._noted = noted
        self._output = output
        self.found: tuple[str, str, str] | None = None

    def __call__(self, state: State) -> Exit | None:
        """What the monitor calls when it has got control back."""
        expected = self._noted.states.get(state.count)
        if expected == state.values and self._noted.outputs[state.count] == len(self._output):
            return None
        self.found = self._difference(state, expected)
        return BOUNDARY

    def _difference(self, state: State, expected: memoryview | None) -> tuple[str, str, str]:
        if expected is None:
            return "time", "within the bare machine's", "beyond its end"
        for register in state.isa.registers:
            one, other = expected[register.slot], state.values[register.slot]
            if one != other:
                return register.name, f"{one:#x}", f"{other:#x}"
        return "output", str(self._noted.outputs[state.count]), str(len(self._output))

    def end(self, machine: VirtualPc, stop: Exit) -> tuple[str, str, str] | None:
        """Everything, where both have stopped."""
        noted = self._noted
        if (noted.stop.reason, noted.stop.fault) != (stop.reason, stop.fault):
            return "stop", noted.stop.reason, stop.reason
        if self(machine.state) is not None:
            return self.found
        if bytes(self._output) != noted.output:
            return "output", repr(noted.output[-16:]), repr(bytes(self._output[-16:]))
        same = machine.digest() == noted.digest
        return None if same else ("memory or a device", "the same", "another")
