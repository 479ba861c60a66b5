"""Every monitor of the PC against the bare PC: what `vmm compare` measures of a PC's guest."""

from __future__ import annotations

import time
from typing import Final, cast

from emu.exit import Exit
from emu.pc.machine import PcMachine
from emu.pc.serial import MemorySerial
from vmm.compare import WARM_UP, Comparison
from vmm.pc import Kinds, Monitor, monitors
from vmm.pc.costs.published import modelled
from vmm.pc.equivalence import first_divergence
from vmm.pc.guest import POISON, Guest
from vmm.pc.hosted.arrangement import NATIVE, host_facts, is_confined
from vmm.pc.machine import VirtualPc
from vmm.pc.paravirtual.guest import NAME as PARAVIRTUAL
from vmm.pc.paravirtual.guest import ParavirtualGuest, ported, porting_cost

LIMIT: Final = 10_000_000
SAME_ENDS: Final = {("halt", "off"), ("until", "until")}  # of a bare guest, and of its port


def compare(
    guest: Guest, limit: int = LIMIT, every: int = 1, kinds: Kinds = (None, None)
) -> list[Comparison]:
    """Every monitor, the bare machine's time being 1; the paravirtual one if there is a port."""
    rows = [compare_one(guest, monitor, limit, every) for monitor in monitors(*kinds).values()]
    if ported(guest.path).is_file():
        rows.append(compare_port(guest, limit))
    return rows


def compare_port(guest: Guest, limit: int = LIMIT) -> Comparison:
    """The guest's port under the paravirtual monitor against the guest on the bare machine.

    The machine has a new interface, so by definition this is no duplicate of the bare one: only
    what comes out can be the same.
    """
    expected, output = MemorySerial(), MemorySerial()
    path = ported(guest.path)
    bare_seconds, ends = timed(guest.bare(expected).machine, limit)
    port = ParavirtualGuest(path, guest.ported(path).choice, output)
    seconds, stop = timed(port, limit)
    same = expected.output == output.output and (ends.reason, stop.reason) in SAME_ENDS
    work = "its output is the same" if same else "and its output differs"
    efficiency = port.domain.efficiency
    return Comparison(
        PARAVIRTUAL,
        f"a new interface, by design: a port, {porting_cost(guest.path, path)}; {work}",
        port.in_control(),
        efficiency.direct_fraction,
        dict(efficiency.exits),
        seconds / bare_seconds,
        bytes(output.output),
        stop.reason,
    )


def compare_one(
    guest: Guest, monitor: type[Monitor], limit: int = LIMIT, every: int = 1
) -> Comparison:
    """One monitor against the bare machine."""
    timed(guest.bare(MemorySerial()).machine, min(limit, WARM_UP))  # not to time imports
    bare_seconds, _ = timed(guest.bare(MemorySerial()).machine, limit)
    output = MemorySerial()
    machine = cast(VirtualPc, guest.virtual(monitor, output).machine)
    seconds, stop = timed(machine, limit)
    efficiency = machine.monitor.efficiency
    divergence, _ = first_divergence(lambda: guest.pair(monitor), limit, every)
    return Comparison(
        monitor.name,
        None if divergence is None else str(divergence),
        in_control(machine),
        efficiency.direct_fraction,
        dict(efficiency.exits),
        seconds / bare_seconds,
        bytes(output.output),
        stop.reason,
        modelled(monitor.name, efficiency.instructions, efficiency.exits)
        if guest.arrangement == NATIVE
        else None,
        host_facts(machine),
    )


def in_control(machine: VirtualPc) -> bool:
    """Whether the guest has changed nothing but its allocation: resource control.

    Bytes that are nobody's are as they were; the real processor has what the monitor put into it;
    the shadow tables, and what a host has mapped, lead nowhere but into the allocation.
    """
    outside = machine.below.memory.physical.array[machine.allocation.end : machine.below.memory.ram]
    kept = machine.monitor.in_control() and is_confined(machine)
    return bool((outside == POISON).all() and kept)


def timed(machine: PcMachine | ParavirtualGuest, limit: int) -> tuple[float, Exit]:
    """Seconds that a run takes, and how it ends."""
    began = time.perf_counter()
    stop = machine.run(machine.state.count + limit)
    return time.perf_counter() - began, stop
