"""The x87's transcendentals against mpmath, and against the tables of SDM volume 2.

What mpmath gives is rounded by exact fractions, so every result must be the correctly rounded one,
with its exceptions and C1, in each rounding mode and with each mask.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import mpmath
import pytest

from isa.bits import Bits
from isa.functions import Family
from isa.x86.x87 import arctangent, exponential, logarithm, trigonometry
from isa.x86.x87.fixed import reciprocal
from isa.x86.x87.result import Result
from tests import x87_oracle as oracle
from tests.silicon.bulk import RECORD, Bulk, pool, threaded
from tests.silicon.native import Fpu
from tests.test_x87_bulk import TRANSCENDENTALS
from tests.test_x87_system import run

EXAMPLES, HEAVY_EXAMPLES = 200, 6000
BIAS, INTEGER_BIT = 0x3FFF, 1 << 63
SIXTY_FOUR = 0x300
"""Precision control, which these instructions do not mind."""

mpmath.mp.prec = 320

Arguments = tuple[int, ...]
Real = mpmath.mpf


def number(rng: random.Random, low: int, high: int) -> int:
    """A normal number between 2^low and 2^high, of either sign."""
    fraction = rng.getrandbits(63) if rng.random() < 0.8 else rng.choice((0, 1, INTEGER_BIT - 1))
    exponent = BIAS + rng.randrange(low, high)
    return rng.getrandbits(1) << 79 | exponent << 64 | INTEGER_BIT | fraction


def positive(bits: int) -> int:
    return bits & (1 << 79) - 1


# -- the true functions -----------------------------------------------------------------------


def exact(x: Fraction) -> Real:
    return mpmath.mpf(x.numerator) / x.denominator


def fraction(x: Real) -> Fraction:
    sign, mantissa, exponent, _ = x._mpf_
    return (-1) ** sign * Fraction(int(mantissa)) * oracle.power(exponent)


QUARTER = Fraction(0xC90FDAA22168C234C, 1 << 67)
"""π/2 as the manual has it: 66 bits (SDM volume 1, section 8.3.8)."""


def turned(x: Fraction) -> tuple[Real, int]:
    """An angle as quarters of a turn and the rest."""
    quarters = round(x / QUARTER) if abs(x) > Fraction(785, 1000) else 0
    return exact(x - quarters * QUARTER), quarters % 4


def sine(x: Fraction) -> Real:
    rest, quarter = turned(x)
    return (mpmath.sin, mpmath.cos)[quarter % 2](rest) * (-1 if quarter > 1 else 1)


def cosine(x: Fraction) -> Real:
    rest, quarter = turned(x)
    return (mpmath.cos, mpmath.sin)[quarter % 2](rest) * (-1 if quarter in (1, 2) else 1)


def tangent(x: Fraction) -> Real:
    return sine(x) / cosine(x)


def power_minus_one(x: Fraction) -> Real:
    return mpmath.expm1(exact(x) * mpmath.ln2)


def logarithm_times(x: Fraction, y: Fraction) -> Real:
    return exact(y) * mpmath.log(exact(x)) / mpmath.ln2


def logarithm_of_more(x: Fraction, y: Fraction) -> Real:
    return exact(y) * mpmath.log1p(exact(x)) / mpmath.ln2


def angle(x: Fraction, y: Fraction) -> Real:
    return mpmath.atan2(exact(y), exact(x))


@dataclass(frozen=True)
class Case:
    """A function, the true one, arguments, and on which side of a number that it seems to equal it
    lies (further from 0 or nearer)."""

    family: Family
    true: Callable[..., Real]
    arguments: Callable[[random.Random], Arguments]
    side: int = 0

    def expected(self, arguments: Arguments, control: int) -> oracle.Outcome:
        """Value, flags and C1."""
        found = fraction(self.true(*map(oracle.value, arguments)))
        if self.side and _short(found):
            found *= 1 + self.side * oracle.power(-300)
        result = oracle.rounded(found, control | SIXTY_FOUR)
        denormal = oracle.DE if any(map(oracle.is_denormal, arguments)) else 0
        return oracle.Outcome(result.value, result.flags | denormal, result.up)


def _short(x: Fraction) -> bool:
    return abs(x.numerator).bit_length() < 80 and x.denominator & x.denominator - 1 == 0


def _angles(rng: random.Random) -> Arguments:
    low, high = rng.choice(((-8, 3), (-70, 0), (0, 63), (-16500, -16300), (-2, 2)))
    return (_near_a_quarter(rng) if rng.random() < 0.1 else _small(number, rng, low, high),)


def _small(make: Callable[..., int], rng: random.Random, low: int, high: int) -> int:
    """Below the least exponent: denormal."""
    if low >= 1 - BIAS:
        return make(rng, low, high)
    return rng.getrandbits(1) << 79 | rng.getrandbits(rng.randrange(1, 64)) | 1


def _near_a_quarter(rng: random.Random) -> int:
    """The number next to a multiple of π/2."""
    nearest = QUARTER * rng.randrange(1, 1 << rng.randrange(1, 61))
    return oracle.rounded(nearest, 0x37F).value


def _powers(rng: random.Random) -> Arguments:
    low, high = rng.choice(((-8, 0), (-70, 0), (-16500, -16300), (-1, 0)))
    return (_small(number, rng, low, high),)


def _logarithms(rng: random.Random) -> Arguments:
    kind = rng.randrange(4)
    x = positive(number(rng, -16000, 16000))
    if kind == 0:
        x = BIAS << 64 | INTEGER_BIT | rng.getrandbits(rng.randrange(1, 64)) | 1
    elif kind == 1:
        x = BIAS - 1 << 64 | (1 << 64) - 1 ^ rng.getrandbits(rng.randrange(1, 64))
    elif kind == 2:
        x = positive(_small(number, rng, -16500, 0))
    return x, number(rng, *rng.choice(((-60, 60), (-16300, 16300))))


def _near_zero(rng: random.Random) -> Arguments:
    low, high = rng.choice(((-8, -2), (-70, -2), (-16300, -2)))
    return number(rng, low, high), number(rng, *rng.choice(((-60, 60), (-16300, 16300))))


def _points(rng: random.Random) -> Arguments:
    span = rng.choice((2, 10, 70, 16300))
    return number(rng, -span, span), number(rng, -span, span)


CASES = {
    "fsin": Case(trigonometry.sine, sine, _angles, -1),
    "fcos": Case(trigonometry.cosine, cosine, _angles, -1),
    "fptan": Case(trigonometry.tangent, tangent, _angles, 1),
    "f2xm1": Case(exponential.power_minus_one, power_minus_one, _powers),
    "fyl2x": Case(logarithm.times_logarithm, logarithm_times, _logarithms),
    "fyl2xp1": Case(logarithm.times_logarithm_of_more, logarithm_of_more, _near_zero),
    "fpatan": Case(arctangent.angle, angle, _points, -1),
}


def of(family: Family, *arguments: int, control: int = 0x37F) -> oracle.Outcome:
    """What the meaning says."""
    packed = family(*(Bits.of(a, 80) for a in arguments), Bits.of(control, 16))["result"]
    result = Result.unpack(packed)
    return oracle.Outcome(result.value.value, result.flags.value, result.up.value)


@pytest.mark.parametrize("name", CASES)
def test_correctly_rounded(name: str) -> None:
    """In every rounding mode, with every mask."""
    rng, case = random.Random(name), CASES[name]
    for _ in range(EXAMPLES):
        arguments, control = case.arguments(rng), rng.getrandbits(12)
        expected = case.expected(arguments, control)
        assert of(case.family, *arguments, control=control) == expected, (
            [f"{a:020x}" for a in arguments], f"{control:03x}",
        )  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize("name", CASES)
def test_error(name: str, record_property: Callable[[str, object], None]) -> None:
    """In units in the last place, rounded to nearest, on thousands of arguments: the documented
    error is below 1 (SDM volume 1, section 8.3.10); here it is a half and no more."""
    rng, case = random.Random(f"error {name}"), CASES[name]
    arguments = [case.arguments(rng) for _ in range(HEAVY_EXAMPLES)]
    states = iter(arguments)
    records = pool(
        rng, HEAVY_EXAMPLES, lambda _: Fpu(0x37F, 0, 3, (*next(states), 0)[:2] + (0,) * 6)
    )
    answers = Bulk([bytes.fromhex(TRANSCENDENTALS[name])], records).engine(threaded())[0]
    start = 28 + 10 * (name == "fptan")
    worst = Fraction(0)
    for given, answer in zip(arguments, answers, strict=True):
        assert len(answer) == RECORD
        bits = int.from_bytes(answer[start : start + 10].tobytes(), "little")
        if oracle.is_infinite(bits):
            continue  # an overflow: there is no last place
        unit = oracle.power(max(bits >> 64 & 0x7FFF, 1) - BIAS - 63)
        true = fraction(case.true(*map(oracle.value, given)))
        worst = max(worst, abs(oracle.value(bits) - true) / unit)
    record_property("measured", f"{float(worst):.9f} ulp at most, {HEAVY_EXAMPLES} arguments")
    assert Fraction(1, 4) < worst <= Fraction(1, 2) + oracle.power(-40)


# -- the manual's tables ----------------------------------------------------------------------

ZERO, ONE, TWO, HALF = 0, 0x3FFF << 64 | INTEGER_BIT, 0x4000 << 64 | INTEGER_BIT, 0x3FFE8 << 60
INFINITY, SIGN, DENORMAL = 0x7FFF << 64 | INTEGER_BIT, 1 << 79, 0x1234
QUIET, SIGNALING = 0x7FFFC000000000001234, 0x7FFF8000000000001234
THREE, THIRD, HUGE = 0x4000C << 60, 0x3FFDAAAAAAAAAAAAAAAA, 0x403E << 64 | INTEGER_BIT
BELOW = 0x403DFFFFFFFFFFFFFFFF
PI, HALF_PI, QUARTER_PI = (0x4000 - n << 64 | 0xC90FDAA22168C235 for n in range(3))
THREE_QUARTERS_PI = 0x400096CBE3F9990E91A8
VALUES = {
    "-inf": [INFINITY | SIGN], "-F": [x | SIGN for x in (THIRD, THREE, HALF)], "-0": [SIGN],
    "+0": [ZERO], "+F": [THIRD, THREE, HALF], "+inf": [INFINITY], "+1": [ONE], "-1": [ONE | SIGN],
    "0<F<1": [THIRD, HALF, ONE - 1 - INTEGER_BIT], "F>1": [THREE, TWO, ONE + 1], "NaN": [QUIET],
    "-pi": [PI | SIGN], "+pi": [PI], "-pi/2": [HALF_PI | SIGN], "+pi/2": [HALF_PI],
    "-pi/4": [QUARTER_PI | SIGN], "+pi/4": [QUARTER_PI],
    "-3pi/4": [THREE_QUARTERS_PI | SIGN], "+3pi/4": [THREE_QUARTERS_PI],
    "*": [oracle.INDEFINITE], "**": [INFINITY, INFINITY | SIGN],
}  # fmt: skip

ARCTANGENTS = """
        -inf   -F      -0      +0     +F     +inf   NaN
-inf    -3pi/4 -pi/2   -pi/2   -pi/2  -pi/2  -pi/4  NaN
-F      -pi    num     -pi/2   -pi/2  num    -0     NaN
-0      -pi    -pi     -pi     -0     -0     -0     NaN
+0      +pi    +pi     +pi     +0     +0     +0     NaN
+F      +pi    num     +pi/2   +pi/2  num    +0     NaN
+inf    +3pi/4 +pi/2   +pi/2   +pi/2  +pi/2  +pi/4  NaN
NaN     NaN    NaN     NaN     NaN    NaN    NaN    NaN
"""
"""Table 3-31, ST(0) from left to right, ST(1) downwards."""
LOGARITHMS = """
        -inf   -F     -0     +0     0<F<1  +1     F>1    +inf   NaN
-inf    *      *      +inf   +inf   +inf   *      -inf   -inf   NaN
-F      *      *      **     **     num    -0     num    -inf   NaN
-0      *      *      *      *      +0     -0     -0     *      NaN
+0      *      *      *      *      -0     +0     +0     *      NaN
+F      *      *      **     **     num    +0     num    +inf   NaN
+inf    *      *      -inf   -inf   -inf   *      +inf   +inf   NaN
NaN     NaN    NaN    NaN    NaN    NaN    NaN    NaN    NaN    NaN
"""
"""Table 3-47."""
LOGARITHMS_OF_MORE = """
        -near  -0     +0     +near  NaN
-inf    +inf   *      *      -inf   NaN
-F      num    +0     -0     num    NaN
-0      +0     +0     -0     -0     NaN
+0      -0     -0     +0     +0     NaN
+F      num    -0     +0     num    NaN
+inf    -inf   *      *      +inf   NaN
NaN     NaN    NaN    NaN    NaN    NaN
"""
"""Table 3-48."""
NEAR = {"-near": [0xBFFC << 64 | INTEGER_BIT], "+near": [0x3FFC << 64 | INTEGER_BIT]}


def cells(table: str) -> list[tuple[str, str, str]]:
    """ST(0), ST(1) and the result."""
    head, *rows = table.strip("\n").splitlines()
    columns = head.split()
    return [
        (column, row.split()[0], cell)
        for row in rows
        for column, cell in zip(columns, row.split()[1:], strict=True)
    ]


TABLES: Mapping[str, tuple[Family, str]] = {
    "fpatan": (arctangent.angle, ARCTANGENTS),
    "fyl2x": (logarithm.times_logarithm, LOGARITHMS),
    "fyl2xp1": (logarithm.times_logarithm_of_more, LOGARITHMS_OF_MORE),
}
CELLS = [(name, *cell) for name, (_, table) in TABLES.items() for cell in cells(table)]


@pytest.mark.parametrize(("name", "first", "second", "meant"), CELLS)
def test_tables(name: str, first: str, second: str, meant: str) -> None:
    """Every cell of them; *: invalid, **: a division by zero."""
    values, family = VALUES | NEAR, TABLES[name][0]
    for x in values[first]:
        for y in values[second]:
            found = of(family, x, y)
            if meant == "num":
                assert found == CASES[name].expected((x, y), 0x37F)
                continue
            expected = values[meant][0]
            flags = {"*": oracle.IE, "**": oracle.ZE}.get(meant, oracle.PE if "pi" in meant else 0)
            if meant == "**":
                expected |= ~y & SIGN
            assert (found.value, found.flags) == (expected, flags)


SINGLE = [
    ("fsin", "-inf", "*"), ("fsin", "-0", "-0"), ("fsin", "+0", "+0"), ("fsin", "+inf", "*"),
    ("fcos", "-inf", "*"), ("fcos", "-0", "+1"), ("fcos", "+0", "+1"), ("fcos", "+inf", "*"),
    ("fptan", "-inf", "*"), ("fptan", "-0", "-0"), ("fptan", "+0", "+0"), ("fptan", "+inf", "*"),
    ("f2xm1", "-0", "-0"), ("f2xm1", "+0", "+0"), ("f2xm1", "+1", "+1"), ("f2xm1", "-inf", "-1"),
    ("f2xm1", "+inf", "+inf"),
    *((name, "NaN", "NaN") for name in ("fsin", "fcos", "fptan", "f2xm1")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "meant"), SINGLE)
def test_special_operands(name: str, given: str, meant: str) -> None:
    """Of one operand."""
    found = of(CASES[name].family, VALUES[given][0])
    flags = oracle.IE if meant == "*" else 0
    assert (found.value, found.flags) == (VALUES[meant][0], flags)


def test_half_of_minus_one() -> None:
    """2^-1 - 1 is exact."""
    assert of(exponential.power_minus_one, ONE | SIGN) == oracle.Outcome(HALF | SIGN, 0, 0)


@pytest.mark.parametrize("name", CASES)
def test_signaling_nans_and_unsupported_operands(name: str) -> None:
    """Both are invalid; the NaN is made quiet."""
    family, more = CASES[name].family, (ONE,) * (name in TABLES)
    assert of(family, SIGNALING, *more) == oracle.Outcome(oracle.quiet(SIGNALING), oracle.IE, 0)
    assert of(family, ONE ^ INTEGER_BIT, *more) == oracle.INVALID


# -- the unit ---------------------------------------------------------------------------------


def unit(
    code: str, top: int, control: int = 0x37F, full: int = 1
) -> tuple[dict[str, int], list[int]]:
    """The condition codes, flags and stack after an instruction."""
    names = {"st0": top & (1 << 64) - 1, "st0_exponent": top >> 64}
    stop, state = run(code, names | {"fcw": control, "st_full": full, "c2": 1})
    assert stop.fault is None
    codes = {name: state[name] for name in ("c1", "c2", "fpu_flags", "st_top", "st_full")}
    return codes, [state[f"st{n}"] | state[f"st{n}_exponent"] << 64 for n in range(2)]


@pytest.mark.parametrize("name", ["fsin", "fcos", "fptan", "fsincos"])
@pytest.mark.parametrize("sign", [0, SIGN])
def test_outside(name: str, sign: int) -> None:
    """2^63 and more: C2, and the operand stays; below, C2 is cleared."""
    codes, stack = unit(TRANSCENDENTALS[name], HUGE | sign)
    assert (codes["c2"], codes["st_top"], codes["fpu_flags"], stack[0]) == (1, 0, 0, HUGE | sign)
    codes, stack = unit(TRANSCENDENTALS[name], BELOW | sign)
    assert (codes["c2"], codes["fpu_flags"]) == (0, oracle.PE)


@pytest.mark.parametrize("name", ["fptan", "fsincos"])
@pytest.mark.parametrize("control", [0x37F, 0x37E])
def test_two_results_need_room(name: str, control: int) -> None:
    """Stack overflow: C1 is 1, and the indefinite twice if that is masked."""
    codes, stack = unit(TRANSCENDENTALS[name], ONE, control, full=0x81)
    assert (codes["c1"], codes["c2"], codes["fpu_flags"]) == (1, 0, 0x41)
    masked = bool(control & 1)
    assert codes["st_top"] == (7 if masked else 0)
    assert stack == ([oracle.INDEFINITE] * 2 if masked else [ONE, 0])


@pytest.mark.parametrize("name", TRANSCENDENTALS)
def test_stack_underflow(name: str) -> None:
    """The indefinite, and C1 is 0."""
    codes, stack = unit(TRANSCENDENTALS[name], ONE, full=0)
    assert (codes["c1"], codes["fpu_flags"], stack[0]) == (0, 0x41, oracle.INDEFINITE)


def test_pushed_beside_the_tangent() -> None:
    """1, or the NaN once more."""
    assert unit(TRANSCENDENTALS["fptan"], ZERO)[1] == [ONE, ZERO]
    assert unit(TRANSCENDENTALS["fptan"], QUIET)[1] == [QUIET, QUIET]
    assert unit(TRANSCENDENTALS["fptan"], INFINITY)[1] == [oracle.INDEFINITE] * 2


@pytest.mark.parametrize("divisor", [1 << 127, (1 << 128) - 1, (1 << 127) + 1, 3 << 126])
def test_reciprocal(divisor: int) -> None:
    """A little too small, never too large."""
    found = reciprocal(Bits.of(divisor, 128)).value
    true = Fraction(1 << 255, divisor)
    assert 0 < true - found <= true * oracle.power(-120)
