"""The PC's monitors: equal to the bare PC in lock-step, and where trap-and-emulate is not."""

from __future__ import annotations

import pytest

from tests.pc_machines import PROGRAMS
from tests.pc_monitor_guests import (
    HARMLESS,
    PROGRAM,
    SUPERVISOR,
    in_ring_0,
    in_ring_3,
    program,
    system,
)
from vmm.pc import MONITORS
from vmm.pc.compare import in_control
from vmm.pc.equivalence import Divergence, Pair, first_divergence
from vmm.pc.guest import Guest

LIMIT = 20_000
CURES = [name for name in MONITORS if name != "trap-and-emulate"]


def diverges(guest: Guest, monitor: str, limit: int = LIMIT) -> tuple[Divergence | None, Pair]:
    """The first divergence; resource control holds whatever happens."""
    found, pair = first_divergence(lambda: guest.pair(MONITORS[monitor]), limit)
    assert in_control(pair.virtual)
    return found, pair


@pytest.mark.parametrize("name", SUPERVISOR)
def test_trap_and_emulate_fails_at_the_critical_instruction(name: str) -> None:
    found, _ = diverges(in_ring_0(*SUPERVISOR[name]), "trap-and-emulate")
    assert found is not None
    assert found.instruction.split()[0] == name, str(found)
    assert "critical" in found.why


@pytest.mark.parametrize("monitor", CURES)
@pytest.mark.parametrize("name", SUPERVISOR)
def test_the_cures_hold_on_it(name: str, monitor: str) -> None:
    found, _ = diverges(in_ring_0(*SUPERVISOR[name]), monitor)
    assert found is None, str(found)


@pytest.mark.parametrize("name", PROGRAM)
def test_ring_3_may_hinder_the_hybrid_monitor_unless_there_is_umip(name: str) -> None:
    """Theorem 3: what is user sensitive and does not trap; all of it traps with UMIP."""
    found, _ = diverges(in_ring_3(PROGRAM[name]), "hybrid")
    assert found is not None
    assert found.instruction.split()[0] == name, str(found)
    found, _ = diverges(in_ring_3(PROGRAM[name], umip=True), "hybrid")
    assert found is None, str(found)


@pytest.mark.parametrize("body", HARMLESS)
def test_the_rest_of_ring_3_does_not_hinder_it(body: str) -> None:
    found, pair = diverges(in_ring_3(body), "hybrid")
    assert found is None, str(found)
    assert pair.virtual.monitor.efficiency.entries


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("monitor", CURES)
def test_systems_from_a_seed(monitor: str, seed: int) -> None:
    found, _ = diverges(system(seed), monitor)
    assert found is None, str(found)
