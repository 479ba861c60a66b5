"""The working directory, and making, removing and listing directories."""

from __future__ import annotations

import struct

from emu.process.files import Directory, Entry, Path
from emu.process.numbers import AT_FDCWD, AT_REMOVEDIR, CallError, Errno
from emu.process.process import Process
from emu.process.syscalls.registry import FLAGS, INT, MODE, PATH, PTR, UINT, call

MAX_BUFFER = 1 << 20


@call("getcwd", PTR, UINT)
def getcwd(p: Process, buffer: int, size: int) -> int:
    """Store the working directory's path; return its length with the NUL."""
    path = b"/" + b"/".join(p.cwd) + b"\0"
    p.sandbox.resolve(b".", p.cwd)
    if len(path) > size:
        raise CallError(Errno.ERANGE)
    p.write(buffer, path)
    return len(path)


@call("chdir", PATH)
def chdir(p: Process, path: bytes) -> int:
    """Change the working directory."""
    _move(p, p.sandbox.resolve(path, p.cwd))
    return 0


@call("fchdir", INT)
def fchdir(p: Process, fd: int) -> int:
    """Change the working directory to an open one."""
    _move(p, p.sandbox.resolve(b".", p.start(fd if fd >= 0 else -1)))
    return 0


def _move(p: Process, path: Path) -> None:
    """Change the working directory, which threads share."""
    for thread in p.table.threads(p):
        thread.cwd = path


@call("mkdir", PATH, MODE)
def mkdir(p: Process, path: bytes, mode: int) -> int:
    """Make a directory."""
    return mkdirat(p, AT_FDCWD, path, mode)


@call("mkdirat", INT, PATH, MODE)
def mkdirat(p: Process, directory: int, path: bytes, mode: int) -> int:
    """Make a directory relative to another."""
    p.sandbox.mkdir(path, p.start(directory), mode & ~p.umask)
    return 0


@call("rmdir", PATH)
def rmdir(p: Process, path: bytes) -> int:
    """Remove an empty directory."""
    p.sandbox.rmdir(path, p.cwd)
    return 0


@call("unlink", PATH)
def unlink(p: Process, path: bytes) -> int:
    """Remove a name."""
    p.sandbox.unlink(path, p.cwd)
    return 0


@call("unlinkat", INT, PATH, FLAGS)
def unlinkat(p: Process, directory: int, path: bytes, flags: int) -> int:
    """Remove a name or an empty directory."""
    if flags & ~AT_REMOVEDIR:
        raise CallError(Errno.EINVAL)
    remove = p.sandbox.rmdir if flags & AT_REMOVEDIR else p.sandbox.unlink
    remove(path, p.start(directory))
    return 0


def record64(entry: Entry, position: int) -> bytes:
    """Return a struct linux_dirent64."""
    size = (19 + len(entry.name) + 1 + 7) & ~7
    head = struct.pack("<QqHB", entry.inode, position, size, entry.kind)
    return (head + entry.name).ljust(size, b"\0")


def record32(entry: Entry, position: int) -> bytes:
    """Return a struct linux_dirent: the kind is its last byte."""
    size = (10 + len(entry.name) + 2 + 3) & ~3
    head = struct.pack("<IIH", entry.inode & 0xFFFFFFFF, position, size)
    return (head + entry.name).ljust(size - 1, b"\0") + bytes([entry.kind])


@call("getdents64", INT, PTR, UINT)
def getdents64(p: Process, fd: int, buffer: int, size: int) -> int:
    """List a directory from its position."""
    return _list(p, fd, buffer, size, wide=True)


@call("getdents", INT, PTR, UINT)
def getdents(p: Process, fd: int, buffer: int, size: int) -> int:
    """List a directory, old layout."""
    return _list(p, fd, buffer, size, wide=False)


def _list(p: Process, fd: int, buffer: int, size: int, *, wide: bool) -> int:
    file = p.files.get(fd)
    if not isinstance(file, Directory):
        raise CallError(Errno.ENOTDIR)
    entries, position, records = file.entries(), file.position, b""
    record = record64 if wide else record32
    while position < len(entries):
        more = record(entries[position], position + 1)
        if len(records) + len(more) > min(size, MAX_BUFFER):
            break
        records, position = records + more, position + 1
    if not records and position < len(entries):
        raise CallError(Errno.EINVAL)
    p.write(buffer, records)
    file.position = position
    return len(records)
