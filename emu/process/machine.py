"""The process machine: one Linux i386 program, its system calls served by a handler of exits."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from emu.errors import GuestFileError, LoaderError
from emu.exit import Exit
from emu.memory import PAGE_SIZE, AddressSpace, PhysicalMemory
from emu.process import elf, frames
from emu.process.clock import DEFAULT_EPOCH, DEFAULT_MIPS, VirtualClock
from emu.process.descriptors import (
    GDT_BASE,
    GDT_ENTRIES,
    USER_CODE_SELECTOR,
    USER_DATA_SELECTOR,
    SystemMemory,
)
from emu.process.files import BinaryStream, OpenFile, Stream
from emu.process.layout import DYN_BASE, MMAP_TOP, STACK_GUARD, STACK_TOP
from emu.process.numbers import O_RDONLY, O_WRONLY, CallError
from emu.process.process import CpuState, Outcome, Process, ProcessEnd
from emu.process.sandbox import Sandbox
from emu.process.signals import SIG_DFL, SIG_IGN, Info, Signal, of_fault
from emu.process.start import HWCAP, Start, build_stack
from emu.process.syscalls import CALLS, CallEvent, name_of, serve, serve_shown
from emu.state import State
from isa.fault import Fault
from isa.x86.registers import FCW_INITIAL

SYSCALL_VECTOR = 0x80
_SYSTEM_CALL = Exit("interrupt", values=(SYSCALL_VECTOR,))
_SERVED = Exit("served")  # a handler served an exit, and the run must not just go on
INITIAL_EFLAGS = 0x202  # IF and the bit that is always set
OUT_OF_MEMORY = 137  # as when Linux's OOM killer ends a process with SIGKILL
UNSUPPORTED = 70

_REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
_VECTORS = {
    0: "divide error",
    1: "debug trap",
    3: "breakpoint",
    4: "overflow trap",
    5: "bound range exceeded",
    6: "invalid instruction",
    7: "no coprocessor",
    11: "segment not present",
    12: "stack segment fault",
    13: "general protection fault",
    14: "page fault",
    16: "x87 error",
    17: "misaligned access",
    19: "SIMD error",
}


class Engine(Protocol):
    """What runs the instructions; engines agree on more of the state than is used here."""

    def run(self, state: Any, until: int) -> Exit:
        """Run until the count reaches `until`, or something needs service."""


class ProcessMachine:
    """A program with its memory, files and kernel state.

    Raises GuestFileError if the program cannot be started. `argv[0]` is the program's name;
    `program` is the path that it finds itself under (/proc/self/exe), by default argv[0]. Streams
    are binary; None stands for our own standard streams.
    """

    def __init__(
        self,
        image: bytes,
        argv: Sequence[str | bytes],
        env: Mapping[str, str] | Sequence[str | bytes] = (),
        *,
        root: str | os.PathLike[str] | None = None,
        writable: bool = False,
        memory: int = 256 << 20,
        stdin: BinaryStream | None = None,
        stdout: BinaryStream | None = None,
        stderr: BinaryStream | None = None,
        seed: int = 0,
        mips: int = DEFAULT_MIPS,
        epoch: int = DEFAULT_EPOCH,
        user: int = 1000,
        cwd: str | bytes = "/",
        program: str | bytes | None = None,
        hwcap: int = HWCAP,
        on_call: Callable[[CallEvent], None] | None = None,
    ) -> None:
        arguments = [_bytes(a) for a in argv] or [b"program"]
        self._name = _bytes(program) if program is not None else arguments[0]
        self.on_call = on_call
        self._outcome: Outcome | None = None  # of the exit that a handler has served
        self._limit = 0  # of the engine's run under way
        self.unknown_calls: dict[str, int] = {}
        self._entropy = random.Random(seed)
        self.space = AddressSpace(PhysicalMemory(_whole_pages(memory)))
        self.system = SystemMemory()
        path = self._name if self._name.startswith(b"/") else b"/" + self._name
        self.sandbox = Sandbox(
            root, writable=writable, program=path, image=image, user=user, entropy=self._entropy
        )
        try:
            self._load(image, arguments, _environment(env), user, hwcap)
            self.process = self._process(path, user, mips, epoch)
            self.sandbox.now = lambda: self.process.now
            self._set_directory(_bytes(cwd))
        except BaseException:
            self.sandbox.close()
            raise
        self._open_streams(stdin, stdout, stderr)

    # -- setting up -------------------------------------------------------------------------

    def _load(
        self,
        data: bytes,
        arguments: list[bytes],
        environment: list[bytes],
        user: int,
        hwcap: int,
    ) -> None:
        """Map the program, and the dynamic linker if it asks for one; build the stack."""
        image = elf.parse(data)
        self._heap = image.end
        elf.load(image, self.space)
        self._entry, base = image.entry, 0
        if image.interpreter is not None:
            linker = self._linker(image.interpreter)
            elf.load(linker, self.space)
            self._entry, base = linker.entry, linker.base
        start = Start(
            arguments=arguments,
            environment=environment,
            program_name=self._name,
            random=self._entropy.randbytes(16),
            user=user,
            group=user,
            hwcap=hwcap,
        )
        self._stack = build_stack(self.space, image, start, interpreter_base=base)

    def _linker(self, path: bytes) -> elf.Image:
        """Read the dynamic linker from the guest's root."""
        shown = path.decode("utf-8", "backslashreplace")
        data = read_guest_file(self.sandbox, path)
        if data is None:
            raise LoaderError(
                "This program is dynamically linked",
                where=f"it asks for {shown}",
                why="That file is not in the guest's root directory",
                advice="Use a statically linked program (gcc -m32 -static), or give a root "
                "directory with its shared objects",
            )
        base = elf.parse(data, base=DYN_BASE).end - DYN_BASE
        return elf.parse(data, base=(MMAP_TOP - base) & ~(PAGE_SIZE - 1))

    def _process(self, path: bytes, user: int, mips: int, epoch: int) -> Process:
        return Process(
            space=self.space,
            system=self.system,
            sandbox=self.sandbox,
            clock=VirtualClock(mips=mips, epoch=epoch),
            entropy=self._entropy,
            state=_NoState(),
            program=path,
            user=user,
            heap_start=self._heap,
            heap_end=self._heap,
            thread_name=path.rpartition(b"/")[2][:15],
        )

    def _set_directory(self, cwd: bytes) -> None:
        try:
            self.process.cwd = self.sandbox.resolve(cwd)
        except Exception as error:
            raise GuestFileError(
                f"The working directory {cwd.decode('utf-8', 'backslashreplace')!r} is not there",
                where="the guest's root",
                why=str(error),
                advice="Name a directory inside the root",
            ) from None

    def _open_streams(self, *streams: BinaryStream | None) -> None:
        files: list[OpenFile] = []
        for index, stream in enumerate(streams):
            flags = O_WRONLY if index else O_RDONLY
            files.append(Stream(index if stream is None else stream, flags, index))
            self.process.files.put(index, files[index])
        self.sandbox.stream = files.__getitem__

    # -- running ----------------------------------------------------------------------------

    def start(self, state: CpuState) -> None:
        """Set the registers as Linux does at a program's first instruction."""
        for name in _REGISTERS:
            state[name] = 0
        state["gdt_base"], state["gdt_limit"] = GDT_BASE, GDT_ENTRIES * 8 - 1
        self.process.state = state
        for name in ("ss", "ds", "es", "fs", "gs"):
            self.process.load_segment(name, 0 if name in ("fs", "gs") else USER_DATA_SELECTOR)
        self.process.load_segment("cs", USER_CODE_SELECTOR)
        state["cpl"], state["eflags"], state["fcw"] = 3, INITIAL_EFLAGS, FCW_INITIAL
        state["esp"], state["eip"] = self._stack, self._entry

    def run(self, engine: Engine, state: State, until: int = 1 << 62) -> Outcome | None:
        """Run until the process ends or the count reaches `until` (then None)."""
        self.process.state = state
        state.handlers["interrupt"] = self._interrupts(state, until)
        try:
            while state.count < until:
                self._limit = min(until, self.next_event())
                stop = engine.run(state, self._limit)
                outcome = self._outcome if stop is _SERVED else self.handle(state, stop)
                if outcome is not None:
                    return outcome
        finally:
            del state.handlers["interrupt"]
        return None

    def _interrupts(self, state: State, until: int) -> Callable[[int], Exit | None]:
        """The handler of interrupts while `run` is at work; `handle` without its detours."""
        signals = self.process.signals

        def interrupt(vector: int) -> Exit | None:
            if vector != SYSCALL_VECTOR or self.on_call is not None:
                self._outcome = self.handle(state, Exit("interrupt", values=(vector,)))
            else:
                self._outcome = self._plain_call(state)
            changed = signals.alarm is not None or self._limit != until
            if self._outcome is not None or (
                changed and self._limit != min(until, self.next_event())
            ):
                return _SERVED
            return None

        return interrupt

    def _plain_call(self, state: State) -> Outcome | None:
        """A system call that nobody watches; most raise no signal."""
        number, signals = state["eax"], self.process.signals
        if number not in CALLS:
            return self.handle(state, _SYSTEM_CALL)
        try:
            serve(self.process, number)
        except ProcessEnd as end:
            return self._end(end.outcome)
        if signals.alarm is None and not signals.pending:
            return None
        return self._end(self._signals())

    def next_event(self) -> int:
        """Return the instruction count at which a timer of the process runs out."""
        alarm = self.process.signals.alarm
        if alarm is None:
            return 1 << 62
        return max(self.process.clock.count_at(alarm), self.process.state.count + 1)

    def handle(self, state: CpuState, stop: Exit) -> Outcome | None:
        """Serve an exit; return None to go on, or how the process ended."""
        self.process.state = state
        try:
            outcome = self._serve(state, stop) or self._signals()
        except ProcessEnd as end:
            outcome = end.outcome
        return self._end(outcome)

    def _signals(self) -> Outcome | None:
        """Raise and deliver what is due."""
        self.process.signals.expire(self.process.elapsed)
        return self._deliver()

    def _end(self, outcome: Outcome | None) -> Outcome | None:
        if outcome is not None:
            self.close()
        return outcome

    def close(self) -> None:
        """Close every file."""
        self.process.files.close_all()
        self.sandbox.close()

    def _serve(self, state: CpuState, stop: Exit) -> Outcome | None:
        if stop.reason == "interrupt" and stop.vector == SYSCALL_VECTOR:
            self._call(state)
        elif stop.reason == "interrupt":
            self._interrupt(state, stop.vector)
        elif stop.reason == "fault" and stop.fault is not None:
            return self._fault(state, stop.fault)
        elif stop.reason != "until":
            where = f"at {state['eip']:#010x}"
            message = f"The engine cannot go on {where}: {stop.reason}"
            return Outcome("error", UNSUPPORTED, stop.fault, message)
        return None

    def _call(self, state: CpuState) -> None:
        number = state["eax"]
        if number not in CALLS:
            name = name_of(number)
            self.unknown_calls[name] = self.unknown_calls.get(name, 0) + 1
        if self.on_call is None:
            serve(self.process, number)
            return
        try:
            event = serve_shown(self.process, number)
        except ProcessEnd:
            event = CallEvent(name_of(number), (str(state["ebx"]),), None)
            self.on_call(event)
            raise
        self.on_call(event)

    def _interrupt(self, state: CpuState, vector: int) -> None:
        """INT3 and INTO are open to users; every other gate of Linux's IDT faults."""
        if vector in (3, 4):
            fault = Fault(vector)
        else:
            fault = Fault(13, vector << 3 | 2)  # the IDT's index, SDM volume 3, figure 6-7
            state["eip"] = (state["eip"] - 2) & 0xFFFFFFFF
        self.process.signals.force(of_fault(fault, state["eip"], mapped=False))

    def _fault(self, state: CpuState, fault: Fault) -> Outcome | None:
        if self.space.exhausted:
            size = self.space.physical.size >> 20
            message = f"The program used all {size} MiB of its memory; give it more"
            return Outcome("signal", Signal.SIGKILL, fault, message)
        mapped = fault.address is not None and self.space.region_at(fault.address) is not None
        self.process.signals.force(of_fault(fault, state["eip"], mapped=mapped))
        return None

    def _deliver(self) -> Outcome | None:
        """Deliver what is pending: into handlers, or as the end of the process."""
        signals = self.process.signals
        while (info := signals.next_deliverable()) is not None:
            action = signals.action(info.number)
            if action.handler == SIG_IGN or signals.ignored(info.number):
                continue
            if action.handler == SIG_DFL or info.number == Signal.SIGKILL:
                return Outcome("signal", info.number, info.fault, self._epitaph(info))
            if not frames.enter_handler(self.process, info, action):
                segv = Info(Signal.SIGSEGV, fault=info.fault)
                return Outcome("signal", Signal.SIGSEGV, info.fault, self._epitaph(segv))
        return None

    def _epitaph(self, info: Info) -> str:
        """Say what ended the process, where, and why."""
        known = info.number in Signal._value2member_map_
        name = Signal(info.number).name if known else f"signal {info.number}"
        if info.fault is None:
            return f"The program was ended by {name}"
        pointer, stack = self.process.state["eip"], self.process.state["esp"]
        what = _VECTORS.get(info.fault.vector, f"vector {info.fault.vector}")
        text = f"The program was ended by {name}: {what} at {pointer:#010x}"
        if info.fault.address is not None:
            text += self._access(info.fault, info.fault.address, stack)
        return text

    def _access(self, fault: Fault, address: int, stack: int) -> str:
        kind = "writing" if (fault.code or 0) & 2 else "reading"
        if STACK_GUARD <= address < STACK_TOP and stack < address + PAGE_SIZE:
            return f", {kind} {address:#010x}: stack overflow"
        region = self.space.region_at(address)
        if address < PAGE_SIZE:
            return f", {kind} {address:#010x}: a null pointer"
        why = "nothing is mapped there" if region is None else "it is protected"
        return f", {kind} {address:#010x}: {why}"


def read_guest_file(sandbox: Sandbox, path: bytes, limit: int = 64 << 20) -> bytes | None:
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


class _NoState(dict[str, int]):
    """Stands for the processor before `start`."""

    count = 0


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else os.fsencode(text)


def _environment(env: Mapping[str, str] | Sequence[str | bytes]) -> list[bytes]:
    if isinstance(env, Mapping):
        return [_bytes(f"{name}={value}") for name, value in env.items()]
    return [_bytes(item) for item in env]


def _whole_pages(memory: int) -> int:
    if not PAGE_SIZE * 16 <= memory <= 3 << 30:
        raise GuestFileError(
            f"A process cannot have {memory} bytes of memory",
            where="memory size",
            why="The least is 64 KiB, the most 3 GiB",
            advice="Choose a size between them",
        )
    return memory & ~(PAGE_SIZE - 1)
