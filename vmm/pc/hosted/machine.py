"""What a process gives, in the shape of the PC that a monitor expects below itself.

The monitor's page tables lie in the guest's file and are walked by no processor. The process's
mappings are a cache of them, as a TLB is: filled a page at a time at a SIGSEGV, emptied by munmap
when the monitor flushes. Where its tables do not have the page with these rights, the signal is the
monitor's trap. What a process cannot have stops before it begins, so that the monitor interprets
it.
"""

from __future__ import annotations

from typing import Final

from emu.engines import Engine
from emu.exit import Exit
from emu.memory import PAGE_BITS, PAGE_SIZE, READ, WRITE, Mark
from emu.pc.board import PLAIN
from emu.pc.machine import PcMachine
from emu.pc.memory import storage_for
from emu.pc.options import Options
from emu.process.signals import Signal
from emu.state import State
from isa.fault import Fault
from isa.x86.vectors import NAMES, PAGE_FAULT
from vmm.pc.hosted.inspected import LOOKED_AT
from vmm.pc.hosted.process import Context, HostProcess
from vmm.pc.hosted.registers import Registers
from vmm.pc.window import PhysicalWindow

INSPECTED: Final = "host's registers"
ADDRESS: Final = "host's addresses"
_WRITE: Final = 2  # in a page fault's error code


class HostedPc(PcMachine):
    """A PC as a process can stand for one, below a monitor.

    `inspects` and `user`: see `HostProcess`.
    """

    def __init__(
        self, engine: Engine, *, model: str, memory: int, inspects: bool, user: int = 1000,
        options: Options = PLAIN,
    ) -> None:  # fmt: skip
        size = storage_for(memory)
        self.process = HostProcess(engine, model, size, inspects=inspects, user=user)
        hosted = HostedEngine(self.process)
        physical = self.process.space.physical
        self.first = self.process.first_frame * PAGE_SIZE
        storage = PhysicalWindow(physical, self.first, size)
        super().__init__(hosted, model=model, memory=memory, options=options, storage=storage)
        hosted.machine = self

    def is_confined(self, base: int, end: int) -> bool:
        """Whether whatever the process shows to its guest's code is storage from `base` to `end`,
        where the monitor's tables have it."""
        pages = self.process.pages()
        return all(base <= where - self.first < end for where in pages.values())


class HostedEngine:
    """Runs the processor that a monitor has loaded, as the process."""

    def __init__(self, process: HostProcess) -> None:
        self.machine: HostedPc
        self._process = process
        self._registers = Registers(process)
        self._mark: Mark = (-1, 0)
        self._missed: Fault | None = None  # a page that the monitor was asked for

    @property
    def name(self) -> str:
        """That of the engine on which the host runs."""
        return self._process.engine.name

    def deliver(self, state: State, fault: Fault) -> bool:
        """No trap is delivered below a monitor: each is the monitor's."""
        raise RuntimeError("a monitor's traps are not delivered to anybody else")

    def run(self, state: State, until: int) -> Exit:
        """See the engine contract; stops also before what a process cannot do."""
        self._forget()
        refused = self._registers.refused(state.values)
        if refused is not None:
            self._missed = None
            return Exit(refused)
        self._fetch_missed()
        process, began = self._process, self._process.state.count
        self._registers.enter(state.values)
        process.set_timer(until - state.count)
        process.resume("enter")
        stop = self._until_trap(state)
        state.count += process.state.count - began
        self._registers.leave(state.values)
        return stop

    def _forget(self) -> None:
        """Map nothing any more that the monitor has flushed."""
        linear = self.machine.linear
        self._mark, pages = linear.changes_since(self._mark)
        if pages is None:
            self._process.unmap_all("flush")
            return
        for page in pages:
            self._process.unmap(page << PAGE_BITS, "page flushed")

    def _fetch_missed(self) -> None:
        """Map the page for which the monitor was asked, if it has got it now: one signal less."""
        fault, self._missed = self._missed, None
        if fault is not None:
            self._map(fault, "filled by the monitor")

    def _until_trap(self, state: State) -> Exit:
        process = self._process
        while True:
            stop = process.run(state.breakpoints)
            signal, frame = process.caught(), process.context()
            if frame.trap != PAGE_FAULT or signal != Signal.SIGSEGV:
                return self._other(stop, signal, frame)
            told = self._map(Fault(PAGE_FAULT, frame.error, frame.address), "touched")
            process.note(signal, "page" if told is None else _cause(told))
            if told is not None:
                return told
            process.resume("page")

    def _map(self, fault: Fault, cause: str) -> Exit | None:
        """Let the process find a page as the monitor's tables have it; None if it does now."""
        assert fault.address is not None
        linear, address = self.machine.linear, fault.address
        write = bool((fault.code or 0) & _WRITE)
        where = linear.translate(address, WRITE if write else READ)
        if isinstance(where, Fault):
            self._missed = fault
            return Exit("fault", fault)
        if not self._process.can_have(address):
            return Exit(ADDRESS)
        writable = write or not isinstance(linear.translate(address, WRITE), Fault)
        self._process.map(address, where, cause, writable=writable)
        return None

    def _other(self, stop: Exit, signal: Signal, frame: Context) -> Exit:
        """A signal that has nothing to do with pages. The monitor knows where it has planted
        breakpoints, and what it is that raises SIGSYS."""
        if stop.fault is not None and stop.fault.vector == LOOKED_AT:
            stop = Exit(INSPECTED)
        elif stop.fault is not None and signal != Signal.SIGSYS:
            stop = Exit("fault", Fault(frame.trap, frame.error))
        self._process.note(signal, _cause(stop))
        return stop


def _cause(stop: Exit) -> str:
    """Why the monitor gets control."""
    if stop.reason == "until":
        return "time slice"
    if stop.fault is None:
        return stop.reason
    return NAMES.get(stop.fault.vector, f"vector {stop.fault.vector}").split()[0]
