"""Named tuples that are made in no time: what `typing.NamedTuple` does, they do."""

from __future__ import annotations

import copy
import pickle
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest

from isa.record import NamedTuple


class Ours(NamedTuple):
    """A place."""

    x: int
    y: int = 5
    name: str = "here"

    @property
    def total(self) -> int:
        """A property beside the fields."""
        return self.x + self.y


def theirs() -> Any:
    """The same fields and methods for `typing`."""
    body = {"__annotations__": Ours.__annotations__, "__doc__": Ours.__doc__, "total": Ours.total}
    body |= {"__module__": __name__, **Ours._field_defaults}
    return types.new_class("Theirs", (typing.NamedTuple,), {}, lambda names: names.update(body))


Theirs = theirs()


class Special(Ours):
    """What has a record as its base."""

    __slots__ = ()


KINDS: tuple[Any, Any] = Ours, Theirs
USES: list[Callable[[Any], object]] = [
    lambda kind: kind(1),
    lambda kind: kind(1, 2, name="there"),
    lambda kind: kind(name="there", x=4),
    lambda kind: kind(1)._replace(y=7),
    lambda kind: kind(3)._asdict(),
    lambda kind: kind._make([1, 2, "there"]),
    lambda kind: (kind(1) == (1, 5, "here"), hash(kind(1)), kind(1) < kind(2), kind(1).total),
    lambda kind: (kind._fields, kind._field_defaults, kind.__match_args__, kind.__doc__),
    lambda kind: (pickle.loads(pickle.dumps(kind(1))), copy.copy(kind(1)), copy.deepcopy(kind(1))),
    lambda kind: (kind(1).x, kind(1)[1], len(kind(1)), list(kind(1)), hasattr(kind(1), "__dict__")),
    lambda kind: repr(kind(1)).partition("(")[1:],
]
MISUSES: list[Callable[[Any], object]] = [
    lambda kind: kind(),
    lambda kind: kind(1, 2, "there", 4),
    lambda kind: kind(1, z=2),
    lambda kind: kind(1)._replace(z=2),
    lambda kind: kind._make([1]),
    lambda kind: setattr(kind(1), "x", 2),
]


@pytest.mark.parametrize("use", USES)
def test_a_record_is_a_named_tuple(use: Callable[[Any], object]) -> None:
    ours, theirs = map(use, KINDS)
    assert ours == theirs


@pytest.mark.parametrize("misuse", MISUSES)
def test_what_a_named_tuple_refuses_a_record_does(misuse: Callable[[Any], object]) -> None:
    for kind in KINDS:
        with pytest.raises((TypeError, ValueError, AttributeError)):
            misuse(kind)


def test_fields_are_matched_by_place() -> None:
    match Ours(1, 2):
        case Ours(x, y, name):
            assert (x, y, name) == (1, 2, "here")


def test_a_class_below_a_record_makes_objects_of_its_own() -> None:
    """Whichever of the two is made first."""
    assert type(Special(1)) is Special
    assert type(Ours(1)) is Ours
    assert (Special(2).total, repr(Special(2))) == (7, "Special(x=2, y=5, name='here')")


def test_defaults_come_last() -> None:
    body = {"__annotations__": {"first": "int", "second": "int"}, "first": 1}
    with pytest.raises(TypeError, match="without a default"):
        types.new_class("Wrong", (NamedTuple,), {}, lambda names: names.update(body))
