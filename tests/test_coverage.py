"""Coverage: how often each instruction was executed, the same on every engine."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emu.coverage import Coverage, Passed
from tests.machines import CODE, engines, x86_machine
from tests.random_programs import repeat
from tests.test_engines_agree import PROGRAMS, SETTINGS, Program, pieces

UNITS = 1 << 32


def covered(engine, program):
    """What an engine says of a program that is stopped at some counts."""
    state = x86_machine(b"")
    for address, content in program.pages().items():
        state.memory["linear"].poke(address, content)
    for name, number in program.registers.items():
        state[name] = number
    state.coverage = Coverage(UNITS)
    for until in program.stops:
        while (stop := engine.run(state, until)).reason in ("breakpoint", "interrupt"):
            pass
        if stop.reason != "until":
            break
    return list(state.coverage.ranges())


LOOP = bytes.fromhex("31c0 b903000000 01c8 49 75fb cd80")
"""EAX := 0; three times: ADD, DEC, JNZ."""


@pytest.mark.parametrize("name", engines())
def test_every_instruction_is_counted(name):
    state = x86_machine(LOOP)
    state.coverage = Coverage(UNITS)
    assert engines()[name].run(state, 1 << 40).reason == "interrupt"
    assert list(state.coverage.ranges()) == [
        Passed(CODE, CODE + 7, 1), Passed(CODE + 7, CODE + 12, 3), Passed(CODE + 12, CODE + 14, 1),
    ]  # fmt: skip
    assert state.coverage.count(CODE + 9) == 3
    assert state.coverage.count(CODE + 14) == 0


@pytest.mark.parametrize("name", engines())
def test_a_repetition_counts_when_it_is_done(name):
    """REP STOSB of a hundred, cut in the middle; then one that faults is not counted."""
    state = x86_machine(bytes.fromhex("f3aa aa"), {"ecx": 100, "edi": 0xB00000})
    state.coverage = Coverage(UNITS)
    engine = engines()[name]
    engine.run(state, 40)
    assert list(state.coverage.ranges()) == []
    engine.run(state, 100)
    assert list(state.coverage.ranges()) == [Passed(CODE, CODE + 2, 1)]
    state["edi"] = 0
    assert engine.run(state, 1 << 40).reason == "fault"
    assert list(state.coverage.ranges()) == [Passed(CODE, CODE + 2, 1)]


@pytest.mark.parametrize("name", engines())
def test_counting_begins_and_ends_when_it_is_told(name):
    """Also in the middle of a loop that is compiled already."""
    engine, state = engines()[name], x86_machine(LOOP, {})
    state.memory["linear"].poke(CODE + 3, (1000).to_bytes(4, "little"))
    engine.run(state, 302)
    state.coverage = first = Coverage(UNITS)
    engine.run(state, 602)
    state.coverage = None
    engine.run(state, 902)
    state.coverage = Coverage(UNITS)
    engine.run(state, 1202)
    assert (
        list(first.ranges()) == list(state.coverage.ranges()) == [Passed(CODE + 7, CODE + 12, 100)]
    )
    first.clear()
    assert list(first.ranges()) == []


@pytest.fixture(scope="session")
def counters():
    return engines()


@settings(SETTINGS, max_examples=40)
@given(made=PROGRAMS, number=st.integers(0, 1 << 32))
@example(made=[(repeat, 0), (repeat, 9)], number=0)  # a repetition cut, not first in its block
def test_engines_agree_on_coverage(counters, made, number):
    program = Program(random.Random(number), pieces(made))
    expected = covered(counters["reference"], program)
    for name, engine in counters.items():
        if not name.startswith("native") or name == "native-tier1" or number % 4 == 0:
            assert covered(engine, program) == expected, f"{name}: {program}"


# -- the command ------------------------------------------------------------------------------

PROGRAMS_DIRECTORY = Path(__file__).parents[1] / "programs"


def emu(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "emu", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["python", "native"])
@pytest.mark.parametrize("guest", ["toy/primes.asm", "x86/hello.asm"])
def test_the_counts_add_up(tmp_path, engine, guest):
    """Every retired instruction of a program without repetitions is in the file."""
    file = tmp_path / "covered.json"
    done = emu(
        "run", "--json", "--engine", engine, "--coverage", file, PROGRAMS_DIRECTORY / guest
    )  # fmt: skip
    rows = json.loads(file.read_text())["instructions"]
    facts = json.loads(done.stderr.splitlines()[-1])
    assert sum(row["count"] for row in rows) == facts["instructions"] > 0
    assert all(row["text"] and row["bytes"] for row in rows)


def test_a_listing_is_readable(tmp_path):
    emu("run", "--coverage", tmp_path / "covered.txt", PROGRAMS_DIRECTORY / "x86" / "hello.asm")
    first = (tmp_path / "covered.txt").read_text().splitlines()[0]
    assert first.split() == ["1", "8048000:", "b804000000", "mov", "eax,", "4"]


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    done = emu("run", "--coverage", tmp_path / "no" / "file", PROGRAMS_DIRECTORY / "x86/hello.asm")
    assert (done.returncode, "cannot be written" in done.stderr) == (65, True)
