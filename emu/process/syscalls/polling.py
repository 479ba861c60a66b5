"""Waiting for files. All but pipes, sockets and terminals are always ready."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from emu.process.files import OpenFile, Stream, WaitingFile
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
from emu.process.syscalls.registry import INT, PTR, UINT, call
from emu.process.syscalls.time import SECOND, TIMESPEC, TIMESPEC64, timespec

POLLFD = "<iHH"
MAX_SET = 1024


def readiness(file: OpenFile) -> tuple[bool, bool]:
    """Tell whether a read and a write would go on; asks the host only for terminals."""
    if isinstance(file, Stream) and file.terminal and file.readable:
        with suppress(OSError, ValueError):
            import select  # few guests wait for a terminal

            return bool(select.select([file.terminal_descriptor()], [], [], 0)[0]), False
    ready_read, ready_write = file.ready()
    return ready_read and file.readable, ready_write and file.writable


def wait(
    p: Process, files: list[OpenFile], timeout: int | None, is_ready: Callable[[], bool]
) -> None:
    """Nothing is ready: sleep until something is, or return if the time is over."""
    deadline = None if timeout is None else p.end_of_wait(timeout)
    if deadline is not None and p.elapsed >= deadline:
        return
    terminals = [f for f in files if isinstance(f, Stream) and f.terminal and f.readable]
    raise Sleep(
        "polling files that will never be ready", is_ready, deadline=deadline, restarts=False,
        terminals=terminals,
    )  # fmt: skip


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
        files = [p.files.get(fd) for fd, wanted, _ in entries if fd in known and wanted]
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
    return poll_files(p, address, count, timespec(p, TIMESPEC, timeout) if timeout else None)


@call("ppoll_time64", PTR, UINT, PTR, PTR, UINT)
def ppoll64(p: Process, address: int, count: int, timeout: int, mask: int, size: int) -> int:
    """Poll with a 64-bit struct timespec."""
    return poll_files(p, address, count, timespec(p, TIMESPEC64, timeout) if timeout else None)


def select_files(p: Process, count: int, sets: tuple[int, int, int], timeout: int | None) -> int:
    """Do any select: three bit sets, of which the third is always empty afterwards."""
    if not 0 <= count <= MAX_SET:
        raise CallError(Errno.EINVAL)
    size = (count + 31) // 32 * 4
    wanted = [_bits(p, address, size, count) for address in sets]
    files = {fd: p.files.get(fd) for bits in wanted for fd in bits}
    found = _selected(wanted, files)
    if not any(found) and timeout != 0:
        wait(p, list(files.values()), timeout, lambda: any(_selected(wanted, files)))
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
    return select_files(p, count, (read, write, error), duration)


@call("pselect6_time64", INT, PTR, PTR, PTR, PTR, PTR)
def pselect6_64(
    p: Process, count: int, read: int, write: int, error: int, timeout: int, mask: int
) -> int:
    """Select with a 64-bit struct timespec."""
    duration = timespec(p, TIMESPEC64, timeout) if timeout else None
    return select_files(p, count, (read, write, error), duration)
