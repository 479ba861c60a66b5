"""Bits: no truth value, folding of what is known, advice in errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa.bits import Bits, all_of, any_of, leaf
from isa.ops import WidthError
from isa.trace import Rewriter, expander
from isa.x86.flags import add, subtract

X = leaf("field", 8, ("x", 8))
ONE_BIT = leaf("field", 1, ("c", 1))


def test_a_guest_value_has_no_truth_value() -> None:
    """`if` on a guest value says what to write instead."""
    with pytest.raises(TypeError, match=r"select\(a, b\).*m\.when"):
        if X == 3:
            pass


def test_a_symbolic_value_has_no_number() -> None:
    """Asking for a number while tracing is refused."""
    with pytest.raises(TypeError, match="the guest's"):
        _ = X.value


@pytest.mark.parametrize("other", [True, 1.5, "1"])
def test_only_numbers_and_bits_combine(other: object) -> None:
    """Python truth values and other types do not slip in."""
    with pytest.raises(TypeError, match="use an int or another Bits"):
        _ = X + other  # type: ignore[operator]


def test_widths_must_fit() -> None:
    """A width error names the operation."""
    with pytest.raises(WidthError, match=r"^add: "):
        _ = X + X.zext(16)


def test_select_needs_a_width() -> None:
    """Two plain numbers do not say how wide they are."""
    with pytest.raises(TypeError, match="at least one Bits"):
        ONE_BIT.select(1, 0)


@pytest.mark.parametrize("width", [8, 16, 32])
def test_a_difference_with_another_sign_than_it_should_have_is_less(width: int) -> None:
    """SF ≠ OF, be it of flags' functions or of what those compute; not of other sums or values."""
    a, b = leaf("field", width, ("a", width)), leaf("field", width, ("b", width))
    flags, others = subtract(a, b), subtract(b, a)
    equal = Rewriter()  # makes equal nodes one
    plain = {name: equal.value(expander().value(flag)) for name, flag in flags.items()}
    for one in (flags, plain):
        for differs in (one["sf"] ^ one["of"], one["of"] ^ one["sf"]):
            assert differs.op == "slt"
            assert [argument.attribute[0] for argument in differs.args] == ["a", "b"]
    for pair in [
        (flags["sf"], others["of"]), (flags["cf"], flags["of"]), (flags["sf"], flags["sf"] ^ 1),
        (add(a, b)["sf"], add(a, b)["of"]),
        (plain["sf"], equal.value(expander().value(others["of"]))),
    ]:  # fmt: skip
        assert (pair[0] ^ pair[1]).op != "slt"


@given(st.integers(0, 255), st.integers(0, 255))
def test_signed_less_is_what_the_flags_say(a: int, b: int) -> None:
    """By the functions of the flags, computed."""
    flags = subtract(Bits.of(a, 8), Bits.of(b, 8))
    less = Bits.of(a, 8).slt(Bits.of(b, 8))
    assert less.value == flags["sf"].value ^ flags["of"].value


@given(st.integers(0, 255), st.integers(0, 255))
def test_known_values_fold(a: int, b: int) -> None:
    """Arithmetic on known numbers gives known numbers, modulo the width."""
    x, y = Bits.of(a, 8), Bits.of(b, 8)
    assert (x + y).value == (a + b) % 256
    assert (x - b).value == (a - b) % 256
    assert x.concat(y).value == a * 256 + b
    assert x.ult(y).value == int(a < b)
    assert x.slt(y).value == int(x.signed_value < y.signed_value)
    assert (-x).value == -a % 256


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (X + 0, X),
        (X - 0, X),
        (X & 255, X),
        (X & X, X),
        (X | 0, X),
        (X ^ 0, X),
        (X << 0, X),
        (~~X, X),
        (X.zext(8), X),
        (X.low(8), X),
        (X.zext(16).low(8), X),
        (X.concat(Bits.of(1, 8)).bits(8, 8), X),
        (ONE_BIT.select(X, X), X),
        (ONE_BIT.select(Bits.of(1, 1), Bits.of(0, 1)), ONE_BIT),
        (Bits.of(1, 1).select(X, 5), X),
        (all_of(ONE_BIT), ONE_BIT),
        (any_of(ONE_BIT), ONE_BIT),
    ],
)
def test_identities_leave_the_node_itself(made: Bits, expected: Bits) -> None:
    """What changes nothing makes no node."""
    assert made is expected


@pytest.mark.parametrize(("made", "number"), [(X ^ X, 0), (X & 0, 0), (X.zext(16).bits(8, 8), 0)])
def test_identities_that_are_known(made: Bits, number: int) -> None:
    """What cannot depend on the value is a number."""
    assert made.value == number


def test_nested_extracts_become_one() -> None:
    """A part of a part is a part of the whole."""
    part = X.bits(2, 4).bits(1, 2)
    assert part.args[0] is X
    assert part.attribute == (3, 2)
