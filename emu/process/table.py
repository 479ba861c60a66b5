"""The processes of a machine: who there is, who descends from whom, and how they end."""

from __future__ import annotations

from emu.memory import Mappings, OutOfMemoryError
from emu.process.files import MOST_PIPES
from emu.process.futex import Futexes
from emu.process.layout import MAX_MAPPINGS
from emu.process.namespace import MOST_EVENT_FILES, MOST_WATCHED, Namespace, Supply
from emu.process.numbers import CallError, Errno
from emu.process.process import (
    RLIMIT_NPROC,
    MemoryDescriptor,
    Outcome,
    Process,
    Sleep,
)
from emu.process.processor import Processor
from emu.process.signals import (
    CLD_CONTINUED,
    CLD_EXITED,
    CLD_KILLED,
    CLD_STOPPED,
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SI_KERNEL,
    SI_USER,
    SIG_DFL,
    SIG_IGN,
    STOPS,
    Info,
    Signal,
    bit,
)
from emu.process.timers import Timers
from isa.hints import TYPE_CHECKING, Any, Callable, Iterator

if TYPE_CHECKING:
    from emu.process.execute import Loader
    from emu.process.network import Network

MOST_REGIONS = 4 * MAX_MAPPINGS  # of all processes
UNCATCHABLE = (Signal.SIGKILL, Signal.SIGSTOP)
LAST_PID = 32767  # kernel.pid_max of 32-bit Linux, less one
CONTINUED = 0xFFFF  # the wait status of a process that was continued


class ProcessTable:
    """Processes by number, dead ones until somebody has waited for them."""

    def __init__(
        self,
        loader: Loader,
        namespace: Namespace,
        processor: Processor,
        *,
        net: bool = False,
    ) -> None:
        self.loader = loader
        self.processor = processor
        self.namespace = namespace
        self.processes: dict[int, Process] = {}
        self.running: list[Process] = []  # those that have not ended, in the order of their birth
        self.pipes = Supply(MOST_PIPES)
        self.event_files = Supply(MOST_EVENT_FILES)
        self.watched = Supply(MOST_WATCHED, Errno.ENOSPC)
        self.timers = Timers(lambda: self.current().elapsed)
        self.net = net  # whether there is a loopback
        self.sockets: Network | None = None  # what sockets have together, from the first one on
        self.current: Callable[[], Process] = lambda: self.running[0]
        self.futexes = Futexes()
        self.foreground = self.namespace.first_pid  # the process group that the terminal belongs to
        self._last = self.namespace.first_pid - 1

    def add(self, process: Process) -> None:
        """Take in a process under its number."""
        self.processes[process.pid] = process
        self.running.append(process)

    def find(self, pid: int) -> Process:
        """Return a process by number, 0 for none of them; ESRCH."""
        process = self.processes.get(pid)
        if process is None:
            raise CallError(Errno.ESRCH)
        return process

    def group(self, number: int) -> Iterator[Process]:
        """The processes of a group."""
        return (p for p in self.processes.values() if p.group == number and p is p.main)

    def threads(self, process: Process) -> list[Process]:
        """The threads of a process, the first one (which may have ended) first."""
        main = process.main
        return [main, *(p for p in self.running if p.leader is main)]

    def free_pid(self) -> int:
        """Return the next free number; they are used again only after all others."""
        first = self.namespace.first_pid
        while True:
            self._last = first if self._last >= LAST_PID else self._last + 1
            taken = self.processes.get(self._last) or next(self.group(self._last), None)
            if taken is None:
                return self._last

    # -- birth ------------------------------------------------------------------------------

    def fork(self, parent: Process, *, share_memory: bool = False) -> Process:
        """Make a process that is a copy of the current one; EAGAIN, ENOMEM.

        Its registers are those of the processor as it is now.
        """
        self._check_number(parent)
        child = self._like(
            parent,
            memory=parent.memory if share_memory else self._copy_memory(parent),
            files=parent.files.copy(),
            signals=parent.signals.copy(),
            limits=dict(parent.limits),
            leader=None,
            parent=parent.main,
            children=[],
            executed=False,
        )
        parent.memory.users += share_memory
        parent.main.children.append(child)
        self.add(child)
        return child

    def thread(self, parent: Process) -> Process:
        """Begin a thread of the current one's process; EAGAIN."""
        self._check_number(parent)
        child = self._like(parent, signals=parent.signals.of_thread(), leader=parent.main)
        parent.memory.users += 1
        self.add(child)
        return child

    def _check_number(self, parent: Process) -> None:
        if len(self.processes) >= parent.limits[RLIMIT_NPROC][0]:
            raise CallError(Errno.EAGAIN)

    def _like(self, parent: Process, /, **different: Any) -> Process:
        """What a process or thread begins as."""
        return parent.changed(
            pid=self.free_pid(),
            clear_at_exit=0,
            dispatch=None,
            saved=parent.state.save(),
            tls=parent.system.tls,
            used_before=0,
            used_by_children=0,
            progress=0,
            deadline=None,
            **different,
        )

    def has_room(self, process: Process, more: int = 1) -> bool:
        """Tell whether the current process, and all together, may have so many more regions."""
        total = sum(len(mappings.regions) for mappings in self.mappings())
        return len(process.space.regions) < MAX_MAPPINGS and total + more < MOST_REGIONS

    def mappings(self) -> Iterator[Mappings]:
        """What is mapped by each process and thread that runs."""
        return (p.memory.mappings for p in self.running)

    def _copy_memory(self, parent: Process) -> MemoryDescriptor:
        if not self.has_room(parent, len(parent.space.regions)):
            raise CallError(Errno.ENOMEM)
        try:
            mappings = parent.space.copy()
        except OutOfMemoryError:
            raise CallError(Errno.ENOMEM) from None
        return parent.memory.with_mappings(mappings)

    # -- death ------------------------------------------------------------------------------

    def end(self, process: Process, outcome: Outcome) -> None:
        """The current thread has ended, and unless it is only that, its process: let go of what it
        had, tell its parent."""
        process.used_before, process.saved = process.instructions, process.state.save()
        main, others = process.main, [t for t in self.threads(process)[1:] if t is not process]
        is_last = not others and (process is main or main.dead is not None)
        if outcome.of_thread and not is_last:
            self._end_thread(process, outcome)
            return
        if outcome.of_thread and main.dead is not None:
            outcome = main.dead
        for thread in [*others, process]:
            if thread is not main:
                self._remove(thread, outcome)
        self._end_process(main, outcome._replace(of_thread=False))

    def _end_thread(self, thread: Process, outcome: Outcome) -> None:
        """The current thread has ended, and others go on."""
        address, thread.clear_at_exit = thread.clear_at_exit, 0
        if address:
            thread.space.write(address, bytes(4))
            self.futexes.wake(thread.memory, address, 1)
        if thread is thread.main:  # it stays, as its process is known by it
            thread.dead = outcome
            thread.sleep = Sleep("its other threads go on", deaf=True)
        else:
            self._remove(thread, outcome)

    def _remove(self, thread: Process, outcome: Outcome) -> None:
        """A thread that is not its process's first is no more."""
        thread.ended, thread.sleep = outcome, None
        thread.main.used_before += thread.used_before
        thread.memory.users -= 1
        self.running.remove(thread)
        del self.processes[thread.pid]

    def _end_process(self, process: Process, outcome: Outcome) -> None:
        process.ended, process.sleep, process.stopped, process.news = outcome, None, 0, None
        self.running.remove(process)
        process.files.close_all()
        if self.running:  # else the memory stays as it was, for whoever looks at it
            self.release(process)
        for child in process.children:
            self._adopt(child, process)
        process.children.clear()
        self._tell_end(process, outcome)

    def alone(self, process: Process) -> None:
        """End all threads of the current one's process but the first (execve), which has from now
        on the signals of the current one."""
        main = process.main
        if process is not main:
            process.used_before = process.instructions
            main.signals.inherit(process.signals)
            main.sleep, main.deadline, main.progress, main.dead = None, None, 0, None
        for thread in self.threads(process)[1:]:
            self._remove(thread, Outcome("exit", 0, of_thread=True))

    def _adopt(self, orphan: Process, parent: Process) -> None:
        """Nobody waits for an orphan, unless there is an init."""
        init = self.processes.get(self.namespace.first_pid) if self.namespace.contained else None
        orphan.parent = None if init is parent else init
        if orphan.parent is not None:
            orphan.parent.children.append(orphan)
        elif orphan.ended is not None:
            del self.processes[orphan.pid]

    def release(self, process: Process) -> None:
        """Let go of a process's memory, for good with its last user."""
        memory = process.memory
        memory.users -= 1
        if memory.users == 0:
            process.space.release(memory.mappings)
            process.sandbox.shared.sweep()
        elif process.clear_at_exit:
            current = process.space.mappings  # those of the next program, if it executes one
            process.space.use(memory.mappings)
            process.space.write(process.clear_at_exit, bytes(4))
            process.space.use(current)

    def _tell_end(self, process: Process, outcome: Outcome) -> None:
        """Have the parent wait for it, or forget it at once if nobody will."""
        parent = process.parent
        action = None if parent is None else parent.signals.action(Signal.SIGCHLD)
        if action is None or action.handler == SIG_IGN or action.flags & SA_NOCLDWAIT:
            self.forget(process)
        code = CLD_EXITED if outcome.kind == "exit" else CLD_KILLED
        self._tell(process, process.exit_signal, code, outcome.code)

    def forget(self, process: Process) -> None:
        """Nobody will ask for a dead process any more."""
        del self.processes[process.pid]
        if process.parent is not None:
            process.parent.children.remove(process)
            process.parent.used_by_children += process.used_before + process.used_by_children

    def _tell(self, process: Process, signal: int, code: int, status: int) -> None:
        if process.parent is not None and signal:
            info = Info(signal, code, sender=process.pid, user=process.user, status=status)
            self._receiver(process.parent, signal).signals.raise_signal(info)

    # -- signals ----------------------------------------------------------------------------

    def expire(self, process: Process) -> None:
        """Send SIGALRM to a process whose timer has run out."""
        if process.signals.timer.has_run_out(process.elapsed):
            self.send(process, Info(Signal.SIGALRM, SI_KERNEL))

    def send(self, target: Process, info: Info, *, to_thread: bool = False) -> None:
        """Send a signal to a process, which one of its threads gets, or to a thread; those that
        stop and continue do so at once."""
        if target.ended is not None:
            return
        number = info.number
        if not to_thread:
            target = self._receiver(target, number)
        default = target.signals.action(number).handler == SIG_DFL or number in UNCATCHABLE
        if default and self.namespace.contained and target.main.pid == self.namespace.first_pid:
            return
        if number in (Signal.SIGKILL, Signal.SIGCONT) and target.main.stopped:
            self._resume(target.main, number)
        if number in STOPS and default and len(self.running) > 1:
            self._stop(target.main, number)
        else:
            target.signals.raise_signal(info)

    def _receiver(self, target: Process, number: int) -> Process:
        """The thread that takes a signal to its process: the first that does not block it."""
        able = (
            t
            for t in self.threads(target)
            if t.dead is None and not t.signals.blocked & bit(number)
        )
        return next(able, target.main)

    def _stop(self, target: Process, number: int) -> None:
        for thread in self.threads(target):
            thread.stopped = number
        target.news = number << 8 | 0x7F
        self._tell_change(target, CLD_STOPPED, number)

    def _resume(self, target: Process, number: int) -> None:
        for thread in self.threads(target):
            thread.stopped = 0
        if number == Signal.SIGCONT:
            target.news = CONTINUED
            self._tell_change(target, CLD_CONTINUED, number)

    def _tell_change(self, target: Process, code: int, number: int) -> None:
        parent = target.parent
        if parent and not parent.signals.action(Signal.SIGCHLD).flags & SA_NOCLDSTOP:
            self._tell(target, Signal.SIGCHLD, code, number)

    def from_process(self, sender: Process, number: int, code: int = SI_USER) -> Info:
        """A signal that a process sends."""
        return Info(number, code, sender=sender.main.pid, user=sender.user)
