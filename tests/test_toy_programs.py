"""The toy programs print what they should, and pass through the same states on every engine."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from toy_machines import ENGINES, engine, toy

from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK, load_program, run_program

FOLDER = Path(__file__).parent.parent / "programs" / "toy"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.asm"))


def given(name):
    """The program's input."""
    path = FOLDER / f"{name}.in"
    return io.BytesIO(path.read_bytes() if path.exists() else b"")


def test_each_program_says_what_it_teaches_and_is_listed():
    """The first line is a comment; the README has a row."""
    readme = (FOLDER.parent / "README.md").read_text()
    for name in PROGRAMS:
        assert (FOLDER / f"{name}.asm").read_text().startswith("; ")
        assert f"| `{name}` |" in readme


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("engine_name", ENGINES)
def test_program(name, engine_name):
    """It halts with exit code 0 after printing its expected output."""
    output = io.BytesIO()
    program = load_program(FOLDER / f"{name}.asm", toy())
    outcome = run_program(
        program, toy(), engine(engine_name), output=output, source=given(name), limit=100_000
    )
    assert (outcome.stop, outcome.exit_code) == ("halt", 0), outcome.explanation
    assert output.getvalue() == (FOLDER / f"{name}.out").read_bytes()


def states(name, engine_name, every):
    """The machine's whole state at multiples of `every` instructions."""
    program = load_program(FOLDER / f"{name}.asm", toy())
    machine = ToyMachine(
        toy(), program.image, engine=engine(engine_name), entry=program.entry, source=given(name),
        disk=BLANK_DISK,
    )  # fmt: skip
    reason = "until"
    while reason == "until":
        reason = machine.run(machine.state.count + every).reason
        yield (
            reason,
            machine.state.count,
            machine.state.registers(),
            machine.memory.array.tobytes(),
            [dict(d.snapshot()) for d in machine.devices],
        )


@pytest.mark.parametrize("name", ["echo", "diskcopy", "roundrobin", "forth"])
@pytest.mark.parametrize("engine_name", [n for n in ENGINES if n != "reference"])
def test_engines_pass_through_the_same_states(name, engine_name):
    """Interrupts included: they fall between the same two instructions."""
    pairs = zip(states(name, "reference", 97), states(name, engine_name, 97), strict=True)
    for expected, actual in pairs:
        assert expected == actual


@pytest.mark.parametrize("engine_name", ENGINES)
def test_running_in_pieces_changes_nothing(engine_name):
    """`until` is exact: stopping every 7 instructions leads where one run leads."""
    *_, piecewise = states("roundrobin", engine_name, 7)
    *_, whole = states("roundrobin", engine_name, 100_000)
    assert piecewise == whole
