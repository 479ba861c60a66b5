"""Every monitor against the bare machine: what `vmm compare` measures."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from emu.engines import make_engine
from emu.exit import Exit
from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK
from isa.registers import Role
from isa.toy import Toy
from isa.toy.assembler import Program, assemble
from vmm.divergence import Divergence
from vmm.equivalence import Observed, Pair, first_divergence
from vmm.monitors import MONITORS, Allocation, Monitor, VirtualMachine, smaller
from vmm.monitors.paravirtual import ported_lines

RESERVED: Final = 4096  # words of the bare machine that `vmm run` and `vmm compare` keep
POISON: Final = 0xDEADBEEF  # in every word that is nobody's
LIMIT: Final = 10_000_000
WARM_UP: Final = 20_000


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest program in source, what it is given to read, and the machine it is for."""

    path: Path
    text: str
    isa: Toy
    given: bytes = b""
    engine: str = "auto"

    def program(self, words: int) -> Program:
        """Assembled for a machine with so much storage."""
        return assemble(self.text, str(self.path), smaller(self.isa, words))

    def bare(self, words: int) -> Observed:
        """The bare machine of that size."""
        output = io.BytesIO()
        program = self.program(words)
        machine = ToyMachine(
            smaller(self.isa, words), program.image, engine=make_engine(self.engine),
            entry=program.entry, output=output, source=io.BytesIO(self.given), disk=BLANK_DISK,
        )  # fmt: skip
        return Observed(machine, output)

    def virtual(
        self,
        chain: Iterable[type[Monitor]],
        allocations: Iterable[Allocation],
        *,
        output: BinaryIO | None = None,
        source: BinaryIO | None = None,
    ) -> Stack:
        """Virtual machines one in the other, the guest in the innermost; the outermost first.

        The guest prints into the stack's `output` and reads what is given, unless told otherwise.
        """
        below = ToyMachine(self.isa, engine=make_engine(self.engine))
        below.memory.array[:] = POISON
        stack = Stack(below)
        pairs = list(zip(chain, allocations, strict=True))
        for monitor, allocation in pairs[:-1]:
            stack.machines.append(VirtualMachine(monitor, stack.top, allocation))
        monitor, allocation = pairs[-1]
        program = self.program(allocation.words)
        machine = VirtualMachine(
            monitor, stack.top, allocation, program.image, entry=program.entry,
            output=stack.output if output is None else output,
            source=io.BytesIO(self.given) if source is None else source, disk=BLANK_DISK,
        )  # fmt: skip
        stack.machines.append(machine)
        stack.remember()
        return stack


@dataclass(slots=True)
class Stack:
    """A bare machine and the virtual machines on it."""

    bare: ToyMachine
    machines: list[VirtualMachine] = field(default_factory=list)
    output: io.BytesIO = field(default_factory=io.BytesIO)
    before: bytes = b""

    @property
    def top(self) -> ToyMachine:
        """The innermost machine so far."""
        return self.machines[-1] if self.machines else self.bare

    @property
    def observed(self) -> Observed:
        """The innermost machine, for comparison."""
        return Observed(self.top, self.output)

    def _outside(self) -> bytes:
        """Every word, device and resource of the bare machine that is not the guest's to change."""
        allocation = self.machines[0].allocation
        own = self.machines[0].monitor.own
        words = np.array(self.bare.memory.array)
        words[allocation.base : allocation.end] = 0
        if self.machines[0].monitor.keeps_words:
            words[own.base : own.end] = 0
        resources = self.bare.isa.registers.with_role(Role.RESOURCE)
        others = [
            [dict(device.snapshot()) for device in self.bare.devices],
            [self.bare.state[register.name] for register in resources],
        ]
        return words.tobytes() + repr(others).encode()

    def remember(self) -> None:
        """Take the audit's first reading."""
        self.before = self._outside()

    def in_control(self) -> bool:
        """Whether nothing outside of the allocation has changed: resource control."""
        return self._outside() == self.before


@dataclass(slots=True)
class Comparison:
    """One monitor's row."""

    name: str
    divergence: Divergence | str | None
    resource_control: bool
    direct_fraction: float
    exits: dict[str, int]
    slowdown: float
    output: bytes = b""
    stop: str = ""
    modelled: float | None = None  # slowdown by published costs of exits
    host: dict[str, dict[str, int]] | None = None  # what a hosted monitor costs its host

    def facts(self) -> dict[str, Any]:
        """What `--json` shows."""
        facts = {
            "name": self.name,
            "equivalent": self.divergence is None,
            "divergence": None if self.divergence is None else str(self.divergence),
            "resource_control": self.resource_control,
            "direct_fraction": round(self.direct_fraction, 6),
            "exits": self.exits,
            "slowdown": round(self.slowdown, 3),
        }
        if self.modelled is not None:
            facts["modelled"] = round(self.modelled, 3)
        return facts if self.host is None else facts | {"host": self.host}


def allocation_for(isa: Toy) -> Allocation:
    """What a guest gets if nobody says: all but RESERVED words, or three quarters of a small
    machine, behind the control program."""
    shape = isa.shape
    reserved = min(RESERVED, shape.storage // 4) // shape.granule * shape.granule
    return Allocation(reserved, shape.storage - reserved)


def compare(guest: Guest, limit: int = LIMIT, every: int = 1) -> list[Comparison]:
    """Every monitor, the bare machine's time being 1."""
    return [compare_one(guest, name, limit, every) for name in MONITORS if has(guest, name)]


def ported(path: Path) -> Path:
    """Where the port of a guest to the paravirtual monitor is."""
    return path.parent.parent / "paravirtual" / path.name


def has(guest: Guest, name: str) -> bool:
    """Whether there is something to run under that monitor: the paravirtual one needs a port."""
    return name != "paravirtual" or ported(guest.path).is_file()


def subject(guest: Guest, name: str) -> Guest:
    """What runs under that monitor: the guest, or its port."""
    if name != "paravirtual":
        return guest
    path = ported(guest.path)
    return Guest(path, path.read_text(), guest.isa, guest.given, guest.engine)


def compare_one(guest: Guest, name: str, limit: int = LIMIT, every: int = 1) -> Comparison:
    """One monitor against the bare machine."""
    allocation = allocation_for(guest.isa)
    guest.bare(allocation.words).machine.run(min(limit, WARM_UP))  # not to time imports
    bare = guest.bare(allocation.words)
    bare_seconds, _ = timed(bare.machine, limit)
    inside = subject(guest, name)
    stack = inside.virtual([MONITORS[name]], [allocation])
    seconds, stop = timed(stack.top, limit)
    efficiency = stack.machines[0].monitor.efficiency
    return Comparison(
        name,
        _ported_differs(guest, inside, bare, stack) if inside is not guest
        else first_divergence(lambda: observed_pair(guest, name, allocation), limit, every),
        stack.in_control(),
        efficiency.direct_fraction,
        dict(efficiency.exits),
        seconds / bare_seconds,
        stack.output.getvalue(),
        stop.reason,
    )  # fmt: skip


def timed(machine: ToyMachine, limit: int) -> tuple[float, Exit]:
    """Seconds that a run takes, and how it ends."""
    began = time.perf_counter()
    stop = machine.run(limit)
    return time.perf_counter() - began, stop


def observed_pair(guest: Guest, name: str, allocation: Allocation) -> Pair:
    """The bare machine and a virtual one, each with the guest."""
    stack = guest.virtual([MONITORS[name]], [allocation])
    return guest.bare(allocation.words), stack.observed


def _ported_differs(guest: Guest, port: Guest, bare: Observed, stack: Stack) -> str:
    """A port is another guest, so not equivalent by definition; whether it does the same work."""
    gone, new = ported_lines(guest.text, port.text)
    expected, actual = bare.output.getvalue(), stack.output.getvalue()
    work = "output and exit code are the same"
    if bare.machine.state["r0"] & 0xFF != stack.top.state["r0"] & 0xFF:
        work = "the exit code differs"
    elif expected != actual:
        work = "the output differs"
        if sorted(expected) == sorted(actual):
            work += " only in order, as a timer's interrupts fall between other instructions"
    return f"a new interface, by design: a port with {gone} lines gone and {new} new; {work}"
