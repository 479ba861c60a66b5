"""Waiting for files. All but pipes, sockets and terminals are always ready."""

from __future__ import annotations

from collections.abc import Callable

from emu.process.files import OpenFile, WaitingFile, readiness
from emu.process.numbers import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    CallError,
    Errno,
)
from emu.process.process import Process, Sleep
from emu.process.signals import UNBLOCKABLE
from emu.process.syscalls.registry import INT, PTR, UINT, call
from emu.process.syscalls.time import SECOND, TIMESPEC, TIMESPEC64, timespec

POLLFD = "<iHH"
MAX_SET = 1024
SIGSET_SIZE = 8


def wait(
    p: Process, files: list[OpenFile], timeout: int | None, is_ready: Callable[[], bool]
) -> None:
    """Nothing is ready: sleep until something is, or return if the time is over."""
    deadline = None if timeout is None else p.end_of_wait(timeout)
    if deadline is not None and p.elapsed >= deadline:
        return
    raise Sleep(
        "polling files that will never be ready", is_ready, deadline=deadline, restarts=False,
        terminals=[terminal for file in files for terminal in file.terminals()],
        moment=lambda: min((at for f in files if (at := f.moment()) is not None), default=None),
    )  # fmt: skip


def masked(p: Process, address: int, size: int, serve: Callable[[], int]) -> int:
    """Serve a call with other signals blocked, if there is an `address`; EINVAL, EFAULT.

    The handler that ends its wait has the new ones blocked, as in sigsuspend; the call may be
    served more than once until then.
    """
    signals = p.signals
    if not address:
        return serve()
    if size != SIGSET_SIZE:
        raise CallError(Errno.EINVAL)
    if signals.saved_mask is None:
        (mask,) = p.unpack("<Q", address)
        signals.saved_mask, signals.blocked = signals.blocked, mask & ~UNBLOCKABLE
    try:
        result = serve()
    except CallError:
        signals.restore_mask()
        raise
    signals.restore_mask()
    return result


def _events(p: Process, fd: int, wanted: int) -> int:
    """Return the poll events of one descriptor."""
    if fd < 0:
        return 0
    try:
        file = p.files.get(fd)
    except CallError:
        return POLLNVAL
    if isinstance(file, WaitingFile):
        found = file.events()
    else:
        can_read, can_write = readiness(file)
        found = (POLLIN if can_read else 0) | (POLLOUT if can_write else 0)
    return found & (wanted | POLLERR | POLLHUP)


def poll_files(p: Process, address: int, count: int, timeout: int | None) -> int:
    """Poll an array of struct pollfd, waiting if need be."""
    if count > p.files.limit:
        raise CallError(Errno.EINVAL)
    entries = [p.unpack(POLLFD, address + 8 * i) for i in range(count)]
    found = [_events(p, fd, wanted) for fd, wanted, _ in entries]
    if not any(found) and timeout != 0:
        known = set(p.files.numbers())
        files = [p.files.get(fd) for fd, wanted, _ in entries if fd in known and wanted & POLLIN]
        wait(p, files, timeout, lambda: any(_events(p, fd, wanted) for fd, wanted, _ in entries))
    for i, (fd, wanted, _) in enumerate(entries):
        p.pack(POLLFD, address + 8 * i, fd, wanted, found[i])
    return sum(1 for events in found if events)


@call("poll", PTR, UINT, INT)
def poll(p: Process, address: int, count: int, timeout: int) -> int:
    """Poll with a timeout in milliseconds; negative waits for ever."""
    return poll_files(p, address, count, timeout * 1_000_000 if timeout >= 0 else None)


@call("ppoll", PTR, UINT, PTR, PTR, UINT)
def ppoll(p: Process, address: int, count: int, timeout: int, mask: int, size: int) -> int:
    """Poll with a struct timespec."""
    duration = timespec(p, TIMESPEC, timeout) if timeout else None
    return masked(p, mask, size, lambda: poll_files(p, address, count, duration))


@call("ppoll_time64", PTR, UINT, PTR, PTR, UINT)
def ppoll64(p: Process, address: int, count: int, timeout: int, mask: int, size: int) -> int:
    """Poll with a 64-bit struct timespec."""
    duration = timespec(p, TIMESPEC64, timeout) if timeout else None
    return masked(p, mask, size, lambda: poll_files(p, address, count, duration))


def select_files(p: Process, count: int, sets: tuple[int, int, int], timeout: int | None) -> int:
    """Do any select: three bit sets, of which the third is always empty afterwards."""
    if not 0 <= count <= MAX_SET:
        raise CallError(Errno.EINVAL)
    size = (count + 31) // 32 * 4
    wanted = [_bits(p, address, size, count) for address in sets]
    files = {fd: p.files.get(fd) for bits in wanted for fd in bits}
    found = _selected(wanted, files)
    if not any(found) and timeout != 0:
        wait(p, [files[fd] for fd in wanted[0]], timeout, lambda: any(_selected(wanted, files)))
    for address, ready in zip(sets, found, strict=True):
        if address:
            p.write(address, sum(1 << fd for fd in ready).to_bytes(size, "little"))
    return sum(map(len, found))


def _bits(p: Process, address: int, size: int, count: int) -> list[int]:
    if not address:
        return []
    value = int.from_bytes(p.read(address, size), "little")
    return [fd for fd in range(count) if value >> fd & 1]


def _selected(wanted: list[list[int]], files: dict[int, OpenFile]) -> list[list[int]]:
    reads = [fd for fd in wanted[0] if readiness(files[fd])[0]]
    writes = [fd for fd in wanted[1] if readiness(files[fd])[1]]
    return [reads, writes, []]


@call("_newselect", INT, PTR, PTR, PTR, PTR)
def newselect(p: Process, count: int, read: int, write: int, error: int, timeout: int) -> int:
    """Select with a struct timeval."""
    duration = None
    if timeout:
        seconds, micro = p.unpack("<ii", timeout)
        if seconds < 0 or micro < 0:
            raise CallError(Errno.EINVAL)
        duration = seconds * SECOND + micro * 1000
    return select_files(p, count, (read, write, error), duration)


@call("select", PTR)
def old_select(p: Process, arguments: int) -> int:
    """Select with the arguments in memory."""
    return newselect(p, *p.unpack("<i4I", arguments))


@call("pselect6", INT, PTR, PTR, PTR, PTR, PTR)
def pselect6(
    p: Process, count: int, read: int, write: int, error: int, timeout: int, mask: int
) -> int:
    """Select with a struct timespec."""
    duration = timespec(p, TIMESPEC, timeout) if timeout else None
    where, size = p.unpack("<II", mask) if mask else (0, 0)
    return masked(p, where, size, lambda: select_files(p, count, (read, write, error), duration))


@call("pselect6_time64", INT, PTR, PTR, PTR, PTR, PTR)
def pselect6_64(
    p: Process, count: int, read: int, write: int, error: int, timeout: int, mask: int
) -> int:
    """Select with a 64-bit struct timespec."""
    duration = timespec(p, TIMESPEC64, timeout) if timeout else None
    where, size = p.unpack("<II", mask) if mask else (0, 0)
    return masked(p, where, size, lambda: select_files(p, count, (read, write, error), duration))
