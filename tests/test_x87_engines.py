"""Engines agree on x87 programs: the same registers, flags, stack and memory at every stop."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import partial

import pytest

from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.engines.reference import Reference
from tests.machines import DATA
from tests.silicon import floats
from tests.silicon.executor import fpu_registers
from tests.test_engines_agree import Bench, Program, agree

EXAMPLES, HEAVY_EXAMPLES = 40, 300
COMPILED_EXAMPLES = 6

ARITHMETIC = tuple(
    bytes([escape, 0xC0 | operation << 3])
    for escape in (0xD8, 0xDC, 0xDE)
    for operation in (0, 1, 4, 5, 6, 7)
)
"""Of ST(0) and ST(i), with and without pop; the register's number is added."""

OTHERS = ("d9c0", "d9c8", "d9e0", "d9e1", "d9e8", "d9eb", "d9ee", "d9fa", "d9fc", "d9e4", "d9e5",
          "d8d1", "dbf1", "dff1", "dae9", "ded9", "dac9", "dbc1", "dfe0", "d9f6", "d9f7", "ddd9",
          "ddc1", "d9fd", "d9f4", "d9f8", "d9f5", "9b", "d9d0", "d9f0", "d9f1", "d9f2", "d9f3",
          "d9f9", "d9fb", "d9fe", "d9ff")  # fmt: skip
MEMORY = ((0xD9, 0), (0xD9, 2), (0xD9, 3), (0xDD, 0), (0xDD, 2), (0xDD, 3), (0xDB, 5), (0xDB, 7),
          (0xDB, 0), (0xDB, 2), (0xDB, 3), (0xDF, 0), (0xDF, 3), (0xDF, 5), (0xDF, 7), (0xD8, 0),
          (0xDC, 1), (0xDA, 4), (0xDE, 6), (0xD9, 5), (0xD9, 7), (0xDD, 7), (0xDF, 4), (0xDF, 6),
          (0xD9, 6), (0xDD, 6), (0xDD, 4), (0xD9, 4))  # fmt: skip


def one(rng: random.Random) -> bytes:
    """An instruction, of memory at [esi + small] or of the stack."""
    kind = rng.randrange(8)
    if kind < 3:
        escape, modrm = rng.choice(ARITHMETIC)
        return bytes([escape, modrm + rng.randrange(4)])
    if kind < 5:
        return bytes.fromhex(rng.choice(OTHERS))
    escape, reg = rng.choice(MEMORY[: 24 if rng.random() < 0.9 else None])
    return bytes([escape, 0x46 | reg << 3, rng.randrange(0, 120, rng.choice((1, 4, 8)))])


def looped(rng: random.Random, length: int, at: int) -> bytes:
    """The instructions a few times over."""
    body = b"".join(one(rng) for _ in range(length))
    head = b"\xb9" + struct.pack("<I", rng.randrange(1, 4))
    return head + body + b"\x49\x0f\x85" + struct.pack("<i", -len(body) - 7)


class X87Program(Program):
    """A program whose stack, control word and memory hold numbers."""

    def __init__(self, rng: random.Random, make: Callable[[int], bytes]) -> None:
        super().__init__(rng, make)
        self.data = b"".join(floats.tile(rng) for _ in range(96))
        self.registers |= {
            "esi": DATA + rng.choice((0, 64, 4096 - 60)),
            **fpu_registers(floats.fpu(rng)),
        }


@pytest.fixture(scope="module")
def benches() -> dict[str, Bench]:
    """The engines' handlers, which translate a form once."""
    no_cache = DiskCache(None)
    return {
        "reference": Bench(Reference()),
        "python-cold": Bench(Python(hot=1 << 60)),
        "python-hot": Bench(Python(hot=0)),
        "native-tier1": Bench(Native(hot=1 << 30, wait=True, cache=no_cache)),
    }


@pytest.fixture(scope="module")
def compiled() -> dict[str, Bench]:
    """Engines that compile every block."""
    quick = Native(hot=0, wait=True, level=QUICK, cache=DiskCache(None))
    return {"reference": Bench(Reference()), "native": Bench(quick)}


def program(number: int, length: int) -> Program:
    """The same for the same number."""
    rng = random.Random(number)
    return X87Program(rng, partial(looped, rng, length))


@pytest.mark.parametrize("number", range(EXAMPLES))
def test_programs_agree(benches: dict[str, Bench], number: int) -> None:
    """Loops of arithmetic, moves, images and control."""
    agree(benches, program(number, 1 + number % 8))


@pytest.mark.parametrize("number", range(COMPILED_EXAMPLES))
def test_compiled_programs_agree(compiled: dict[str, Bench], number: int) -> None:
    """The same in regions."""
    agree(compiled, program(1000 + number, 4))


@pytest.mark.heavy
def test_many_programs_agree(
    benches: dict[str, Bench], record_property: Callable[[str, object], None]
) -> None:
    """The same, for minutes."""
    stops = sum(agree(benches, program(n, 1 + n % 10)) for n in range(5000, 5000 + HEAVY_EXAMPLES))
    record_property("measured", f"{HEAVY_EXAMPLES} programs, {stops} stops")
