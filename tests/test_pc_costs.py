"""The nano-benchmarks of Adams and Agesen: events are counted, the rest is the published table."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.parameters import some_fast
from tests.vmm_command import vmm
from vmm.pc.costs.counting import operation
from vmm.pc.costs.published import HARDWARE, SOFTWARE, TABLE, cost, modelled

FAST = ("ptemod",)
EVENTS = {
    "syscall": ({"#GP": 1, "call-out": 1}, {}),
    "in": ({"call-out": 1}, {"I/O instruction (30)": 1}),
    "cr8wr": ({"inline": 2}, {}),
    "callret": ({"indirect": 1}, {}),
    "pgfault": ({"#PF": 1, "call-out": 1}, {"exception (0): true page fault": 1}),
    "divzero": ({"#DE": 1, "call-out": 1}, {}),
    "ptemod": ({"call-out: page table write": 1}, {"exception (0): page table write": 1}),
}
"""What one operation costs under translation, and with hardware assistance and shadow paging."""


@pytest.mark.parametrize("name", some_fast(TABLE, *FAST))
def test_each_operation_costs_its_events(name: str) -> None:
    """And the model's cycles are the published ones, within an eighth, in the same order."""
    found = operation(name, "python", 0)
    assert (found.events["software"], found.events["hardware"]) == EVENTS[name]
    published = TABLE[name]
    assert found.cycles["software"] == pytest.approx(published.software, rel=0.125)
    assert found.cycles["hardware"] == pytest.approx(published.hardware, rel=0.125)
    columns = ("native", "software", "hardware")
    order = sorted(columns, key=lambda column: getattr(published, column))
    assert sorted(columns, key=found.cycles.__getitem__) == order
    if name in ("ptemod", "pgfault"):  # nested paging takes these exits away
        assert (found.events["nested"], found.cycles["nested"]) == ({}, published.native)


def test_the_papers_conclusions_hold_in_the_model() -> None:
    """Hardware assistance of 2006 loses on page tables and I/O and wins on system calls; the ratios
    of the publication."""
    table = {name: (row.software, row.hardware) for name, row in TABLE.items()}
    assert table["ptemod"][1] / table["ptemod"][0] == pytest.approx(32, abs=1)
    assert cost(HARDWARE, "exception (0): page table write") > 30 * cost(
        SOFTWARE, "call-out: page table write"
    )
    assert cost(HARDWARE, "I/O instruction (30)") > 70 * cost(SOFTWARE, "call-out")
    assert TABLE["syscall"].native + cost(SOFTWARE, "#GP") > 9 * TABLE["syscall"].hardware
    assert modelled("hybrid", 1000, {}) is None
    assert modelled("hardware-assist", 1000, {"I/O instruction (30)": 1}) == 16.826


@pytest.mark.heavy
def test_vmm_costs_prints_and_draws(tmp_path: Path) -> None:
    picture = tmp_path / "costs.svg"
    done = vmm("costs", "callret", "ptemod", "--engine", "python", "--repeat", 1, "--plot", picture,
               "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    (one, other) = json.loads(done.stdout)["operations"]
    assert (one["name"], other["name"]) == ("callret", "ptemod")
    assert one["modelled"]["software"] == 51
    assert set(one["measured_ns"]) == {"native", "software", "hardware", "nested"}
    assert len(ET.parse(picture).getroot()) > 20
    shown = vmm("costs", "ptemod", "--repeat", 0)
    assert "12733 /= 12733" in shown.stdout, shown.output
    source = vmm("costs", "in", "--source")
    assert "in al, 0x80" in source.stdout


@pytest.mark.heavy
def test_vmm_bench_times_a_pcs_guest_under_every_monitor() -> None:
    path = Path(__file__).parent.parent / "programs" / "bench" / "pc" / "syscalls.asm"
    done = vmm("bench", path, "--repeat", 5, "--engine", "python", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert [row["name"] for row in facts["monitors"]][-1] == "interpretation"
    assert all(row["slowdown"] > 0 and row["complete"] for row in facts["monitors"])
