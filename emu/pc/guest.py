"""A guest on the PC: what `emu run --machine pc` loads, and how its run ends."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from emu.devices.disk_image import DiskImage
from emu.engines import Engine, make_engine
from emu.errors import GuestFileError, LoaderError
from emu.exit import Exit
from emu.pc.kinds import is_linux, multiboot_header
from emu.pc.loaders.firmware import load_firmware, read_firmware, video_firmware
from emu.pc.loaders.linux import load_linux
from emu.pc.loaders.multiboot import load_multiboot
from emu.pc.machine import PcMachine
from emu.pc.options import Options
from emu.pc.screen import text
from emu.pc.serial import serial_backend
from emu.report import EXIT_LIMIT, EXIT_SHUTDOWN, EXIT_UNIMPLEMENTED, Report
from isa.fault import Fault
from isa.hints import Protocol
from isa.x86.models import MODELS
from isa.x86.vectors import NAMES

MEMORY, MOST_MEMORY, MIPS = 64 << 20, 3 << 30, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a user can say of a PC. `kernel_name` is for messages."""

    engine: str = "auto"
    cpu: str = "pentium2"
    memory: int = MEMORY
    mips: int = MIPS
    bios: Path | None = None
    floppies: tuple[DiskImage | None, ...] = ()
    disks: tuple[DiskImage | None, ...] = ()
    kernel: bytes = b""
    kernel_name: str = ""
    initrd: bytes = b""
    append: str = ""
    serial: tuple[str, ...] = ()
    boot: str = "ac"
    pci: bool = True
    typed: str = ""
    display: bool = True

    def options(self) -> Options:
        """What of it concerns the board."""
        return Options(
            mips=self.mips,
            floppies=self.floppies,
            disks=self.disks,
            serial=[serial_backend(text) for text in self.serial],
            boot=self.boot,
            pci=self.pci,
            firmware_files={} if self.kernel else video_firmware(self.bios),
        )


class MakeMachine(Protocol):
    """What makes the machine of a guest."""

    def __call__(
        self, engine: Engine, /, *, model: str, memory: int, options: Options
    ) -> PcMachine:
        """A PC just after power-on."""


class PcGuest:
    """A PC with its guest loaded. Raises GuestFileError if that cannot be."""

    def __init__(self, choice: Choice, make: MakeMachine = PcMachine) -> None:
        """`make`: a virtual machine is made otherwise."""
        self.choice = choice
        _check(choice)
        self.engine: Engine = make_engine(choice.engine)
        self.machine = make(
            self.engine, model=choice.cpu, memory=choice.memory, options=choice.options()
        )
        self.state = self.machine.state
        if choice.kernel:
            self._load_kernel()
        else:
            load_firmware(self.machine, read_firmware(choice.bios), pci=choice.pci)
        # Not at once: nobody hears keys before the guest has set up its interrupts.
        self.machine.board.typist.type(choice.typed, choice.mips * 1_000_000)
        self._began = time.perf_counter()

    def _load_kernel(self) -> None:
        choice = self.choice
        try:
            if is_linux(choice.kernel):
                load_linux(self.machine, choice.kernel, choice.append, choice.initrd)
            elif multiboot_header(choice.kernel) is not None:
                modules = [(choice.initrd, "")] if choice.initrd else []
                load_multiboot(self.machine, choice.kernel, choice.append, modules)
            else:
                raise LoaderError(
                    "This is no kernel",
                    why="it has neither a Linux setup header nor a Multiboot header",
                    advice="Give a bzImage or a Multiboot kernel",
                )
        except LoaderError as error:
            what = f"{choice.kernel_name}: {error.what}"
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

    def show_screen(self) -> None:
        """Print the text screen, if the user wants it and there is something on it."""
        vga = self.machine.board.vga
        shown = text(vga) if self.choice.display and vga is not None else ""
        if shown:
            print(shown)

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


def _check(choice: Choice) -> None:
    """Refuse what no PC has."""
    if choice.cpu not in MODELS:
        raise GuestFileError(
            f"There is no processor {choice.cpu!r}", advice=f"Use one of {', '.join(MODELS)}"
        )
    if choice.memory > MOST_MEMORY:
        raise GuestFileError(
            f"{choice.memory} bytes are too much memory", advice=f"At most {MOST_MEMORY >> 30}G"
        )


def _told(fault: Fault) -> str:
    """A fault as the manual names it."""
    name = NAMES.get(fault.vector, f"interrupt {fault.vector:#x}")
    code = "" if fault.code is None else f" with error code {fault.code:#06x}"
    address = "" if fault.address is None else f", address {fault.address:#010x}"
    return name + code + address
