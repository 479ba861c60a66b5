"""ELF kernels: what lies where in physical memory."""

from __future__ import annotations

import io
from dataclasses import dataclass

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import Segment

from emu.errors import LoaderError
from isa.hints import Final

LARGEST: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class KernelImage:
    """Pieces by physical address, and the physical entry point."""

    pieces: tuple[tuple[int, bytes], ...]
    entry: int

    @property
    def end(self) -> int:
        """The first address behind all pieces."""
        return max(address + len(content) for address, content in self.pieces)


def kernel_image(data: bytes) -> KernelImage:
    """Read an ELF kernel's segments; raises LoaderError."""
    try:
        return _read(data)
    except (ELFError, ConstructError, ValueError, OverflowError) as error:
        raise LoaderError("The kernel is a damaged ELF file", why=str(error)) from None


def _read(data: bytes) -> KernelImage:
    file = ELFFile(io.BytesIO(data))
    if file.elfclass != 32 or file["e_machine"] != "EM_386":
        raise LoaderError(
            f"The kernel is for {file.get_machine_arch()}",
            why="the machine runs 32-bit i386 kernels",
        )
    loads = [s for s in file.iter_segments("PT_LOAD") if s["p_memsz"]]
    if not loads:
        raise LoaderError("The kernel has nothing to load", why="it has no segment PT_LOAD")
    entry = file["e_entry"]
    for segment in loads:  # an entry that is a virtual address means the physical one behind it
        if segment["p_vaddr"] <= entry < segment["p_vaddr"] + segment["p_memsz"]:
            entry += segment["p_paddr"] - segment["p_vaddr"]
            break
    return KernelImage(tuple(map(_piece, loads)), entry)


def _piece(segment: Segment) -> tuple[int, bytes]:
    content = segment.data()
    if len(content) < segment["p_filesz"] or segment["p_memsz"] > LARGEST:
        raise LoaderError(
            "The kernel is truncated",
            where=f"the segment for {segment['p_paddr']:#x}",
            why=f"it has {len(content)} bytes of {segment['p_filesz']}",
        )
    return segment["p_paddr"], content + bytes(max(segment["p_memsz"] - len(content), 0))
