"""Formats of floppy disks, by the size of their image."""

from __future__ import annotations

from dataclasses import dataclass

from emu.devices.disk_image import SECTOR, DiskImage
from emu.errors import GuestFileError
from isa.hints import Final


@dataclass(frozen=True)
class FloppyFormat:
    """Its geometry, data rate (bits 1-0 of DSR) and the drive's number in CMOS byte 10h."""

    cylinders: int
    heads: int
    sectors: int
    rate: int
    cmos_type: int

    @property
    def size(self) -> int:
        """Sectors in all."""
        return self.cylinders * self.heads * self.sectors


FORMATS: Final = (
    FloppyFormat(40, 1, 8, 2, 1),
    FloppyFormat(40, 1, 9, 2, 1),
    FloppyFormat(40, 2, 8, 2, 1),
    FloppyFormat(40, 2, 9, 2, 1),  # 360 K
    FloppyFormat(80, 2, 9, 2, 3),  # 720 K
    FloppyFormat(80, 2, 15, 0, 2),  # 1.2 M
    FloppyFormat(80, 2, 18, 0, 4),  # 1.44 M
    FloppyFormat(80, 2, 36, 3, 5),  # 2.88 M
)


def floppy_format(image: DiskImage) -> FloppyFormat:
    """The format of an image; raises GuestFileError if no floppy is of that size."""
    for known in FORMATS:
        if known.size == image.sectors:
            return known
    sizes = ", ".join(str(known.size * SECTOR) for known in FORMATS)
    raise GuestFileError(
        f"no floppy disk has {image.sectors * SECTOR} bytes",
        why=f"known are {sizes}",
        advice="Pad the image (truncate -s 1440K), or use it as a hard disk (--hda)",
    )
