"""`vmm partition` for guests of the PC."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from emu.cli.run import size
from emu.devices.ns16550 import SerialBackend
from emu.engines import make_engine
from emu.errors import GuestFileError
from emu.pc.machine import PcMachine
from emu.pc.serial import MemorySerial, Silent
from vmm.partitions import Labelled
from vmm.pc.allocation import Allocation
from vmm.pc.commands import find_monitor, opened
from vmm.pc.guest import Guest
from vmm.pc.machine import VirtualPc
from vmm.pc.paravirtual.guest import NAME as PARAVIRTUAL
from vmm.pc.paravirtual.hypervisor import Hypervisor
from vmm.pc.partitions import (
    Member,
    PcPartitions,
    PcRuns,
    Runs,
    domains_hold,
    places,
    start_domain,
)

if TYPE_CHECKING:
    from vmm.commands_partitions import Asked

MEMORY: Final = "16M"
ROUNDS: Final = 1 << 40


class LabelledSerial(Silent):
    """What a guest prints, with its name before every line."""

    def __init__(self, label: str) -> None:
        self.lines = Labelled(sys.stdout.buffer, label)

    def write(self, data: bytes) -> None:
        """A line is shown once it is whole."""
        self.lines.write(data)


@dataclass(slots=True)
class Plan:
    """The guests by name, where each lies, and the machine that they need."""

    guests: dict[str, Guest]
    places: dict[str, Allocation]
    needed: int
    monitor: str
    quantum: int
    engine: str

    def below(self) -> PcMachine:
        """A machine that is large enough; all processors are alike."""
        first = next(iter(self.guests.values()))
        return PcMachine(make_engine(self.engine), model=first.choice.cpu, memory=self.needed)


def partition_pcs(asked: Asked, limit: int, *, as_json: bool) -> int:
    """Run guests side by side; 0 if each ran as it does alone, and all bytes are accounted for."""
    plan = _plan(asked)
    width = max(map(len, plan.guests))
    outputs = {name: LabelledSerial(f"{name:<{width}} | ") for name in plan.guests}
    shares = _numbers(asked.shares, plan.guests)
    started = {name: (outputs[name], shares.get(name, 1)) for name in plan.guests}
    partitions, monitor = start(plan, started)
    partitions.run(ROUNDS, limit)
    for output in outputs.values():
        output.lines.finish()
    sys.stdout.flush()
    control = partitions.in_control() and (monitor is None or domains_hold(monitor))
    rows = [_facts(plan, member) for member in partitions.members]
    facts = {"monitor": asked.monitor, "quantum": asked.quantum, "resource_control": control,
             "partitions": rows}  # fmt: skip
    print(json.dumps(facts) if as_json else "\n".join(_table(rows, control)), file=sys.stderr)
    return 0 if control and all(row["equivalent"] for row in rows) else 1


def _plan(asked: Asked) -> Plan:
    from vmm.commands_partitions import names

    called = names(asked.guests)
    sizes = _sizes(asked.sizes, called)
    guests = {
        name: opened(path, asked.isa, asked.engine, sizes.get(name, MEMORY), "")
        for name, path in zip(called, asked.guests, strict=True)
    }
    found, needed = places([guest.choice.memory for guest in guests.values()])
    if asked.monitor != PARAVIRTUAL:
        find_monitor(asked.monitor)
    placed = dict(zip(called, found, strict=True))
    return Plan(guests, placed, needed, asked.monitor, asked.quantum, asked.engine)


def start(
    plan: Plan, started: Mapping[str, tuple[SerialBackend, int]]
) -> tuple[PcPartitions, Hypervisor | None]:
    """Some of the plan's guests, each where it belongs, with its serial port and its share."""
    partitions = PcPartitions(plan.below(), plan.quantum)
    monitor = Hypervisor(partitions.below) if plan.monitor == PARAVIRTUAL else None
    for number, name in enumerate(plan.guests):
        if name in started:
            serial, share = started[name]
            runs = _start(plan, name, number, partitions.below, monitor, serial)
            partitions.add(name, runs, share)
    return partitions, monitor


def _start(
    plan: Plan, name: str, number: int, below: PcMachine, monitor: Hypervisor | None,
    serial: SerialBackend,
) -> Runs:  # fmt: skip
    guest, allocation = plan.guests[name], plan.places[name]
    if monitor is not None:
        return start_domain(monitor, number, allocation, guest.choice, serial)
    virtual = guest.virtual_on(find_monitor(plan.monitor), below, allocation, serial)
    return PcRuns(cast(VirtualPc, virtual.machine))


def _alone(plan: Plan, member: Member) -> str:
    """What the guest would be without the others: on the bare machine, or as the one that runs."""
    ends = member.guest.count + (member.stop is not None)  # what stopped it may not have retired
    if plan.monitor != PARAVIRTUAL:
        bare = plan.guests[member.name].bare(MemorySerial()).machine
        bare.run(ends)
        return bare.digest()
    others = {name: (MemorySerial(), 1) for name in plan.guests}  # they are there, and never run
    alone, _ = start(plan, others)
    (same,) = (other.guest for other in alone.members if other.name == member.name)
    same.run(ends)
    return same.digest()


def _facts(plan: Plan, member: Member) -> dict[str, Any]:
    allocation = member.guest.allocation
    return {
        "name": member.name,
        "base": allocation.base,
        "memory": allocation.memory,
        "share": member.share,
        "instructions": member.ran,
        "stop": "limit" if member.stop is None else member.stop.reason,
        "equivalent": _alone(plan, member) == member.guest.digest(),
        "direct_fraction": round(member.guest.efficiency.direct_fraction, 6),
    }


def _table(rows: list[dict[str, Any]], control: bool) -> list[str]:
    lines = [
        f"{'partition':<14}{'memory':<20}{'share':>6}{'instructions':>14}  {'stop':<8}"
        f"{'direct':>9}  as alone"
    ]
    for row in rows:
        where = f"{row['memory'] >> 20}M at {row['base']:#x}"
        lines.append(
            f"{row['name']:<14}{where:<20}{row['share']:>6}{row['instructions']:>14}  "
            f"{row['stop']:<8}{row['direct_fraction']:>9.2%}  "
            f"{'yes' if row['equivalent'] else 'NO'}"
        )
    verdict = "as they were" if control else "CHANGED: no resource control"
    return [*lines, f"bytes that are nobody's: {verdict}"]


def _numbers(texts: tuple[str, ...], guests: dict[str, Guest]) -> dict[str, int]:
    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        if name not in guests or not (value.isascii() and value.isdigit()):
            raise GuestFileError(
                f"--share {text} cannot be read",
                advice=f"Write NAME=NUMBER; names are {', '.join(guests)}",
            )
        found[name] = int(value)
    return found


def _sizes(texts: tuple[str, ...], called: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        if name not in called:
            raise GuestFileError(
                f"--memory {text} cannot be read",
                advice=f"Write NAME=SIZE; names are {', '.join(called)}",
            )
        size(value)
        found[name] = value
    return found
