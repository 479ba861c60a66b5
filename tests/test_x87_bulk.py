"""The x87 by the hundred thousand: against the processor, and engine against engine."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emu.engines.python import Python
from emu.engines.reference import Reference
from isa.x86.decode import BAD, UNIMPLEMENTED, decode
from isa.x86.form import Form
from tests.silicon import floats
from tests.silicon.bulk import RECORD, Bulk, instructions, known_name, pool, threaded
from tests.silicon.executor import FLAT_MODE
from tests.silicon.native import Fpu

STATES, MORE_STATES, FEW_STATES = 1600, 6000, 30
TRANSCENDENTALS = {
    "f2xm1": "d9f0", "fyl2x": "d9f1", "fptan": "d9f2", "fpatan": "d9f3", "fyl2xp1": "d9f9",
    "fsincos": "d9fb", "fsin": "d9fe", "fcos": "d9ff",
}  # fmt: skip
TO_FLAGS = {"fcomi", "fcompi", "fucomi", "fucompi"}
STATUS, STACK = slice(4, 6), slice(28, 108)
C1, PE = 0x200, 0x20
INTEGER_BIT, BIAS = 1 << 63, 0x3FFF


def known(code: bytes) -> bool:
    """Whether it has a meaning."""
    form = decode(code + bytes(8), FLAT_MODE).form
    assert isinstance(form, Form)
    return form.mnemonic not in (BAD, UNIMPLEMENTED)


def forget(answers: np.ndarray, bits: int) -> np.ndarray:
    """The answers without some bits of the status word."""
    kept = answers.copy()
    words = kept[..., STATUS].view(np.uint16)
    words &= ~np.uint16(bits)
    return kept


@pytest.mark.heavy
def test_the_processor_agrees(
    directory: Path, record_property: Callable[[str, object], None]
) -> None:
    """Every instruction but the transcendental ones, bit for bit."""
    codes = [c for c in instructions(known) if c.hex() not in TRANSCENDENTALS.values()]
    bulk = Bulk(codes, pool(random.Random("bulk"), STATES))
    expected, got = bulk.host(directory), bulk.engine(threaded())
    wrong = []
    for code, theirs, ours in zip(codes, expected, got, strict=True):
        kept = C1 if known_name(code) in TO_FLAGS else 0  # isa/DIVERGENCES.md
        differing = (forget(theirs, kept) != forget(ours, kept)).any(axis=1)
        if differing.any():
            first = int(differing.argmax())
            wrong.append(bulk.told(code, first, theirs, ours))
    record_property("measured", f"{len(codes) * STATES} of {len(codes)} instructions")
    assert not wrong, "\n".join(wrong)
    assert len(codes) * STATES >= 300_000


def moderate(rng: random.Random) -> Fpu:
    """Arguments of which the functions are neither trivial nor out of range; PE masked."""
    state = floats.fpu(rng)
    first, second, *others = state.stack
    if rng.random() < 0.7:
        first, second = (_moderate(rng) for _ in range(2))
    return replace(state, control=state.control | PE, stack=(first, second, *others))


def _moderate(rng: random.Random) -> int:
    exponent = BIAS + rng.choice((rng.randrange(-20, 0), rng.randrange(-3, 4), rng.randrange(63)))
    return rng.getrandbits(1) << 79 | exponent << 64 | INTEGER_BIT | rng.getrandbits(63)


def below_quarter(rng: random.Random) -> Fpu:
    """The same, with ST(0) in the range that the manual gives for FYL2XP1."""
    state = moderate(rng)
    first = state.stack[0]
    exponent = first >> 64 & 0x7FFF
    if BIAS - 2 <= exponent < 0x7FFF:
        first = first & ~(0x7FFF << 64) | BIAS - 3 << 64
    return replace(state, stack=(first, *state.stack[1:]))


def distance(one: bytes, other: bytes) -> int:
    """How many representable numbers two of the same sign are apart."""
    a, b = (int.from_bytes(x, "little") for x in (one, other))
    ordinals = [(x >> 64 & 0x7FFF) << 63 | x & INTEGER_BIT - 1 for x in (a, b)]
    return abs(ordinals[0] - ordinals[1]) if a >> 79 == b >> 79 else 1 << 80


@pytest.mark.heavy
@pytest.mark.parametrize("name", TRANSCENDENTALS)
def test_transcendentals_on_the_processor(
    directory: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Within one unit in the last place; all else is equal but C1 and PE (isa/DIVERGENCES.md)."""
    states = below_quarter if name == "fyl2xp1" else moderate
    code = bytes.fromhex(TRANSCENDENTALS[name])
    bulk = Bulk([code], pool(random.Random(name), MORE_STATES, states))
    theirs, ours = bulk.host(directory)[0], bulk.engine(threaded())[0]
    different, wrong = 0, []
    for number in np.flatnonzero((theirs[:, STACK] != ours[:, STACK]).any(axis=1)):
        pairs = zip(*(x[number, STACK].reshape(8, 10) for x in (theirs, ours)), strict=True)
        different += 1
        if max(distance(a.tobytes(), b.tobytes()) for a, b in pairs) > 1:
            wrong.append(bulk.told(code, int(number), theirs, ours))
    rest = [forget(x, C1 | PE) for x in (theirs, ours)]
    for answers in rest:
        answers[:, STACK] = 0
    others = np.flatnonzero((rest[0] != rest[1]).any(axis=1))
    wrong += [bulk.told(code, int(number), theirs, ours) for number in others]
    record_property("measured", f"{different} of {MORE_STATES} differ by one unit")
    assert not wrong, "\n".join(wrong[:10])


ENGINES = {"python": lambda: Python(hot=0), "native": threaded}
CODES = [bytes.fromhex(code) for code in TRANSCENDENTALS.values()]


@pytest.mark.parametrize("name", ENGINES)
def test_engines_agree(name: str) -> None:
    """On transcendentals, with the reference engine."""
    bulk = Bulk(CODES, pool(random.Random(1), FEW_STATES, moderate))
    expected, got = bulk.engine(Reference()), bulk.engine(ENGINES[name]())
    assert got.tobytes() == expected.tobytes()
    assert len({answer.tobytes() for answer in got.reshape(-1, RECORD)}) > FEW_STATES


@pytest.mark.heavy
def test_translating_engines_agree() -> None:
    """The same, python and native, on many more."""
    bulk = Bulk(CODES, pool(random.Random(2), MORE_STATES // 2, moderate))
    assert bulk.engine(Python()).tobytes() == bulk.engine(threaded()).tobytes()


C_PROGRAM = r"""
#include <math.h>
#include <stdio.h>
#define OF(op, x) ({ long double r_ = (x); __asm__(op : "+t"(r_)); r_; })
#define OF_TWO(op, x, y) ({ long double r_; \
    __asm__(op : "=t"(r_) : "0"((long double)(x)), "u"((long double)(y)) : "st(1)"); r_; })
int main(void) {
    for (int i = -6; i < 7; i++) {
        long double x = i / 3.0L;
        printf("%.15Lg %.15Lg %.15Lg ", OF("fsin", x), OF("fcos", x), OF("f2xm1", x / 3));
        printf("%.15Lg ", OF_TWO("fpatan", x, 1.5));
        printf("%.15Lg %.15Lg\n", OF_TWO("fyl2x", x * x + 1, x), OF_TWO("fyl2xp1", x / 8, 3));
        printf("%.15g %.15g %.15g %.15g ", sin(x), cos(x), tan(x), atan2(x, 3));
        printf("%.15g %.15g %.15g\n", exp(x), log(fabs(x) + 1), pow(2.5, x));
    }
}
"""


@pytest.mark.heavy
def test_a_c_program(directory: Path) -> None:
    """The C library's functions, and the instructions themselves, print what they do natively."""
    source, program = directory / "functions.c", directory / "functions"
    source.write_text(C_PROGRAM)
    command = ["gcc", "-m32", "-static", "-O1", "-fno-builtin", source, "-o", program, "-lm"]
    subprocess.run(command, check=True)
    expected = subprocess.run([program], stdout=subprocess.PIPE, check=True).stdout
    run = [sys.executable, "-m", "emu", "run", program]
    assert subprocess.run(run, stdout=subprocess.PIPE, check=True).stdout == expected
    assert len(expected.splitlines()) == 26
