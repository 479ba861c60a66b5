"""How a system call that waited goes on: with what it waited for, or with a signal."""

from __future__ import annotations

from collections.abc import Callable

from emu.process.numbers import Errno
from emu.process.process import CpuState, Process, Sleep
from emu.process.signals import SA_RESTART

SYSCALL_SIZE = 2  # bytes of INT 80h


def wake(process: Process, sleep: Sleep, again: Callable[[CpuState], None]) -> None:
    """Finish the call of the current process, which can run again; may raise Sleep once more.

    `again` serves the call whose number is in EAX.
    """
    state = process.state
    late = sleep.deadline is not None and process.elapsed >= sleep.deadline
    if not (late or sleep.ready()):
        _interrupt(process, sleep)
    elif sleep.finish is not None:
        _return(process, sleep.finish())
    else:
        again(state)


def _interrupt(process: Process, sleep: Sleep) -> None:
    """A signal that does something has come first."""
    signals = process.signals
    info = signals.first_deliverable()
    if process.progress:
        _return(process, process.progress)
    elif sleep.interrupted is not None:
        _return(process, sleep.interrupted())
    elif sleep.restarts and info and signals.action(info.number).flags & SA_RESTART:
        process.state["eip"] -= SYSCALL_SIZE  # EAX still has the call's number
        _return(process, process.state["eax"])
    else:
        _return(process, -Errno.EINTR)


def _return(process: Process, result: int) -> None:
    process.state["eax"] = result & 0xFFFFFFFF
    process.progress, process.deadline = 0, None
