"""The process in which a hosted monitor lives, and its guest's code runs: the process machine.

The guest's storage is a file in memory. The monitor maps all of it for itself, and single pages of
it where the guest's code shall find them. It lets the guest run by returning from a handler of a
signal, with the guest's registers in the frame, and gets control back by the next signal. All of
that are system calls and signal frames of `emu.process`.
"""

from __future__ import annotations

import struct
from typing import Final

from emu.engines import Engine
from emu.exit import UNTIL, Exit
from emu.memory import PAGE_BITS, PAGE_MASK, PAGE_SIZE, Memory
from emu.process import x87_state
from emu.process.descriptors import GDT_BASE, GDT_ENTRIES
from emu.process.frames import SIGCONTEXT, SIGINFO_SIZE
from emu.process.layout import LOWEST
from emu.process.machine import ProcessMachine
from emu.process.memory_file import MemoryFile
from emu.process.signals import SA_ONSTACK, SA_SIGINFO, SS_AUTODISARM, Signal
from emu.process.syscalls.identity import (
    DISPATCH_ON,
    PR_SET_SYSCALL_USER_DISPATCH,
    PR_SET_TSC,
    PR_TSC_SIGSEGV,
)
from emu.process.syscalls.memory import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    ROOT,
)
from emu.process.syscalls.names import NUMBERS
from emu.process.syscalls.registry import REGISTERS as ARGUMENT_REGISTERS
from emu.state import State
from isa.fault import Fault
from isa.record import NamedTuple
from isa.x86.vectors import GENERAL_PROTECTION, INVALID_OPCODE
from vmm.pc.hosted.inspected import LOOKED_AT, Inspected
from vmm.pc.hosted.stub import ARGUMENTS, CALLS, HANDLER, STACK, STACK_SIZE, STUB, stub
from vmm.pc.hosted.tally import Tally

ROOM: Final = 4 << 20  # bytes of the host's memory for the process itself
UNIT: Final = 4 << 20  # in which the place of the monitor's view is chosen
MIPS: Final = 1  # so a microsecond of the host's clock is an instruction, and its timer exact
SECOND: Final = 1_000_000  # microseconds
LONGEST: Final = (1 << 31) * SECOND  # that its timer takes
START: Final = "start"
_HANDLED: Final = (
    Signal.SIGSEGV, Signal.SIGBUS, Signal.SIGILL, Signal.SIGFPE, Signal.SIGTRAP, Signal.SIGSYS,
    Signal.SIGALRM, Signal.SIGUSR1,
)  # fmt: skip
_OPEN_GATES: Final = {vector << 3 | 2: vector for vector in (3, 4, 0x80)}
"""Error codes of INT n where Linux' IDT has gates that programs may use."""
_CONTEXT: Final = 16 + SIGINFO_SIZE + 20  # of the sigcontext in a frame
_GDT_LIMIT: Final = GDT_ENTRIES * 8 - 1
_KERNEL: Final = {
    "pe": 1, "mp": 1, "et": 1, "ne": 1, "wp": 1, "am": 1, "pg": 1, "if": 1, "cpl": 3,
    "gdt_base": GDT_BASE, "gdt_limit": _GDT_LIMIT, "tr": 0x80, "tr_attributes": 0x8B,
}  # fmt: skip
"""What Linux puts into a processor. Its IDT is not there: INT n faults before it does anything, and
what the gates would do is done by `_trap`."""


class Context(NamedTuple):
    """The struct sigcontext of i386."""

    gs: int
    fs: int
    es: int
    ds: int
    edi: int
    esi: int
    ebp: int
    esp: int
    ebx: int
    edx: int
    ecx: int
    eax: int
    trap: int
    error: int
    eip: int
    cs: int
    eflags: int
    same_esp: int
    ss: int
    fpstate: int
    oldmask: int
    address: int  # CR2


class HostRefusalError(Exception):
    """The host does not do what the monitor needs: nothing that a guest could bring about."""


class HostProcess:
    """`storage` bytes of a guest's storage in a process, and the engine on which that runs.

    `inspects`: its code is looked at for all that sees the host, not only for loads of segments
    (`inspected`). `user`: whose process it is; only root's may map the lowest 64 KiB
    (vm.mmap_min_addr).
    """

    def __init__(
        self, engine: Engine, model: str, storage: int, *, inspects: bool, user: int
    ) -> None:
        self.tally = Tally()
        self.lowest = 0 if user == ROOT else LOWEST
        self.engine = engine
        self.view = STUB - -(-storage // UNIT) * UNIT
        self.machine = ProcessMachine(stub(), ["vmm"], memory=storage + ROOM, mips=MIPS, user=user)
        self.space = self.machine.space
        isa = Inspected(model, reads=inspects)
        memory: dict[str, Memory] = {"linear": self.space, "system": self.machine.system}
        self.state = State(isa, memory)
        self.state.intercept_traps = True
        self.machine.start(self.state)
        for name, value in _KERNEL.items():
            self.state[name] = value
        self._frame = 0  # of the signal that is being handled
        self._timer: int | None = None  # the count at which it will ring
        self._descriptor = self._open(storage)
        self._prepare()

    # -- the start ---------------------------------------------------------------------------

    def _open(self, storage: int) -> int:
        """Make the file that is the guest's storage, and map all of it for the monitor."""
        self.machine.process.write(ARGUMENTS_OF_START, b"guest\0")
        descriptor = self.call("memfd_create", START, ARGUMENTS_OF_START, 0)
        self.call("ftruncate", START, descriptor, storage)
        rights = PROT_READ | PROT_WRITE
        flags = MAP_SHARED | MAP_FIXED
        self.call("mmap2", START, self.view, storage, rights, flags, descriptor, 0)
        return descriptor

    def _prepare(self) -> None:
        """Get every signal, on a stack that is nobody else's, and be handling one."""
        rights, flags = PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
        self.call("mmap2", START, STACK, STACK_SIZE, rights, flags, 0xFFFFFFFF, 0)
        write = self.machine.process.write
        write(ARGUMENTS, struct.pack("<3I", STACK, SS_AUTODISARM, STACK_SIZE))
        self.call("sigaltstack", START, ARGUMENTS, 0)
        action = struct.pack("<IIIQ", HANDLER, SA_SIGINFO | SA_ONSTACK, 0, (1 << 64) - 1)
        write(ARGUMENTS, action)
        for signal in _HANDLED:
            self.call("rt_sigaction", START, signal, ARGUMENTS, 0, 8)
        self.call("prctl", START, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0)
        mode = PR_SET_SYSCALL_USER_DISPATCH, DISPATCH_ON
        self.call("prctl", START, *mode, CALLS.start, len(CALLS), 0)
        self.call("kill", START, self.machine.process.pid, Signal.SIGUSR1)
        self.note(self.caught(), START)

    @property
    def first_frame(self) -> int:
        """Where in the host's storage the file begins; its pages lie one after the other."""
        file = self.machine.process.files.get(self._descriptor)
        assert isinstance(file, MemoryFile)
        first = file.frames[0]
        if file.frames != list(range(first, first + len(file.frames))):
            raise HostRefusalError("the file's pages lie apart")
        return first

    # -- system calls ------------------------------------------------------------------------

    def call(self, name: str, cause: str, *arguments: int) -> int:
        """Make a system call. Raises HostRefusalError."""
        self.tally.calls[name, cause] += 1
        state = self.state
        state["eip"] = CALLS.start
        state["eax"] = NUMBERS[name]
        for register, value in zip(ARGUMENT_REGISTERS, arguments, strict=False):
            state[register] = value
        self._kernel(Exit("interrupt", values=(0x80,)))
        result = state["eax"]
        if result > 0xFFFFF000 and name != "rt_sigreturn":
            raise HostRefusalError(f"{name}{arguments} for {cause}: error {(1 << 32) - result}")
        return result

    def _kernel(self, stop: Exit) -> None:
        """Let the host's kernel have an exit."""
        outcome = self.machine.handle(self.state, stop)
        if outcome is not None:
            raise HostRefusalError(outcome.message or f"the process ended: {outcome}")

    # -- the guest's pages -------------------------------------------------------------------

    def can_have(self, address: int) -> bool:
        """Whether a process may map something there that is not the monitor's."""
        return self.lowest <= address < self.view

    def map(self, address: int, where: int, cause: str, *, writable: bool) -> None:
        """Let the guest find a page of the file at an address."""
        rights = PROT_READ | PROT_EXEC | (PROT_WRITE if writable else 0)
        page = address & ~PAGE_MASK
        place = MAP_SHARED | MAP_FIXED, self._descriptor, where >> PAGE_BITS
        try:
            if self.space.region_at(page) is not None:
                self.call("mprotect", cause, page, PAGE_SIZE, rights)
            else:
                self.call("mmap2", cause, page, PAGE_SIZE, rights, *place)
        except HostRefusalError:  # too many mappings
            self.unmap_all("no room")
            self.call("mmap2", cause, page, PAGE_SIZE, rights, *place)

    def unmap(self, address: int, cause: str) -> None:
        """Let the guest find nothing there."""
        if self.can_have(address) and self.space.region_at(address) is not None:
            self.call("munmap", cause, address, PAGE_SIZE)

    def unmap_all(self, cause: str) -> None:
        """Let the guest find nothing anywhere."""
        if self.space.overlapping(self.lowest, self.view):
            self.call("munmap", cause, self.lowest, self.view - self.lowest)

    def pages(self) -> dict[int, int]:
        """Which pages the guest's code finds, by address: where they lie in the host's storage."""
        first, end = self.lowest >> PAGE_BITS, self.view >> PAGE_BITS
        return {
            page << PAGE_BITS: frame << PAGE_BITS
            for page, frame in self.space.frames.items() if first <= page < end
        }  # fmt: skip

    # -- the guest's turn --------------------------------------------------------------------

    def context(self) -> Context:
        """The interrupted registers, as the signal's frame has them."""
        return Context(*self.machine.process.unpack(SIGCONTEXT, self._frame + _CONTEXT))

    def set_context(self, context: Context) -> None:
        """With what the guest will go on."""
        self.machine.process.pack(SIGCONTEXT, self._frame + _CONTEXT, *context)

    def set_timer(self, instructions: int) -> None:
        """Have SIGALRM after so many instructions of the guest's."""
        now = self.state.count
        wanted = now + instructions if instructions < LONGEST else None
        if wanted == self._timer:
            return
        seconds, rest = divmod(0 if wanted is None else instructions, SECOND)
        self.machine.process.pack("<4I", ARGUMENTS, 0, 0, seconds, rest)
        self.call("setitimer", "time slice", 0, ARGUMENTS, 0)
        self._timer = wanted

    def set_descriptor(self, number: int, base: int, limit: int, flags: int) -> None:
        """Have a local descriptor."""
        self.machine.process.pack("<4I", ARGUMENTS, number, base, limit, flags)
        self.call("modify_ldt", "segment", 0x11, ARGUMENTS, 16)

    def load_registers(self, values: memoryview) -> None:
        """Have registers that are not in a sigcontext: the x87 unit's are beside it."""
        self.state.values[:] = values
        self.machine.process.write(self.context().fpstate, x87_state.pack(self.state))

    def registers(self) -> memoryview:
        """Those registers as the guest has left them."""
        unit = self.machine.process.read(self.context().fpstate, x87_state.SIZE)
        x87_state.put(self.state, unit)
        return self.state.save()

    def resume(self, cause: str) -> None:
        """Return from the handler: the guest's registers are the processor's."""
        self._sigreturn(cause)
        while self.state.pc == HANDLER:  # the timer has rung meanwhile
            self.note(self.caught(), "late")
            self._sigreturn("late")

    def _sigreturn(self, cause: str) -> None:
        self.state["esp"] = self._frame + 4
        self.call("rt_sigreturn", cause)

    def run(self, breakpoints: set[int]) -> Exit:
        """Let the guest run until it gets a signal; why the processor stopped."""
        state, end = self.state, self.machine.next_event()
        state.breakpoints = breakpoints
        stop = self.engine.run(state, end)
        self._kernel(_trap(stop))
        return stop

    def caught(self) -> Signal:
        """The signal whose handler was called."""
        state = self.state
        if state.pc != HANDLER:
            raise HostRefusalError(f"no handler was called, the process is at {state.pc:#x}")
        self._frame = state["esp"]
        for name in ("fs", "gs"):
            self.machine.process.load_segment(name, 0)
        (number,) = self.machine.process.unpack("<I", self._frame + 4)
        if number == Signal.SIGALRM:
            self._timer = None
        return Signal(number)

    def note(self, signal: Signal, cause: str) -> None:
        """Count a signal."""
        self.tally.signals[signal.name, cause] += 1


ARGUMENTS_OF_START: Final = 0xBFFF_0000
"""On the process's first stack, while it has no other."""


def _trap(stop: Exit) -> Exit:
    """What the host's kernel meets."""
    fault = stop.fault
    if stop.reason == "until":
        return UNTIL
    if stop.reason == "breakpoint" or (fault is not None and fault.vector == LOOKED_AT):
        return Exit("interrupt", values=(3,))
    if fault is None:
        return Exit("fault", Fault(INVALID_OPCODE))
    gate = _OPEN_GATES.get(fault.code or 0) if fault.vector == GENERAL_PROTECTION else None
    return stop if gate is None else Exit("interrupt", values=(gate,))
