"""A monitor as a function: from a PC and an allocation to a PC."""

from __future__ import annotations

from collections.abc import Callable

from emu.pc.board import PLAIN
from emu.pc.machine import PcMachine
from emu.pc.memory import storage_for
from emu.pc.options import Options
from vmm.pc.allocation import Allocation
from vmm.pc.control_program import Monitor
from vmm.pc.window import PhysicalWindow

MakeMonitor = Callable[[PcMachine, Allocation], Monitor]


class VirtualPc(PcMachine):
    """A PC whose engine is a monitor, in an allocation of the memory of the PC below.

    Board and time are its own. Its double is a PcMachine with as much memory.
    """

    def __init__(
        self,
        monitor: MakeMonitor,
        below: PcMachine,
        allocation: Allocation,
        *,
        options: Options = PLAIN,
    ) -> None:
        allocation.check(below.memory.ram)
        size = storage_for(allocation.memory)
        storage = PhysicalWindow(below.memory.physical, allocation.base, size)
        storage.array[:] = 0  # nobody's bytes are left in it
        self.monitor = monitor(below, allocation)
        self.below = below
        self.allocation = allocation
        super().__init__(
            self.monitor,
            model=below.isa.model,
            memory=allocation.memory,
            options=options,
            storage=storage,
        )
        self.monitor.attach(self)
