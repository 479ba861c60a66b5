"""z3 proves results and flags against the manual's definitions, stated here a second way.

The statements use wider sums, single steps and bit-by-bit loops, never the formulas of `isa`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import xor
from typing import Any

import pytest

from isa.bits import Bits, leaf
from isa.functions import Family, family
from isa.smt import term
from isa.x86 import flags, results
from tests.parameters import some_heavy

z3 = pytest.importorskip("z3")

WIDTHS = (8, 16, 32)
Terms = dict[str, Any]


def prove(claim: Any) -> None:
    """Refute the claim's negation, or show the counterexample."""
    solver = z3.Solver()
    solver.add(z3.Not(claim))
    assert solver.check() == z3.unsat, solver.model()


def flag(condition: Any) -> Any:
    """A condition as 1 bit."""
    return z3.If(condition, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))


def bit(value: Any, number: int) -> Any:
    return z3.Extract(number, number, value)


def ours(meaning: Callable[..., Any], *variables: Any) -> Any:
    """z3 terms of a family's results, or of a pure function of Bits, on z3 variables."""

    def start(node: Bits) -> Any:
        return variables[node.attribute[0]]

    found = meaning(*(leaf("parameter", v.size(), (n, v.size())) for n, v in enumerate(variables)))
    if isinstance(found, Bits):
        return term(found, start)
    return {name: term(value, start) for name, value in found.items()}


def agree(left: Terms, right: Terms, *, given: Any = True) -> None:
    """Prove that the named flags are equal wherever `given` holds."""
    for name, expected in right.items():
        prove(z3.Implies(given, left[name] == expected))


def variables(width: int, *names: str) -> list[Any]:
    return [z3.BitVec(name, width) for name in names]


# -- the manual's definitions, once more ----------------------------------------------------------


def of_result(result: Any) -> Terms:
    """PF: an even number of ones in the low byte. ZF, SF (SDM volume 1, section 3.4.3.1)."""
    ones = reduce(xor, [bit(result, n) for n in range(8)])
    return {"pf": ones ^ 1, "zf": flag(result == 0), "sf": bit(result, result.size() - 1)}


def of_sum(a: Any, b: Any, carry: Any, sign: int) -> tuple[Any, Terms]:
    """a ± b ± carry computed exactly, in two bits more."""
    width = a.size()

    def exact(extend: Callable[[int, Any], Any], low: int) -> Any:
        x, y = (extend(low + 2 - v.size(), v) for v in (z3.Extract(low - 1, 0, a), _low(b, low)))
        c = z3.ZeroExt(low + 1, carry)
        return x + y + c if sign > 0 else x - y - c

    unsigned, signed = exact(z3.ZeroExt, width), exact(z3.SignExt, width)
    result = z3.Extract(width - 1, 0, unsigned)
    wanted = {
        "cf": flag(z3.UGE(unsigned, 1 << width)),  # a borrow makes the difference negative: large
        "af": flag(z3.UGE(exact(z3.ZeroExt, 4), 16)),
        "of": flag(z3.SignExt(2, result) != signed),
    }
    return result, of_result(result) | wanted


def _low(value: Any, width: int) -> Any:
    return z3.Extract(width - 1, 0, value)


def steps(count: int, state: tuple[Any, Any], step: Callable[[Any, Any], tuple[Any, Any]]) -> Any:
    """The states (value, CF) after 0, 1 … `count` single steps."""
    states = [state]
    for _ in range(count):
        states.append(step(*states[-1]))
    return states


def join(high: Any, low: Any) -> Any:
    return z3.Concat(high, low)


def shl(a: Any, _: Any) -> tuple[Any, Any]:
    return join(_low(a, a.size() - 1), z3.BitVecVal(0, 1)), bit(a, a.size() - 1)


def shr(a: Any, _: Any) -> tuple[Any, Any]:
    return join(z3.BitVecVal(0, 1), z3.Extract(a.size() - 1, 1, a)), bit(a, 0)


def sar(a: Any, _: Any) -> tuple[Any, Any]:
    return join(bit(a, a.size() - 1), z3.Extract(a.size() - 1, 1, a)), bit(a, 0)


def rol(a: Any, _: Any) -> tuple[Any, Any]:
    top = bit(a, a.size() - 1)
    return join(_low(a, a.size() - 1), top), top


def ror(a: Any, _: Any) -> tuple[Any, Any]:
    return join(bit(a, 0), z3.Extract(a.size() - 1, 1, a)), bit(a, 0)


def rcl(a: Any, carry: Any) -> tuple[Any, Any]:
    return join(_low(a, a.size() - 1), carry), bit(a, a.size() - 1)


def rcr(a: Any, carry: Any) -> tuple[Any, Any]:
    return join(carry, z3.Extract(a.size() - 1, 1, a)), bit(a, 0)


# -- addition and subtraction ---------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("meaning", "operation", "sign"),
    [(flags.add, lambda a, b: a + b, 1), (flags.subtract, lambda a, b: a - b, -1)],
)
def test_sums(width: int, meaning: Family, operation: Callable[..., Any], sign: int) -> None:
    """ADD, SUB, CMP, and NEG as 0 - a."""
    a, b = variables(width, "a", "b")
    result, expected = of_sum(a, b, z3.BitVecVal(0, 1), sign)
    prove(operation(a, b) == result)
    agree(ours(meaning, a, b), expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("meaning", "sign"), [(flags.add_with_carry, 1), (flags.subtract_with_borrow, -1)]
)
def test_sums_with_carry(width: int, meaning: Family, sign: int) -> None:
    """ADC and SBB."""
    a, b = variables(width, "a", "b")
    carry = z3.BitVec("carry", 1)
    agree(ours(meaning, a, b, carry), of_sum(a, b, carry, sign)[1])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("meaning", "sign"), [(flags.increment, 1), (flags.decrement, -1)])
def test_counts(width: int, meaning: Family, sign: int) -> None:
    """INC and DEC leave the flags of adding and subtracting 1, but for CF."""
    (a,) = variables(width, "a")
    expected = of_sum(a, z3.BitVecVal(1, width), z3.BitVecVal(0, 1), sign)[1]
    found = ours(meaning, a)
    assert expected.keys() - found.keys() == {"cf"}
    agree(found, {name: expected[name] for name in found})


@pytest.mark.parametrize("width", WIDTHS)
def test_negation(width: int) -> None:
    """NEG: CF tells whether the operand was not 0, OF whether it was the most negative number."""
    (a,) = variables(width, "a")
    found = ours(lambda x: flags.subtract(Bits.of(0, width), x), a)
    agree(found, {"cf": flag(a != 0), "of": flag(a == 1 << width - 1)})


@pytest.mark.parametrize("width", WIDTHS)
def test_logic(width: int) -> None:
    """AND, OR, XOR and TEST clear CF and OF."""
    (a,) = variables(width, "a")
    zero = z3.BitVecVal(0, 1)
    agree(ours(flags.logic, a), of_result(a) | {"cf": zero, "of": zero})


def test_a_wrong_definition_is_refuted() -> None:
    """The proofs have teeth: OF of addition without one of its complements is found out."""

    @family("of")
    def wrong(a: Bits, b: Bits) -> dict[str, Bits]:
        result = a + b
        return {"of": ((a ^ result) & (b | result)).sign}

    a, b = variables(32, "a", "b")
    expected = of_sum(a, b, z3.BitVecVal(0, 1), 1)[1]
    with pytest.raises(AssertionError):
        agree(ours(wrong, a, b), {"of": expected["of"]})


# -- shifts and rotates ---------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("meaning", "operation", "step"),
    [
        (flags.shift_left, lambda a, n: a << n, shl),
        (flags.shift_right, lambda a, n: a >> n, shr),
        (flags.shift_right_arithmetic, lambda a, n: a.ashr(n), sar),
    ],
)
def test_shifts(width: int, meaning: Family, operation: Callable[..., Any], step: Any) -> None:
    """SHL, SHR and SAR equal single steps, for every masked count."""
    (a,) = variables(width, "a")
    states = steps(31, (a, z3.BitVecVal(0, 1)), step)
    for count, (value, carry) in enumerate(states):
        number = z3.BitVecVal(count, width)
        prove(ours(operation, a, number) == value)
        if count == 0:
            continue
        found = ours(meaning, a, number)
        expected = of_result(value)
        if count < width or step is sar:  # CF is undefined from the size on
            expected["cf"] = carry
        if count == 1:
            expected["of"] = bit(a ^ value, width - 1)  # the sign changed
        agree(found, expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("meaning", "operation", "step"),
    [
        (flags.rotate_left, results.rotate_left, rol),
        (flags.rotate_right, results.rotate_right, ror),
    ],
)
def test_rotates(width: int, meaning: Family, operation: Callable[..., Any], step: Any) -> None:
    """ROL and ROR equal single steps; OF is defined for one of them."""
    (a,) = variables(width, "a")
    for count, (value, carry) in enumerate(steps(31, (a, z3.BitVecVal(0, 1)), step)):
        number = z3.BitVecVal(count, width)
        prove(ours(operation, a, number) == value)
        if count:
            expected = {"cf": carry} | ({"of": bit(a ^ value, width - 1)} if count == 1 else {})
            agree(ours(meaning, a, number), expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("meaning", "operation", "step"),
    [
        (flags.rotate_left_through_carry, results.rotate_left_through_carry, rcl),
        (flags.rotate_right_through_carry, results.rotate_right_through_carry, rcr),
    ],
)
def test_rotates_through_carry(
    width: int, meaning: Family, operation: Callable[..., Any], step: Any
) -> None:
    """RCL and RCR equal single steps; a whole turn of 9 or 17 leaves everything."""
    (a,) = variables(width, "a")
    before = z3.BitVec("carry", 1)
    for count, (value, carry) in enumerate(steps(31, (a, before), step)):
        number = z3.BitVecVal(count, width)
        prove(ours(operation, a, before, number) == join(carry, value))
        expected = {"cf": carry} | ({"of": bit(a ^ value, width - 1)} if count == 1 else {})
        agree(ours(meaning, a, before, number), expected)


@pytest.mark.parametrize("width", (16, 32))
@pytest.mark.parametrize("left", (True, False))
def test_double_shifts(width: int, left: bool) -> None:
    """SHLD and SHRD equal steps that take the filler's bits one by one."""
    a, filler = variables(width, "a", "filler")
    meaning = flags.double_shift_left if left else flags.double_shift_right
    operation = results.double_shift_left if left else results.double_shift_right
    value, rest, carry = a, filler, z3.BitVecVal(0, 1)
    for count in range(1, min(31, width) + 1):
        taken = bit(rest, width - 1 if left else 0)
        rest = (rol if left else ror)(rest, None)[0]
        value, carry = (rcl if left else rcr)(value, taken)
        number = z3.BitVecVal(count, width)
        prove(ours(operation, a, filler, number) == value)
        expected = of_result(value) | {"cf": carry}
        if count == 1:
            expected["of"] = bit(a ^ value, width - 1)
        agree(ours(meaning, a, filler, number), expected)


# -- multiplication and decimal arithmetic --------------------------------------------------------


@pytest.mark.parametrize("width", some_heavy((4, 8), 8))
@pytest.mark.parametrize("signed", (False, True))
def test_products(width: int, signed: bool) -> None:
    """CF and OF tell whether the product, exact in integers, needs more than the lower half."""
    a, b = variables(width, "a", "b")
    found = ours(flags.multiply_signed if signed else flags.multiply, a, b)
    for number in range(1 << width):
        fixed = [(b, z3.BitVecVal(number, width))]
        factor = number - (1 << width) if signed and number >> width - 1 else number
        extend = z3.SignExt if signed else z3.ZeroExt
        product = extend(width + 2, a) * factor
        low, high = (-(1 << width - 1), 1 << width - 1) if signed else (0, 1 << width)
        outside = flag(z3.Or(product < low, product >= high))
        prove(z3.substitute(found["cf"], fixed) == outside)
        prove(z3.substitute(found["of"], fixed) == outside)


def packed(al: int, cf: int, af: int, sign: int) -> tuple[int, int, int]:
    """The manual's pseudocode of DAA (sign 1) and DAS (-1), line by line, on integers."""
    old_al, old_cf, cf = al, cf, 0
    if al & 15 > 9 or af:
        cf = old_cf | (not 0 <= al + 6 * sign <= 255)
        al, af = al + 6 * sign & 255, 1
    else:
        af = 0
    if old_al > 0x99 or old_cf:
        al, cf = al + 0x60 * sign & 255, 1
    elif sign > 0:
        cf = 0
    return al, cf, af


@pytest.mark.parametrize(
    ("meaning", "sign"), [(flags.decimal_add, 1), (flags.decimal_subtract, -1)]
)
def test_packed_decimals(meaning: Family, sign: int) -> None:
    """DAA and DAS for every AL, CF and AF."""
    for state in range(1 << 10):
        al, cf, af = state & 255, state >> 8 & 1, state >> 9
        start = Bits.of(al, 8), Bits.of(cf, 1), Bits.of(af, 1)
        change = results.decimal_adjustment(*start)
        result, carry, auxiliary = packed(al, cf, af, sign)
        found = {name: value.value for name, value in meaning(*start).items()}
        assert result == (start[0] + change if sign > 0 else start[0] - change).value
        parity = int(bin(result).count("1") % 2 == 0)
        expected = {"cf": carry, "af": auxiliary, "pf": parity, "zf": int(result == 0)}
        assert expected | {"sf": result >> 7} == found, start
