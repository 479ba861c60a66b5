"""Signals: what to do with them, which to hold back, sending them, and returning from handlers."""

from __future__ import annotations

from emu.process import frames
from emu.process.numbers import CallError, Errno
from emu.process.process import Process, Sleep
from emu.process.signals import (
    LAST_SIGNAL,
    SA_NODEFER,
    SA_RESETHAND,
    SI_TKILL,
    SI_USER,
    SS_AUTODISARM,
    SS_DISABLE,
    UNBLOCKABLE,
    Action,
    Info,
    Signal,
    bit,
)
from emu.process.syscalls.registry import INT, PTR, UINT, call

SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2
MIN_STACK = 2048


def _install(p: Process, number: int, action: Action | None) -> Action:
    """Replace an action if there is a new one; return the old; EINVAL."""
    if not 1 <= number <= LAST_SIGNAL:
        raise CallError(Errno.EINVAL)
    old = p.signals.action(number)
    if action is not None:
        if bit(number) & UNBLOCKABLE:
            raise CallError(Errno.EINVAL)
        p.signals.actions[number] = action
        if p.signals.ignored(number):
            p.signals.pending.pop(number, None)
    return old


@call("rt_sigaction", INT, PTR, PTR, UINT)
def rt_sigaction(p: Process, number: int, new: int, old: int, size: int) -> int:
    """Install and store an action (struct sigaction: handler, flags, restorer, mask)."""
    if size != 8:
        raise CallError(Errno.EINVAL)
    action = Action(*p.unpack("<IIIQ", new)) if new else None
    before = _install(p, number, action)
    if old:
        p.pack("<IIIQ", old, before.handler, before.flags, before.restorer, before.mask)
    return 0


@call("sigaction", INT, PTR, PTR)
def sigaction(p: Process, number: int, new: int, old: int) -> int:
    """Install and store an action, old layout (handler, mask, flags, restorer)."""
    action = None
    if new:
        handler, mask, flags, restorer = p.unpack("<4I", new)
        action = Action(handler, flags, restorer, mask)
    before = _install(p, number, action)
    if old:
        mask = before.mask & 0xFFFFFFFF
        p.pack("<4I", old, before.handler, mask, before.flags, before.restorer)
    return 0


@call("signal", INT, PTR)
def signal(p: Process, number: int, handler: int) -> int:
    """Install a handler that is removed when it runs (System V's way)."""
    return _install(p, number, Action(handler, SA_RESETHAND | SA_NODEFER)).handler


def _change_mask(p: Process, how: int, signals: int) -> None:
    blocked = p.signals.blocked
    if how == SIG_BLOCK:
        blocked |= signals
    elif how == SIG_UNBLOCK:
        blocked &= ~signals
    elif how == SIG_SETMASK:
        blocked = signals
    else:
        raise CallError(Errno.EINVAL)
    p.signals.blocked = blocked & ~UNBLOCKABLE


@call("rt_sigprocmask", INT, PTR, PTR, UINT)
def rt_sigprocmask(p: Process, how: int, new: int, old: int, size: int) -> int:
    """Change and store the set of blocked signals."""
    if size != 8:
        raise CallError(Errno.EINVAL)
    before = p.signals.blocked
    if new:
        _change_mask(p, how, p.unpack("<Q", new)[0])
    if old:
        p.pack("<Q", old, before)
    return 0


@call("sigprocmask", INT, PTR, PTR)
def sigprocmask(p: Process, how: int, new: int, old: int) -> int:
    """Change and store the blocked signals 1 to 32."""
    before = p.signals.blocked
    if new:
        signals = p.unpack("<I", new)[0]
        if how == SIG_SETMASK:
            signals |= before & ~0xFFFFFFFF
        _change_mask(p, how, signals)
    if old:
        p.pack("<I", old, before & 0xFFFFFFFF)
    return 0


@call("rt_sigpending", PTR, UINT)
def rt_sigpending(p: Process, address: int, size: int) -> int:
    """Store the set of signals that wait."""
    p.write(address, sum(map(bit, p.signals.pending)).to_bytes(8, "little")[: min(size, 8)])
    return 0


@call("sigpending", PTR)
def sigpending(p: Process, address: int) -> int:
    """Store the set of signals 1 to 32 that wait."""
    p.pack("<I", address, sum(map(bit, p.signals.pending)) & 0xFFFFFFFF)
    return 0


def wait_for_signal(p: Process) -> int:
    """Sleep until a signal has been handled."""
    raise Sleep("waiting for a signal", restarts=False)


@call("pause")
def pause(p: Process) -> int:
    """Wait for a signal."""
    return wait_for_signal(p)


@call("rt_sigsuspend", PTR, UINT)
def rt_sigsuspend(p: Process, address: int, size: int) -> int:
    """Wait for a signal with another set blocked."""
    if size != 8:
        raise CallError(Errno.EINVAL)
    return _suspend(p, p.unpack("<Q", address)[0])


@call("sigsuspend", UINT, UINT, UINT)
def sigsuspend(p: Process, unused: int, also_unused: int, mask: int) -> int:
    """Wait for a signal with another set of 1 to 32 blocked."""
    return _suspend(p, mask)


def _suspend(p: Process, mask: int) -> int:
    p.signals.saved_mask = p.signals.blocked
    p.signals.blocked = mask & ~UNBLOCKABLE
    return wait_for_signal(p)


@call("sigaltstack", PTR, PTR)
def sigaltstack(p: Process, new: int, old: int) -> int:
    """Set and store the alternate stack (struct sigaltstack: address, flags, size)."""
    signals, pointer = p.signals, p.state["esp"]
    before = signals.stack, frames.stack_flags(p, pointer), signals.stack_size
    if new:
        address, flags, size = p.unpack("<3I", new)
        if signals.on_stack(pointer):
            raise CallError(Errno.EPERM)
        if flags & ~SS_AUTODISARM & ~3:
            raise CallError(Errno.EINVAL)
        if not flags & SS_DISABLE and size < MIN_STACK:
            raise CallError(Errno.ENOMEM)
        signals.set_stack(address, flags, size)
    if old:
        p.pack("<3I", old, *before)
    return 0


def targets(p: Process, target: int) -> list[Process]:
    """The processes that kill means: one, a group, or all but this one; ESRCH if none."""
    table = p.table
    if target > 0:
        return [table.find(target).main]
    if target == -1:
        found = [q for q in table.processes.values() if q is q.main and q is not p.main]
    else:
        found = list(table.group(-target or p.group))
    if not found:
        raise CallError(Errno.ESRCH)
    return found


def send(p: Process, target: int, number: int, code: int) -> int:
    """Send a signal; number 0 only asks whether that could be done."""
    if not 0 <= number <= LAST_SIGNAL:
        raise CallError(Errno.EINVAL)
    for found in targets(p, target):
        if number:
            p.table.send(found, p.table.from_process(p, number, code))
    return 0


@call("kill", INT, INT)
def kill(p: Process, target: int, number: int) -> int:
    """Send a signal to a process or group."""
    return send(p, target, number, SI_USER)


@call("tkill", INT, INT)
def tkill(p: Process, thread: int, number: int) -> int:
    """Send a signal to a thread."""
    if thread <= 0:
        raise CallError(Errno.EINVAL)
    return _send_to_thread(p, p.table.find(thread), number)


@call("tgkill", INT, INT, INT)
def tgkill(p: Process, group: int, thread: int, number: int) -> int:
    """Send a signal to a thread of a process."""
    if group <= 0 or thread <= 0:
        raise CallError(Errno.EINVAL)
    target = p.table.find(thread)
    if target.main.pid != group:
        raise CallError(Errno.ESRCH)
    return _send_to_thread(p, target, number)


def _send_to_thread(p: Process, target: Process, number: int) -> int:
    if not 0 <= number <= LAST_SIGNAL:
        raise CallError(Errno.EINVAL)
    if number:
        p.table.send(target, p.table.from_process(p, number, SI_TKILL), to_thread=True)
    return 0


@call("sigreturn")
def sigreturn(p: Process) -> None:
    """Return from a handler of the old kind."""
    _leave(p, rt=False)


@call("rt_sigreturn")
def rt_sigreturn(p: Process) -> None:
    """Return from a handler."""
    _leave(p, rt=True)


def _leave(p: Process, *, rt: bool) -> None:
    try:
        frames.leave_rt_handler(p) if rt else frames.leave_old_handler(p)
    except CallError:  # the frame is not there: SIGSEGV, as in Linux
        p.signals.force(Info(Signal.SIGSEGV))
