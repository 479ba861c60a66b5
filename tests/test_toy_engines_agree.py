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

from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK
from isa.toy.assembler import assemble
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
    "native, tier 2 forced": lambda: Native(hot=0, wait=True, level=QUICK, cache=NO_CACHE),
}


KERNEL = """
        .org 1
        .psw s, trap, 0, WORDS
        .macro each instruction         ; for all registers
        \\instruction r0, saved
        \\instruction r1, saved + 1
        \\instruction r2, saved + 2
        \\instruction r3, saved + 3
        \\instruction r4, saved + 4
        \\instruction r5, saved + 5
        \\instruction r6, saved + 6
        \\instruction r7, saved + 7
        .endm
start:  jmp  arm
trap:   each sta
        lda  r0, 0
        sta  r0, saved + 8
        in   r1, CAUSE
        li   r2, TRAP_TIMER
        beq  r1, r2, arm
        lui  r2, P_ONE >> 16            ; step over what trapped
        add  r0, r0, r2
        sta  r0, saved + 8
        lda  r1, traps
        addi r1, r1, 1
        sta  r1, traps
        andi r1, r1, 7
        bnz  r1, resume
        lda  r0, fresh                  ; now and then from the beginning
        sta  r0, saved + 8
        jmp  resume
arm:    lda  r1, number                 ; an interrupt after 1 to 128 instructions
        muli r1, r1, 25173
        addi r1, r1, 13849
        sta  r1, number
        li   r2, 16
        shr  r1, r1, r2
        andi r1, r1, 127
        addi r1, r1, 1
        stimer r1
resume: each lda
        lpsw saved + 8
traps:  .word 0
number: .word NUMBER
fresh:  .psw u, 0, user, 128
saved:  .space 8
        .psw u, 0, user, 128
        .window user
        .space 128
        .endwindow
"""
"""Lets a process of random words go on whatever it does, and interrupts it at random counts."""


def timed_system(seed):
    """A machine's image: the kernel, and a process that writes to itself, and where it begins."""
    rng, isa = Random(seed), toy()
    program = assemble(KERNEL.replace("NUMBER", str(rng.getrandbits(30))), "kernel.asm", isa)
    image = [*program.image]
    generator = Generator(isa, rng)
    words = [generator.instruction(60) for _ in range(60)]
    first = image[program.symbols["fresh"]]
    values = isa.known.psw.unpack(first)
    base = 64 * next(v for r, v in values.items() if r.name == "l")
    image[base : base + 61] = [*words, word(isa, "JMP", imm=0)]
    return image, program.entry


def run_system(seed, counted, most):
    """States at random counts."""
    image, entry = timed_system(seed)
    rng = Random(seed)
    machine = ToyMachine(toy(), image, engine=counted, entry=entry, disk=BLANK_DISK)
    while machine.state.count < most:
        stop = machine.run(machine.state.count + rng.choice((1, 40, rng.randrange(1, 3_000))))
        memory = crc32(machine.memory.array.tobytes())
        yield stop, machine.state.count, machine.state.registers(), memory
        if stop.reason != "until":
            return


def check_systems(seeds, most, judge):
    """Instructions and interrupts of the systems, in which native code agrees with the judge."""
    judge = Counted(judge)
    guests = {name: Counted(make()) for name, make in NATIVE.items()}
    done = 0
    for seed in seeds:
        expected = list(run_system(seed, judge, most))
        done += expected[-1][1]
        for name, guest in guests.items():
            limit = most // 8 if "forced" in name else most  # compiling everything takes its time
            wanted = [seen for seen in expected if seen[1] <= limit]
            for ours, theirs in zip(run_system(seed, guest, most), wanted, strict=False):
                assert ours == theirs, f"{name}: system {seed} until {theirs[1]}"
    return done, judge.stops["window"]


def test_timers_interrupt_native_code_exactly():
    """A process that is interrupted at random counts agrees with the reference."""
    done, interrupts = check_systems(range(2), 2_000, Reference())
    assert interrupts > done // 400


@pytest.mark.heavy
def test_many_timers_interrupt_native_code_exactly(record_property):
    """The same for many processes: some on the reference engine, longer ones on python."""
    done, interrupts = check_systems(range(100, 110), 5_000, Reference())
    told = (
        f"{done:,} instructions of toy systems, {interrupts:,} timer interrupts, on reference and"
    )
    more, others = check_systems(range(200, 210), 30_000, Python())
    told += f" native, tier 2 allowed and forced (an eighth); {more:,} and {others:,} on python and"
    told += " native"
    record_property("measured", told)
    assert interrupts + others > 2_000


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
