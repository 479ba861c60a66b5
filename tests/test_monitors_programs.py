"""Every toy program runs under every monitor as on the bare machine."""

from __future__ import annotations

import pytest
from monitor_machines import LIMIT, PROGRAMS, expected_output, pair

from vmm.equivalence import lockstep
from vmm.monitors import MONITORS


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("monitor", MONITORS)
def test_program_runs_the_same(monitor, name):
    """Output, exit code, count and the whole state at the end."""
    bare, virtual = pair(monitor, name)
    assert lockstep((bare, virtual), LIMIT, every=LIMIT) is None
    assert virtual.machine.state["r0"] & 0xFF == 0
    assert virtual.output.getvalue() == expected_output(name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_lockstep(name):
    """The same state at every instruction boundary, timer and device interrupts included."""
    assert lockstep(pair("trap-and-emulate", name), 3_000) is None
