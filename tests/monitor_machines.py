"""Pairs for tests of monitors: a bare machine and a virtual one with the same guest."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

from toy_machines import engine, toy

from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK, load_program
from vmm.equivalence import Observed
from vmm.monitors import MONITORS, Allocation, VirtualMachine, smaller

FOLDER = Path(__file__).parent.parent / "programs" / "toy"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.asm"))
HALF = Allocation(4096, 8192)
LIMIT = 200_000


@cache
def program(name, isa="toy/clean", words=HALF.words):
    return load_program(FOLDER / f"{name}.asm", smaller(toy(isa), words))


def source(name):
    path = FOLDER / f"{name}.in"
    return io.BytesIO(path.read_bytes() if path.exists() else b"")


def expected_output(name):
    return (FOLDER / f"{name}.out").read_bytes()


def bare(
    isa, image, *, entry=0, words=HALF.words, engine_name="python", disk=BLANK_DISK, given=b""
):  # fmt: skip
    """The machine that the virtual one must equal."""
    output = io.BytesIO()
    machine = ToyMachine(
        smaller(isa, words), image, engine=engine(engine_name), entry=entry, output=output,
        source=io.BytesIO(given), disk=disk,
    )  # fmt: skip
    return Observed(machine, output)


def virtual(
    monitor, isa, image, *, entry=0, allocation=HALF, engine_name="python", disk=BLANK_DISK,
    given=b"", poison=None,
):  # fmt: skip
    """A virtual machine on a bare one of its own, whose other words may be poisoned."""
    below = ToyMachine(isa, engine=engine(engine_name), disk=BLANK_DISK)
    if poison is not None:
        below.memory.array[:] = poison
    output = io.BytesIO()
    make = MONITORS[monitor] if isinstance(monitor, str) else monitor
    machine = VirtualMachine(
        make, below, allocation, image, entry=entry, output=output, source=io.BytesIO(given),
        disk=disk,
    )  # fmt: skip
    return Observed(machine, output)


def pair(monitor, name, isa="toy/clean", engine_name="python"):
    """The bare and the virtual machine with a program of programs/toy."""
    guest, given = program(name, isa), source(name).getvalue()
    options = {"entry": guest.entry, "engine_name": engine_name, "given": given}
    return (
        bare(toy(isa), guest.image, **options),
        virtual(monitor, toy(isa), guest.image, **options),
    )
