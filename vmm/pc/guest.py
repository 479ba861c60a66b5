"""A guest of the PC, on a bare machine and on virtual ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

from emu.devices.ns16550 import SerialBackend
from emu.engines import Engine
from emu.errors import GuestFileError
from emu.guests import read_file
from emu.pc.choose import assembled, pc_guest
from emu.pc.guest import Choice, PcGuest
from emu.pc.machine import PcMachine
from emu.pc.options import Options
from emu.pc.serial import MemorySerial
from isa.x86.registers import UMIP, VM
from vmm.pc.allocation import Allocation, allocation_for
from vmm.pc.control_program import Monitor
from vmm.pc.equivalence import Pair
from vmm.pc.hosted.arrangement import NATIVE, machine_below
from vmm.pc.machine import VirtualPc
from vmm.x86.configuration import X86Configuration

CONFIGURATION: Final = "x86/ia32"
MEMORY: Final = 16 << 20
POISON: Final = 0xA5  # in every byte that is nobody's
BOOT_SECTOR: Final = 0x7C00
FIRMWARE: Final = 100_000_000  # instructions after which it should have found the boot sector


@dataclass(frozen=True, eq=False)
class Guest:
    """A guest, and the machine it is for: `umip` tells whether the machine below has UMIP,
    `arrangement` what that is (`vmm.pc.hosted`)."""

    path: Path
    choice: Choice
    umip: bool = False
    arrangement: str = NATIVE

    def bare(self, serial: SerialBackend) -> PcGuest:
        """On the bare machine."""

        def make(engine: Engine, /, *, model: str, memory: int, options: Options) -> PcMachine:
            chosen = replace(options, serial=[serial])
            return PcMachine(engine, model=model, memory=memory, options=chosen)

        return self._started(make)

    def virtual(self, monitor: type[Monitor], serial: SerialBackend) -> PcGuest:
        """On a virtual machine, on a machine below that is just large enough."""

        def make(engine: Engine, /, *, model: str, memory: int, options: Options) -> VirtualPc:
            allocation, needed = allocation_for(memory)
            below = machine_below(
                self.arrangement, monitor.name, engine, model=model, memory=needed
            )
            below.memory.physical.array[allocation.end : needed] = POISON
            return self._virtual_pc(monitor, below, allocation, options, serial)

        return self._started(make)

    def virtual_on(
        self, monitor: type[Monitor], below: PcMachine, allocation: Allocation,
        serial: SerialBackend,
    ) -> PcGuest:  # fmt: skip
        """On a virtual machine, on a machine below on which there may be others."""

        def make(engine: Engine, /, *, model: str, memory: int, options: Options) -> VirtualPc:
            return self._virtual_pc(monitor, below, allocation, options, serial)

        return self._started(make)

    def _virtual_pc(
        self, monitor: type[Monitor], below: PcMachine, allocation: Allocation, options: Options,
        serial: SerialBackend,
    ) -> VirtualPc:  # fmt: skip
        return VirtualPc(
            lambda machine, given: monitor(machine, given, umip=self.umip),
            below, allocation, options=replace(options, serial=[serial]),
        )  # fmt: skip

    def pair(self, monitor: type[Monitor]) -> Pair:
        """The bare machine and a virtual one, for comparison."""
        mine, its = MemorySerial(), MemorySerial()
        bare, virtual = self.bare(mine), self.virtual(monitor, its)
        return Pair(bare.machine, cast(VirtualPc, virtual.machine), mine, its)

    def ported(self, path: Path) -> Guest:
        """A port of its kernel, for the same machine."""
        kernel = assembled(read_file(path).decode(), path)
        return replace(self, path=path, choice=replace(self.choice, kernel=kernel))

    def _started(self, make: Callable[..., PcMachine]) -> PcGuest:
        found = PcGuest(self._choice(self.choice.engine), make)
        if not self.choice.kernel:
            take_over(found.machine, self._booted.machine)
        return found

    def _choice(self, engine: str) -> Choice:
        """What each machine has for itself are its disks."""
        choice = self.choice
        floppies, disks = (
            tuple(image and image.fresh() for image in images)
            for images in (choice.floppies, choice.disks)
        )
        return replace(choice, engine=engine, floppies=floppies, disks=disks)

    @cached_property
    def _booted(self) -> PcGuest:
        """A bare machine whose firmware has just gone to the boot sector."""
        quiet = PcGuest(self._choice("auto"), _without_serial)
        state = quiet.machine.state
        state.breakpoints = {BOOT_SECTOR}
        while (stop := quiet.machine.run(FIRMWARE)).reason == "breakpoint" and state["cs"]:
            pass
        state.breakpoints = set()
        if stop.reason != "breakpoint":
            raise GuestFileError(
                f"{self.path} was not booted", why=f"the firmware ended with {stop.reason!r}"
            )
        return quiet


def _without_serial(engine: Engine, /, *, model: str, memory: int, options: Options) -> PcMachine:
    chosen = replace(options, serial=[MemorySerial()])
    return PcMachine(engine, model=model, memory=memory, options=chosen)


def take_over(machine: PcMachine, other: PcMachine) -> None:
    """Let a machine go on from where another one of the same shape is.

    So a guest that is booted begins at its boot sector under any monitor, however slow.
    """
    machine.state.set_values(other.state.values)
    machine.state.count = other.state.count
    machine.board.restore(other.board.snapshot())
    whole = other.memory.physical.array
    machine.memory.physical.array[: len(whole)] = whole
    machine.memory.readable = dict(other.memory.readable)
    machine.memory.writable = dict(other.memory.writable)
    machine.memory.changed()


def open_guest(path: Path, isa: str | None, chosen: dict[str, Any]) -> Guest:
    """Read a guest. Raises GuestFileError or AssemblyError.

    `isa` is one of the x86's configurations: it says whether the machine below has UMIP.
    """
    configuration = X86Configuration.load(isa or CONFIGURATION)
    if configuration.user[VM]:
        raise GuestFileError(
            f"{isa} is no machine of a whole PC", advice=f"Use {CONFIGURATION} or a variant of it"
        )
    given: dict[str, Any] = dict.fromkeys(
        ("fda", "fdb", "hda", "hdb", "kernel", "initrd", "bios", "mips", "display")
    )
    given |= {"append": "", "boot": "ac", "no_pci": False, "writable": False, "serial": ()}
    given |= {"cpu": configuration.processor} | chosen
    given["memory"] = given.get("memory") or MEMORY
    guest = pc_guest(path, given)
    return Guest(path, guest.choice, configuration.kept.get(UMIP) == (1, 1))
