"""Random toy programs pass through the same states on every engine."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machines import ENGINES, WORDS, engine, quick, toy, windows, word

from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK

ISA = toy("toy/all")
LENGTH = 24  # words of code


@st.composite
def codes(draw):
    """A word: mostly an instruction whose addresses lie near the code, sometimes anything."""
    if draw(st.integers(0, 15)) == 0:
        return draw(WORDS)
    row = draw(st.sampled_from(list(ISA.rows.values())))
    near = st.integers(0, 2 * LENGTH) | st.integers(0, 0xFFFF)
    fields = {f: draw(st.integers(0, 7) if f != "imm" else near) for f in sorted(row.fields)}
    return ISA.encoding.encode(row, fields)


@st.composite
def machines(draw):
    """How to make a machine: code all over its window, a trap PSW that leads back into it."""
    base, bound = draw(windows())
    code = draw(st.lists(codes(), min_size=LENGTH, max_size=LENGTH))
    registers = draw(st.lists(st.integers(0, 80) | WORDS, min_size=8, max_size=8))
    mode, trap_mode = draw(st.integers(0, 1)), draw(st.integers(0, 1))

    def make(name):
        machine = ToyMachine(ISA, engine=engine(name), source=io.BytesIO(b"input"), disk=BLANK_DISK)
        psw = [0] * len(ISA.known)
        psw[8:12] = trap_mode, 4, base, bound
        machine.memory.write(base * 64 + 2, code)
        machine.memory.write(1, [ISA.known.psw.pack(psw)])
        rest = machine.state.values[12:]
        machine.state.set_values([*registers, mode, 2, base, bound, *rest])
        return machine

    return make


def history(machine, every):
    """States at multiples of `every` instructions, and how it ended."""
    found = []
    for _ in range(6):
        stop = machine.run(machine.state.count + every)
        found.append(
            (stop, machine.state.count, machine.state.registers(), machine.memory.array.tobytes())
        )
        if stop.reason != "until":
            break
    return found


@pytest.mark.parametrize("name", [n for n in ENGINES if n != "reference"])
@settings(quick, max_examples=60)
@given(make=machines(), every=st.integers(1, 60))
def test_engines_agree(name, make, every):
    assert history(make(name), every) == history(make("reference"), every)


@pytest.mark.parametrize("name", ENGINES)
def test_code_is_data(name):
    """A stored word is what runs next, even if another one stood there and has run before."""
    machine = ToyMachine(ISA, engine=engine(name), entry=2)
    loop = [
        word(ISA, "ADDI", rd=3, ra=3, imm=1),
        word(ISA, "ADDI", rd=1, ra=1, imm=1),  # becomes ADDI r1, r1, 2, then 3, …
        word(ISA, "LDA", rd=2, imm=3),
        word(ISA, "ADDI", rd=2, ra=2, imm=1),
        word(ISA, "STA", rd=2, imm=3),
        word(ISA, "JMP", imm=2),
    ]
    machine.memory.write(2, loop)
    machine.run(6 * 50)
    assert (machine.state["r3"], machine.state["r1"]) == (50, sum(range(1, 51)))
