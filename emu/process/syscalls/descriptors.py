"""Opening and closing, duplicates, flags, pipes, and control of what is open."""

from __future__ import annotations

import os
from contextlib import suppress

from emu.process.files import OpenFile, Pipe, PipeEnd, SeekableFile, Stream, WaitingFile
from emu.process.numbers import (
    AT_FDCWD,
    O_ACCMODE,
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_LARGEFILE,
    O_NONBLOCK,
    O_RDONLY,
    O_TRUNC,
    O_WRONLY,
    CallError,
    Errno,
)
from emu.process.process import Process
from emu.process.syscalls.registry import FLAGS, INT, MODE, PATH, PTR, UINT, call

F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW = range(8)
F_SETOWN, F_GETOWN, F_GETLK64, F_SETLK64, F_SETLKW64 = 8, 9, 12, 13, 14
F_DUPFD_CLOEXEC = 1030
F_UNLCK = 2
STATUS_FLAGS = O_APPEND | O_NONBLOCK | O_DIRECT

TCGETS, TCSETS, TCSETSW, TCSETSF = 0x5401, 0x5402, 0x5403, 0x5404
TIOCGPGRP, TIOCSPGRP, TIOCGWINSZ, FIONREAD, FIONBIO = 0x540F, 0x5410, 0x5413, 0x541B, 0x5421
FIONCLEX, FIOCLEX = 0x5450, 0x5451


def open_at(p: Process, directory: int, path: bytes, flags: int, mode: int) -> int:
    """Do any of the opens."""
    p.files.room()
    start = () if path.startswith(b"/") else p.start(directory)
    file = p.sandbox.open(path, start, flags, mode & ~p.umask)
    return p.files.add(file, close_on_exec=bool(flags & O_CLOEXEC))


@call("open", PATH, FLAGS, MODE)
def open_(p: Process, path: bytes, flags: int, mode: int) -> int:
    """Open a file."""
    return open_at(p, AT_FDCWD, path, flags, mode)


@call("openat", INT, PATH, FLAGS, MODE)
def openat(p: Process, directory: int, path: bytes, flags: int, mode: int) -> int:
    """Open a file relative to a directory."""
    return open_at(p, directory, path, flags, mode)


@call("creat", PATH, MODE)
def creat(p: Process, path: bytes, mode: int) -> int:
    """Create or empty a file."""
    return open_at(p, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)


@call("close", INT)
def close(p: Process, fd: int) -> int:
    """Close a descriptor."""
    p.files.close(fd)
    return 0


@call("close_range", UINT, UINT, FLAGS)
def close_range(p: Process, first: int, last: int, flags: int) -> int:
    """Close a range of descriptors, or mark it close-on-exec (flag 4)."""
    if flags & ~6 or first > last:
        raise CallError(Errno.EINVAL)
    for fd in p.files.numbers():
        if first <= fd <= last and flags & 4:
            p.files.slot(fd).close_on_exec = True
        elif first <= fd <= last:
            p.files.close(fd)
    return 0


@call("dup", INT)
def dup(p: Process, fd: int) -> int:
    """Duplicate to the lowest free number."""
    return p.files.add(p.files.get(fd))


@call("dup2", INT, INT)
def dup2(p: Process, fd: int, target: int) -> int:
    """Duplicate to a given number; to itself is no change."""
    file = p.files.get(fd)
    if fd != target:
        p.files.put(target, file)
    return target


@call("dup3", INT, INT, FLAGS)
def dup3(p: Process, fd: int, target: int, flags: int) -> int:
    """Duplicate to a given number, perhaps close-on-exec."""
    if fd == target or flags & ~O_CLOEXEC:
        raise CallError(Errno.EINVAL)
    p.files.put(target, p.files.get(fd), close_on_exec=bool(flags & O_CLOEXEC))
    return target


@call("fcntl64", INT, INT, UINT)
@call("fcntl", INT, INT, UINT)
def fcntl(p: Process, fd: int, command: int, argument: int) -> int:
    """Query and change descriptors; locks always succeed: nobody is kept out."""
    slot = p.files.slot(fd)
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        if argument >= p.files.limit:
            raise CallError(Errno.EINVAL)
        cloexec = command == F_DUPFD_CLOEXEC
        return p.files.add(slot.file, close_on_exec=cloexec, start=argument)
    if command == F_GETFD:
        return int(slot.close_on_exec)
    if command == F_SETFD:
        slot.close_on_exec = bool(argument & 1)
    elif command == F_GETFL:
        return slot.file.flags & (O_ACCMODE | STATUS_FLAGS) | O_LARGEFILE
    elif command == F_SETFL:
        slot.file.flags = slot.file.flags & ~STATUS_FLAGS | argument & STATUS_FLAGS
    elif command in (F_GETLK, F_GETLK64):
        p.pack("<H", argument, F_UNLCK)
    elif command not in (F_SETLK, F_SETLKW, F_SETLK64, F_SETLKW64, F_SETOWN, F_GETOWN):
        raise CallError(Errno.EINVAL)
    return 0


@call("flock", INT, INT)
def flock(p: Process, fd: int, operation: int) -> int:
    """Lock: nobody competes."""
    p.files.get(fd)
    if operation & ~4 not in (1, 2, 8):
        raise CallError(Errno.EINVAL)
    return 0


def make_pipe(p: Process, address: int, flags: int) -> int:
    """Open both ends of a pipe and store their numbers."""
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        raise CallError(Errno.EINVAL)
    pipe, cloexec = Pipe(p.table.pipes), bool(flags & O_CLOEXEC)
    ends = [PipeEnd(pipe, kind | flags & O_NONBLOCK) for kind in (O_RDONLY, O_WRONLY)]
    numbers: list[int] = []
    try:
        numbers += [p.files.add(end, close_on_exec=cloexec) for end in ends]
        p.pack("<II", address, *numbers)
    except CallError:
        for end in ends:
            p.files.forget(end)
        raise
    return 0


@call("pipe", PTR)
def pipe(p: Process, address: int) -> int:
    """Open a pipe."""
    return make_pipe(p, address, 0)


@call("pipe2", PTR, FLAGS)
def pipe2(p: Process, address: int, flags: int) -> int:
    """Open a pipe with flags."""
    return make_pipe(p, address, flags)


@call("ioctl", INT, FLAGS, PTR)
def ioctl(p: Process, fd: int, request: int, argument: int) -> int:
    """Control a file: a terminal's size and modes, how much can be read."""
    slot = p.files.slot(fd)
    if request in (FIOCLEX, FIONCLEX):
        slot.close_on_exec = request == FIOCLEX
        return 0
    if request == FIONBIO:
        on = p.unpack("<I", argument)[0]
        slot.file.flags = slot.file.flags & ~O_NONBLOCK | (O_NONBLOCK if on else 0)
        return 0
    if request == FIONREAD:
        p.pack("<I", argument, _waiting(slot.file))
        return 0
    if not isinstance(slot.file, Stream) or not slot.file.terminal:
        raise CallError(Errno.ENOTTY)
    return _terminal(p, slot.file, request, argument)


def _waiting(file: OpenFile) -> int:
    """Return how many bytes can be read; ENOTTY for files that do not know."""
    if isinstance(file, WaitingFile):
        return file.waiting()
    if isinstance(file, SeekableFile):
        return min(max(file.size() - file.position, 0), 0x7FFFFFFF)
    raise CallError(Errno.ENOTTY)


# struct termios: a terminal in its usual (cooked) state, 38400 baud
_TERMIOS = (0x500, 0x5, 0xBF, 0x8A3B)
_CONTROL = bytes([3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0])


def _terminal(p: Process, file: Stream, request: int, argument: int) -> int:
    """Answer for the host's terminal without changing it."""
    if request == TCGETS:
        p.pack("<4IB19s", argument, *_TERMIOS, 0, _CONTROL)
    elif request == TIOCGWINSZ:
        columns, rows = 80, 24
        with suppress(OSError):
            columns, rows = os.get_terminal_size(file.terminal_descriptor())
        p.pack("<4H", argument, rows, columns, 0, 0)
    elif request == TIOCGPGRP:
        p.pack("<I", argument, p.table.foreground)
    elif request == TIOCSPGRP:
        (p.table.foreground,) = p.unpack("<i", argument)
    elif request not in (TCSETS, TCSETSW, TCSETSF):
        raise CallError(Errno.ENOTTY)
    return 0
