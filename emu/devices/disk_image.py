"""A raw image of a disk. What a guest writes stays in memory, unless the image is `writable`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from emu.errors import GuestFileError
from isa.hints import Any, BinaryIO, Final

SECTOR: Final = 512


class DiskImage:
    """Sectors of 512 bytes. A transfer answers whether the image could do it; it never raises."""

    def __init__(self, file: BinaryIO, *, writable: bool = False) -> None:
        self._file = file
        self._writable = writable
        self.sectors = file.seek(0, io.SEEK_END) // SECTOR
        self.overlay: dict[int, bytes] = {}  # sectors that were written

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> DiskImage:
        """An image file; raises GuestFileError if it is none."""
        try:
            file = path.open("r+b" if writable else "rb", buffering=0)
            size = file.seek(0, io.SEEK_END)
        except OSError as error:
            raise GuestFileError(
                f"the disk image {path} cannot be opened",
                why=error.strerror or str(error),
                advice="Name a file that can be read" + (" and written" if writable else ""),
            ) from error
        if size == 0:
            raise GuestFileError(f"the disk image {path} is empty", advice="Name a raw image")
        if size % SECTOR:
            raise GuestFileError(
                f"the disk image {path} is truncated",
                where=f"{size} bytes",
                why=f"a raw image has whole sectors of {SECTOR} bytes",
                advice="Copy it again, or pad it with zeros (truncate -s %512)",
            )
        return cls(file, writable=writable)

    @classmethod
    def of(cls, data: bytes) -> DiskImage:
        """An image in memory, padded to whole sectors."""
        return cls(io.BytesIO(data + bytes(-len(data) % SECTOR)))

    def fresh(self) -> DiskImage:
        """The same image for another machine: what this one's guest writes over it is not there."""
        return DiskImage(self._file, writable=self._writable)

    def read(self, sector: int, count: int = 1) -> bytes | None:
        """Sectors; None if they lie outside or the host cannot read them."""
        if not 0 <= sector <= self.sectors - count:
            return None
        try:
            self._file.seek(sector * SECTOR)
            data = bytearray(self._file.read(count * SECTOR))
        except OSError:
            return None
        if len(data) < count * SECTOR:
            return None
        for i in range(count):
            if sector + i in self.overlay:
                data[i * SECTOR : (i + 1) * SECTOR] = self.overlay[sector + i]
        return bytes(data)

    def write(self, sector: int, data: bytes) -> bool:
        """Whole sectors; False if they lie outside or the host cannot write them."""
        count = len(data) // SECTOR
        if not 0 <= sector <= self.sectors - count:
            return False
        if not self._writable:
            for i in range(count):
                self.overlay[sector + i] = data[i * SECTOR : (i + 1) * SECTOR]
            return True
        try:
            self._file.seek(sector * SECTOR)
            return self._file.write(data) == len(data)
        except OSError:
            return False

    # -- snapshots ---------------------------------------------------------------------------

    def snapshot(self) -> Mapping[str, object]:
        """What was written over the image; a writable one is its own."""
        return {"overlay": dict(self.overlay)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """What was written over the image."""
        self.overlay = dict(saved["overlay"])


def snapshots(images: Sequence[DiskImage | None]) -> list[Mapping[str, object] | None]:
    """What was written over the images of a controller's drives."""
    return [None if image is None else image.snapshot() for image in images]


def restore_all(images: Sequence[DiskImage | None], saved: Sequence[Any]) -> None:
    """The same, taken over."""
    for image, one in zip(images, saved, strict=True):
        if image is not None:
            image.restore(one)
