"""Debian's Linux, unmodified, in virtual machines: from its first instruction to a shell, and off.

What it says, with its times and counts of interrupts, and after how many instructions it is off
must be the bare machine's. With the bare machine that is seven minutes of CPU.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from emu.engines.native.engine import Native
from emu.pc.loaders.linux import load_linux
from emu.pc.machine import PcMachine
from emu.pc.options import Options
from emu.pc.serial import MemorySerial
from tests.initramfs import initramfs
from tests.pc_machines import MEBIBYTE, TestPc, guest_file
from tests.test_pc_boots import COMMAND_LINE, INIT, LINUX_LIMIT, LINUX_MEMORY, kernel_file, talk
from vmm.pc import HardwareAssist, Monitor, Translation, VirtualPc, allocation_for

pytestmark = pytest.mark.heavy


class Boot(TestPc):
    """A machine with Linux in it: a virtual one if there is a monitor."""

    def __init__(self, monitor: type[Monitor] | None) -> None:
        self.serial = MemorySerial()
        memory, options = LINUX_MEMORY * MEBIBYTE, Options(serial=[self.serial], pci=False)
        if monitor is None:
            self.machine = PcMachine(Native(), memory=memory, options=options)
        else:
            allocation, needed = allocation_for(memory)
            below = PcMachine(Native(), memory=needed)
            self.machine = VirtualPc(monitor, below, allocation, options=options)
        ramdisk = initramfs(guest_file("bin/busybox"), INIT)
        load_linux(self.machine, kernel_file().read_bytes(), COMMAND_LINE, ramdisk)

    def told(self) -> tuple[str, int]:
        """Boot, talk at the prompt, switch off: all that was said, and how long it took."""
        talk(self.console(), LINUX_LIMIT)
        return self.serial.output.decode("latin-1"), self.machine.state.count


@cache
def expected() -> tuple[str, int]:
    """On the bare machine."""
    return Boot(None).told()


@pytest.mark.parametrize("monitor", [HardwareAssist, Translation])
def test_linux_boots_to_a_shell_as_on_the_bare_machine(
    monitor: type[Monitor], record_property: Any
) -> None:
    boot = Boot(monitor)
    said, count = boot.told()
    assert said == expected()[0]
    assert count == expected()[1]
    machine = boot.machine
    assert isinstance(machine, VirtualPc)
    assert machine.monitor.in_control()
    efficiency = machine.monitor.efficiency
    assert efficiency.direct_fraction > 0.99
    record_property("measured", dict(efficiency.exits))
