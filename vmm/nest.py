"""The control program in toy assembly behind itself: a guest under any number of monitors.

`programs/toy/vmm.asm` keeps the words below its label `guest`; from there on stands the machine it
makes. Whatever is put there runs in it: a program, or the monitor with a guest of its own.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from emu.engines import Engine
from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK, load_program
from isa.toy import Toy
from isa.toy.assembler import Program
from isa.toy.shape import Shape
from vmm.monitors.allocation import AllocationError

WORDS: Final = Shape().words
ISA: Final = "toy/clean"  # that the control program is written for
SOURCE: Final = Path(__file__).parent.parent / "programs" / "toy" / "vmm.asm"


@cache
def monitor() -> Program:
    """The assembled control program, with the guest that its source gives it."""
    return load_program(SOURCE)


def words_per_level() -> int:
    """The paper's k: words that each monitor takes from the machine it runs on."""
    return monitor().symbols["guest"]


def nest(guest: Program, depth: int) -> Program:
    """The guest under `depth` monitors, as one program for the bare machine.

    The guest stands at `depth * words_per_level()`. Raises AllocationError if the image and that
    many monitors do not fit the machine.
    """
    for _ in range(depth):
        guest = _inside(monitor(), guest)
    return guest


def _inside(outer: Program, guest: Program) -> Program:
    k = outer.symbols["guest"]
    image = [*outer.image[:k], *[0] * (k - len(outer.image)), *guest.image]
    image[outer.symbols["vpsw"]] = guest.psw  # how the guest's machine begins
    if len(image) > WORDS:
        raise AllocationError(
            f"the image takes {len(image)} words of {WORDS}: each monitor keeps "
            f"{k}; choose a smaller depth"
        )
    lines = {address: line for address, line in outer.lines.items() if address < k}
    lines |= {address + k: line for address, line in guest.lines.items()}
    return Program(image, outer.entry, outer.psw, outer.symbols, lines)


@dataclass(frozen=True, slots=True)
class Run:
    """What a guest left behind, as seen from inside its machine, and the traps on the bare one.

    `in_control` tells whether the code of every monitor is as it was.
    """

    stop: str
    output: bytes
    registers: list[int]
    storage: list[int]
    traps: int
    in_control: bool = True

    def difference(self, bare: Run) -> str | None:
        """What the guest could notice, as far as the smaller of the machines goes."""
        if not self.in_control:
            return "a word of a monitor has changed"
        if (self.stop, bare.stop) != ("halt", "halt"):
            return f"no halt to compare at: {bare.stop} on the bare machine, {self.stop} here"
        if self.output != bare.output:
            return "the output differs"
        for number, (mine, its) in enumerate(zip(self.registers, bare.registers, strict=True)):
            if mine != its:
                return f"r{number}: {its:#x} on the bare machine, {mine:#x} here"
        for address, (mine, its) in enumerate(zip(self.storage, bare.storage, strict=False)):
            if mine != its:
                return f"E[{address}]: {its:#x} on the bare machine, {mine:#x} here"
        return None


def run(
    guest: Program, depth: int, isa: Toy, engine: Engine, given: bytes = b"",
    limit: int = 10_000_000,
) -> Run:  # fmt: skip
    """Run a guest under `depth` monitors on a bare machine to its end, counting that one's traps.

    `given` is what the console reads.
    """
    program, output, traps = nest(guest, depth), io.BytesIO(), 0
    machine = ToyMachine(
        isa, program.image, engine=engine, entry=program.entry,
        output=output, source=io.BytesIO(given), disk=BLANK_DISK,
    )  # fmt: skip
    machine.state.intercept_traps = True
    while (stop := machine.run(limit)).reason == "fault":
        assert stop.fault is not None
        machine.acknowledge(stop.fault)
        engine.deliver(machine.state, stop.fault)
        traps += 1
    storage = machine.memory.array.tolist()
    return Run(
        "limit" if stop.reason == "until" else stop.reason,
        output.getvalue(),
        [machine.state.values[member.slot] for member in machine.isa.known.general.members],
        storage[depth * words_per_level() :],
        traps,
        all(_code(storage, level) == _code(monitor().image) for level in range(depth)),
    )


def _code(storage: list[int], level: int = 0) -> list[int]:
    """The words of a monitor that nothing may change."""
    base = level * words_per_level()
    return storage[base + 2 : base + monitor().symbols["vpsw"]]
