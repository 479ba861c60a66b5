"""SSE under an unmodified Linux on a PC: the kernel's frames of signals, and its switches."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from emu.engines.native.engine import Native
from emu.pc.loaders.linux import load_linux
from tests.c_programs import compiled
from tests.initramfs import initramfs
from tests.pc_machines import MEBIBYTE, TestPc, guest_file
from tests.test_pc_boots import COMMAND_LINE, LINUX_LIMIT, LINUX_MEMORY, kernel_file

pytestmark = pytest.mark.heavy

FOR_SSE = ("-msse2", "-mfpmath=sse")
INIT = """#!/bin/sh
mount -t proc proc /proc
echo 1 > /proc/sys/kernel/printk
cat /proc/cpuinfo
sse_signals > /a | sse_signals > /b | sse_errors > /c
for f in a b c; do echo "<$f"; cat /$f; echo ">"; done
poweroff -f
"""


def between(text: str, start: str, end: str) -> str:
    """What stands between two lines."""
    return text.partition(f"{start}\n")[2].partition(f"{end}\n")[0]


def test_linux_on_a_pentium_4(tmp_path: Path) -> None:
    """It finds SSE2, and what programs print that look at their frames, three of them at a time, is
    what they print on the host."""
    programs = {n: compiled(n, tmp_path, *FOR_SSE) for n in ("sse_signals", "sse_errors")}
    expected = {
        name: subprocess.run([path], check=False, capture_output=True).stdout.decode()
        for name, path in programs.items()
    }
    images = {name: path.read_bytes() for name, path in programs.items()}
    pc = TestPc(Native(), {"pci": False}, LINUX_MEMORY * MEBIBYTE, "pentium4")
    ramdisk = initramfs(guest_file("bin/busybox"), INIT, images)
    load_linux(pc.machine, kernel_file().read_bytes(), COMMAND_LINE, ramdisk)
    pc.console().wait("reboot: System halted", limit=LINUX_LIMIT)
    assert " fxsr sse sse2 " in between(pc.output, "processor\t: 0", "<a")
    assert between(pc.output, "<c", ">") == expected["sse_errors"]
    assert between(pc.output, "<a", ">") == expected["sse_signals"]
    assert between(pc.output, "<b", ">") == expected["sse_signals"]
