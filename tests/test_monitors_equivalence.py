"""f(e(S)) = e'(f(S)) at every instruction boundary, for guest systems that nobody thought of."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monitor_machines import bare, virtual
from toy_machines import WORDS, toy
from toy_systems import Q, systems

from isa.toy import Configuration
from vmm.equivalence import lockstep
from vmm.monitors import Allocation
from vmm.theory import classify

BOUNDARIES = 300
VIRTUALIZABLE = [  # monitor, configuration: what Theorems 1 and 3 promise
    ("trap-and-emulate", "toy/clean"),
    ("trap-and-emulate", "toy/s360"),
    ("hybrid", "toy/clean"),
    ("hybrid", "toy/pdp10"),
    ("hybrid", "toy/popf"),
    ("hybrid", "toy/rdmode"),
    ("hybrid", "toy/pdp11"),
    ("translation", "toy/clean"),
    ("translation", "toy/pdp10"),
    ("translation", "toy/popf"),
    ("translation", "toy/rdmode"),
    ("translation", "toy/pdp11"),
    ("interpretation", "toy/all"),
]
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(monitor, name, system, engine_name, base, poison):
    """Lock-step, and not a word outside of the allocation changed."""
    allocation = Allocation(base * 64, Q)
    options = {"entry": system.entry, "given": system.given, "engine_name": engine_name}
    guest = virtual(
        monitor, toy(name), system.image, allocation=allocation, poison=poison, **options
    )
    double = bare(toy(name), system.image, words=Q, **options)
    assert lockstep((double, guest), BOUNDARIES) is None
    storage = guest.machine.below.memory.array
    if monitor != "translation":  # which has its cache there
        assert (storage[: allocation.base] == poison).all()
    assert (storage[allocation.end :] == poison).all()


@pytest.mark.parametrize(("monitor", "name"), VIRTUALIZABLE)
@few
@given(data=st.data(), base=st.integers(2, 240), poison=WORDS)
def test_lockstep(monitor, name, data, base, poison):
    """A few of each, on the fast engine."""
    check(monitor, name, data.draw(systems(name)), "python", base, poison)


@cache
def verdicts(name):
    return classify(toy(name))


@pytest.mark.heavy  # z3 classifies every configuration first
@pytest.mark.parametrize("monitor", ["trap-and-emulate", "hybrid"])
@pytest.mark.parametrize("name", Configuration.names())
def test_what_the_theorems_promise(monitor, name, record_property):
    """On every configuration for which the condition is derived to hold."""
    found = verdicts(name)
    promised = (found.theorem1 if monitor == "trap-and-emulate" else found.theorem3).holds
    record_property("measured", f"{monitor} on {name}: {'in lock-step' if promised else 'no'}")

    @settings(few, max_examples=60)
    @given(data=st.data(), base=st.integers(2, 240), poison=WORDS)
    def keeps(data, base, poison):
        check(monitor, name, data.draw(systems(name)), "python", base, poison)

    if promised:
        keeps()


THEOREMS = [("trap-and-emulate", "toy/clean"), ("hybrid", "toy/pdp10")]


@pytest.mark.heavy
@pytest.mark.parametrize(("monitor", "name"), THEOREMS)
@settings(few, max_examples=5_000)
@given(data=st.data(), base=st.integers(2, 240), poison=WORDS)
def test_lockstep_of_many_systems(monitor, name, data, base, poison):
    """5,000 systems for each theorem."""
    check(monitor, name, data.draw(systems(name)), "python", base, poison)


OTHERS = {"reference": 40, "python-hot": 40, "native": 10}
"""Systems on other engines; where each block is compiled by LLVM at once, one takes seconds."""


@pytest.mark.heavy
@pytest.mark.parametrize("engine_name", OTHERS)
@pytest.mark.parametrize(("monitor", "name"), VIRTUALIZABLE)
def test_lockstep_on_other_engines(monitor, name, engine_name):
    """On the judge, and with every block compiled at once."""

    @settings(few, max_examples=OTHERS[engine_name])
    @given(data=st.data(), base=st.integers(2, 240), poison=WORDS)
    def keeps(data, base, poison):
        check(monitor, name, data.draw(systems(name)), engine_name, base, poison)

    keeps()
