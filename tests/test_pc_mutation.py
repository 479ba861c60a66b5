"""Every seeded fault in a monitor of the PC is caught, and nothing right is taken for one."""

from __future__ import annotations

import json

import pytest

from tests.vmm_command import vmm
from vmm.pc.mutation import MUTANTS, Trial, attempt, violation
from vmm.pc.systems.laboratory import CURES, Laboratory
from vmm.seeded import Mutant

QUICK = 2  # generated systems
FAST = (
    "shadow-frame-high", "level-shown", "count-high", "traps-reflected", "call-outs-left-out",
    "ept-frame-high", "assist-no-flush",
)  # fmt: skip
"""Caught by the first few."""


def test_there_are_enough_and_each_is_described() -> None:
    assert len(MUTANTS) >= 45
    assert len({m.name for m in MUTANTS}) == len({m.what for m in MUTANTS}) == len(MUTANTS)
    assert {m.name for m in MUTANTS} >= set(FAST)
    assert {m.trial.monitor for m in MUTANTS} == set(CURES)


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.name in FAST], ids=lambda m: m.name)
def test_caught_soon(mutant: Mutant[Trial]) -> None:
    right = vars(mutant.owner)[mutant.attribute]
    assert attempt(mutant, QUICK).by
    assert vars(mutant.owner)[mutant.attribute] is right


@pytest.mark.heavy
def test_all_are_caught() -> None:
    """The mutation score is 1."""
    uncaught = [mutant.name for mutant in MUTANTS if not attempt(mutant).by]
    assert uncaught == [], f"score {1 - len(uncaught) / len(MUTANTS):.1%}"


def test_a_fault_that_changes_nothing_is_not_caught() -> None:
    first = MUTANTS[0]
    harmless = Mutant(
        "none", "nothing", first.owner, first.attribute, lambda right: right, first.trial
    )
    assert (attempt(harmless, 2).by, attempt(harmless, 2).systems) == ("", 2)


def test_the_right_monitors_pass() -> None:
    lab = Laboratory()
    assert [violation(lab, seed) for seed in range(QUICK)] == [""] * QUICK


def test_command() -> None:
    told = vmm("mutate", "--isa", "x86", "level-shown", "count-high", "--json")
    facts = json.loads(told.stdout)
    assert (told.exit_code, facts["caught"], facts["mutants"], facts["score"]) == (0, 2, 2, 1.0)
    assert vmm("mutate", "--isa", "x86", "nobody").exit_code == 65
