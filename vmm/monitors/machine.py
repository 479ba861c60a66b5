"""A monitor as a function: from a Machine and an allocation to a Machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import BinaryIO

from emu.toy.machine import ToyMachine
from emu.toy.memory import WindowMemory
from isa.toy import Toy
from vmm.monitors.allocation import Allocation
from vmm.monitors.control_program import Monitor

MakeMonitor = Callable[[ToyMachine, Allocation, Toy], Monitor]


@lru_cache(maxsize=64)
def smaller(isa: Toy, words: int) -> Toy:
    """The same instruction set with `words` of storage: what a virtual machine is a machine of."""
    return isa.with_storage(words)


class VirtualMachine(ToyMachine):
    """A machine whose engine is a monitor, in an allocation of the machine below.

    Devices, console and time are its own. `bare()` in the equivalence checker is its double.
    """

    memory: WindowMemory

    def __init__(
        self,
        monitor: MakeMonitor,
        below: ToyMachine,
        allocation: Allocation,
        image: Sequence[int] = (),
        *,
        entry: int = 0,
        output: BinaryIO | None = None,
        source: BinaryIO | None = None,
        disk: bytes = b"",
    ) -> None:
        allocation.check(below.isa)
        isa = smaller(below.isa, allocation.words)
        memory = WindowMemory(below.memory, allocation.base, allocation.words)
        memory.write(0, [0] * allocation.words)  # nobody's words are left in it
        self.monitor = monitor(below, allocation, isa)
        self.below = below
        self.allocation = allocation
        super().__init__(
            isa, image, engine=self.monitor, entry=entry, output=output, source=source, disk=disk,
            memory=memory,
        )  # fmt: skip
