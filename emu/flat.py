"""Flat images: bytes without a header, wrapped into an ELF program so that one loader suffices."""

from __future__ import annotations

from emu.assembler.elf import Section, Segment, executable
from emu.errors import GuestFileError
from emu.process.layout import IMAGE_END, LOWEST

DEFAULT_ADDRESS = 0x0804_8000
LARGEST = 64 << 20
_ALL_PERMISSIONS = 7


def image(data: bytes, address: int = DEFAULT_ADDRESS, file: str = "image") -> bytes:
    """Return an ELF program with `data` at `address`, entered at its first byte.

    It may read, write and execute all of it. Raises GuestFileError.
    """
    if not data:
        raise GuestFileError(
            f"{file} is empty",
            where="offset 0",
            why="A flat image is run from its first byte",
            advice="Check that the file was written",
        )
    if len(data) > LARGEST:
        raise GuestFileError(
            f"{file} has {len(data)} bytes",
            where="file size",
            why=f"The most for a flat image is {LARGEST >> 20} MiB",
            advice="A disk image is run as a machine, not as a process",
        )
    if not LOWEST <= address <= IMAGE_END - len(data):
        raise GuestFileError(
            f"{file} cannot stand at {address:#x}",
            where=f"{len(data)} bytes",
            why=f"A process has addresses {LOWEST:#x} to {IMAGE_END:#x} for its image",
            advice=f"Choose an address between them; {DEFAULT_ADDRESS:#x} is the default",
        )
    segment = Segment(address, _ALL_PERMISSIONS, bytearray(data), len(data))
    section = Section(".text", address, len(data), _ALL_PERMISSIONS, True)
    return executable([segment], address, [section], {"_start": address})
