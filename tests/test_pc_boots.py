"""Real firmware and a real kernel: Debian's SeaBIOS, memtest86+ and Linux, unmodified."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest

from emu.devices.disk_image import DiskImage
from emu.engines.native.engine import Native
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.pc.choose import assembled
from emu.pc.expect import Console
from emu.pc.loaders.linux import load_linux
from emu.pc.machine import PcMachine
from tests import transcripts
from tests.initramfs import initramfs
from tests.pc_machines import MEBIBYTE, PROGRAMS, TestPc, WatchedPc, booting, guest_file
from tests.qemu_pc import QemuPc

pytestmark = pytest.mark.heavy

BANNER = "SeaBIOS (version "
INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
echo 1 > /proc/sys/kernel/printk
exec sh
"""
COMMAND_LINE = "console=ttyS0 cryptomgr.notests=1 lpj=10000 panic=-1"
LINUX_MEMORY = 64
LINUX_LIMIT = 900_000_000
MEMTEST_LIMIT = 100_000_000
QEMU_LIMIT = 300_000_000  # microseconds
PROMPT = "/ # " + transcripts.CURSOR
COMMANDS = (
    "echo $((6 * 7)) $(ls / | wc -l)",
    "uname -s -m",
    "for i in 1 2 3; do echo $((i * 1000000007 % 998244353)); done",
    "cat /proc/filesystems",
    "cat /proc/mounts",
    "ls -l /bin",
    "cat /nowhere",
    "cat /proc/interrupts",
)
SAMPLES = (20, 60, 110, 150, 190, 230, 270, 310, 350)  # millions of instructions before them
SAMPLE = 60_000


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


def take_over(other: PcMachine, machine: PcMachine) -> None:
    """Make a machine with the same options the same as another; both have forgotten pages."""
    machine.memory.changed()
    other.board.restore(machine.board.snapshot())
    other.memory.physical.view[:] = machine.memory.physical.view
    other.memory.readable = dict(machine.memory.readable)
    other.memory.writable = dict(machine.memory.writable)
    other.memory.changed()
    other.state.set_values(machine.state.values)
    other.state.count, other.halted = machine.state.count, machine.halted


def test_the_reference_judges_samples() -> None:
    """A hundred thousand instructions here and there in the boot."""
    machine = booting(Python(), disks=[hard_disk()], boot="c").machine
    for start in (0, 1_500_000, 3_000_000, 4_500_000, 5_900_000):
        machine.run(start)
        judge = booting(Reference(), disks=[hard_disk()], boot="c").machine
        take_over(judge, machine)
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


def kernel_file() -> Path:
    (kernel,) = (guest_file("bin/busybox").parent.parent / "boot").glob("vmlinuz-*-686")
    return kernel


def linux(engine: Any) -> WatchedPc:
    pc = WatchedPc(engine, {"pci": False}, LINUX_MEMORY * MEBIBYTE)
    ramdisk = initramfs(guest_file("bin/busybox"), INIT)
    load_linux(pc.machine, kernel_file().read_bytes(), COMMAND_LINE, ramdisk)
    return pc


def judged(machine: PcMachine, judge: PcMachine) -> None:
    """The reference engine goes on from here through the same states."""
    take_over(judge, machine)
    for _ in range(2):
        count = machine.state.count + SAMPLE // 2
        assert looked_at(machine, count) == looked_at(judge, count), f"after {count} instructions"


def judged_start(pc: WatchedPc) -> None:
    """Boot as far as the last sample."""
    judge = linux(Reference()).machine
    for sample in SAMPLES:
        pc.run(sample * 1_000_000)
        judged(pc.machine, judge)


def talk(console: Console, limit: int) -> None:
    """Every command at the prompt, then the end."""
    console.wait("Run /init", limit=limit).wait(PROMPT, limit=limit)
    for command in COMMANDS:
        console.type(command + "\n").wait(PROMPT, limit=limit)
    console.type("poweroff -f\n").wait("reboot: System halted", limit=limit)


def heard_in_qemu(directory: Path) -> bytes:
    """What the same kernel, RAM disk and commands say in QEMU."""
    ramdisk = directory / "initrd.gz"
    ramdisk.write_bytes(initramfs(guest_file("bin/busybox"), INIT))
    with QemuPc(kernel_file(), ramdisk, COMMAND_LINE, LINUX_MEMORY) as qemu:
        talk(qemu.console(), QEMU_LIMIT)
    return qemu.output


def test_linux_boots_to_a_shell_as_in_qemu(record_property: Any, tmp_path: Path) -> None:
    """Debian's kernel and busybox: commands at the prompt, then the end, and every line of QEMU's.

    On the way the reference engine judges half a million instructions, and a second boot passes
    through the same states from beginning to end. QEMU's seconds are with its firmware and with
    the kernel's own decompressor, which do not run here.
    """
    pc, again = linux(Native()), linux(Native())
    judged_start(pc)
    again.run(pc.machine.state.count)  # so that what is typed comes at the same counts
    for boot in (pc, again):
        talk(boot.console(), LINUX_LIMIT)
    assert pc.digests == again.digests
    assert pc.machine.digest() == again.machine.digest()
    began = time.perf_counter()
    heard = heard_in_qemu(tmp_path)
    theirs = time.perf_counter() - began
    assert transcripts.lines(pc.serial.output) == transcripts.lines(heard)
    said = f"{pc.machine.state.count:,} instructions in {pc.seconds:.0f} and "
    said += f"{again.seconds:.0f} s, QEMU {theirs:.1f} s: {again.seconds / theirs:.1f} times"
    record_property("measured", f"{said}; {len(pc.digests)} states equal")


def test_linux_passes_through_the_same_states() -> None:
    """The first twenty million instructions of the boot."""
    python, native = linux(Python()), linux(Native())
    for pc in (python, native):
        pc.run(20_000_000)
    assert python.digests == native.digests
