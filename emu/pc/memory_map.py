"""What lies where in a PC's memory, as INT 15h, AX=E820h tells it.

Firmware's configuration, Multiboot and Linux' zero page each wrap the same entries (ACPI
specification, section 15.1).
"""

from __future__ import annotations

import struct

from isa.hints import Final
from isa.record import NamedTuple

USABLE, RESERVED = 1, 2
BIOS_DATA, VIDEO, BIOS, EXTENDED = 0x9FC00, 0xA0000, 0xF0000, 0x100000
"""Where the extended BIOS data area, video memory, the BIOS, and memory above 1 MiB begin."""
ENTRY: Final = struct.Struct("<QQI")


class Range(NamedTuple):
    """Addresses of one kind."""

    start: int
    size: int
    kind: int

    def entry(self) -> bytes:
        """An address range descriptor."""
        return ENTRY.pack(*self)


def installed(ram: int) -> tuple[Range, ...]:
    """The memory that there is, of which firmware then takes what it needs."""
    return (Range(0, ram, USABLE),)


def left_by_firmware(ram: int) -> tuple[Range, ...]:
    """What an operating system may use."""
    return (
        Range(0, BIOS_DATA, USABLE),
        Range(BIOS_DATA, VIDEO - BIOS_DATA, RESERVED),
        Range(BIOS, EXTENDED - BIOS, RESERVED),
        Range(EXTENDED, ram - EXTENDED, USABLE),
    )
