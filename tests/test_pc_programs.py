"""The programs of programs/x86/pc print what they should, on every engine, state for state."""

from __future__ import annotations

import re
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.exit import Exit
from tests.machines import NO_CACHE
from tests.pc_machines import PROGRAMS, program

KERNELS = ("kernel", "paging", "timer")  # need no firmware
BOOTED = ("bios", "hello", "protected")
PORTED = ("kernel_xen",)  # for the paravirtual monitor: tests/test_pc_paravirtual.py
TYPED = {"timer": "x", "bios": "hello\n"}
LIMIT = 60_000_000
ENGINES = {
    "python": Python,
    "python-hot": lambda: Python(hot=0),
    "native": lambda: Native(cache=NO_CACHE, stitch=0),
    "native-hot": lambda: Native(hot=0, wait=True, level=QUICK, cache=NO_CACHE),
}
FORCED = [pytest.param(name, marks=pytest.mark.heavy) for name in ("python-hot", "native-hot")]
EACH = ["python", FORCED[0], "native", FORCED[1]]


def expected(name: str) -> str:
    return (PROGRAMS / f"{name}.out").read_text()


def test_every_program_has_an_output_and_says_what_it_teaches() -> None:
    names = sorted(path.stem for path in PROGRAMS.glob("*.asm"))
    assert names == sorted((*KERNELS, *BOOTED, *PORTED, "writer"))  # the last for migrations
    for name in names:
        first = (PROGRAMS / f"{name}.asm").read_text().splitlines()[0]
        assert re.match(r"# \w", first) and expected(name)


@pytest.mark.parametrize("engine", EACH)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name: str, engine: str) -> None:
    pc = program(name, ENGINES[engine](), TYPED.get(name, ""))
    assert pc.run(LIMIT) == Exit("halt")
    assert pc.output == expected(name)


@cache
def digests(name: str, step: int, last: int) -> list[str]:
    """The state of the machine every so many instructions, on the python engine."""
    pc, found = program(name, Python(), TYPED.get(name, "")), []
    for count in range(step, last, step):
        pc.run(count)
        found.append(pc.machine.digest())
    return found


@pytest.mark.parametrize("engine", EACH[2:])
def test_native_passes_through_the_same_states(engine: str) -> None:
    """The kernel of two processes: paging, ring 3, interrupts, faults."""
    pc = program("kernel", ENGINES[engine]())
    for number, wanted in enumerate(digests("kernel", 4_999, 260_000), 1):
        pc.run(4_999 * number)
        assert pc.machine.digest() == wanted, f"after {4_999 * number} instructions"


def test_the_reference_passes_through_the_same_states() -> None:
    pc = program("paging", Reference())
    for number, wanted in enumerate(digests("paging", 499, 7_500), 1):
        pc.run(499 * number)
        assert pc.machine.digest() == wanted, f"after {499 * number} instructions"


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(1, 260_000), min_size=1, max_size=20, unique=True))
def test_where_runs_are_cut_makes_no_difference(cuts: list[int]) -> None:
    whole, cut = program("kernel", Python()), program("kernel", Python())
    whole.run(LIMIT)
    for count in sorted(cuts):
        cut.run(count)
    cut.run(LIMIT)
    assert cut.machine.digest() == whole.machine.digest()


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ["python", "native"])
@pytest.mark.parametrize("name", BOOTED)
def test_boot_sectors(name: str, engine: str) -> None:
    """Under SeaBIOS, from the reset vector."""
    pc = program(name, ENGINES[engine](), TYPED.get(name, ""))
    assert pc.run(LIMIT) == Exit("halt")
    assert pc.output == expected(name)


@pytest.mark.heavy
def test_the_reference_runs_the_kernel() -> None:
    pc = program("kernel", Reference())
    assert pc.run(LIMIT) == Exit("halt")
    assert pc.output == expected("kernel")
    whole = program("kernel", Python())
    whole.run(LIMIT)
    assert pc.machine.digest() == whole.machine.digest()
