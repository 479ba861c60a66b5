"""PCs for tests: a program of programs/x86/pc on any engine, and where real guests' files are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from emu.devices.disk_image import DiskImage
from emu.exit import UNTIL, Exit
from emu.pc.choose import FLOPPY, assembled
from emu.pc.expect import Console
from emu.pc.kinds import SECTOR, is_kernel
from emu.pc.loaders.firmware import load_firmware, read_firmware, video_firmware
from emu.pc.loaders.multiboot import load_multiboot
from emu.pc.machine import PcMachine
from emu.pc.options import Options
from emu.pc.screen import text
from emu.pc.serial import MemorySerial
from tests.needs import missing

PROGRAMS = Path(__file__).parent.parent / "programs" / "x86" / "pc"
MEBIBYTE = 1 << 20
GUESTS = "POPEK_PC_GUESTS"  # names a directory into which Debian's packages are unpacked


def guest_file(path: str) -> Path:
    """A file of an unpacked package; the test is skipped (under CI failed) without it."""
    for root in (os.environ.get(GUESTS), "/"):
        if root and (found := Path(root) / path).is_file():
            return found
    return missing(f"there is no {path}; {GUESTS} names a directory with unpacked packages")


class TestPc:
    """A machine with its serial port's output."""

    __test__ = False

    def __init__(
        self,
        engine: Any,
        options: dict[str, Any],
        memory: int = 16 * MEBIBYTE,
        model: str = "pentium2",
    ) -> None:
        self.serial = MemorySerial()
        chosen = Options(serial=[self.serial], **options)
        self.machine = PcMachine(engine, model=model, memory=memory, options=chosen)

    @property
    def output(self) -> str:
        """What came out of the serial port, else what stands on the screen."""
        if self.serial.output:
            return self.serial.output.decode("latin-1").replace("\r", "")
        assert self.machine.board.vga is not None
        return text(self.machine.board.vga) + "\n"

    def run(self, until: int) -> Exit:
        """See `PcMachine.run`."""
        return self.machine.run(until)

    def console(self, *, screen: bool = False) -> Console:
        """For `wait` and `type`: the serial port, or the screen and the keyboard."""
        machine, port = self.machine, self.machine.board.serial[0]

        def shown() -> str:
            assert machine.board.vga is not None
            return text(machine.board.vga)

        return Console(
            self.run,
            lambda: machine.state.count,
            shown if screen else lambda: self.serial.output.decode("latin-1"),
            (lambda t: machine.board.typist.type(t, machine.state.count))
            if screen
            else lambda t: port.feed(t.encode(), machine.state.count),
            is_stream=not screen,
        )


class WatchedPc(TestPc):
    """Looked at after every million instructions."""

    STEP = 1_000_000

    def __init__(self, engine: Any, options: dict[str, Any], memory: int = 16 * MEBIBYTE) -> None:
        super().__init__(engine, options, memory)
        self.digests: list[str] = []
        self.seconds = 0.0  # that the machine ran, without the looks

    def run(self, until: int) -> Exit:
        """See `PcMachine.run`."""
        state = self.machine.state
        while True:
            look = (len(self.digests) + 1) * self.STEP
            began = time.perf_counter()
            stop = self.machine.run(min(look, until))
            self.seconds += time.perf_counter() - began
            if state.count == look:
                self.digests.append(self.machine.digest())
            if stop != UNTIL or state.count >= until:
                return stop


def program(name: str, engine: Any, typed: str = "") -> TestPc:
    """A program of ours: a Multiboot kernel, or a floppy disk under SeaBIOS."""
    path = PROGRAMS / f"{name}.asm"
    data = assembled(path.read_text(), path)
    if is_kernel(data):
        pc = TestPc(engine, {})
        load_multiboot(pc.machine, data, "", [])
    else:
        image = DiskImage.of(data + bytes(FLOPPY * SECTOR - len(data)))
        pc = booting(engine, floppies=[image])
    pc.machine.board.typist.type(typed, 10_000_000)
    return pc


def booting(engine: Any, memory: int = 16 * MEBIBYTE, **options: Any) -> TestPc:
    """A PC with SeaBIOS and its VGA BIOS in ROM."""
    bios = guest_file("usr/share/seabios/bios.bin")
    pc = TestPc(engine, {"firmware_files": video_firmware(bios), "boot": "ac", **options}, memory)
    load_firmware(pc.machine, read_firmware(bios), pci=pc.machine.board.options.pci)
    return pc
