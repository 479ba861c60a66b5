"""Linux in qemu-system-i386: another PC, to hear what the same guest says there."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from pathlib import Path

from emu.exit import Exit
from emu.pc.expect import Console
from tests.needs import missing

LOOK = 0.1  # seconds for which output is waited for
MICROSECONDS = 1_000_000  # its console counts these in place of instructions
MACHINE = ("-M", "isapc", "-accel", "tcg", "-nic", "none", "-display", "none", "-no-reboot")
PROCESSOR = "pentium2,-apic"  # Linux takes an APIC to promise tables that a PC without PCI lacks


class QemuPc:
    """A PC without PCI whose serial port is a pipe; leaving the context ends it."""

    def __init__(self, kernel: Path, initrd: Path, command_line: str, megabytes: int) -> None:
        program = shutil.which("qemu-system-i386") or missing("there is no qemu-system-i386")
        command = [program, *MACHINE, "-cpu", PROCESSOR, "-m", str(megabytes)]
        command += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", command_line]
        command += ["-serial", "stdio", "-monitor", "none"]
        self.output = b""
        self._count = 0
        self._began = time.perf_counter()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> QemuPc:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def console(self) -> Console:
        """For `wait` and `type`; limits are microseconds."""
        return Console(self._run, self._now, lambda: self.output.decode("latin-1"), self._send)

    def _now(self) -> int:
        return self._count

    def _run(self, until: int) -> Exit:
        """Take what comes, if anything comes soon."""
        assert self._process.stdout is not None
        ready = select.select([self._process.stdout], [], [], LOOK)[0]
        self._count = min(until, int((time.perf_counter() - self._began) * MICROSECONDS))
        if ready:
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            self.output += data
            if not data:
                return Exit("off")
        return Exit("until")

    def _send(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()
