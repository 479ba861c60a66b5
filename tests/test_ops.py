"""The table of operations: its columns agree with each other, and its width rules refuse."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa.bits import Bits, apply
from isa.ops import OPS, Op, WidthError, require_columns
from isa.words import mask, sdiv, srem

z3 = pytest.importorskip("z3")

PURE = [row for row in OPS.values() if row.pure]
ATTRIBUTES: dict[str, list[Any]] = {
    "zext": [0, 3],  # how many bits more
    "sext": [0, 3],
    "extract": [(0, 1), (1, 2), (0, None)],
}
UNARY = {"not", "zext", "sext", "extract", "popcount", "clz", "ctz"}


def widths_of(row: Op, width: int) -> tuple[int, ...]:
    """Argument widths with which to try a row."""
    if row.name == "select":
        return (1, width, width)
    return (width,) if row.name in UNARY else (width, width)


def attributes_of(row: Op, width: int) -> Iterator[Any]:
    for attribute in ATTRIBUTES.get(row.name, [None]):
        if row.name == "extract":
            low, size = attribute
            if size is None or low + size <= width:
                yield low, size or width
        elif row.name == "concat":
            yield width
        else:
            yield None if attribute is None else width + attribute


def from_source(row: Op, width: int, result: int, attribute: Any, values: tuple[int, ...]) -> int:
    """Evaluate the row's template as an emitting engine would."""
    names = dict(zip("abc", (str(v) for v in values), strict=False))
    text = row.source.format(
        **names, m=mask(width), s=1 << width - 1, w=width, k=attribute, r=mask(result)
    )
    return int(eval(text, {"sdiv": sdiv, "srem": srem}))


def check(row: Op, width: int, attribute: Any, values: tuple[int, ...]) -> None:
    """The Python meaning, the template and z3 give one answer, in range."""
    widths = widths_of(row, width)
    result = row.width(widths, attribute)
    assert callable(row.python)
    assert callable(row.z3)
    answer = int(row.python(widths[0], attribute, *values))
    terms = [z3.BitVecVal(v, w) for v, w in zip(values, widths, strict=True)]
    proved = z3.simplify(row.z3(widths[0], attribute, *terms))
    told = (row.name, width, attribute, values)
    assert 0 <= answer <= mask(result), told
    assert proved.size() == result, told
    assert proved.as_long() == answer, told
    assert from_source(row, widths[0], result, attribute, values) == answer, told
    folded = apply(
        row.name, *(Bits.of(v, w) for v, w in zip(values, widths, strict=True)), attribute=attribute
    )
    assert (folded.value, folded.width) == (answer, result), told


@pytest.mark.parametrize("row", PURE, ids=lambda row: row.name)
@pytest.mark.parametrize("width", [1, 3])
def test_columns_agree_on_every_value(row: Op, width: int) -> None:
    """All readings of an operation agree on all values of small widths."""
    for attribute in attributes_of(row, width):
        ranges = (range(1 << w) for w in widths_of(row, width))
        for values in itertools.product(*ranges):
            check(row, width, attribute, values)


@given(st.sampled_from(PURE), st.sampled_from([8, 16, 32, 64]), st.data())
def test_columns_agree_at_machine_widths(row: Op, width: int, data: st.DataObject) -> None:
    """The same for drawn values of the widths that machines have."""
    attribute = data.draw(st.sampled_from(list(attributes_of(row, width))))
    values = tuple(data.draw(st.integers(0, mask(w))) for w in widths_of(row, width))
    check(row, width, attribute, values)


@pytest.mark.parametrize(
    ("name", "widths", "attribute", "words"),
    [
        ("add", (8, 16), None, "zext or sext"),
        ("eq", (8, 16), None, "must be equal"),
        ("select", (8, 8, 8), None, "1 bit wide"),
        ("select", (1, 8, 16), None, "must be equal"),
        ("zext", (8,), 4, "use extract"),
        ("sext", (8,), 4, "use extract"),
        ("extract", (8,), (4, 5), "outside"),
        ("extract", (8,), (0, 0), "outside"),
    ],
)
def test_width_rules_refuse(name: str, widths: tuple[int, ...], attribute: Any, words: str) -> None:
    """Values that do not fit are refused with advice."""
    with pytest.raises(WidthError, match=words):
        OPS[name].width(widths, attribute)


def test_every_pure_row_has_all_columns() -> None:
    """The table is closed: an operation with a Python meaning has every other one too."""
    for row in PURE:
        assert callable(row.z3), row.name
        assert row.source != "effect", row.name


def test_a_reading_that_lacks_an_operation_is_refused() -> None:
    """What a reading does not know is named when it is imported."""

    class Incomplete:
        def do_load(self) -> None: ...

    with pytest.raises(TypeError, match="store"):
        require_columns(Incomplete)
