"""Named values that are made in no time: what `enum` does, they do."""

from __future__ import annotations

import copy
import enum
import json
import pickle
from typing import Any

import pytest

from isa import named


class Number(named.IntEnum):
    """Numbers."""

    ONE = 1
    TWO = 2
    ALSO_TWO = 2


class Kind(named.Enum):
    """Words."""

    WARM = "warm"
    COLD = "cold"


Numbers = enum.IntEnum("Number", {"ONE": 1, "TWO": 2, "ALSO_TWO": 2})
Kinds = enum.Enum("Kind", {"WARM": "warm", "COLD": "cold"})
PAIRS = [(Number, Numbers), (Kind, Kinds)]


def told(cls: Any) -> list[Any]:
    """All that a class and its members say of themselves."""
    members = list(cls)
    names = [(key, member.name, member.value) for key, member in cls.__members__.items()]
    texts = [(repr(member), str(member), f"{member}") for member in members]
    return [len(cls), names, texts, [cls(member.value) is member for member in members]]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_classes_and_members_say_what_those_of_enum_say(ours: Any, theirs: Any) -> None:
    assert told(ours) == told(theirs)
    assert [ours[name] for name in ours.__members__] == [
        getattr(ours, name) for name in ours.__members__
    ]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("wrong", [3, "lukewarm"])
def test_what_is_no_member_is_refused_alike(ours: Any, theirs: Any, wrong: Any) -> None:
    for find, error in ((lambda cls: cls(wrong), ValueError), (lambda cls: cls["NO"], KeyError)):
        with pytest.raises(error) as said:
            find(ours)
        with pytest.raises(error) as wanted:
            find(theirs)
        assert str(said.value) == str(wanted.value)


def test_numbers_are_numbers() -> None:
    assert Number.TWO == 2 and {Number.TWO: "found"}[2] == "found"
    assert Number.ONE | Number.TWO == 3 and max(Number) is Number.TWO
    assert isinstance(Number.ONE, int) and isinstance(Number.ONE, Number)
    assert json.dumps([Number.ONE]) == "[1]" and f"{Number.TWO:#x}" == "0x2"
    assert Number.ALSO_TWO is Number.TWO


@pytest.mark.parametrize("member", [Number.TWO, Kind.COLD])
def test_copies_are_the_members_themselves(member: Any) -> None:
    copies = [copy.copy(member), copy.deepcopy(member)]
    copies += [pickle.loads(pickle.dumps(member, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    assert all(one is member for one in copies)
