"""Toy machines for tests: engines to run on, and states one instruction away from a question."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from emu.engines import Engine
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.toy.machine import ToyMachine
from isa.toy import Toy

quick = settings(max_examples=20, deadline=None)
"""Examples few enough for every commit; no deadline, as computers differ."""

NO_CACHE = DiskCache(None)

ENGINES: dict[str, Callable[[], Engine]] = {
    "reference": Reference,
    "python": Python,
    "python-hot": lambda: Python(hot=0),  # every block compiled at once
    "native": lambda: Native(hot=0, wait=True, level=QUICK, cache=NO_CACHE),
}


def engine(name: str) -> Engine:
    """A fresh engine."""
    return ENGINES[name]()


@cache
def toy(name: str = "toy/clean") -> Toy:
    """One instruction set for each configuration."""
    return Toy(name)


def word(isa: Toy, name: str, **fields: int) -> int:
    """The word of an instruction; fields left out are 0."""
    row = isa.rows[name]
    return isa.encoding.encode(row, {f: fields.get(f, 0) for f in row.fields})


def machine_at(
    engine_name: str,
    code: int | None,
    *,
    isa: Toy | None = None,
    mode: int = 0,
    p: int = 2,
    base: int = 0,
    bound: int | None = None,
    memory: dict[int, int] | None = None,
    registers: dict[int, int] | None = None,
    **options: Any,
) -> ToyMachine:
    """A machine whose next instruction is `code`; base and bound of R are in granules."""
    isa = toy() if isa is None else isa
    machine = ToyMachine(isa, engine=engine(engine_name), **options)
    state = machine.state
    state["mode"], state["p"], state["l"] = mode, p, base
    state["b"] = isa.shape.all_granules if bound is None else bound
    for address, value in (memory or {}).items():
        machine.memory.view[address] = value
    for number, value in (registers or {}).items():
        state.values[isa.known.general.members[number].slot] = value
    if code is not None:
        machine.memory.view[p + base * isa.shape.granule] = code
    return machine


def step(machine: ToyMachine) -> str:
    """One instruction or trap; why the machine stopped."""
    return machine.run(machine.state.count + 1).reason


def mpr(machine: ToyMachine) -> tuple[int, int, int, int]:
    """M, P and R = (l, b)."""
    state = machine.state
    return state["mode"], state["p"], state["l"], state["b"]


def storage(machine: ToyMachine) -> list[int]:
    """E as a list."""
    words: list[int] = machine.memory.array.tolist()
    return words


def trapped(machine: ToyMachine) -> int:
    """The number of the last trap, 0 if there was none."""
    return machine.state["cause"]


WORDS = st.integers(0, 2**32 - 1)
MODES = st.integers(0, 1)


@st.composite
def windows(draw: st.DrawFn, smallest: int = 1) -> tuple[int, int]:
    """R = (l, b) in granules, with a window that lies in storage."""
    base = draw(st.integers(0, 255 - smallest))
    return base, draw(st.integers(smallest, 256 - base))
