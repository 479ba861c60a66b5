"""Real firmware and a real kernel: Debian's SeaBIOS, memtest86+ and Linux, unmodified."""

from __future__ import annotations

import io
from typing import Any

import pytest

from emu.devices.disk_image import DiskImage
from emu.engines.native.engine import Native
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.pc.choose import assembled
from emu.pc.loaders.linux import load_linux
from emu.pc.machine import PcMachine
from tests.initramfs import initramfs
from tests.pc_machines import MEBIBYTE, PROGRAMS, TestPc, booting, guest_file

pytestmark = pytest.mark.heavy

BANNER = "SeaBIOS (version "
INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
exec sh
"""
COMMAND_LINE = "console=ttyS0 cryptomgr.notests=1 lpj=10000 panic=-1"
LINUX_LIMIT = 900_000_000
MEMTEST_LIMIT = 100_000_000


def hard_disk() -> DiskImage:
    """Eight MiB that begin with our boot sector."""
    path = PROGRAMS / "hello.asm"
    data = assembled(path.read_text(), path)
    return DiskImage.of(data + bytes(8 * MEBIBYTE - len(data)))


@pytest.mark.parametrize("pci", [True, False])
@pytest.mark.parametrize("engine", [Python, Native])
def test_seabios_boots_a_hard_disk(engine: Any, pci: bool) -> None:
    log = io.BytesIO()
    pc = booting(engine(), disks=[hard_disk()], pci=pci, boot="c", debug_output=log)
    assert pc.run(60_000_000) == Exit("halt")
    assert pc.output == "Hello, bare machine!\n"
    assert log.getvalue().decode().startswith(BANNER)
    assert "Booting from Hard Disk" in log.getvalue().decode()


def test_seabios_shows_its_banner() -> None:
    pc = booting(Native())
    pc.console(screen=True).wait(BANNER, limit=20_000_000)


def test_two_boots_are_one() -> None:
    """On both engines, looked at every quarter of a million instructions."""
    machines = [booting(e, disks=[hard_disk()], boot="c").machine for e in (Python(), Native())]
    for count in range(250_000, 6_250_000, 250_000):
        python, native = (looked_at(machine, count) for machine in machines)
        assert python == native, f"after {count} instructions"


def looked_at(machine: PcMachine, count: int) -> str:
    machine.run(count)
    return machine.digest()


def copied(machine: PcMachine, engine: Any) -> PcMachine:
    """The same machine on another engine."""
    other = booting(engine, disks=[hard_disk()], boot="c").machine
    other.board.restore(machine.board.snapshot())
    other.memory.physical.view[:] = machine.memory.physical.view
    other.memory.readable = dict(machine.memory.readable)
    other.memory.writable = dict(machine.memory.writable)
    other.memory.changed()
    other.state.set_values(machine.state.values)
    other.state.count, other.halted = machine.state.count, machine.halted
    return other


def test_the_reference_judges_samples() -> None:
    """A hundred thousand instructions here and there in the boot."""
    machine = booting(Python(), disks=[hard_disk()], boot="c").machine
    for start in (0, 1_500_000, 3_000_000, 4_500_000, 5_900_000):
        machine.run(start)
        judge = copied(machine, Reference())
        for count in range(start + 20_000, start + 100_001, 20_000):
            machine.run(count)
            assert looked_at(judge, count) == machine.digest(), f"after {count} instructions"


def test_memtest86_finds_no_error() -> None:
    """Debian's memtest86+ passes its first tests; it delays by the time stamp, moves itself in
    memory and tests where it was."""
    pc = TestPc(Native(), {}, 6 * MEBIBYTE)
    load_linux(pc.machine, guest_file("boot/memtest86+ia32.bin").read_bytes(), "", b"")
    console = pc.console(screen=True).wait("Memtest86+ v", limit=MEMTEST_LIMIT)
    for test in (0, 2, 3, 4):  # test 1 is over between two looks
        console.wait(f"Test #{test}", limit=MEMTEST_LIMIT)
        assert "Errors: 0" in pc.output


# -- Linux -----------------------------------------------------------------------------------------


def linux(engine: Any) -> TestPc:
    pc = TestPc(engine, {"pci": False}, 64 * MEBIBYTE)
    boot = guest_file("bin/busybox").parent.parent / "boot"
    (kernel,) = boot.glob("vmlinuz-*-686")
    ramdisk = initramfs(guest_file("bin/busybox"), INIT)
    load_linux(pc.machine, kernel.read_bytes(), COMMAND_LINE, ramdisk)
    return pc


def test_linux_boots_to_a_shell(record_property: Any) -> None:
    """Debian's kernel and busybox: commands at the prompt, then the end."""
    pc = linux(Native())
    console = pc.console()
    console.wait("Run /init", limit=LINUX_LIMIT).wait("# ", limit=LINUX_LIMIT)
    record_property("measured", f"{pc.machine.state.count:,} instructions to the prompt")
    console.type("echo $((6 * 7)) $(ls / | wc -l)\n").wait("42 6", limit=LINUX_LIMIT)
    console.type("uname -s -m\n").wait("Linux i686", limit=LINUX_LIMIT)
    console.type("cat /proc/interrupts\n").wait("timer", limit=LINUX_LIMIT)
    console.type("poweroff -f\n").wait("reboot: ", limit=LINUX_LIMIT)


def test_linux_passes_through_the_same_states() -> None:
    """The first twenty million instructions of the boot."""
    python, native = linux(Python()).machine, linux(Native()).machine
    for count in range(1_000_000, 20_000_001, 1_000_000):
        assert looked_at(native, count) == looked_at(python, count), f"after {count} instructions"
