"""Virtual PCs on one PC: whole systems that do random things neither read, write nor starve each
other under any monitor."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.engines.python import Python
from emu.exit import Exit
from emu.pc.machine import PcMachine
from emu.pc.serial import MemorySerial
from tests.pc_monitor_guests import MEMORY, program, system
from vmm.monitors.allocation import AllocationError
from vmm.pc import MONITORS, VirtualPc
from vmm.pc.allocation import Allocation
from vmm.pc.guest import Guest
from vmm.pc.partitions import PcPartitions, PcRuns, places

QUANTUM, ROUNDS = 150, 6


def start(guests: list[Guest], monitor: str, shares: list[int]) -> PcPartitions:
    found, needed = places([MEMORY] * len(guests))
    below = PcMachine(Python(), model=guests[0].choice.cpu, memory=needed)
    partitions = PcPartitions(below, QUANTUM)
    for number, (guest, allocation) in enumerate(zip(guests, found, strict=True)):
        virtual = guest.virtual_on(MONITORS[monitor], below, allocation, MemorySerial())
        partitions.add(str(number), PcRuns(cast(VirtualPc, virtual.machine)), shares[number])
    return partitions


def check(guests: list[Guest], monitor: str, shares: list[int], rounds: int = ROUNDS) -> None:
    """Every turn is as long as it should be, every run is that of the bare machine."""
    partitions = start(guests, monitor, shares)
    partitions.run(rounds)
    assert partitions.in_control()
    for guest, member in zip(guests, partitions.members, strict=True):
        full = member.share * QUANTUM
        assert all(turn == full for turn in member.turns[: None if member.stop is None else -1])
        assert member.stop is not None or member.ran == full * rounds
        bare = guest.bare(MemorySerial()).machine
        bare.run(member.guest.count + (member.stop is not None))
        assert bare.digest() == member.guest.digest(), f"{monitor}: {member.name}"
        assert cast(PcRuns, member.guest).machine.monitor.shadow.is_confined()


SEEDS = st.lists(st.integers(0, 1 << 32), min_size=2, max_size=2)
SHARES = st.lists(st.integers(1, 3), min_size=2, max_size=2)


@pytest.mark.parametrize("monitor", ["hybrid", "hardware-assist"])
def test_two_random_systems_some(monitor: str) -> None:
    check([system(5), system(6)], monitor, [1, 2])


@pytest.mark.heavy
@pytest.mark.parametrize("monitor", ["hybrid", "translation", "hardware-assist"])
@settings(max_examples=2, deadline=None)
@given(SEEDS, SHARES)
def test_two_random_systems(monitor: str, seeds: list[int], shares: list[int]) -> None:
    check([system(seed) for seed in seeds], monitor, shares, 8)


def test_a_guest_that_stops_leaves_the_processor_to_the_other() -> None:
    partitions = start([program("paging"), program("timer")], "hardware-assist", [40, 1])
    assert partitions.run(3)
    first, second = partitions.members
    assert first.stop == Exit("halt") and len(first.turns) < 3
    assert second.turns == [QUANTUM] * 3


def test_who_may_have_what() -> None:
    (one, other), needed = places([MEMORY, MEMORY])
    assert one.end < other.own
    with pytest.raises(AllocationError, match="page tables"):
        Allocation(other.base, MEMORY, other.base - 4096).check(needed)
    with pytest.raises(AllocationError, match="share"):
        start([program("paging")], "hybrid", [0])
    with pytest.raises(AllocationError, match="quantum"):
        PcPartitions(PcMachine(Python(), memory=1 << 20), 0)


def test_bytes_that_are_nobodys_are_watched() -> None:
    partitions = start([program("paging")], "hardware-assist", [1])
    assert partitions.in_control()
    start_of_nobodys = [start for start, end in partitions.nobodys() if end > start][-1]
    partitions.below.memory.physical.array[start_of_nobodys] = 0
    assert not partitions.in_control()
