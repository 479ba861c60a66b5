"""From what the command line says to a guest on a PC."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from emu.devices.disk_image import DiskImage
from emu.devices.floppy_format import FORMATS
from emu.errors import GuestFileError
from emu.guests import head_of, is_source, read_file, source_text
from emu.pc.guest import MEMORY, MIPS, Choice, PcGuest
from emu.pc.kinds import SEARCHED, SECTOR, is_bootable, is_kernel
from isa.hints import TYPE_CHECKING, Any, Final, StrPath

if TYPE_CHECKING:
    from emu.assembler import Assembled

ORIGINS: Final = {"pc/boot": (0x7C00, 16), "pc/kernel": (0x100000, 32)}
"""What sources are for: where they stand, and the bits of their code."""
_MACHINE: Final = re.compile(r"^[ \t]*\.machine[ \t]+([^\s;]+)", re.MULTILINE)
FLOPPY: Final = 2880  # sectors of what a boot sector alone is padded to: 1.44 MB
LARGEST_FLOPPY: Final = max(known.size for known in FORMATS)  # sectors


def pc_guest(path: StrPath | None, chosen: dict[str, Any]) -> PcGuest:
    """The guest that was chosen: GUEST, if any, and options by their names.

    Raises GuestFileError or AssemblyError.
    """
    writable = chosen["writable"]
    images = {
        name: DiskImage.open(chosen[name], writable=writable)
        for name in ("fda", "fdb", "hda", "hdb")
        if chosen[name] is not None
    }
    choice = Choice(
        engine=chosen["engine"],
        cpu=chosen["cpu"],
        memory=chosen["memory"] or MEMORY,
        mips=chosen["mips"] or MIPS,
        bios=chosen["bios"],
        floppies=_drives(images, "fda", "fdb"),
        disks=_drives(images, "hda", "hdb"),
        kernel=b"" if chosen["kernel"] is None else read_file(chosen["kernel"]),
        kernel_name=str(chosen["kernel"]),
        initrd=b"" if chosen["initrd"] is None else read_file(chosen["initrd"]),
        append=chosen["append"],
        serial=chosen["serial"],
        boot=chosen["boot"],
        pci=not chosen["no_pci"],
        typed=chosen["typed"],
        display=chosen["display"] == "text" if chosen["display"] else not chosen["serial"],
    )
    return PcGuest(choice if path is None else _with_guest(choice, Path(path), writable=writable))


def _drives(images: dict[str, DiskImage], *names: str) -> tuple[DiskImage | None, ...]:
    found = [images.get(name) for name in names]
    return tuple(found) if any(found) else ()


def _with_guest(choice: Choice, path: Path, *, writable: bool) -> Choice:
    """The choice with GUEST put where it belongs by its content."""
    if _is_hard_disk(path):
        return _with_image(choice, DiskImage.open(path, writable=writable))
    data = read_file(path)
    text = source_text(path, data)
    if text is not None:
        data = assembled(text, path)
    if is_kernel(data):
        return replace(choice, kernel=data, kernel_name=str(path))
    if not is_bootable(data):
        raise GuestFileError(
            f"{path} is nothing that a PC can start",
            why="it has no boot signature (55 aa at offset 510) and is no kernel",
            advice="Give a disk image, a Multiboot kernel or a bzImage; firmware goes by --bios",
        )
    return _with_image(choice, _image(path, data, is_file=text is None, writable=writable))


def _is_hard_disk(path: Path) -> bool:
    """A disk that is not read whole, as it may be of any size."""
    if not path.is_file() or path.stat().st_size <= LARGEST_FLOPPY * SECTOR or is_source(path):
        return False
    head = head_of(path, 2 * SEARCHED)
    return is_bootable(head) and not is_kernel(head)


def _with_image(choice: Choice, image: DiskImage) -> Choice:
    """A disk in the first drive that takes it."""
    if image.sectors <= LARGEST_FLOPPY:
        return replace(choice, floppies=(image, *choice.floppies[1:]))
    return replace(choice, disks=(image, *choice.disks[1:]))


def _image(path: Path, data: bytes, *, is_file: bool, writable: bool) -> DiskImage:
    """A disk image as it is, or what is shorter than a floppy padded to one."""
    sectors = -(-len(data) // SECTOR)
    if is_file and any(known.size == sectors for known in FORMATS):
        return DiskImage.open(path, writable=writable)
    return DiskImage.of(data + bytes(max(FLOPPY - sectors, 0) * SECTOR))


def assembled(text: str, path: Path) -> bytes:
    """The bytes of a source for a PC: boot sectors, or a kernel with a Multiboot header."""
    return assembled_program(text, path).image


def assembled_program(text: str, path: Path) -> Assembled:
    """The same, with what a debugger wants to know. Raises GuestFileError or AssemblyError."""
    from emu.assembler import assemble_flat

    found = _MACHINE.search(text)
    kind = found[1] if found else "pc/boot"
    if kind not in ORIGINS:
        raise GuestFileError(
            f"{path} is for the machine {kind!r}", advice=f"Write one of {', '.join(ORIGINS)}"
        )
    origin, bits = ORIGINS[kind]
    return assemble_flat(_MACHINE.sub("", text, count=1), str(path), origin, bits=bits)
