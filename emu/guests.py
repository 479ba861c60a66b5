"""From a file to a machine that is ready to run it."""

from __future__ import annotations

import os
import time

from emu.engines import Engine, make_engine
from emu.errors import GuestFileError, LoaderError
from emu.report import EXIT_LIMIT, EXIT_STORM, EXIT_UNIMPLEMENTED, Report
from emu.room import LARGE_PAGE, Room
from emu.state import State
from isa.hints import TYPE_CHECKING, Any, Callable, Mapping, Protocol, Sequence, StrPath
from isa.light import MappingProxyType
from isa.record import NamedTuple

if TYPE_CHECKING:
    from emu.assembler import Assembled
    from emu.process.machine import ProcessMachine
    from emu.process.process import Outcome
    from emu.process.syscalls import CallEvent
    from emu.toy.machine import ToyMachine
    from isa.toy import Toy
    from isa.toy.assembler import Program

LARGEST = 256 << 20  # bytes of a guest file
FOREVER = 1 << 62


class Options(NamedTuple):
    """What a user can say about a run; `Guest` takes what concerns its machine."""

    engine: str = "auto"
    root: StrPath | None = None
    writable: bool = False
    net: bool = False
    environment: Mapping[str, str] = MappingProxyType({})
    memory: int = 256 << 20
    seed: int = 0
    mips: int = 100
    cwd: str = "/"
    isa: str | None = None
    disk: StrPath | None = None
    cpu: str = "pentium2"
    on_call: Callable[[CallEvent], None] | None = None


class Guest(Protocol):
    """A machine with its program loaded."""

    state: State
    engine: Engine

    def advance(self, until: int) -> Report | None:
        """Run until the count reaches `until` (then None) or the guest ends."""

    def show_screen(self) -> None:
        """Print what its screen shows, if it has one that the user wants to see."""

    def unfinished(self) -> Report:
        """What to report if nobody wants it to go on."""

    def place(self) -> str:
        """Where it is, for messages."""


def is_for_pc(path: StrPath | None) -> bool:
    """Whether a file is a disk or a kernel, or a source that says `.machine pc/…`."""
    if path is None or not os.path.isfile(path):
        return False
    from emu.pc.kinds import SEARCHED, is_bootable, is_kernel

    if is_source(path):
        from isa.toy.assembler import machine_named

        text = source_text(path, read_file(path))
        return (machine_named(text or "") or "").startswith("pc/")
    head = head_of(path, 2 * SEARCHED)  # a header found near the end is whole
    return is_kernel(head) or (is_bootable(head) and not head.startswith(b"\x7fELF"))


def open_guest(
    path: StrPath, arguments: list[str], options: Options, machine: str = "auto"
) -> Guest:
    """Load a guest, choosing the machine by what the file is, unless it is named.

    ELF files and x86 assembly (`.asm`, `.s`) and flat images (`.bin`) run on the process machine,
    sources that say `.machine toy/…` on the toy. Raises GuestFileError or AssemblyError.
    """
    if not is_source(path):
        return _process(image_of(path, read_program(path)), path, arguments, options)
    text = source_text(path, read_file(path))
    assert text is not None
    from isa.toy.assembler import machine_named

    configuration = options.isa or machine_named(text)
    if machine == "toy" or (machine == "auto" and configuration is not None):
        without_arguments(path, arguments)
        return ToyGuest(text, path, configuration or "toy/clean", options)
    from emu.assembler import assemble

    assembled = assemble(text, str(path))
    return _process(assembled.image, path, arguments, options, assembled)


def without_arguments(path: StrPath | None, arguments: Sequence[str]) -> None:
    """Raises GuestFileError if there are any: only processes have arguments."""
    if arguments:
        raise GuestFileError(
            f"{path} is for a bare machine and takes no arguments, as {arguments[0]!r} would be",
            advice="Options of ours come before the guest's name",
        )


def head_of(path: StrPath, size: int) -> bytes:
    """The first bytes of a file; none if it cannot be read: whoever reads it whole will say so."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def read_file(path: StrPath) -> bytes:
    """The bytes of a guest file; raises GuestFileError."""
    return bytes(read_program(path))


def read_program(path: StrPath) -> memoryview:
    """The same in memory that the host may commit in large pages: a tenth of the time for two
    megabytes."""
    try:
        if os.path.isdir(path):
            raise GuestFileError(
                f"{path} is a directory", advice="Name a program inside it; --root gives a tree"
            )
        if os.path.exists(path) and not os.path.isfile(path):
            raise GuestFileError(f"{path} is not a regular file", advice="Name a program file")
        size = os.stat(path).st_size
        if size > LARGEST:
            raise GuestFileError(f"{path} has more than {LARGEST >> 20} MiB")
        room = Room(size, dense=size > LARGE_PAGE // 4)
        with open(path, "rb") as file:
            data = room.view[: file.readinto(room.view)].toreadonly()
    except OSError as error:
        raise MissingFileError(
            f"{path} cannot be read", why=error.strerror or "", advice="Check the path"
        ) from None
    if not data:
        raise GuestFileError(f"{path} is empty", advice="Name an ELF program, a source or an image")
    return data


class MissingFileError(GuestFileError):
    """There is no file to read."""


def is_source(path: StrPath) -> bool:
    """Whether a file is an assembly source, by its name."""
    return _suffix(path) in (".asm", ".s", ".toy")


def _suffix(path: StrPath) -> str:
    return os.path.splitext(path)[1].lower()


def source_text(path: StrPath, data: bytes) -> str | None:
    """The text of an assembly source, or None for other files."""
    if not is_source(path):
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GuestFileError(
            f"{path} is not a text in UTF-8", where=f"byte {error.start}", advice="Save it as UTF-8"
        ) from None


def image_of(path: StrPath, data: bytes | memoryview) -> bytes | memoryview:
    """An ELF image: the file itself, or one made of a flat image."""
    if data[:4] == b"\x7fELF":
        return data
    if _suffix(path) in (".bin", ".img", ".com"):
        from emu.flat import image

        return image(bytes(data), file=str(path))
    raise GuestFileError(
        f"{path} is of no kind that can be run",
        why=f"It starts with {data[:8].hex(' ')}; an ELF program starts with 7f 45 4c 46",
        advice="Give an i386 ELF program, assembly (.asm, .s), or a flat image named .bin",
    )


# -- the process machine ------------------------------------------------------------------------


def process_state(machine: ProcessMachine) -> State:
    """The processor as Linux leaves it at a program's first instruction."""
    from isa.x86.machine import X86

    isa = X86(machine.processor.instruction_set)
    state = State(isa, {"linear": machine.space, "system": machine.system})
    machine.start(state)
    return state


def _process(
    image: bytes | memoryview,
    path: StrPath,
    arguments: list[str],
    options: Options,
    assembled: Assembled | None = None,
) -> ProcessGuest:
    from emu.process.machine import ProcessMachine

    try:
        machine = ProcessMachine(
            image,
            [os.path.basename(path), *arguments],
            options.environment,
            root=options.root,
            writable=options.writable,
            net=options.net,
            memory=options.memory,
            seed=options.seed,
            mips=options.mips,
            cwd=options.cwd,
            cpu=options.cpu,
            on_call=options.on_call,
        )
    except LoaderError as error:
        what = f"{path}: {error.what}"
        raise LoaderError(what, where=error.where, why=error.why, advice=error.advice) from None
    return ProcessGuest(machine, make_engine(options.engine), path, assembled)


class ProcessGuest:
    """A user program on the process machine; `assembled` if it comes from a source."""

    def __init__(
        self,
        machine: ProcessMachine,
        engine: Engine,
        path: StrPath,
        assembled: Assembled | None = None,
    ) -> None:
        self.machine = machine
        self._path = path
        self._assembled = assembled
        self.engine = engine
        self.state = process_state(machine)
        self._began = time.perf_counter()

    def advance(self, until: int) -> Report | None:
        """Run until the count reaches `until` (then None) or the process ends."""
        outcome = self.machine.run(self.engine, self.state, until)
        return None if outcome is None else self._report(outcome)

    def _report(self, outcome: Outcome) -> Report:
        if outcome.code == EXIT_LIMIT and outcome.kind == "error":  # it waits for ever
            return self.report("limit", EXIT_LIMIT, outcome.message)
        if outcome.kind == "error":
            message = f"{outcome.message} ({self.place()}). The instruction is not implemented yet"
            return self.report("unimplemented", EXIT_UNIMPLEMENTED, message)
        message = outcome.message
        if outcome.fault is not None:
            message += self._source(self.state.pc)
        return self.report(outcome.kind, outcome.exit_code, message)

    def _source(self, address: int) -> str:
        """The source line and symbol of an address, if the guest was assembled here."""
        if self._assembled is None:
            return ""
        line, symbol = self._assembled.line_at(address), self._assembled.symbol_at(address)
        places = [f"{self._path}:{line}"] if line else []
        places += [f"{symbol[0]}+{symbol[1]:#x}"] if symbol else []
        return f" [{', '.join(places)}]" if places else ""

    def report(self, stop: str, code: int, message: str) -> Report:
        """A report of the run so far."""
        seconds = time.perf_counter() - self._began
        details: dict[str, Any] = {"unknown_calls": self.machine.unknown_calls}
        return Report(
            stop, code, self.state.count, seconds, self.engine.name, "process", message, details
        )

    def show_screen(self) -> None:
        """It has none."""

    def unfinished(self) -> Report:
        """The report of a run that reached its limit."""
        message = f"still running after {self.state.count} instructions, at {self.place()}"
        return self.report("limit", EXIT_LIMIT, message)

    def place(self) -> str:
        """Address, bytes and text of the instruction at EIP."""
        return instruction_at(self.state) + self._source(self.state.pc)


def instruction_at(state: State) -> str:
    """Address, bytes and text of the instruction at the program counter of a flat machine."""
    memory = state.memory[state.isa.code_space]
    code, _ = memory.fetch(state.pc, state.isa.max_length)
    if not code:
        return f"{state.pc:#010x} (no code is mapped there)"
    text = state.isa.text(code, state.pc)
    length = state.isa.decode(code.ljust(15, b"\0"), state.isa.mode(state.values)).length
    return f"{state.pc:#010x}: {code[:length].hex(' ')}  {text}"


# -- the toy machine ----------------------------------------------------------------------------


def toy_program(text: str, path: StrPath, configuration: str) -> tuple[Toy, Program]:
    """The instruction set that a configuration describes, and the source assembled for it."""
    from isa.toy import Toy
    from isa.toy.assembler import assemble

    isa = Toy(configuration)
    return isa, assemble(text, str(path), isa)


class ToyGuest:
    """A program on the bare toy machine."""

    def __init__(self, text: str, path: StrPath, configuration: str, options: Options) -> None:
        import sys

        from emu.toy.machine import ToyMachine
        from emu.toy.run import BLANK_DISK

        self.isa, self.program = toy_program(text, path, configuration)
        self.engine = make_engine(options.engine)
        disk = BLANK_DISK if options.disk is None else read_file(options.disk)
        self.machine: ToyMachine = ToyMachine(
            self.isa, self.program.image, engine=self.engine, entry=self.program.entry,
            output=sys.stdout.buffer, source=sys.stdin.buffer, disk=disk,
        )  # fmt: skip
        self.state = self.machine.state
        self._began = time.perf_counter()

    def advance(self, until: int) -> Report | None:
        """Run until the count reaches `until` (then None) or the machine halts."""
        stop = self.machine.run(until)
        return None if stop.reason == "until" else self._report(stop)

    def _report(self, stop: Any) -> Report:
        from emu.toy.run import outcome

        found = outcome(self.machine, stop, time.perf_counter() - self._began, self.program)
        message = "" if found.stop == "halt" else found.explanation
        code = EXIT_STORM if found.stop == "storm" else found.exit_code
        name = "limit" if found.stop == "until" else found.stop
        return Report(
            name, code, found.instructions, found.seconds, found.engine, self.isa.name, message
        )

    def show_screen(self) -> None:
        """It has none."""

    def unfinished(self) -> Report:
        """The report of a run that reached its limit."""
        from emu.exit import Exit

        return self._report(Exit("until"))

    def place(self) -> str:
        """Where P points, with the source line."""
        from emu.toy.run import where

        return where(self.machine, self.program)
