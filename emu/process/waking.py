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
    late = sleep.deadline is not None and process.elapsed >= sleep.deadline
    if not (late or sleep.ready()):
        _interrupt(process, sleep)
    elif sleep.finish is not None:
        process.state["eax"] = sleep.finish() & 0xFFFFFFFF
    else:
        again(process.state)
    process.progress, process.deadline = 0, None


def _interrupt(process: Process, sleep: Sleep) -> None:
    """A signal that does something has come first."""
    state, info = process.state, process.signals.first_deliverable()
    if process.progress:
        result = process.progress
    elif sleep.interrupted is not None:
        result = sleep.interrupted()
    elif sleep.restarts and info and process.signals.action(info.number).flags & SA_RESTART:
        state["eip"], result = state["eip"] - SYSCALL_SIZE, state["eax"]  # the call's number
    else:
        result = -Errno.EINTR
    state["eax"] = result & 0xFFFFFFFF
