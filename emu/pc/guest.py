"""A guest on the PC: what `emu run --machine pc` loads, and how its run ends."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emu.devices.disk_image import DiskImage
from emu.engines import Engine, make_engine
from emu.errors import GuestFileError, LoaderError
from emu.exit import Exit
from emu.pc.loaders.firmware import load_firmware, read_firmware
from emu.pc.loaders.linux import is_linux, load_linux
from emu.pc.loaders.multiboot import find_header, load_multiboot
from emu.pc.machine import PcMachine
from emu.pc.options import Options
from emu.pc.serial import serial_backend
from emu.report import EXIT_LIMIT, EXIT_SHUTDOWN, EXIT_UNIMPLEMENTED, Report
from isa.fault import Fault
from isa.x86.vectors import NAMES

SIGNATURE: Final = b"\x55\xaa"  # at the end of a boot sector
SECTOR: Final = 512
LARGEST_FLOPPY: Final = 2880 << 10
FLOPPY: Final = 1440 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a user can say of a PC, spelled as QEMU's users expect."""

    engine: str = "auto"
    cpu: str = "pentium2"
    memory: int = 64 << 20
    mips: int = 10
    bios: Path | None = None
    floppies: tuple[Path, ...] = ()
    disks: tuple[Path, ...] = ()
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    serial: tuple[str, ...] = ()
    boot: str = "ac"
    pci: bool = True
    writable: bool = False


class PcGuest:
    """A PC with its guest loaded."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.engine: Engine = make_engine(choice.engine)
        self.machine = PcMachine(
            self.engine, model=choice.cpu, memory=choice.memory, options=self._options()
        )
        self.state = self.machine.state
        if choice.kernel is None:
            load_firmware(self.machine, read_firmware(choice.bios), pci=choice.pci)
        else:
            self._load_kernel(choice.kernel)
        self._began = time.perf_counter()

    def _options(self) -> Options:
        choice = self.choice
        return Options(
            mips=choice.mips,
            floppies=[DiskImage.open(path, writable=choice.writable) for path in choice.floppies],
            disks=[DiskImage.open(path, writable=choice.writable) for path in choice.disks],
            serial=[serial_backend(text) for text in choice.serial],
            boot=choice.boot,
            pci=choice.pci,
        )

    def _load_kernel(self, path: Path) -> None:
        from emu.guests import read_file

        data = read_file(path)
        initrd = b"" if self.choice.initrd is None else read_file(self.choice.initrd)
        try:
            if is_linux(data):
                load_linux(self.machine, data, self.choice.append, initrd)
            elif find_header(data) is not None:
                modules = [(initrd, str(self.choice.initrd))] if initrd else []
                load_multiboot(self.machine, data, self.choice.append, modules)
            else:
                raise LoaderError(
                    "This is no kernel",
                    why="it has neither a Linux setup header nor a Multiboot header",
                    advice="Give a bzImage or a Multiboot kernel",
                )
        except LoaderError as error:
            what = f"{path}: {error.what}"
            raise LoaderError(what, where=error.where, why=error.why, advice=error.advice) from None

    # -- running -----------------------------------------------------------------------------

    def advance(self, until: int) -> Report | None:
        """Run until the count reaches `until` (then None) or the machine ends."""
        stop = self.machine.run(until)
        if stop.reason == "until":
            return None
        return self._ended(stop)

    def _ended(self, stop: Exit) -> Report:
        if stop.reason == "off":
            return self.report("exit", self.machine.board.exit_code or 0, "")
        if stop.reason == "halt":
            return self.report("halt", 0, f"halted with interrupts off, at {self.place()}")
        if stop.reason == "shutdown":
            faults = ", then ".join(map(_told, self.state.shut_down))
            return self.report(
                "shutdown",
                EXIT_SHUTDOWN,
                f"the processor has shut down at {self.place()}: {faults}",
            )
        message = f"{stop.reason} at {self.place()}"
        return self.report(stop.reason, EXIT_UNIMPLEMENTED, message)

    def report(self, stop: str, code: int, message: str) -> Report:
        """A report of the run so far."""
        seconds = time.perf_counter() - self._began
        return Report(stop, code, self.state.count, seconds, self.engine.name, "pc", message)

    def unfinished(self) -> Report:
        """The report of a run that reached its limit."""
        message = f"still running after {self.state.count} instructions, at {self.place()}"
        return self.report("limit", EXIT_LIMIT, message)

    def place(self) -> str:
        """Address, bytes and text of the instruction at CS:EIP."""
        state = self.state
        linear = state["cs_base"] + state.pc & 0xFFFFFFFF
        code = self.machine.linear.look(linear, state.isa.max_length, state["cpl"])
        where = f"{state['cs']:04x}:{state.pc:08x}"
        return f"{where} ({code[:8].hex(' ')}: {state.isa.text(code, state.pc)})"


def _told(fault: Fault) -> str:
    """A fault as the manual names it."""
    name = NAMES.get(fault.vector, f"interrupt {fault.vector:#x}")
    code = "" if fault.code is None else f" with error code {fault.code:#06x}"
    address = "" if fault.address is None else f", address {fault.address:#010x}"
    return name + code + address


def is_pc_guest(data: bytes) -> bool:
    """Whether a file is one for a PC: a boot sector, a disk image, a kernel."""
    boots = len(data) >= SECTOR and data[SECTOR - 2 : SECTOR] == SIGNATURE
    return boots or is_linux(data) or find_header(data) is not None


def with_guest(choice: Choice, path: Path, data: bytes) -> Choice:
    """The choice with the file that stands as GUEST put where it belongs by its content."""
    from dataclasses import replace

    if is_linux(data) or find_header(data) is not None:
        return replace(choice, kernel=path)
    if not is_pc_guest(data):
        raise GuestFileError(
            f"{path} is nothing that a PC can start",
            why="it has no boot signature (55 aa at offset 510) and is no kernel",
            advice="Give a disk image, a Multiboot kernel or a bzImage; ROMs go by --bios",
        )
    if len(data) <= LARGEST_FLOPPY:
        return replace(choice, floppies=(path, *choice.floppies))
    return replace(choice, disks=(path, *choice.disks))
