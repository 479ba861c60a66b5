"""The bytes of CMOS memory in which the PC's firmware finds its equipment, as QEMU sets them."""

from __future__ import annotations

from collections.abc import Sequence

from emu.devices.disk_image import DiskImage
from emu.devices.floppy_format import floppy_format
from isa.hints import Final

KILO, MEGA = 1 << 10, 1 << 20
FLOPPIES, DISK_TYPES, EQUIPMENT, TRANSLATIONS, PROCESSORS = 0x10, 0x12, 0x14, 0x39, 0x5F
BASE_MEMORY, EXTENDED, EXTENDED_AGAIN, ABOVE_16M = 0x15, 0x17, 0x30, 0x34
BOOT_THIRD, BOOT_FIRST = 0x38, 0x3D
EXTENDED_TYPES: Final = (0x19, 0x1A)
PARAMETERS: Final = (0x1B, 0x24)
USER_TYPE: Final = 47
HAS_FPU, HAS_MOUSE = 0x02, 0x04
BOOT_DEVICES: Final = {"a": 1, "c": 2, "d": 3, "n": 4}
MOST_CYLINDERS, HEADS, TRACK = 16383, 16, 63  # of an ATA disk's default translation
SMALL: Final = 1024 * HEADS * TRACK  # sectors that need no translation by the firmware


def cmos(
    memory_size: int,
    floppies: Sequence[DiskImage | None] = (),
    disks: Sequence[DiskImage | None] = (),
    boot: str = "ca",
) -> dict[int, int]:
    """Values by place. `boot` has the letters of `--boot`: a, c, d, n."""
    return {
        **_memory(memory_size),
        **_floppies(floppies),
        **_disks(disks),
        **_boot(boot),
        PROCESSORS: 0,
    }


def _word(place: int, value: int) -> dict[int, int]:
    return {place: value & 0xFF, place + 1: value >> 8}


def _memory(size: int) -> dict[int, int]:
    extended = min(max(size - MEGA, 0) // KILO, 0xFFFF)
    above = min(max(size - 16 * MEGA, 0) // (64 * KILO), 0xFFFF)
    return {
        **_word(BASE_MEMORY, min(640, size // KILO)),
        **_word(EXTENDED, extended),
        **_word(EXTENDED_AGAIN, extended),
        **_word(ABOVE_16M, above),
    }


def _floppies(floppies: Sequence[DiskImage | None]) -> dict[int, int]:
    first, second, *_ = (*(_floppy_type(image) for image in floppies), 0, 0)
    drives = bool(first) + bool(second)
    equipment = {0: 0x00, 1: 0x01, 2: 0x41}[drives]
    return {FLOPPIES: first << 4 | second, EQUIPMENT: equipment | HAS_FPU | HAS_MOUSE}


def _floppy_type(image: DiskImage | None) -> int:
    return 0 if image is None else floppy_format(image).cmos_type


def _disks(disks: Sequence[DiskImage | None]) -> dict[int, int]:
    """Only the first two disks have a place here."""
    values = {DISK_TYPES: 0, TRANSLATIONS: 0}
    for number, image in enumerate(disks[:2]):
        if image is None:
            continue
        values[DISK_TYPES] |= 0x0F if number else 0xF0
        values[EXTENDED_TYPES[number]] = USER_TYPE
        values[TRANSLATIONS] |= (image.sectors > SMALL) << 2 * number
        values.update(_parameters(PARAMETERS[number], image.sectors))
    return values


def _parameters(place: int, sectors: int) -> dict[int, int]:
    """Cylinders, heads, no write precompensation, control byte, landing zone, sectors."""
    cylinders = max(1, min(MOST_CYLINDERS, sectors // (HEADS * TRACK)))
    control = 0xC0 | (HEADS > 8) << 3
    low, high = cylinders & 0xFF, cylinders >> 8
    values = (low, high, HEADS, 0xFF, 0xFF, control, low, high, TRACK)
    return {place + i: value for i, value in enumerate(values)}


def _boot(boot: str) -> dict[int, int]:
    """Bit 0 of BOOT_THIRD: a floppy's signature is not asked for."""
    first, second, third, *_ = (*(BOOT_DEVICES[letter] for letter in boot), 0, 0, 0)
    return {BOOT_FIRST: second << 4 | first, BOOT_THIRD: third << 4 | 1}
