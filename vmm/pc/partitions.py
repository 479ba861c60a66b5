"""Several guests on one PC: each has memory of its own, and they take turns.

A turn is `share` times the quantum of the guest's own instructions, exactly; what the control
program does in between is nobody's time. Bytes that are nobody's hold POISON. A guest is a virtual
PC under a monitor, or a domain of the paravirtual monitor; all are of one kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from emu.devices.ns16550 import SerialBackend
from emu.exit import Exit
from emu.memory import PAGE_BITS, PAGE_SIZE
from emu.pc.guest import Choice
from emu.pc.machine import PcMachine
from vmm.monitors.allocation import AllocationError
from vmm.monitors.efficiency import Efficiency
from vmm.pc.allocation import LEAST, OWN, Allocation
from vmm.pc.machine import VirtualPc
from vmm.pc.paravirtual.audit import violations
from vmm.pc.paravirtual.builder import build
from vmm.pc.paravirtual.clock import VirtualClock
from vmm.pc.paravirtual.domain import Domain
from vmm.pc.paravirtual.hypervisor import Hypervisor

POISON: Final = 0xA5
QUANTUM: Final = 1000


class Runs(Protocol):
    """A guest that takes turns."""

    allocation: Allocation
    efficiency: Efficiency

    @property
    def count(self) -> int:
        """Its time."""

    def run(self, until: int) -> Exit:
        """Run until its count reaches `until`, exactly, or it stops."""

    def digest(self) -> str:
        """One number for all that it could notice."""


@dataclass(slots=True)
class Member:
    """A guest and what it has of the machine; `stop` once it runs no more."""

    name: str
    guest: Runs
    share: int
    began: int = 0
    stop: Exit | None = None
    turns: list[int] = field(default_factory=list)  # instructions of each

    @property
    def ran(self) -> int:
        """Instructions since it was started."""
        return self.guest.count - self.began


class PcPartitions:
    """A PC, the guests on it, and whose turn it is."""

    def __init__(self, below: PcMachine, quantum: int = QUANTUM) -> None:
        if quantum < 1:
            raise AllocationError(f"a quantum of {quantum} instructions: give 1 or more")
        self.below = below
        self.quantum = quantum
        self.members: list[Member] = []
        below.memory.physical.array[: below.memory.ram] = POISON

    def add(self, name: str, guest: Runs, share: int = 1) -> Member:
        """Let a guest take turns, too; its own comes last."""
        if share < 1:
            raise AllocationError(f"{name}: a share of {share}; give 1 or more")
        member = Member(name, guest, share, guest.count)
        self.members.append(member)
        return member

    def run(self, rounds: int, limit: int | None = None) -> bool:
        """Let everybody have so many turns, or until each has run `limit` instructions.

        False if nobody can go on.
        """
        for _ in range(rounds):
            went_on = [self._turn(member, limit) for member in self.members]
            if not any(went_on):
                return False
        return True

    def _turn(self, member: Member, limit: int | None) -> bool:
        """A turn; whether the guest did anything. Who sleeps until somebody wakes it is passed."""
        if member.stop is not None:
            return False
        room = member.share * self.quantum
        if limit is not None:
            room = min(room, limit - member.ran)
        if room <= 0:
            return False
        began = member.guest.count
        stop = member.guest.run(began + room)
        if stop.reason not in ("until", "blocked"):
            member.stop = stop
        member.turns.append(member.guest.count - began)
        return member.guest.count > began or member.stop is not None

    def nobodys(self) -> Iterator[tuple[int, int]]:
        """Where bytes lie that no guest and no monitor has."""
        end = 0
        for allocation in sorted((m.guest.allocation for m in self.members), key=_own):
            yield end, allocation.own
            end = allocation.end
        yield end, self.below.memory.ram

    def in_control(self) -> bool:
        """Whether all bytes that are nobody's are as they were."""
        array = self.below.memory.physical.array
        return all(bool((array[start:end] == POISON).all()) for start, end in self.nobodys())


def _own(allocation: Allocation) -> int:
    return allocation.own


class DomainRuns:
    """A domain of the paravirtual monitor, as a guest that takes turns."""

    def __init__(self, monitor: Hypervisor, domain: Domain, allocation: Allocation) -> None:
        self._monitor = monitor
        self.domain = domain
        self.allocation = allocation
        self.efficiency = domain.efficiency

    @property
    def count(self) -> int:
        """See `Runs`."""
        return self.domain.count

    def run(self, until: int) -> Exit:
        """See `Runs`."""
        return self._monitor.run(self.domain, until)

    def digest(self) -> str:
        """Its registers, time and memory, lent pages included."""
        monitor, domain = self._monitor, self.domain
        values = monitor.state.values if monitor.current is domain else domain.values
        offset = monitor.state.isa.registers["tsc_offset"].slot
        kept = [value for slot, value in enumerate(values) if slot != offset]
        found = hashlib.sha256(repr((domain.count, domain.ended, domain.why, kept)).encode())
        array = monitor.below.memory.physical.array
        for frame in (*domain.memory, domain.shared.address >> PAGE_BITS,
                      domain.grants.table >> PAGE_BITS):  # fmt: skip
            if frame >= 0:
                found.update(array[frame * PAGE_SIZE :][:PAGE_SIZE].tobytes())
        return found.hexdigest()


class PcRuns:
    """A virtual PC under a monitor, as a guest that takes turns."""

    def __init__(self, machine: VirtualPc) -> None:
        self.machine = machine
        self.allocation = machine.allocation
        self.efficiency = machine.monitor.efficiency

    @property
    def count(self) -> int:
        """See `Runs`."""
        return self.machine.state.count

    def run(self, until: int) -> Exit:
        """See `Runs`."""
        return self.machine.run(until)

    def digest(self) -> str:
        """See `Runs`."""
        return self.machine.digest()


def places(sizes: list[int]) -> tuple[list[Allocation], int]:
    """Room for guests of so much memory, one behind the other, each behind its monitor's pages and
    some that are nobody's; how much the machine below needs."""
    found, end = [], LEAST
    for size in sizes:
        allocation = Allocation(end + OWN, size, end)
        found.append(allocation)
        end = allocation.end + LEAST
    return found, end


def start_domain(
    monitor: Hypervisor, number: int, allocation: Allocation, choice: Choice,
    console: SerialBackend,
) -> DomainRuns:  # fmt: skip
    """A domain with its kernel."""
    domain = monitor.add(allocation, console, VirtualClock(choice.mips), number)
    build(monitor, domain, choice.kernel, choice.append)
    return DomainRuns(monitor, domain, allocation)


def domains_hold(monitor: Hypervisor) -> bool:
    """Whether the audit of direct paging finds nothing."""
    return next(violations(monitor), None) is None
