"""What the kernel knows of a process: memory, files, signals, relatives, identity, time."""

from __future__ import annotations

import struct

from emu.memory import AddressSpace, Mappings
from emu.process.clock import FOREVER, VirtualClock
from emu.process.descriptors import LDT_ATTRIBUTES, LDT_BASE, LDT_SELECTOR, SystemMemory
from emu.process.entropy import Entropy
from emu.process.files import DescriptorTable, Directory, OpenFile, Path
from emu.process.layout import STACK_SIZE
from emu.process.namespace import MOST_PROCESSES
from emu.process.numbers import AT_FDCWD, PATH_MAX, CallError, Errno
from emu.process.sandbox import Sandbox
from emu.process.signals import Signal, SignalState
from isa.fault import Fault
from isa.hints import TYPE_CHECKING, Any, Callable, Protocol, Self, Sequence
from isa.record import NamedTuple

if TYPE_CHECKING:
    from emu.process.table import ProcessTable

RLIM_INFINITY = 0xFFFFFFFF
RLIMIT_STACK, RLIMIT_CORE, RLIMIT_NPROC, RLIMIT_NOFILE = 3, 4, 6, 7

_LIMITS = {  # soft, hard
    RLIMIT_STACK: (STACK_SIZE, RLIM_INFINITY),
    RLIMIT_CORE: (0, RLIM_INFINITY),  # no core dumps
    RLIMIT_NPROC: (MOST_PROCESSES, MOST_PROCESSES),
    RLIMIT_NOFILE: (1024, 1024),
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

    def save(self) -> Any:
        """Return every register, for `restore`."""

    def restore(self, saved: Any, /) -> None:
        """Set every register to what was saved."""


class Outcome(NamedTuple):
    """How a process ended.

    `kind` is "exit" (`code` is its own), "signal" (`code` is the signal's number) or "error" (the
    machine cannot go on); `message` is for the user.
    """

    kind: str
    code: int
    fault: Fault | None = None
    message: str = ""
    of_thread: bool = False  # its process goes on with the other threads

    @property
    def exit_code(self) -> int:
        """The code to end our own process with, as a shell would report it."""
        return 128 + self.code if self.kind == "signal" else self.code


class ProcessEnd(Exception):  # noqa: N818 - an ending is not an error
    """Raised inside a system call that ends the process."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.message)


class Sleep(Exception):  # noqa: N818 - waiting is not an error
    """Raised inside a system call that has to wait; the call is served again when it need not.

    `ready` tells when that is, a `deadline` (elapsed nanoseconds) at the latest. `finish` gives the
    result instead of serving the call again. A signal's handler ends the wait with what
    `interrupted` returns, else with EINTR, or has the call begin anew if it `restarts`; a `deaf`
    wait takes no notice. `moment` tells when it will be ready if nobody does anything (elapsed
    nanoseconds to come, None: never). `what` is for whoever learns that the wait can never end.
    """

    def __init__(
        self,
        what: str,
        ready: Callable[[], bool] = lambda: False,
        *,
        deadline: int | None = None,
        finish: Callable[[], int] | None = None,
        interrupted: Callable[[], int] | None = None,
        restarts: bool = True,
        deaf: bool = False,
        terminals: Sequence[OpenFile] = (),
        moment: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.what = what
        self.ready = ready
        self.deadline = deadline
        self.finish = finish
        self.interrupted = interrupted
        self.restarts = restarts
        self.deaf = deaf
        self.terminals = terminals
        self.moment = moment
        super().__init__(what)


class MemoryDescriptor:
    """What processes share after CLONE_VM: mappings, heap, and the program that is in them.

    `image` has the program's bytes if it does not come from the guest's own files, `ldt` the local
    descriptors.
    """

    users = 1
    ldt = b""

    def __init__(
        self, mappings: Mappings, program: bytes, image: bytes | memoryview | None, heap_start: int,
        heap_end: int,
    ) -> None:  # fmt: skip
        self.mappings = mappings
        self.program = program
        self.image = image
        self.heap_start = heap_start
        self.heap_end = heap_end

    def with_mappings(self, mappings: Mappings) -> MemoryDescriptor:
        """The same for a new process, whose mappings are its own."""
        other = MemoryDescriptor.__new__(MemoryDescriptor)
        vars(other).update(vars(self), mappings=mappings, users=1)
        return other


class Process:
    """The state that system calls work on: a process, or one of its threads but the first.

    Threads share what CLONE_THREAD shares: memory, files, actions of signals, children, limits.

    `state` is the one processor, `space` what it reaches, `system` its descriptor table; they are
    this process's while it is the current one.
    """

    cwd: Path = ()
    umask: int = 0o022

    leader: Process | None = None  # of a thread that is not its process's first
    dead: Outcome | None = None  # how the first thread ended, if others go on

    parent: Process | None = None
    exit_signal: int = Signal.SIGCHLD
    executed: bool = False  # it has replaced its program since it was born
    clear_at_exit: int = 0  # where to write 0 when the process ends (set_tid_address)
    dispatch: range | None = None  # system calls from anywhere else are SIGSYS, if set
    tell_child: int = 0  # where a new process finds its own number (CLONE_CHILD_SETTID)

    ended: Outcome | None = None
    stopped: int = 0  # by which signal
    news: int | None = None  # the wait status of having been stopped or continued
    sleep: Sleep | None = None
    progress: int = 0  # bytes that the call which sleeps has moved
    deadline: int | None = None  # elapsed nanoseconds at which it stops waiting

    saved: Any = None  # the registers, while another process is the current one
    tls: tuple[int, ...] = ()  # the thread-local descriptors, likewise
    used_before: int = 0  # instructions, up to the last time it became the current process
    began_at: int = 0  # the machine's count then
    used_by_children: int = 0  # instructions of those that were waited for

    def __init__(
        self, *, space: AddressSpace, system: SystemMemory, sandbox: Sandbox, clock: VirtualClock,
        entropy: Entropy, state: CpuState, table: ProcessTable, memory: MemoryDescriptor,
        user: int, pid: int, group: int, session: int, thread_name: bytes,
    ) -> None:  # fmt: skip
        self.space = space
        self.system = system
        self.sandbox = sandbox
        self.clock = clock
        self.entropy = entropy
        self.state = state
        self.table = table
        self.memory = memory
        self.user = user
        self.pid = pid
        self.group = group
        self.session = session
        self.thread_name = thread_name
        self.files = DescriptorTable()
        self.signals = SignalState()
        self.limits = dict(_LIMITS)
        self.children: list[Process] = []  # in the order of their birth

    def changed(self, **different: Any) -> Self:
        """Another one that is the same but for some attributes."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self) | different)
        return other

    @property
    def main(self) -> Process:
        """The first thread of its process, which stands for the process."""
        return self.leader or self

    @property
    def awake(self) -> bool:
        """Whether it can run an instruction."""
        return self.sleep is None and not self.stopped and self.ended is None

    @property
    def instructions(self) -> int:
        """How many instructions the current process has run."""
        return self.used_before + self.state.count - self.began_at

    @property
    def program(self) -> bytes:
        """The path of the program."""
        return self.memory.program

    def fall_asleep(self, sleep: Sleep) -> None:
        """A call of this process waits."""
        self.sleep, self.deadline = sleep, sleep.deadline

    def end_of_wait(self, duration: int) -> int:
        """Return the elapsed time at which a call that waits so long stops waiting."""
        if self.deadline is not None:
            return self.deadline
        return min(self.elapsed + duration, FOREVER)

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

    def load_ldt(self) -> None:
        """Let the processor have the process's local descriptors."""
        self.system.ldt = table = self.memory.ldt
        registers = {
            "ldtr": LDT_SELECTOR,
            "ldt_base": LDT_BASE,
            "ldt_limit": len(table) - 1,
            "ldt_attributes": LDT_ATTRIBUTES,
        }
        for name, value in registers.items():
            self.state[name] = value if table else 0

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
