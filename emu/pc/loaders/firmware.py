"""A BIOS in ROM: below 4 GiB, where the processor begins, and below 1 MiB, where it expects to be.

Writes to the lower copy go to the RAM behind it only if a PCI host bridge lets them (its PAM
registers); on a machine without one that RAM is there instead, with the BIOS copied into it.
"""

from __future__ import annotations

from pathlib import Path

from emu.errors import GuestFileError
from emu.memory import PAGE_SIZE
from emu.pc.machine import PcMachine
from isa.hints import Final

PLACES: Final = ("/usr/share/seabios/bios.bin", "/usr/share/qemu/bios.bin")
UPPER_MEMORY, LOWER_END = 0xC0000, 0x100000
VIDEO_FIRMWARE: Final = "vgabios-isavga.bin"
LARGEST_LOWER: Final = 0x20000
FOUR_GIBIBYTES: Final = 1 << 32


def _installed() -> Path | None:
    """SeaBIOS where distributions put it."""
    return next((place for place in map(Path, PLACES) if place.is_file()), None)


def read_firmware(path: Path | None) -> bytes:
    """The content of a BIOS file, by default of the SeaBIOS that is installed."""
    path = path or _installed()
    if path is None:
        raise GuestFileError(
            "there is no BIOS here",
            why=f"looked for {' and '.join(PLACES)}",
            advice="Install the package seabios, or name a file: --bios FILE",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GuestFileError(
            f"{path} cannot be read", why=error.strerror or "", advice="Check the path"
        ) from None
    if not data or len(data) % PAGE_SIZE or len(data) > 1 << 20:
        raise GuestFileError(
            f"{path} is no BIOS",
            where=f"{len(data)} bytes",
            why="a BIOS fills whole pages of 4 KiB, at most 1 MiB",
            advice="Name SeaBIOS' bios.bin",
        )
    return data


def video_firmware(path: Path | None) -> dict[str, bytes]:
    """The VGA BIOS that lies beside a BIOS, as the file in which SeaBIOS looks for it."""
    firmware = path or _installed()
    beside = None if firmware is None else firmware.with_name(VIDEO_FIRMWARE)
    if beside is None or not beside.is_file():
        return {}
    return {f"vgaroms/{VIDEO_FIRMWARE}": beside.read_bytes()}


def load_firmware(machine: PcMachine, data: bytes, *, pci: bool) -> None:
    """Put a BIOS into ROM; the machine begins in it when it is reset."""
    memory = machine.memory
    where = memory.add_rom(data)
    memory.map_rom(FOUR_GIBIBYTES - len(data), where, len(data))
    lower = min(len(data), LARGEST_LOWER)
    if pci:
        memory.shadow(UPPER_MEMORY, LOWER_END - UPPER_MEMORY, read=False, write=False)
        memory.map_rom(LOWER_END - lower, where + len(data) - lower, lower)
    else:
        memory.write(LOWER_END - lower, data[-lower:])
