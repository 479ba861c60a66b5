"""The initial stack of a process, as Linux's create_elf_tables builds it for i386."""

from __future__ import annotations

import struct

from emu.errors import GuestFileError
from emu.memory import PAGE_SIZE, READ, WRITE, AddressSpace, OutOfMemoryError
from emu.process.elf import Image
from emu.process.layout import STACK_SIZE, STACK_TOP
from emu.process.processor import Processor
from isa.hints import Sequence
from isa.record import NamedTuple

MAX_STRING = 128 << 10  # MAX_ARG_STRLEN

AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = (
    0,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK = 11, 12, 13, 14, 15, 16, 17
AT_SECURE, AT_RANDOM, AT_HWCAP2, AT_EXECFN = 23, 25, 26, 31


class Start(NamedTuple):
    """What a process is started with."""

    arguments: Sequence[bytes]
    environment: Sequence[bytes]
    program_name: bytes
    random: bytes
    user: int
    group: int
    processor: Processor


def build_stack(
    space: AddressSpace, image: Image, start: Start, *, interpreter_base: int = 0
) -> int:
    """Map the stack, write what the program finds on it, and return the stack pointer.

    Raises GuestFileError if arguments and environment are too long.
    """
    space.map(STACK_TOP - STACK_SIZE, STACK_SIZE, READ | WRITE, "[stack]")
    _check_strings(start)
    strings = _Strings(STACK_TOP - 4)  # Linux leaves one null pointer above all
    name = strings.push(start.program_name + b"\0")
    environment = [strings.push(s + b"\0") for s in reversed(start.environment)][::-1]
    arguments = [strings.push(s + b"\0") for s in reversed(start.arguments)][::-1]
    platform = strings.push(start.processor.platform + b"\0")
    random = strings.push(start.random[:16].ljust(16, b"\0"))
    vector = _auxiliary(image, start, interpreter_base, random, name, platform)
    words = [len(arguments), *arguments, 0, *environment, 0, *vector]
    pointer = (strings.address - 4 * len(words)) & ~15
    try:
        space.poke(strings.address, strings.data())
        space.poke(pointer, struct.pack(f"<{len(words)}I", *words))
    except OutOfMemoryError:
        raise GuestFileError(
            "The process does not fit into memory",
            where="the initial stack",
            why=f"The machine has {space.physical.size // PAGE_SIZE} pages",
            advice="Give it more memory",
        ) from None
    return pointer


class _Strings:
    """Strings pushed downwards from an address."""

    def __init__(self, top: int) -> None:
        self.address = top
        self._pieces: list[bytes] = []

    def push(self, data: bytes) -> int:
        self._pieces.append(data)
        self.address -= len(data)
        return self.address

    def data(self) -> bytes:
        return b"".join(reversed(self._pieces))


def _check_strings(start: Start) -> None:
    """Keep Linux's limits, so that a program sees no stack that a real one could not have."""
    strings = [start.program_name, *start.arguments, *start.environment]
    if any(len(s) >= MAX_STRING or b"\0" in s for s in strings):
        raise GuestFileError(
            "An argument or environment string cannot be passed",
            where="command line",
            why=f"Each is shorter than {MAX_STRING >> 10} KiB and holds no NUL",
            advice="Pass it in a file",
        )
    if sum(len(s) + 5 for s in strings) > STACK_SIZE // 4:
        raise GuestFileError(
            "The argument list is too long",
            where="command line and environment",
            why=f"Together they may take {STACK_SIZE >> 12} KiB, a quarter of the stack",
            advice="Pass fewer, or in a file",
        )


def _auxiliary(
    image: Image, start: Start, interpreter: int, random: int, name: int, platform: int
) -> list[int]:
    """Return the auxiliary vector, in the kernel's order."""
    pairs = [
        (AT_HWCAP, start.processor.hwcap),
        (AT_PAGESZ, PAGE_SIZE),
        (AT_CLKTCK, 100),
        (AT_PHDR, image.header_address),
        (AT_PHENT, 32),
        (AT_PHNUM, image.header_count),
        (AT_BASE, interpreter),
        (AT_FLAGS, 0),
        (AT_ENTRY, image.entry),
        (AT_UID, start.user),
        (AT_EUID, start.user),
        (AT_GID, start.group),
        (AT_EGID, start.group),
        (AT_SECURE, 0),
        (AT_RANDOM, random),
        (AT_HWCAP2, 0),
        (AT_EXECFN, name),
        (AT_PLATFORM, platform),
        (AT_NULL, 0),
    ]
    return [word for pair in pairs for word in pair]
