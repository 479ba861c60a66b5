"""f(e(S)) = e'(f(S)) at every instruction boundary, for guest systems that nobody thought of."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monitor_machines import bare, virtual
from toy_machines import WORDS, toy
from toy_systems import Q, systems

from vmm.equivalence import lockstep
from vmm.monitors import Allocation

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


THEOREMS = [("trap-and-emulate", "toy/clean"), ("hybrid", "toy/pdp10")]


@pytest.mark.heavy
@pytest.mark.parametrize(("monitor", "name"), THEOREMS)
@settings(few, max_examples=5_000)
@given(data=st.data(), base=st.integers(2, 240), poison=WORDS)
def test_lockstep_of_many_systems(monitor, name, data, base, poison):
    """5,000 systems for each theorem."""
    check(monitor, name, data.draw(systems(name)), "python", base, poison)


@pytest.mark.heavy
@pytest.mark.parametrize("engine_name", ["reference", "python-hot"])
@pytest.mark.parametrize(("monitor", "name"), VIRTUALIZABLE)
@settings(few, max_examples=60)
@given(data=st.data(), base=st.integers(2, 240), poison=WORDS)
def test_lockstep_on_other_engines(monitor, name, engine_name, data, base, poison):
    """On the judge, and with every block compiled at once."""
    check(monitor, name, data.draw(systems(name)), engine_name, base, poison)
