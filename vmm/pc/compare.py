"""Every monitor of the PC against the bare PC: what `vmm compare` measures of a PC's guest."""

from __future__ import annotations

import time
from typing import Final, cast

from emu.exit import Exit
from emu.pc.machine import PcMachine
from emu.pc.serial import MemorySerial
from vmm.compare import WARM_UP, Comparison
from vmm.pc import Monitor, monitors
from vmm.pc.costs.published import modelled
from vmm.pc.equivalence import first_divergence
from vmm.pc.guest import POISON, Guest
from vmm.pc.machine import VirtualPc

LIMIT: Final = 10_000_000


def compare(
    guest: Guest, limit: int = LIMIT, every: int = 1, paging: str | None = None
) -> list[Comparison]:
    """Every monitor, the bare machine's time being 1."""
    return [compare_one(guest, monitor, limit, every) for monitor in monitors(paging).values()]


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
        modelled(monitor.name, efficiency.instructions, efficiency.exits),
    )


def in_control(machine: VirtualPc) -> bool:
    """Whether the guest has changed nothing but its allocation: resource control.

    Bytes that are nobody's are as they were; the real processor has what the monitor put into it;
    the shadow tables lead nowhere but into the allocation.
    """
    outside = machine.below.memory.physical.array[machine.allocation.end : machine.below.memory.ram]
    return bool((outside == POISON).all() and machine.monitor.in_control())


def timed(machine: PcMachine, limit: int) -> tuple[float, Exit]:
    """Seconds that a run takes, and how it ends."""
    began = time.perf_counter()
    stop = machine.run(machine.state.count + limit)
    return time.perf_counter() - began, stop
