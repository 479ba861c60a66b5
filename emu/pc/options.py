"""What can be chosen about the PC's board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from emu.devices.clock import MIPS
from emu.devices.disk_image import DiskImage
from emu.devices.mc146818 import EPOCH
from emu.devices.ns16550 import SerialBackend
from emu.errors import GuestFileError
from emu.pc.cmos import BOOT_DEVICES
from isa.hints import BinaryIO


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything has the default of a plain PC with nothing plugged in."""

    mips: int | Fraction = MIPS
    time: datetime = EPOCH
    floppies: Sequence[DiskImage | None] = ()  # two at most
    disks: Sequence[DiskImage | None] = ()  # four at most: two channels of two
    serial: Sequence[SerialBackend] = ()  # four at most, at the PC's ports
    timed_serial: bool = False
    boot: str = "ca"
    pci: bool = True
    vga: bool = True
    debug_output: BinaryIO | None = None  # None: the debug ports are absent
    debug_exit: bool = False
    fw_cfg: bool = True
    firmware_files: Mapping[str, bytes] = field(default_factory=dict)
    kernel: bytes = b""
    initrd: bytes = b""
    command_line: str = ""

    def __post_init__(self) -> None:
        if self.mips <= 0:
            raise GuestFileError(f"{self.mips} mips is no speed", advice="Choose 1 or more")
        unknown = sorted(set(self.boot) - set(BOOT_DEVICES))
        if unknown:
            raise GuestFileError(
                f"there is no boot device {unknown[0]!r}",
                advice="Choose among a (floppy), c (disk), d (CD) and n (network)",
            )
