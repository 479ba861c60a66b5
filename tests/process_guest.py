"""A tiny ELF file, and a process machine to call into."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path
from typing import Any

from emu.exit import Exit
from emu.process.execute import NoState
from emu.process.machine import ProcessMachine
from emu.process.process import Outcome, Process
from emu.process.syscalls.names import NUMBERS
from emu.process.syscalls.registry import REGISTERS

BASE = 0x08048000
CODE = bytes.fromhex("b801000000 31db cd80")  # mov eax, 1; xor ebx, ebx; int 0x80
EHDR, PHDR = struct.Struct("<16sHHIIIIIHHHHHH"), struct.Struct("<8I")
IDENT = b"\x7fELF\1\1\1" + bytes(9)


def tiny_elf(
    segments: list[tuple[int, ...]] | None = None,
    *,
    kind: int = 2,
    entry: int | None = None,
    base: int = BASE,
    data: bytes = CODE,
) -> bytes:
    """Build an executable: a text segment with headers and code, and 32 KiB of zeros to write."""
    segments = segments or [
        (1, 0, base, base, 0x1000, 0x1000, 5, 0x1000),
        (1, 0, base + 0x1000, base + 0x1000, 0, 0x8000, 6, 0x1000),
    ]
    start = EHDR.size + PHDR.size * len(segments)
    where = base + start if entry is None else entry
    header = EHDR.pack(IDENT, kind, 3, 1, where, EHDR.size, 0, 0, 52, 32, len(segments), 0, 0, 0)
    table = b"".join(PHDR.pack(*s) for s in segments)
    return (header + table + data).ljust(0x1000, b"\0")


def tiny_elf_with_linker(linker: bytes) -> bytes:
    """Build an executable that asks for a dynamic linker."""
    offset, size = 0x200, len(linker) + 1
    segments = [
        (1, 0, BASE, BASE, 0x1000, 0x1000, 5, 0x1000),
        (3, offset, BASE + offset, BASE + offset, size, size, 4, 1),
    ]
    image = tiny_elf(segments)
    return image[:offset] + linker + b"\0" + image[offset + size :]


def descriptors_into(folder: Path) -> int:
    """Count the host's open descriptors that lead below a folder (0 where the host cannot tell).

    Others are not counted: threads of other tests, such as compilers, open and close files.
    """
    listing, found = Path("/proc/self/fd"), 0
    for descriptor in list(listing.iterdir()) if listing.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # the listing's own, and what was closed since
            found += str(descriptor.readlink()).startswith(f"{folder.resolve()}/")
    return found


class Guest:
    """A started machine; `call` does a system call and returns its signed result."""

    BUFFER = BASE + 0x1000  # 32 KiB that the guest may write

    def __init__(self, root: Path | None = None, *, stdin: bytes = b"", **options: Any) -> None:
        self.stdin, self.stdout, self.stderr = io.BytesIO(stdin), io.BytesIO(), io.BytesIO()
        self.machine = ProcessMachine(
            options.pop("image", tiny_elf()),
            ["guest"],
            root=root,
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr,
            **options,
        )
        self.state = NoState()
        self.machine.start(self.state)
        self.space = self.machine.space
        self.outcome: Outcome | None = None

    @property
    def process(self) -> Process:
        """The current process."""
        return self.machine.process

    def call(self, name: str | int, *arguments: int | bytes) -> int:
        """Do a system call; bytes are put into memory, at 512-byte steps, and passed by address."""
        number = NUMBERS[name] if isinstance(name, str) else name
        self.state["eax"] = number
        for i, argument in enumerate(arguments):
            if isinstance(argument, bytes):
                argument = self.put(argument + b"\0", 0x1000 + 512 * i)
            self.state[REGISTERS[i]] = argument & 0xFFFFFFFF
        self.outcome = self.machine.handle(self.state, Exit("interrupt", values=(0x80,)))
        result = self.state["eax"]
        return result - (1 << 32) if result >> 31 and result > 0xFFFFF000 else result

    def put(self, data: bytes, offset: int = 0) -> int:
        """Write bytes into the buffer; return their address."""
        assert self.space.write(self.BUFFER + offset, data) is None
        return self.BUFFER + offset

    def get(self, size: int, offset: int = 0) -> bytes:
        """Read bytes of the buffer."""
        data = self.space.read(self.BUFFER + offset, size)
        assert isinstance(data, bytes)
        return data

    def words(self, layout: str, offset: int = 0) -> tuple[int, ...]:
        """Read a struct of the buffer."""
        return struct.unpack(layout, self.get(struct.calcsize(layout), offset))
