"""The x87's arithmetic against exact fractions: all rounding modes, precisions and masks."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.bits import Bits
from isa.functions import Family
from isa.x86.x87 import arithmetic, conversion
from isa.x86.x87.constants import CONSTANTS, constant
from isa.x86.x87.division import divide, square_root
from isa.x86.x87.result import Result
from tests import x87_oracle as oracle
from tests.silicon import floats

EXAMPLES = 300
CONTROLS = st.integers(0, (1 << 12) - 1)
SEEDS = st.integers(0, 1 << 64)


def pair(seed: int) -> tuple[int, int]:
    """Two numbers of all classes, often close to each other."""
    rng = random.Random(seed)
    first = floats.extended(rng)
    return first, floats.near(rng, first) if rng.random() < 0.4 else floats.extended(rng)


def outcome(packed: Bits) -> oracle.Outcome:
    """What the meaning says, as the oracle would."""
    result = Result.unpack(packed)
    return oracle.Outcome(result.value.value, result.flags.value, result.up.value)


BINARY: dict[str, tuple[Family, Callable[[int, int, int], oracle.Outcome]]] = {
    "add": (arithmetic.add, oracle.add),
    "multiply": (arithmetic.multiply, oracle.multiply),
    "divide": (arithmetic.divide, oracle.divide),
}


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=SEEDS, control=CONTROLS)
def test_binary_operations(name: str, seed: int, control: int) -> None:
    """Value, exceptions and C1 of a + b, a × b and a / b."""
    family, operation = BINARY[name]
    a, b = pair(seed)
    numbers = Bits.of(a, 80), Bits.of(b, 80), Bits.of(0, 1), Bits.of(control, 16)
    assert outcome(family(*numbers)["result"]) == oracle.binary(operation, a, b, control)


@pytest.mark.parametrize(
    ("family", "of"), [(arithmetic.subtract, "ab"), (arithmetic.reverse_subtract, "ba")]
)
@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(seed=SEEDS, control=CONTROLS)
def test_differences(family: Family, of: str, seed: int, control: int) -> None:
    """a - b is a + (-b), but for the sign of NaNs, which stays."""
    a, b = pair(seed)
    numbers = Bits.of(a, 80), Bits.of(b, 80), Bits.of(0, 1), Bits.of(control, 16)
    x, y = (a, b) if of == "ab" else (b, a)
    y = y if oracle.is_nan(y) else y ^ 1 << 79
    assert outcome(family(*numbers)["result"]) == oracle.binary(oracle.add, x, y, control)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(seed=SEEDS, control=CONTROLS)
def test_reverse_division(seed: int, control: int) -> None:
    """b / a."""
    a, b = pair(seed)
    numbers = Bits.of(a, 80), Bits.of(b, 80), Bits.of(0, 1), Bits.of(control, 16)
    expected = oracle.binary(oracle.divide, b, a, control)
    assert outcome(arithmetic.reverse_divide(*numbers)["result"]) == expected


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=SEEDS, control=CONTROLS)
def test_square_roots(seed: int, control: int) -> None:
    """FSQRT."""
    a = pair(seed)[0]
    found = outcome(arithmetic.square_root(Bits.of(a, 80), Bits.of(control, 16))["result"])
    assert found == oracle.square_root(a, control)


@pytest.mark.parametrize("width", conversion.TO_INTEGER)
@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(seed=SEEDS, control=CONTROLS)
def test_integers(width: int, seed: int, control: int) -> None:
    """FIST, and FILD of what it gave."""
    a = pair(seed)[0]
    packed = conversion.TO_INTEGER[width](Bits.of(a, 80), Bits.of(control, 16))["result"]
    assert outcome(packed) == oracle.to_integer(a, width, control)
    stored = Result.unpack(packed).value
    again = conversion.from_integer(stored)["value"].value
    assert oracle.value(again) == stored.signed_value


@pytest.mark.parametrize(("width", "letter"), [(32, "f"), (64, "d")])
@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(seed=SEEDS)
def test_shorter_formats(width: int, letter: str, seed: int) -> None:
    """FLD of 32 and 64 bits means what Python reads; FST of it gives the same bits back."""
    image = floats.short(random.Random(seed), width // 8)
    number = int.from_bytes(image, "little")
    result = Result.unpack(conversion.load(Bits.of(number, width))["result"])
    (meant,) = struct.unpack(f"<{letter}", image)
    if meant == meant and abs(meant) != float("inf"):
        assert oracle.value(result.value.value) == Fraction(meant)
    back = conversion.TO_FLOAT[width](result.value, Bits.of(0x37F, 16))["result"]
    quiet = 1 << (22 if width == 32 else 51)
    assert outcome(back).value == (number if meant == meant else number | quiet)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(
    divisor=st.integers(1 << 63, (1 << 64) - 1), quotient=st.integers(0, (1 << 64) - 1),
    rest=st.integers(0, (1 << 64) - 1),
)  # fmt: skip
def test_wide_division(divisor: int, quotient: int, rest: int) -> None:
    """128 bits by 64 in two digits."""
    dividend = divisor * quotient + rest % divisor
    parts = Bits.of(dividend >> 64, 64), Bits.of(dividend, 64), Bits.of(divisor, 64)
    found = tuple(part.value for part in divide(*parts))
    assert found == (quotient, rest % divisor)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(number=st.integers(1 << 126, (1 << 128) - 1))
def test_wide_square_root(number: int) -> None:
    """The root of 128 bits and what remains."""
    root, rest = (part.value for part in square_root(Bits.of(number, 128)))
    assert rest == number - root * root
    assert 0 <= rest <= 2 * root


NAMED = {
    "fldpi": (0x4000C90FDAA22168C235, 0x4000C90FDAA22168C234),
    "fldl2t": (0x4000D49A784BCD1B8AFE, 0x4000D49A784BCD1B8AFE),
    "fldl2e": (0x3FFFB8AA3B295C17F0BC, 0x3FFFB8AA3B295C17F0BB),
    "fldlg2": (0x3FFD9A209A84FBCFF799, 0x3FFD9A209A84FBCFF798),
    "fldln2": (0x3FFEB17217F7D1CF79AC, 0x3FFEB17217F7D1CF79AB),
    "fld1": (0x3FFF8000000000000000, 0x3FFF8000000000000000),
    "fldz": (0, 0),
}
"""To nearest and cut, as every implementation has them."""


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name: str) -> None:
    """What the series give."""
    found = tuple(constant(name, Bits.of(mode, 2)).value for mode in (oracle.NEAREST, oracle.CHOP))
    assert found == NAMED[name]
