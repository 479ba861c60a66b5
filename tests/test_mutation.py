"""Every seeded fault in a monitor is caught, and nothing right is taken for one."""

from __future__ import annotations

import json

import pytest
from vmm_command import vmm

from vmm.mutation import MUTANTS, Trial, attempt, violation

QUICK = 10  # generated systems
FAST = {
    "allocator-no-shift", "allocator-first-r", "real-supervisor", "leave-without-p", "count-low",
    "old-psw-supervisor", "mode-not-checked", "timer-late", "interrupt-in-supervisor",
    "hybrid-mode-stuck", "translation-unlinked", "turn-too-long", "storage-left-behind",
}  # fmt: skip


def test_there_are_enough_and_each_is_described():
    assert len(MUTANTS) >= 30
    assert len({m.name for m in MUTANTS}) == len({m.what for m in MUTANTS}) == len(MUTANTS)
    assert {m.name for m in MUTANTS} >= FAST


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.name in FAST], ids=lambda m: m.name)
def test_caught_soon(mutant):
    right = vars(mutant.owner)[mutant.attribute]
    assert attempt(mutant, QUICK).by
    assert vars(mutant.owner)[mutant.attribute] is right


@pytest.mark.heavy
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_caught(mutant):
    assert attempt(mutant).by


PROMISED = sorted(
    {m.trial for m in MUTANTS if m.trial.isa != "toy/decb" and m.trial.monitor != "paravirtual"},
    key=str,
)  # what theorems promise; of the other two, systems that they cannot run are passed over


@pytest.mark.parametrize("trial", PROMISED, ids=str)
def test_the_right_monitors_pass(trial):
    assert [violation(trial, seed) for seed in range(QUICK)] == [""] * QUICK


@pytest.mark.parametrize("seed", [73, 157, 176])
def test_a_turn_that_ends_when_a_timer_is_due(seed):
    """The double must not be run twice to one count: that would let the timer fire already."""
    assert violation(Trial(partitions=True), seed) == ""


@pytest.mark.heavy
@pytest.mark.parametrize("trial", PROMISED, ids=str)
def test_the_right_monitors_always_pass(trial):
    assert not any(violation(trial, seed) for seed in range(150))


def test_a_fault_that_changes_nothing_is_not_caught():
    harmless = MUTANTS[0].__class__(
        "none", "nothing", MUTANTS[0].owner, MUTANTS[0].attribute, lambda right: right, Trial()
    )
    assert (attempt(harmless, 3).by, attempt(harmless, 3).systems) == ("", 3)


def test_command():
    result = vmm("mutate", "count-low", "timer-late", "--json")
    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["caught"], facts["mutants"], facts["score"]) == (0, 2, 2, 1.0)
    assert set(facts["list"][0]) == {"name", "what", "trial", "caught", "by", "systems"}
    told = vmm("mutate", "count-low").stdout
    assert "1 of 1 caught" in told
    assert vmm("mutate", "nobody").exit_code == 65
