"""Reading ELF32 i386 executables: headers of a file that may be hostile, into a checked plan.

The names are those of the System V ABI, chapter 4 and 5. Nothing is mapped here: `parse` either
returns an `Image` whose numbers are all in range, or raises LoaderError.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from emu.errors import LoaderError
from emu.memory import (
    ANY,
    PAGE_MASK,
    PAGE_SIZE,
    AddressSpace,
    OutOfMemoryError,
)
from emu.process.layout import DYN_BASE, IMAGE_END, LOWEST
from isa.record import NamedTuple

ET_EXEC, ET_DYN = 2, 3
EM_386 = 3
PT_LOAD, PT_INTERP, PT_PHDR = 1, 3, 6
EHDR = struct.Struct("<16sHHIIIIIHHHHHH")
PHDR = struct.Struct("<IIIIIIII")

TYPES = {1: "an object file (.o)", 4: "a core dump"}
MACHINES = {8: "MIPS", 20: "PowerPC", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
BUILD = "Build it with `gcc -m32 -static`"


class Segment(NamedTuple):
    """One PT_LOAD entry, already moved to where it will stand."""

    address: int
    memory_size: int
    view: memoryview  # of the file: headers may name the same bytes many times
    permissions: int

    @property
    def data(self) -> bytes:
        """What the file has of it."""
        return bytes(self.view)

    @property
    def first_page(self) -> int:
        """Where its first page starts."""
        return self.address & ~PAGE_MASK

    @property
    def end_page(self) -> int:
        """Where its last page ends."""
        return (self.address + self.memory_size + PAGE_MASK) & ~PAGE_MASK


class Image(NamedTuple):
    """A program that can be mapped: its segments, and what the auxiliary vector tells of it."""

    segments: tuple[Segment, ...]
    entry: int
    base: int
    header_address: int
    header_count: int
    interpreter: bytes | None

    @property
    def end(self) -> int:
        """The first page past the image, where the heap starts."""
        return max(segment.end_page for segment in self.segments)


def parse(data: bytes | memoryview, *, base: int = DYN_BASE) -> Image:
    """Read an executable; a position-independent one is placed at `base`. Raises LoaderError."""
    header = _header(data)
    kind, entry, offset, count = header
    load_base = base if kind == ET_DYN else 0
    entries = [PHDR.unpack_from(data, offset + PHDR.size * i) for i in range(count)]
    segments = _segments(data, entries, load_base)
    return Image(
        segments=segments,
        entry=_checked_entry(entry + load_base, segments),
        base=load_base,
        header_address=_header_address(entries, offset, load_base),
        header_count=count,
        interpreter=_interpreter(data, entries),
    )


def _header(data: bytes | memoryview) -> tuple[int, int, int, int]:
    """Check the file header; return type, entry, and where the program headers are and how many."""
    if data[:4] != b"\x7fELF":
        raise LoaderError(
            "This is not an ELF file",
            where="offset 0",
            why=f"It starts with {data[:4].hex(' ') or 'nothing'}, ELF with 7f 45 4c 46",
            advice=BUILD,
        )
    _check_identity(data)
    if len(data) < EHDR.size:
        raise _truncated("the file header", EHDR.size, len(data))
    _, kind, machine, _, entry, offset, _, _, _, size, count, *_ = EHDR.unpack_from(data)
    _check_machine(kind, machine)
    if count == 0 or size != PHDR.size:
        raise LoaderError(
            f"The program header table has {count} entries of {size} bytes",
            where="offset 0x2a",
            why=f"A program has at least one entry, of {PHDR.size} bytes",
            advice="The file is damaged or made by hand; link it again",
        )
    if offset + count * size > len(data):
        raise _truncated("the program header table", offset + count * size, len(data))
    return kind, entry, offset, count


def _check_identity(data: bytes | memoryview) -> None:
    """Refuse 64-bit and big-endian files."""
    if data[4:5] != b"\1":
        raise LoaderError(
            "This is a 64-bit ELF file" if data[4:5] == b"\2" else "The ELF class is not valid",
            where="offset 4, EI_CLASS",
            why="The process machine runs 32-bit i386 programs",
            advice=BUILD,
        )
    if data[5:6] != b"\1":
        raise LoaderError(
            "This ELF file is not little-endian",
            where="offset 5, EI_DATA",
            why="i386 is little-endian",
            advice=BUILD,
        )


def _check_machine(kind: int, machine: int) -> None:
    """Refuse what is not an i386 executable."""
    if machine != EM_386:
        raise LoaderError(
            f"This program is for {MACHINES.get(machine, f'machine number {machine}')}",
            where="offset 18, e_machine",
            why="The process machine runs i386 (3)",
            advice=BUILD,
        )
    if kind not in (ET_EXEC, ET_DYN):
        raise LoaderError(
            f"This is {TYPES.get(kind, f'an ELF file of type {kind}')}, not an executable",
            where="offset 16, e_type",
            why="Only ET_EXEC (2) and ET_DYN (3) can be started",
            advice="Link it into a program",
        )


def _truncated(what: str, needed: int, present: int) -> LoaderError:
    return LoaderError(
        f"The file ends inside {what}",
        where=f"{present} bytes present, {needed} needed",
        why="The file is truncated or its header lies",
        advice="Copy or build it again",
    )


def _segments(
    data: bytes | memoryview, entries: list[tuple[int, ...]], base: int
) -> tuple[Segment, ...]:
    """Check every PT_LOAD entry and return the segments by address."""
    found = [
        _segment(data, i, entry, base)
        for i, entry in enumerate(entries)
        if entry[0] == PT_LOAD and entry[5]
    ]
    if not found:
        raise LoaderError(
            "No part of this file is meant to be loaded",
            where="program headers",
            why="There is no PT_LOAD entry with a size",
            advice="Link it as a program",
        )
    found.sort(key=lambda s: s.address)
    for low, high in pairwise(found):
        if low.address + low.memory_size > high.address:
            raise LoaderError(
                "Two segments of the program overlap",
                where=f"at {high.address:#x}",
                why="Each byte of memory can be loaded once",
                advice="Check the linker script",
            )
    return tuple(found)


def _segment(data: bytes | memoryview, index: int, entry: tuple[int, ...], base: int) -> Segment:
    """Check one PT_LOAD entry."""
    _, offset, virtual, _, file_size, memory_size, flags, _ = entry
    where = f"program header {index}"
    if file_size > memory_size:
        raise LoaderError(
            f"A segment has {file_size:#x} bytes in the file but {memory_size:#x} in memory",
            where=where,
            why="p_filesz must not exceed p_memsz",
            advice="The file is damaged; link it again",
        )
    if offset + file_size > len(data):
        raise _truncated(f"a segment ({where})", offset + file_size, len(data))
    if (offset ^ virtual) & PAGE_MASK and file_size:
        raise LoaderError(
            f"A segment at offset {offset:#x} cannot stand at address {virtual:#x}",
            where=where,
            why="Offset and address must agree in their low 12 bits, as pages are mapped whole",
            advice="Link it with the usual page alignment",
        )
    address = virtual + base
    if address < LOWEST or address + memory_size > IMAGE_END:
        raise LoaderError(
            f"A segment wants {memory_size:#x} bytes at {address:#x}",
            where=where,
            why=f"A program may use {LOWEST:#x} to {IMAGE_END:#x}",
            advice="Link it for user space, or run it as a kernel",
        )
    content = memoryview(data)[offset : offset + file_size]
    return Segment(address, memory_size, content, flags & ANY)


def _checked_entry(entry: int, segments: tuple[Segment, ...]) -> int:
    """Refuse an entry point that no segment holds: the first fetch could only fault."""
    if any(s.first_page <= entry < s.end_page for s in segments):
        return entry
    raise LoaderError(
        f"The entry point {entry:#x} lies in no segment",
        where="offset 0x18, e_entry",
        why="The program's first instruction would not exist",
        advice="Link it with a `_start`",
    )


def _header_address(entries: list[tuple[int, ...]], offset: int, base: int) -> int:
    """Return where the program headers stand in memory, or 0 (AT_PHDR)."""
    for kind, start, virtual, _, file_size, *_ in entries:
        if kind == PT_LOAD and start <= offset < start + file_size:
            return virtual + base + offset - start
    return 0


def _interpreter(data: bytes | memoryview, entries: list[tuple[int, ...]]) -> bytes | None:
    """Return the path of the dynamic linker that the program asks for, if any."""
    for kind, offset, _, _, size, *_ in entries:
        if kind == PT_INTERP:
            if offset + size > len(data) or not 1 < size <= PAGE_SIZE:
                raise _truncated("the interpreter's name", offset + size, len(data))
            return bytes(data[offset : offset + size]).partition(b"\0")[0]
    return None


def load(image: Image, space: AddressSpace, *, late: bool = False) -> None:
    """Map the segments and copy their bytes; late means when they are touched (see
    `AddressSpace.fill`). Raises LoaderError if memory is too small."""
    needed = sum(len(s.view) + 2 * PAGE_SIZE for s in image.segments)
    if needed > space.physical.free_frames * PAGE_SIZE:
        raise _too_big(needed, space)
    permissions: dict[int, int] = {}
    for s in image.segments:  # two segments may share a page; it gets what both ask for
        permissions[s.first_page] = permissions.get(s.first_page, 0) | s.permissions
        last = s.end_page - PAGE_SIZE
        permissions[last] = permissions.get(last, 0) | s.permissions
        _map_missing(space, s)
    for page, bits in permissions.items():
        space.protect(page, PAGE_SIZE, bits)
    try:
        for s in image.segments:
            space.fill(s.address, s.view, late=late)
    except OutOfMemoryError:
        raise _too_big(needed, space) from None


def _map_missing(space: AddressSpace, segment: Segment) -> None:
    """Map a segment's pages, leaving a first page that the segment below it already has."""
    start, end = segment.first_page, segment.end_page
    if space.region_at(start) is not None:
        start += PAGE_SIZE
    if start < end:
        space.map(start, end - start, segment.permissions, "image")


def _too_big(needed: int, space: AddressSpace) -> LoaderError:
    return LoaderError(
        f"The program needs {needed >> 20} MiB and more",
        where="program headers",
        why=f"The machine has {space.physical.size >> 20} MiB",
        advice="Give it more memory",
    )
