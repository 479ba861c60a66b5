"""The process machine: a Linux i386 program, its system calls served by a handler of exits."""

from __future__ import annotations

import os

from emu.errors import GuestFileError
from emu.exit import Exit
from emu.memory import (
    PAGE_FAULT_WRITE,
    PAGE_SIZE,
    READ,
    WRITE,
    AddressSpace,
    PhysicalMemory,
    Region,
)
from emu.process import elf
from emu.process.clock import DEFAULT_EPOCH, DEFAULT_MIPS, VirtualClock
from emu.process.descriptors import SystemMemory
from emu.process.entropy import Entropy
from emu.process.execute import Loaded, Loader, NoState
from emu.process.files import BinaryStream, OpenFile, Stream
from emu.process.layout import STACK_GUARD, STACK_TOP
from emu.process.namespace import Namespace
from emu.process.numbers import O_RDONLY, O_WRONLY, CallError, Errno
from emu.process.process import (
    RLIMIT_NPROC,
    CpuState,
    MemoryDescriptor,
    Outcome,
    Process,
    ProcessEnd,
    Sleep,
)
from emu.process.processor import DEFAULT, Processor
from emu.process.sandbox import Sandbox
from emu.process.scheduler import Scheduler
from emu.process.signals import (
    BUS_ADRERR,
    SIG_DFL,
    SIG_IGN,
    SYS_USER_DISPATCH,
    Action,
    Info,
    Signal,
    SignalState,
    of_fault,
)
from emu.process.syscalls import CallEvent, is_known, name_of, serve, serve_shown
from emu.process.table import ProcessTable
from emu.state import State
from isa.fault import Fault
from isa.hints import Any, Callable, Collection, Mapping, Protocol, Sequence
from isa.x86.vectors import SIMD_FLOATING_POINT

SYSCALL_VECTOR = 0x80
_SYSTEM_CALL = Exit("interrupt", values=(SYSCALL_VECTOR,))
_SERVED = Exit("served")  # a handler served an exit, and the run must not just go on
UNSUPPORTED = 70
FOR_EVER = 124
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
    are binary; None stands for our own standard streams. `cpu` is one of `processor.NAMES`; the
    state it runs on must be one of `processor.instruction_set`. With `net` its processes have a
    loopback of their own.
    """

    def __init__(
        self,
        image: bytes | memoryview,
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
        cpu: str = DEFAULT,
        on_call: Callable[[CallEvent], None] | None = None,
        namespace: Namespace | None = None,
        net: bool = False,
    ) -> None:
        arguments = [_bytes(a) for a in argv] or [b"program"]
        self._name = _bytes(program) if program is not None else arguments[0]
        self.on_call = on_call
        self._outcome: Outcome | None = None  # of the exit that a handler has served
        self._limit = 0  # of the engine's run under way
        self.unknown_calls: dict[str, int] = {}
        self._entropy = Entropy(seed)
        self.processor = Processor(cpu)
        self.space = AddressSpace(PhysicalMemory(_whole_pages(memory)))
        self.system = SystemMemory()
        path = self._name if self._name.startswith(b"/") else b"/" + self._name
        namespace = namespace or Namespace()
        self.sandbox = Sandbox(
            root, writable=writable, user=user, entropy=self._entropy, namespace=namespace
        )
        loader = Loader(self.space, self.system, self.sandbox, self._entropy, user, self.processor)
        self.table = ProcessTable(loader, namespace, self.processor, net=net)
        try:
            self._loaded = self._load(image, arguments, _environment(env), loader)
            clock = VirtualClock(mips=mips, epoch=epoch)
            self._first = self._process(path, image, user, clock, self.table)
            self.table.add(self._first)
            self.scheduler = Scheduler(self.table, self._first)
            self.table.current = lambda: self.process
            self.sandbox.attach(_Programs(self.scheduler, self.table), lambda: self.process.now)
            self.sandbox.shared.attach(self.space, self.table.mappings)
            self._set_directory(_bytes(cwd))
        except BaseException:
            self.sandbox.close()
            raise
        self._open_streams(stdin, stdout, stderr)

    # -- setting up -------------------------------------------------------------------------

    def _load(
        self,
        data: bytes | memoryview,
        arguments: list[bytes],
        environment: list[bytes],
        loader: Loader,
    ) -> Loaded:
        image = elf.parse(data)
        linker = loader.linker(image)
        return loader.load(image, arguments, environment, self._name, linker, late=True)

    def _process(
        self,
        path: bytes,
        image: bytes | memoryview,
        user: int,
        clock: VirtualClock,
        table: ProcessTable,
    ) -> Process:
        heap, number, most = self._loaded.heap, table.free_pid(), table.namespace.processes
        process = Process(
            space=self.space,
            system=self.system,
            sandbox=self.sandbox,
            clock=clock,
            entropy=self._entropy,
            state=NoState(),
            table=table,
            memory=MemoryDescriptor(self.space.mappings, path, image, heap, heap),
            user=user,
            pid=number,
            group=number,
            session=number,
            thread_name=path.rpartition(b"/")[2][:15],
        )
        process.limits[RLIMIT_NPROC] = most, most
        return process

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

    @property
    def process(self) -> Process:
        """The current process."""
        return self.scheduler.current

    # -- running ----------------------------------------------------------------------------

    def start(self, state: CpuState) -> None:
        """Set the registers as Linux does at a program's first instruction."""
        self._first.state = state
        self.table.loader.begin(self._first, self._loaded)

    def run(self, engine: Engine, state: State, until: int = 1 << 62) -> Outcome | None:
        """Run until all processes have ended or the count reaches `until` (then None).

        The outcome is that of the first process.
        """
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

        scheduler, running = self.scheduler, self.table.running

        def interrupt(vector: int) -> Exit | None:
            if vector != SYSCALL_VECTOR or self.on_call is not None:
                self._outcome = self.handle(state, Exit("interrupt", values=(vector,)))
            else:
                self._outcome = self._plain_call(state, scheduler.current)
            alone = len(running) == 1 and scheduler.current.signals.timer.at is None
            if self._outcome is None and alone and self._limit == until:
                return None
            changed = self._limit != min(until, self.next_event())
            return _SERVED if changed or self._outcome is not None else None

        return interrupt

    def _plain_call(self, state: State, process: Process) -> Outcome | None:
        """A system call that nobody watches; most raise no signal."""
        number = state["eax"]
        if not is_known(number) or process.dispatch is not None:
            return self.handle(state, _SYSTEM_CALL)
        try:
            serve(process, number)
        except ProcessEnd as end:
            return self._settle(end.outcome)
        except Sleep as sleep:
            process.fall_asleep(sleep)
            return self._settle()
        signals = process.signals
        if signals.timer.at is None and not signals.pending and process.awake:
            return None
        return self._settle()

    def next_event(self) -> int:
        """Return the count at which a timer or a slice of the current process runs out."""
        return self.scheduler.next_event()

    def handle(self, state: CpuState, stop: Exit) -> Outcome | None:
        """Serve an exit; return None to go on, or how the program ended."""
        process = self.process
        try:
            outcome = self._serve(state, stop)
        except ProcessEnd as end:
            outcome = end.outcome
        except Sleep as sleep:
            process.fall_asleep(sleep)
            outcome = None
        return self._settle(outcome)

    def _settle(self, outcome: Outcome | None = None) -> Outcome | None:
        """Find somebody who can run an instruction, beginning with the current process.

        `outcome` is how that has ended, if it has. Returns how the program ended.
        """
        while True:
            process = self.process
            if outcome is None and process.awake:
                outcome = self._signals()
                if outcome is None and not self.scheduler.is_over():
                    return None
            if outcome is not None:
                if outcome.kind == "error":
                    return self._finish(outcome)
                self.table.end(process, outcome)
                if self._first.ended is not None and self.table.namespace.contained:
                    return self._finish(self._first.ended)  # and nobody outlives it
            following = self.scheduler.next()
            if following is None:
                return self._finish(self._waits_for_ever())
            self.scheduler.switch(following)
            outcome = self._wake(following)

    def _wake(self, process: Process) -> Outcome | None:
        """The current process was asleep: finish the call that waited, or let a signal end it."""
        if process.tell_child:
            process.space.write(process.tell_child, process.pid.to_bytes(4, "little"))
            process.tell_child = 0
        sleep, process.sleep = process.sleep, None
        try:
            if sleep is not None:
                from emu.process.waking import wake  # most processes that run alone never wait

                wake(process, sleep, self._call)
        except ProcessEnd as end:
            return end.outcome
        except Sleep as again:
            process.fall_asleep(again)
        return None

    def _signals(self) -> Outcome | None:
        """Raise and deliver what is due."""
        self.table.expire(self.process)
        return self._deliver()

    def _waits_for_ever(self) -> Outcome:
        """How it ends if nobody can run any more: well, if the first process has ended."""
        if self._first.ended is not None:
            return self._first.ended
        what = "it is stopped" if self._first.sleep is None else self._first.sleep.what
        message = f"The program waits for ever: {what}, and no other process could end the wait"
        return Outcome("error", FOR_EVER, message=message)

    def _finish(self, outcome: Outcome) -> Outcome:
        """The program has ended; the registers are those of the first process."""
        if self._first.ended is not None and self.process is not self._first:
            self._first.state.restore(self._first.saved)
        self.close()
        return outcome

    def close(self) -> None:
        """Close every file."""
        for process in self.table.running:
            process.files.close_all()
        if self.table.sockets is not None:
            self.table.sockets.close()
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
        number, dispatch = state["eax"], self.process.dispatch
        if dispatch is not None and state["eip"] not in dispatch:
            info = Info(Signal.SIGSYS, SYS_USER_DISPATCH, state["eip"], status=number)
            self.process.signals.force(info)
            return
        if not is_known(number):
            name = name_of(number)
            self.unknown_calls[name] = self.unknown_calls.get(name, 0) + 1
        if self.on_call is None:
            serve(self.process, number)
            return
        process = 0 if self.process is self._first else self.process.pid  # or thread
        try:
            event = serve_shown(self.process, number)
        except ProcessEnd:
            event = CallEvent(name_of(number), (str(state["ebx"]),), None)
            self.on_call(event._replace(process=process))
            raise
        self.on_call(event._replace(process=process))

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
            self.space.exhausted = False
            return Outcome("signal", Signal.SIGKILL, fault, message)
        region = None if fault.address is None else self.space.region_at(fault.address)
        raised = _raised(state, fault)
        info = of_fault(fault, state["eip"], mapped=region is not None, raised=raised)
        if _is_missing(region, fault):
            info = Info(Signal.SIGBUS, BUS_ADRERR, info.address, fault=fault)
        self.process.signals.force(info)
        return None

    def _deliver(self) -> Outcome | None:
        """Deliver what is pending: into handlers, or as the end of the process."""
        signals = self.process.signals
        while (info := _next_signal(signals)) is not None:
            action = signals.action(info.number)
            if action.handler == SIG_IGN or signals.ignored(info.number):
                continue
            if action.handler == SIG_DFL or info.number == Signal.SIGKILL:
                return Outcome("signal", info.number, info.fault, self._epitaph(info))

            if not _enter_handler(self.process, info, action):
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
        if _is_missing(region, fault):
            why = "the mapped file has no such page"
        return f", {kind} {address:#010x}: {why}"


def _enter_handler(process: Process, info: Info, action: Action) -> bool:
    from emu.process import frames  # which knows the x87 and SSE

    return frames.enter_handler(process, info, action)


def _next_signal(signals: SignalState) -> Info | None:
    """What is delivered next: first what a wait had let in, whether or not that has a handler."""
    info = signals.next_deliverable()
    if info is None and signals.saved_mask is not None:
        signals.restore_mask()
        return signals.next_deliverable()
    return info


def _raised(state: CpuState, fault: Fault) -> int:
    """The exceptions that are not masked, of the unit that a fault comes from."""
    if fault.vector == SIMD_FLOATING_POINT:
        return state["sse_flags"] & ~state["sse_masks"]
    return state["fpu_flags"] & ~state["fcw"]


def _is_missing(region: Region | None, fault: Fault) -> bool:
    """Whether an access was allowed, but the mapped file has no such page."""
    if region is None or region.backing is None:
        return False
    return region.allows(WRITE if (fault.code or 0) & PAGE_FAULT_WRITE else READ)


class _Programs:
    """What /proc tells of the processes of a table."""

    def __init__(self, scheduler: Scheduler, table: ProcessTable) -> None:
        self._scheduler = scheduler
        self._table = table

    def numbers(self) -> Collection[int]:
        return self._table.processes.keys()

    def of(self, number: int | None) -> tuple[bytes, bytes | memoryview | None]:
        process = self._scheduler.current
        if number is not None:
            process = self._table.find(number)
        if process.ended is not None:
            raise CallError(Errno.ENOENT)
        return process.memory.program, process.memory.image


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
