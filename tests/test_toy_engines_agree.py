"""Random toy programs pass through the same states on every engine."""

from __future__ import annotations

import io
from collections import Counter
from random import Random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machines import ENGINES, NO_CACHE, WORDS, engine, quick, toy, windows, word

from emu.engines.native.compiler import BEST
from emu.engines.native.engine import Native
from emu.engines.reference import Reference
from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK
from vmm.systems import Generator

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


class Counted:
    """An engine, and how often it stopped for what."""

    def __init__(self, made):
        self.made, self.stops = made, Counter()

    def run(self, state, until):
        stop = self.made.run(state, until)
        self.stops[stop.reason] += 1
        return stop

    def deliver(self, state, fault):
        return self.made.deliver(state, fault)


NATIVE = {
    "native, tier 2 allowed": lambda: Native(hot=12, cache=NO_CACHE),  # in the background
    "native, tier 2 forced": lambda: Native(hot=0, wait=True, levels=(BEST,), cache=NO_CACHE),
}


def run_system(name, seed, counted):
    """A guest system with a kernel, processes, timer and console: states at random counts."""
    system = Generator(toy(name), Random(seed)).system()
    output, rng = io.BytesIO(), Random(seed)
    machine = ToyMachine(
        toy(name), system.image, engine=counted, entry=system.entry, output=output,
        source=io.BytesIO(system.given), disk=BLANK_DISK,
    )  # fmt: skip
    found = []
    for _ in range(40):
        stop = machine.run(machine.state.count + rng.choice((1, rng.randrange(1, 300))))
        memory = crc32(machine.memory.array.tobytes())
        found.append((stop, machine.state.count, machine.state.registers(), memory))
        if stop.reason != "until":
            break
    return found, output.getvalue()


def check_systems(seeds, configurations):
    """Instructions and interrupts of the systems, which are alike on the reference and native."""
    judge = Counted(Reference())
    guests = {name: Counted(make()) for name, make in NATIVE.items()}
    done = 0
    for seed in seeds:
        for name in configurations:
            expected = run_system(name, seed, judge)
            done += expected[0][-1][1]
            for engine_name, guest in guests.items():
                assert run_system(name, seed, guest) == expected, f"{engine_name}: {name} {seed}"
    return done, judge.stops["window"]


def test_systems_with_timers_agree():
    """Interrupts of timer, console and disk come between the same instructions in native code."""
    _, interrupts = check_systems(range(4), ["toy/all"])
    assert interrupts > 10


@pytest.mark.heavy
def test_many_systems_with_timers_agree(record_property):
    """On the clean machine and on the one that has all instructions."""
    done, interrupts = check_systems(range(100, 220), ["toy/clean", "toy/all"])
    told = f"{done:,} instructions of 240 toy systems, {interrupts:,} interrupts, on reference and"
    record_property("measured", f"{told} native (tier 2 allowed, forced)")
    assert interrupts > 1_000


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
