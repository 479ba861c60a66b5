"""Processes: birth, other programs, waiting for children, groups and sessions."""

from __future__ import annotations

from emu.process.numbers import CallError, Errno
from emu.process.process import Outcome, Process, ProcessEnd, Sleep
from emu.process.signals import Signal
from emu.process.syscalls.registry import FLAGS, INT, PATH, PTR, call
from isa.hints import Callable

CLONE_VM, CLONE_VFORK = 0x100, 0x4000
CLONE_PARENT_SETTID, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x100000, 0x200000, 0x1000000
CLONE_SIGNAL = 0xFF

WNOHANG, WUNTRACED, WEXITED, WCONTINUED, WNOWAIT = 1, 2, 4, 8, 0x1000000
WAIT_ANYWAY = 0xE0000000  # __WNOTHREAD, __WALL, __WCLONE: all our processes are alike
P_ALL, P_PID, P_PGID = range(3)
CLD_EXITED, CLD_KILLED, CLD_STOPPED, CLD_CONTINUED = 1, 2, 5, 6


@call("exit", INT)
def exit_(p: Process, code: int) -> int:
    """End the thread, and with the last one the process."""
    raise ProcessEnd(Outcome("exit", code & 0xFF, of_thread=True))


@call("exit_group", INT)
def exit_group(p: Process, code: int) -> int:
    """End the process."""
    raise ProcessEnd(Outcome("exit", code & 0xFF))


# -- birth ------------------------------------------------------------------------------------


def make_process(
    p: Process, flags: int, stack: int, parent_tid: int, child_tid: int,
    tls: tuple[int, int] | None = None, *, thread: bool = False,
) -> int:  # fmt: skip
    """Do any of the forks; after a vfork the parent waits for exec or exit.

    `tls` is an entry of the descriptor table and what the child has there.
    """
    child = p.table.thread(p) if thread else p.table.fork(p, share_memory=bool(flags & CLONE_VM))
    child.exit_signal = flags & CLONE_SIGNAL
    _first_registers(p, child, stack, tls)
    if flags & CLONE_PARENT_SETTID:
        p.space.write(parent_tid, child.pid.to_bytes(4, "little"))
    child.tell_child = child_tid if flags & CLONE_CHILD_SETTID else 0
    child.clear_at_exit = child_tid if flags & CLONE_CHILD_CLEARTID else 0
    if flags & CLONE_VFORK:
        raise _until_released(child)
    return child.pid


def _first_registers(p: Process, child: Process, stack: int, tls: tuple[int, int] | None) -> None:
    """Those of the parent, but for the call's result and what was asked for."""
    own, descriptors = p.state.save(), p.system.tls
    p.state["eax"] = 0
    if stack:
        p.state["esp"] = stack
    if tls is not None:
        p.system.set(*tls)
        p.load_segment("gs", p.state["gs"])
    child.saved, child.tls = p.state.save(), p.system.tls
    p.state.restore(own)
    p.system.tls = descriptors


def _until_released(child: Process) -> Sleep:
    """What a parent does that has lent its memory."""
    return Sleep(
        "a process made by vfork neither ends nor executes a program",
        lambda: child.executed or child.ended is not None,
        finish=lambda: child.pid,
        deaf=True,
    )


@call("fork")
def fork(p: Process) -> int:
    """Make a process that is a copy of this one."""
    return make_process(p, Signal.SIGCHLD, 0, 0, 0)


@call("vfork")
def vfork(p: Process) -> int:
    """Lend the memory to a new process, until that executes a program or ends."""
    return make_process(p, CLONE_VM | CLONE_VFORK | Signal.SIGCHLD, 0, 0, 0)


@call("execve", PATH, PTR, PTR)
def execve(p: Process, path: bytes, arguments: int, environment: int) -> int | None:
    """Replace the program."""
    from emu.process.execution import execute  # a process that is run alone does not

    execute(p, path, arguments, environment)
    return None


# -- waiting ----------------------------------------------------------------------------------


def status_of(outcome: Outcome) -> int:
    """Return the wait status of a process that has ended."""
    return outcome.code if outcome.kind == "signal" else outcome.code << 8


def _chosen(p: Process, pid: int) -> Callable[[Process], bool]:
    """Which children wait4 means by a number."""
    if pid == -1:
        return lambda child: True
    if pid > 0:
        return lambda child: child.pid == pid
    return lambda child: child.group == (-pid or p.group)


def _has_news(child: Process, options: int) -> bool:
    if child.ended is not None:
        return bool(options & WEXITED)
    wanted = WUNTRACED if child.stopped else WCONTINUED
    return child.news is not None and bool(options & wanted)


def find_child(p: Process, chosen: Callable[[Process], bool], options: int) -> Process | None:
    """Return a child that has something to tell, or None with WNOHANG; ECHILD, or sleep."""
    children = [child for child in p.children if chosen(child)]
    if not children:
        raise CallError(Errno.ECHILD)
    found = next((child for child in children if _has_news(child, options)), None)
    if found is None and not options & WNOHANG:
        raise Sleep("waiting for a child", lambda: _any_news(p, chosen, options))
    return found


def _any_news(p: Process, chosen: Callable[[Process], bool], options: int) -> bool:
    children = [child for child in p.children if chosen(child)]
    return not children or any(_has_news(child, options) for child in children)


def _take(p: Process, child: Process, options: int) -> None:
    """What a child had to tell has been told."""
    if options & WNOWAIT:
        return
    if child.ended is None:
        child.news = None
    else:
        p.table.forget(child)


@call("wait4", INT, PTR, FLAGS, PTR)
def wait4(p: Process, pid: int, status: int, options: int, usage: int) -> int:
    """Wait for a child; store its wait status and what it used."""
    if options & ~(WNOHANG | WUNTRACED | WCONTINUED | WAIT_ANYWAY):
        raise CallError(Errno.EINVAL)
    if pid == -0x80000000:
        raise CallError(Errno.ESRCH)
    child = find_child(p, _chosen(p, pid), options | WEXITED)
    if child is None:
        return 0
    if status:
        told = child.news if child.ended is None else status_of(child.ended)
        p.pack("<I", status, told or 0)
    if usage:
        from emu.process.syscalls.time import RUSAGE, SECOND

        seconds, rest = divmod(p.clock.used(child.used_before + child.used_by_children), SECOND)
        p.pack(RUSAGE, usage, seconds, rest // 1000, *[0] * 16)
    _take(p, child, options)
    return child.pid


@call("waitpid", INT, PTR, FLAGS)
def waitpid(p: Process, pid: int, status: int, options: int) -> int:
    """Wait for a child; store its wait status."""
    return wait4(p, pid, status, options, 0)


@call("waitid", INT, INT, PTR, FLAGS, PTR)
def waitid(p: Process, which: int, number: int, info: int, options: int, usage: int) -> int:
    """Wait for a child; store a struct siginfo about it, of zeros if there is nothing to tell."""
    known = WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | WAIT_ANYWAY
    if options & ~known or not options & (WUNTRACED | WEXITED | WCONTINUED):
        raise CallError(Errno.EINVAL)
    if which not in (P_ALL, P_PID, P_PGID) or (which == P_PID and number <= 0) or number < 0:
        raise CallError(Errno.EINVAL)
    pid = {P_ALL: -1, P_PID: number, P_PGID: -number}[which]
    child = find_child(p, _chosen(p, pid), options)
    if info:
        p.pack("<6i", info, *(_siginfo(child) if child else [0] * 6))
    if child is not None:
        _take(p, child, options)
    return 0


def _siginfo(child: Process) -> list[int]:
    if child.ended is not None:
        code = CLD_KILLED if child.ended.kind == "signal" else CLD_EXITED
        status = child.ended.code
    else:
        code = CLD_STOPPED if child.stopped else CLD_CONTINUED
        status = child.stopped or Signal.SIGCONT
    return [Signal.SIGCHLD, 0, code, child.pid, child.user, status]


# -- who is who -------------------------------------------------------------------------------


@call("getpid")
def getpid(p: Process) -> int:
    """Return the process's number, which its first thread has too."""
    return p.main.pid


@call("getppid")
def getppid(p: Process) -> int:
    """Return the parent's number; who has none is init's child, or init."""
    if p.main.parent is not None:
        return p.main.parent.pid
    return 0 if p.table.namespace.contained else 1


@call("getpgrp")
def getpgrp(p: Process) -> int:
    """Return the process group."""
    return p.group


def _named(p: Process, pid: int) -> Process:
    """The process that a call means by a number; ESRCH."""
    return p.main if pid == 0 else p.table.find(pid).main


@call("getpgid", INT)
def getpgid(p: Process, pid: int) -> int:
    """Return the group of a process."""
    return _named(p, pid).group


@call("getsid", INT)
def getsid(p: Process, pid: int) -> int:
    """Return the session of a process."""
    return _named(p, pid).session


@call("setpgid", INT, INT)
def setpgid(p: Process, pid: int, group: int) -> int:
    """Put this process or a child of it into a group of its session, perhaps a new one."""
    if group < 0:
        raise CallError(Errno.EINVAL)
    target, p = _named(p, pid), p.main
    if target is not p and target.parent is not p:
        raise CallError(Errno.ESRCH)
    if target is not p and target.executed:
        raise CallError(Errno.EACCES)
    group = group or target.pid
    if group == target.group:
        return 0
    there = any(q.session == p.session for q in p.table.group(group))
    leads = target.session == target.pid
    if leads or target.session != p.session or not (there or group == target.pid):
        raise CallError(Errno.EPERM)
    for thread in p.table.threads(target):
        thread.group = group
    return 0


@call("setsid")
def setsid(p: Process) -> int:
    """Begin a session; EPERM for whoever leads a group already."""
    number = p.main.pid
    if any(p.table.group(number)):
        raise CallError(Errno.EPERM)
    for thread in p.table.threads(p):
        thread.group = thread.session = number
    return number
