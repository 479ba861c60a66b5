"""Signals of one process: what is installed, blocked and pending, and what a fault becomes."""

from __future__ import annotations

from isa.fault import Fault
from isa.named import IntEnum
from isa.record import NamedTuple


class Signal(IntEnum):
    """Signal numbers of i386 Linux."""

    SIGHUP = 1
    SIGINT = 2
    SIGQUIT = 3
    SIGILL = 4
    SIGTRAP = 5
    SIGABRT = 6
    SIGBUS = 7
    SIGFPE = 8
    SIGKILL = 9
    SIGUSR1 = 10
    SIGSEGV = 11
    SIGUSR2 = 12
    SIGPIPE = 13
    SIGALRM = 14
    SIGTERM = 15
    SIGSTKFLT = 16
    SIGCHLD = 17
    SIGCONT = 18
    SIGSTOP = 19
    SIGTSTP = 20
    SIGTTIN = 21
    SIGTTOU = 22
    SIGURG = 23
    SIGXCPU = 24
    SIGXFSZ = 25
    SIGVTALRM = 26
    SIGPROF = 27
    SIGWINCH = 28
    SIGIO = 29
    SIGPWR = 30
    SIGSYS = 31


SIG_DFL, SIG_IGN = 0, 1
LAST_SIGNAL = 64

STOPS = frozenset({Signal.SIGSTOP, Signal.SIGTSTP, Signal.SIGTTIN, Signal.SIGTTOU})

# What a process does nothing about if it has no handler. The stop signals are here because they
# take effect where they are sent, and not at all on a process that nobody could continue.
IGNORED = STOPS | {Signal.SIGCHLD, Signal.SIGCONT, Signal.SIGURG, Signal.SIGWINCH}

SA_NOCLDSTOP, SA_NOCLDWAIT, SA_RESTART = 0x1, 0x2, 0x10000000
SA_SIGINFO, SA_ONSTACK, SA_RESTORER = 0x4, 0x08000000, 0x04000000
SA_NODEFER, SA_RESETHAND = 0x40000000, 0x80000000
SS_ONSTACK, SS_DISABLE, SS_AUTODISARM = 1, 2, 1 << 31
SYS_USER_DISPATCH = 2
AUDIT_ARCH_I386 = 0x4000_0003

SI_USER, SI_KERNEL, SI_TKILL = 0, 0x80, -6
CLD_EXITED, CLD_KILLED, CLD_STOPPED, CLD_CONTINUED = 1, 2, 5, 6


def bit(number: int) -> int:
    """Return a signal's bit in a signal set."""
    return 1 << (number - 1)


UNBLOCKABLE = bit(Signal.SIGKILL) | bit(Signal.SIGSTOP)


class Action(NamedTuple):
    """What sigaction installed."""

    handler: int = SIG_DFL
    flags: int = 0
    restorer: int = 0
    mask: int = 0


class Info(NamedTuple):
    """A signal that was raised: siginfo's code, sender or address, and the fault behind it.

    `status` is what SIGCHLD tells of the sender: its exit code, or a signal's number; of SIGSYS,
    the system call's number.
    """

    number: int
    code: int = SI_USER
    address: int = 0
    sender: int = 0
    user: int = 0
    fault: Fault | None = None
    status: int = 0


class Timer:
    """The real-time timer of a process, which its threads share."""

    def __init__(self) -> None:
        self.at: int | None = None  # virtual nanoseconds since the start; None: it does not run
        self.interval = 0

    def left(self, elapsed: int) -> int:
        """Return the nanoseconds until it runs out, at least one; 0 if it does not run."""
        return 0 if self.at is None else max(self.at - elapsed, 1)

    def has_run_out(self, elapsed: int) -> bool:
        """Tell whether it has, once each time; what repeats begins anew."""
        if self.at is None or elapsed < self.at:
            return False
        self.at = max(self.at + self.interval, elapsed + 1) if self.interval else None
        return True


class SignalState:
    """The thread's signals. Sets are 64-bit masks."""

    saved_mask: int | None = None  # sigsuspend: what to restore after the handler
    stack = 0
    stack_size = 0
    disarms = False  # the alternate stack is given up while a handler is on it

    def __init__(
        self,
        actions: dict[int, Action] | None = None,
        blocked: int = 0,
        timer: Timer | None = None,
    ) -> None:
        self.actions = {} if actions is None else actions
        self.blocked = blocked
        self.pending: dict[int, Info] = {}
        self.timer = timer or Timer()

    def action(self, number: int) -> Action:
        """Return what is installed for a signal."""
        return self.actions.get(number, Action())

    def ignored(self, number: int) -> bool:
        """Tell whether a signal would do nothing."""
        handler = self.action(number).handler
        return handler == SIG_IGN or (handler == SIG_DFL and number in IGNORED)

    def raise_signal(self, info: Info) -> None:
        """Make a signal pending, unless it would do nothing anyway."""
        blocked = self.blocked & bit(info.number)
        if blocked or not self.ignored(info.number):
            self.pending.setdefault(info.number, info)

    def force(self, info: Info) -> None:
        """Raise a fault's signal: blocking or ignoring it ends the process (force_sig_fault)."""
        if self.blocked & bit(info.number) or self.action(info.number).handler == SIG_IGN:
            self.actions.pop(info.number, None)
            self.blocked &= ~bit(info.number)
        self.pending[info.number] = info

    def first_deliverable(self) -> Info | None:
        """Return the next pending signal that is not blocked; faults come first, then by number."""
        open_ = [i for n, i in self.pending.items() if not self.blocked & bit(n)]
        return min(open_, key=lambda i: (i.fault is None, i.number)) if open_ else None

    def next_deliverable(self) -> Info | None:
        """Take that signal."""
        info = self.first_deliverable()
        if info is not None:
            del self.pending[info.number]
        return info

    def restore_mask(self) -> None:
        """Block again what was blocked before a call that had others blocked while it waited."""
        if self.saved_mask is not None:
            self.blocked, self.saved_mask = self.saved_mask, None

    def wakes(self) -> bool:
        """Tell whether a pending signal would do something."""
        blocked = self.blocked
        return any(not blocked & bit(n) and not self.ignored(n) for n in self.pending)

    def copy(self) -> SignalState:
        """Return the signals of a new process: none is pending, and no timer runs."""
        found = SignalState(dict(self.actions), self.blocked)
        found.stack, found.stack_size, found.disarms = self.stack, self.stack_size, self.disarms
        return found

    def of_thread(self) -> SignalState:
        """Return the signals of a new thread: what they do, and when the timer runs out, is the
        same, then and later."""
        return SignalState(self.actions, self.blocked, self.timer)

    def inherit(self, thread: SignalState) -> None:
        """Take over what another thread of the process blocks and was sent."""
        self.blocked, self.saved_mask = thread.blocked, None
        self.pending = thread.pending | self.pending

    def forget_handlers(self) -> None:
        """What execve does: the handlers' code is gone, what is ignored stays so."""
        ignored = {n: a for n, a in self.actions.items() if a.handler == SIG_IGN}
        self.actions = {number: Action(SIG_IGN) for number in ignored}
        self.stack, self.stack_size, self.disarms = 0, 0, False

    def set_stack(self, address: int, flags: int, size: int) -> None:
        """Set the alternate stack, as sigaltstack's struct says."""
        disabled = flags & SS_DISABLE
        self.stack, self.stack_size = (0, 0) if disabled else (address, size)
        self.disarms = bool(flags & SS_AUTODISARM and not disabled)

    def on_stack(self, pointer: int) -> bool:
        """Tell whether a stack pointer is on the alternate stack; who has that given up for his
        handlers may point anywhere."""
        return not self.disarms and 0 < pointer - self.stack <= self.stack_size


# Vector -> signal and si_code (arch/x86/kernel/traps.c). The code of a page fault is decided by
# whether something is mapped there.
_BY_VECTOR = {
    0: (Signal.SIGFPE, 1),  # FPE_INTDIV
    1: (Signal.SIGTRAP, 2),  # TRAP_TRACE
    3: (Signal.SIGTRAP, SI_KERNEL),
    4: (Signal.SIGSEGV, SI_KERNEL),
    5: (Signal.SIGSEGV, SI_KERNEL),
    6: (Signal.SIGILL, 2),  # ILL_ILLOPN
    7: (Signal.SIGSEGV, SI_KERNEL),
    11: (Signal.SIGBUS, SI_KERNEL),
    12: (Signal.SIGBUS, SI_KERNEL),
    13: (Signal.SIGSEGV, SI_KERNEL),
    16: (Signal.SIGFPE, 3),
    17: (Signal.SIGBUS, 1),  # BUS_ADRALN
    19: (Signal.SIGFPE, 3),
}
SEGV_MAPERR, SEGV_ACCERR = 1, 2
BUS_ADRERR = 2
_FLOATING_POINT = (16, 19)  # of the x87, of SSE
_CODES = (  # by flags of the status word, or of MXCSR (fpu__exception_code)
    (0x01, 7),  # FPE_FLTINV
    (0x04, 3),  # FPE_FLTDIV
    (0x08, 4),  # FPE_FLTOVF
    (0x12, 5),  # FPE_FLTUND, also for denormal operands
    (0x20, 6),  # FPE_FLTRES
)


def of_fault(fault: Fault, pointer: int, *, mapped: bool, raised: int = 0) -> Info:
    """Return the signal that Linux makes of a fault at instruction `pointer`.

    `raised` are the flags of floating-point exceptions that are not masked.
    """
    if fault.vector == 14:
        code = SEGV_ACCERR if mapped else SEGV_MAPERR
        return Info(Signal.SIGSEGV, code, fault.address or 0, fault=fault)
    number, code = _BY_VECTOR.get(fault.vector, (Signal.SIGSEGV, SI_KERNEL))
    if fault.vector in _FLOATING_POINT:
        code = next((code for flags, code in _CODES if raised & flags), code)
    address = pointer if fault.vector in (0, 1, 6, 16, 19) else 0
    return Info(number, code, address, fault=fault)
