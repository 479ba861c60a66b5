"""Protected mode against a model of the manual's pseudo-code, condition by condition.

`python -m tests.protected [ENGINE]` tries every condition, these tests a part of them.
"""

from __future__ import annotations

import pytest

from tests.machines import engines
from tests.protected.conditions import FAMILIES, every
from tests.protected.machine import Condition, Machine, expected

EVERY_NTH = 13  # of the conditions are tried by default on an engine
SOME = ("reference", "python")
CONDITIONS = every()


def differing(engine: str, conditions: list[Condition]) -> list[Condition]:
    """The conditions whose outcome is not the model's."""
    machine = Machine(engines()[engine])
    found = []
    for condition in conditions:
        wanted, steps = expected(condition)
        if machine.run(condition, steps) != wanted:
            found.append(condition)
    return found


@pytest.mark.parametrize("engine", SOME)
def test_conditions(engine: str) -> None:
    """Vector, error code, pushed frame, exits and every register and byte of memory are right."""
    tried = CONDITIONS[::EVERY_NTH]
    assert len(tried) >= 1500
    assert not differing(engine, tried)


def test_every_condition_is_another() -> None:
    """At least 1,500 distinct conditions, in which every family has a part."""
    assert len(CONDITIONS) == len(set(CONDITIONS)) >= 1500
    tried = set(CONDITIONS[::EVERY_NTH])
    assert all(tried & set(family()) for family in FAMILIES)
