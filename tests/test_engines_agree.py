"""Engines agree: random programs leave the same state at every instruction count tested."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machines import CODE, DATA, PAGE, engines, picture, x86_machine
from tests.silicon import cases
from tests.silicon.executor import form_of

RUNS = 60


@pytest.fixture(scope="session")
def forms() -> cases.Forms:
    return cases.Forms(lambda code: None if cases.newer(code) else form_of(code))


def program(forms: cases.Forms, rng: random.Random, length: int) -> bytes:
    """`length` random instructions, whatever they do."""
    return b"".join(code for _, code in forms.draw(rng, length))


def start(rng: random.Random) -> dict[str, int]:
    """Registers that mostly point into the data, near the page boundaries too."""
    names = ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi", "esp")
    return {n: rng.choice([cases.value, _pointer, _pointer])(rng) for n in names}


def _pointer(rng: random.Random) -> int:
    edge = rng.choice([DATA, DATA + PAGE, DATA + 2 * PAGE, CODE + 64])
    return edge + rng.randrange(-12, 200)


def run_all(code: bytes, registers: dict[str, int], data: bytes, counts: list[int]) -> None:
    pictures = {}
    for name, engine in engines().items():
        state = x86_machine(code, registers, data)
        seen = []
        for until in counts:
            stop = engine.run(state, until)
            seen.append(picture(state, stop))
            if stop.reason != "until":
                break
        pictures[name] = seen
    expected = pictures.pop("reference")
    for name, seen in pictures.items():
        for step, (theirs, ours) in enumerate(zip(expected, seen, strict=True)):
            for one, other in zip(theirs, ours, strict=True):
                assert one == other, f"{name} differs at stop {step}, code {code.hex()}"


@settings(max_examples=RUNS, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_random_programs_agree_at_every_count(forms: cases.Forms, seed: int) -> None:
    """The same programs on every engine, stopped at random counts."""
    rng = random.Random(seed)
    code = program(forms, rng, rng.randrange(1, 12))
    counts = sorted(rng.sample(range(1, 60), rng.randrange(1, 6)))
    run_all(code, start(rng), rng.randbytes(3 * PAGE), counts)
