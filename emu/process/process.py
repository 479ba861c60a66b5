"""What the kernel knows of the one process: memory, files, signals, identity, time."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from typing import Any, Protocol

from emu.memory import AddressSpace
from emu.process.clock import VirtualClock
from emu.process.descriptors import SystemMemory
from emu.process.files import DescriptorTable, Directory, Path
from emu.process.layout import STACK_SIZE
from emu.process.numbers import AT_FDCWD, PATH_MAX, CallError, Errno
from emu.process.sandbox import Sandbox
from emu.process.signals import SignalState
from isa.fault import Fault

RLIM_INFINITY = 0xFFFFFFFF

_LIMITS = {  # RLIMIT_*: soft, hard
    3: (STACK_SIZE, RLIM_INFINITY),
    4: (0, RLIM_INFINITY),  # no core dumps
    6: (1, 1),  # one process
    7: (1024, 1024),
}


def _usable(name: str, attributes: int) -> bool:
    code, writable = attributes & 8, attributes & 2
    return bool(code) if name == "cs" else bool(writable and not code)


class CpuState(Protocol):
    """What the process machine needs of a processor: registers by name, and the count."""

    count: int

    def __getitem__(self, name: str, /) -> int:
        """Read a register."""

    def __setitem__(self, name: str, value: int, /) -> None:
        """Write a register."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended.

    `kind` is "exit" (`code` is its own), "signal" (`code` is the signal's number) or "error" (the
    machine cannot go on); `message` is for the user.
    """

    kind: str
    code: int
    fault: Fault | None = None
    message: str = ""

    @property
    def exit_code(self) -> int:
        """The code to end our own process with, as a shell would report it."""
        return 128 + self.code if self.kind == "signal" else self.code


class ProcessEnd(Exception):  # noqa: N818 - an ending is not an error
    """Raised inside a system call that ends the process."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.message)


@dataclass
class Process:
    """The state that system calls work on. `state` is the processor while a call is served."""

    space: AddressSpace
    system: SystemMemory
    sandbox: Sandbox
    clock: VirtualClock
    entropy: random.Random
    state: CpuState
    program: bytes
    user: int = 1000
    pid: int = 1000
    files: DescriptorTable = field(default_factory=DescriptorTable)
    signals: SignalState = field(default_factory=SignalState)
    cwd: Path = ()
    umask: int = 0o022
    heap_start: int = 0
    heap_end: int = 0
    thread_name: bytes = b""
    limits: dict[int, tuple[int, int]] = field(default_factory=lambda: dict(_LIMITS))

    def load_segment(self, name: str, selector: int) -> None:
        """Load a segment register and the descriptor behind it, as the kernel's IRET would; EFAULT.

        CS must be code and SS data that can be written, else the guest could not go on.
        """
        hidden = self.system.segment(selector)
        if hidden is None or (name in ("cs", "ss") and not _usable(name, hidden[2])):
            raise CallError(Errno.EFAULT)
        self.state[name] = selector
        for part, value in zip(("base", "limit", "attributes"), hidden, strict=True):
            self.state[f"{name}_{part}"] = value

    # -- time -------------------------------------------------------------------------------

    @property
    def elapsed(self) -> int:
        """Nanoseconds since the process started."""
        return self.clock.elapsed(self.state.count)

    @property
    def now(self) -> int:
        """Nanoseconds since 1970."""
        return self.clock.now(self.state.count)

    # -- guest memory, hostile pointers and all ---------------------------------------------

    def read(self, address: int, size: int) -> bytes:
        """Read guest memory; EFAULT."""
        data = self.space.read(address, size)
        if isinstance(data, Fault):
            raise CallError(Errno.EFAULT)
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write guest memory; EFAULT."""
        if self.space.write(address, data) is not None:
            raise CallError(Errno.EFAULT)

    def unpack(self, layout: str, address: int) -> tuple[Any, ...]:
        """Read a struct; EFAULT."""
        return struct.unpack(layout, self.read(address, struct.calcsize(layout)))

    def pack(self, layout: str, address: int, *values: int | bytes) -> None:
        """Write a struct; EFAULT."""
        self.write(address, struct.pack(layout, *values))

    def path(self, address: int) -> bytes:
        """Read a path; EFAULT, ENAMETOOLONG."""
        found = self.space.read_string(address, PATH_MAX)
        if found is None:
            raise CallError(Errno.ENAMETOOLONG)
        if isinstance(found, Fault):
            raise CallError(Errno.EFAULT)
        return found

    def start(self, descriptor: int) -> Path:
        """Return where paths relative to a descriptor begin (AT_FDCWD: the working directory)."""
        if descriptor == AT_FDCWD:
            return self.cwd
        file = self.files.get(descriptor)
        if not isinstance(file, Directory):
            raise CallError(Errno.ENOTDIR)
        return file.path

    def deadlock(self, what: str) -> ProcessEnd:
        """Return the end of a process that would wait for ever."""
        message = f"The program waits for ever: {what}, and no other process could end the wait"
        return ProcessEnd(Outcome("error", 124, message=message))
