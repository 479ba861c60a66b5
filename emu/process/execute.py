"""From a file to a program in memory: for the first process, and for execve."""

from __future__ import annotations

from emu.errors import LoaderError
from emu.memory import PAGE_SIZE, AddressSpace
from emu.process import elf
from emu.process.descriptors import (
    GDT_BASE,
    GDT_ENTRIES,
    USER_CODE_SELECTOR,
    USER_DATA_SELECTOR,
    SystemMemory,
)
from emu.process.entropy import Entropy
from emu.process.layout import DYN_BASE, MMAP_TOP
from emu.process.numbers import O_RDONLY, CallError
from emu.process.process import Process
from emu.process.processor import Processor
from emu.process.sandbox import Sandbox
from emu.process.start import Start, build_stack
from isa.hints import Any, Sequence
from isa.record import NamedTuple
from isa.x86.registers import FCW_INITIAL, MXCSR_INITIAL

INITIAL_EFLAGS = 0x202  # IF and the bit that is always set
LARGEST = 64 << 20  # bytes of a program that a guest starts
_REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")


class Loaded(NamedTuple):
    """A program in memory: where it starts, its stack pointer, where its heap begins."""

    entry: int
    stack: int
    heap: int


class Loader:
    """Puts programs into the address space as it is."""

    def __init__(
        self,
        space: AddressSpace,
        system: SystemMemory,
        sandbox: Sandbox,
        entropy: Entropy,
        user: int,
        processor: Processor,
    ) -> None:
        self._space = space
        self._system = system
        self._sandbox = sandbox
        self._entropy = entropy
        self._user = user
        self._processor = processor
        self._blank: Any = None  # the registers as they were before any program

    def load(
        self,
        image: elf.Image,
        arguments: Sequence[bytes],
        environment: Sequence[bytes],
        name: bytes,
        linker: elf.Image | None,
        *,
        late: bool = False,
    ) -> Loaded:
        """Map the program, and the dynamic linker if it asks for one; build the stack. Their bytes
        may be `late` if somebody keeps them anyway (see `elf.load`).

        Raises GuestFileError (LoaderError if memory is too small).
        """
        for each in (image,) if linker is None else (image, linker):
            elf.load(each, self._space, late=late)
        start = Start(
            arguments=arguments,
            environment=environment,
            program_name=name,
            random=self._entropy.randbytes(16),
            user=self._user,
            group=self._user,
            processor=self._processor,
        )
        base = 0 if linker is None else linker.base
        stack = build_stack(self._space, image, start, interpreter_base=base)
        return Loaded((linker or image).entry, stack, image.end)

    def linker(self, image: elf.Image) -> elf.Image | None:
        """Read the dynamic linker that a program asks for from the guest's root.

        Raises LoaderError if it is not there or none.
        """
        if image.interpreter is None:
            return None
        data = read_guest_file(self._sandbox, image.interpreter)
        if data is None:
            raise MissingLinkerError(
                "This program is dynamically linked",
                where=f"it asks for {image.interpreter.decode('utf-8', 'backslashreplace')}",
                why="That file is not in the guest's root directory",
                advice="Use a statically linked program (gcc -m32 -static), or give a root "
                "directory with its shared objects",
            )
        size = elf.parse(data, base=DYN_BASE).end - DYN_BASE
        return elf.parse(data, base=(MMAP_TOP - size) & ~(PAGE_SIZE - 1))

    def begin(self, process: Process, loaded: Loaded) -> None:
        """Set the registers as Linux does at a program's first instruction."""
        state = process.state
        if self._blank is None:
            self._blank = state.save()
        state.restore(self._blank)
        self._system.tls = (0, 0, 0)
        process.load_ldt()
        for name in _REGISTERS:
            state[name] = 0
        state["gdt_base"], state["gdt_limit"] = GDT_BASE, GDT_ENTRIES * 8 - 1
        for name in ("ss", "ds", "es", "fs", "gs"):
            process.load_segment(name, 0 if name in ("fs", "gs") else USER_DATA_SELECTOR)
        process.load_segment("cs", USER_CODE_SELECTOR)
        state["cpl"], state["eflags"], state["fcw"] = 3, INITIAL_EFLAGS, FCW_INITIAL
        state["mxcsr"], state["tsd"] = MXCSR_INITIAL, 0
        state["esp"], state["eip"] = loaded.stack, loaded.entry


class MissingLinkerError(LoaderError):
    """A program's dynamic linker is not there."""


def read_guest_file(sandbox: Sandbox, path: bytes, limit: int = LARGEST) -> bytes | None:
    """Read a whole regular file of the guest's, or None if it cannot be."""
    try:
        file = sandbox.open(path, (), O_RDONLY)
    except (CallError, OSError):
        return None
    try:
        return file.read_at(min(file.size(), limit), 0)
    except (CallError, OSError):
        return None
    finally:
        file.close()


class NoState(dict[str, int]):
    """Stands for the processor before `start`."""

    count = 0

    def __missing__(self, name: str) -> int:
        return 0  # what nobody has set

    def save(self) -> dict[str, int]:
        """See `CpuState`."""
        return dict(self)

    def restore(self, saved: dict[str, int]) -> None:
        """See `CpuState`."""
        self.clear()
        self.update(saved)
