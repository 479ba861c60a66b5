"""Silicon judges MMX: every form, registers by their physical numbers, memory that bites."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emu.engines.python import Python
from isa.x86.table import INSTRUCTIONS
from tests.silicon import cases
from tests.silicon.bulk import OPERAND, Bulk, compiling, pool, threaded
from tests.silicon.compare import check, compare, compare_forms
from tests.silicon.executor import Executor, form_of
from tests.silicon.native import Fpu, Silicon
from tests.silicon.needed import needed_silicon

pytestmark = pytest.mark.heavy  # needs a compiler

SAMPLE, OTHERS, STATES, FEW_STATES = 2_500, 300, 150, 12
EMMS, SHIFTS_BY_BYTE = b"\x0f\x77", (0x71, 0x72, 0x73)


def mmx_form(code: bytes) -> str | None:
    """The form of an MMX instruction."""
    form = form_of(code)
    return form if form is not None and INSTRUCTIONS[form.split()[0]].multimedia else None


@pytest.fixture(scope="module")
def silicon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silicon]:
    with needed_silicon(tmp_path_factory.mktemp("silicon")) as built:
        yield built


@pytest.fixture(scope="module")
def forms() -> cases.Forms:
    return cases.Forms(mmx_form, prefixes=(b"", b"\x67"))


def test_a_sample(
    silicon: Silicon, forms: cases.Forms, record_property: Callable[[str, object], None]
) -> None:
    """A dozen of each form on the reference engine, with all kinds of addresses and faults."""
    result = compare_forms(silicon, Executor(low=silicon.low), forms, SAMPLE, seed="mmx")
    record_property("measured", str(result).splitlines()[0])
    check(result)
    assert {form.split()[0] for form in result.executed} == {
        entry.mnemonic
        for entry in INSTRUCTIONS.values()
        if entry.multimedia and entry.since == "pentium2"
    }


def test_the_python_engine(silicon: Silicon, forms: cases.Forms) -> None:
    """The same where it translates."""
    executor = Executor(Python(hot=1 << 60), low=silicon.low)
    check(compare_forms(silicon, executor, forms, OTHERS, seed="python"))


COUNTS = (0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 255)


def test_shift_counts(silicon: Silicon) -> None:
    """Every shift by an immediate byte, at every edge of every width."""
    rng = random.Random("counts")
    codes = [
        bytes([0x0F, opcode, 0xC0 | reg << 3 | number, count])
        for opcode, regs in ((0x71, (2, 4, 6)), (0x72, (2, 4, 6)), (0x73, (2, 6)))
        for reg in regs
        for count in COUNTS
        for number in range(8)
    ]
    made = [(code.hex(), cases.make_case(code, rng)) for code in codes]
    check(compare(silicon, Executor(low=silicon.low), made))


EDGES = (0, 1, 0x7F, 0x80, 0x81, 0xFF, 0x100, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0xFF80, 0x8080)


def words(rng: random.Random) -> Fpu:
    """Registers full of words that saturate, or anything; small counts among them."""

    def value() -> int:
        kind = rng.random()
        if kind < 0.15:
            return rng.getrandbits(16) << 64 | rng.randrange(70)
        parts = (rng.choice(EDGES) if kind < 0.7 else rng.getrandbits(16) for _ in range(4))
        return rng.getrandbits(16) << 64 | sum(w << 16 * n for n, w in enumerate(parts))

    stack = tuple(value() for _ in range(8))
    return Fpu(0x37F, rng.getrandbits(16) & 0x7F7F, rng.getrandbits(8), stack)


def codes() -> list[bytes]:
    """Each instruction of two pairs of registers, of one and itself, and of memory."""
    memory, registers = (0x46, 0x7E), (0xCA, 0xC0, 0xFB)
    found = [EMMS]
    for opcode in range(0x60, 0x100):
        if opcode in SHIFTS_BY_BYTE:
            found += [bytes([0x0F, opcode, modrm, 9]) for modrm in (0xD1, 0xE1, 0xF1)]
        elif opcode != EMMS[1]:
            found += [bytes([0x0F, opcode, modrm, OPERAND]) for modrm in memory]
            found += [bytes([0x0F, opcode, modrm]) for modrm in registers]
    return [code for code in found if mmx_form(code.ljust(8, b"\0"))]


def test_many(directory: Path, record_property: Callable[[str, object], None]) -> None:
    """What FNSAVE says after each instruction and each state, on the processor and here."""
    bulk = Bulk(codes(), pool(random.Random("mmx"), STATES, words))
    expected = bulk.host(directory)
    assert not (wrong := bulk.different(expected, bulk.engine(threaded()))), "\n".join(wrong)
    compared = len(bulk.codes) * STATES
    record_property("measured", f"{compared} of {len(bulk.codes)} instructions")
    assert compared >= 20_000


@pytest.mark.parametrize("name", ["python", "regions"])
def test_compiled_loops(directory: Path, name: str) -> None:
    """The same in loops that are compiled whole."""
    bulk = Bulk(codes()[::5], pool(random.Random(name), FEW_STATES, words))
    assert not (wrong := bulk.different(bulk.host(directory), bulk.engine(compiling(name)))), wrong
