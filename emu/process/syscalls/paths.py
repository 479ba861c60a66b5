"""Names and what belongs to them: links, renaming, permissions, owners, times, lengths."""

from __future__ import annotations

from emu.process.files import OpenFile
from emu.process.numbers import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    O_WRONLY,
    CallError,
    Errno,
)
from emu.process.process import Process
from emu.process.syscalls.registry import FLAGS, INT, MODE, PATH, PTR, UINT, call

SECOND = 1_000_000_000
UTIME_NOW, UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE
RENAME_NOREPLACE = 1
MAX_LENGTH = 1 << 46  # beyond what any host file system takes


@call("readlink", PATH, PTR, INT)
def readlink(p: Process, path: bytes, buffer: int, size: int) -> int:
    """Store a link's text, cut to the buffer, without NUL."""
    return readlinkat(p, AT_FDCWD, path, buffer, size)


@call("readlinkat", INT, PATH, PTR, INT)
def readlinkat(p: Process, directory: int, path: bytes, buffer: int, size: int) -> int:
    """Store a link's text."""
    if size <= 0:
        raise CallError(Errno.EINVAL)
    text = p.sandbox.readlink(path, p.start(directory))[:size]
    p.write(buffer, text)
    return len(text)


@call("link", PATH, PATH)
def link(p: Process, old: bytes, new: bytes) -> int:
    """Make a hard link."""
    p.sandbox.link(old, p.cwd, new, p.cwd)
    return 0


@call("linkat", INT, PATH, INT, PATH, FLAGS)
def linkat(p: Process, old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int) -> int:
    """Make a hard link, relative to directories."""
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise CallError(Errno.EINVAL)
    follow = bool(flags & AT_SYMLINK_FOLLOW)
    p.sandbox.link(old, p.start(old_fd), new, p.start(new_fd), follow=follow)
    return 0


@call("symlink", PATH, PATH)
def symlink(p: Process, text: bytes, path: bytes) -> int:
    """Make a symbolic link."""
    return symlinkat(p, text, AT_FDCWD, path)


@call("symlinkat", PATH, INT, PATH)
def symlinkat(p: Process, text: bytes, directory: int, path: bytes) -> int:
    """Make a symbolic link relative to a directory."""
    if not text:
        raise CallError(Errno.ENOENT)
    p.sandbox.symlink(text, path, p.start(directory))
    return 0


@call("rename", PATH, PATH)
def rename(p: Process, old: bytes, new: bytes) -> int:
    """Rename, replacing."""
    return renameat2(p, AT_FDCWD, old, AT_FDCWD, new, 0)


@call("renameat", INT, PATH, INT, PATH)
def renameat(p: Process, old_fd: int, old: bytes, new_fd: int, new: bytes) -> int:
    """Rename relative to directories."""
    return renameat2(p, old_fd, old, new_fd, new, 0)


@call("renameat2", INT, PATH, INT, PATH, FLAGS)
def renameat2(p: Process, old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int) -> int:
    """Rename with flags; of these only RENAME_NOREPLACE is known."""
    if flags & ~RENAME_NOREPLACE:
        raise CallError(Errno.EINVAL)
    p.sandbox.rename(old, p.start(old_fd), new, p.start(new_fd), replace=not flags)
    return 0


def path_of(p: Process, fd: int) -> OpenFile:
    """Return an open file that can be changed; EROFS for all that is not the guest's."""
    file = p.files.get(fd)
    if file.host_descriptor() is None or not p.sandbox.writable:
        raise CallError(Errno.EROFS)
    return file


@call("chmod", PATH, MODE)
def chmod(p: Process, path: bytes, mode: int) -> int:
    """Change permissions."""
    return fchmodat(p, AT_FDCWD, path, mode)


@call("fchmodat", INT, PATH, MODE)
def fchmodat(p: Process, directory: int, path: bytes, mode: int) -> int:
    """Change permissions relative to a directory."""
    p.sandbox.chmod(path, p.start(directory), mode)
    return 0


@call("fchmod", INT, MODE)
def fchmod(p: Process, fd: int, mode: int) -> int:
    """Change permissions of an open file."""
    p.sandbox.chmod_open(path_of(p, fd), mode)
    return 0


@call("chown", "chown32", PATH, UINT, UINT)
def chown(p: Process, path: bytes, user: int, group: int) -> int:
    """Change owners: only to who owns it already."""
    p.sandbox.chown(path, p.cwd, user)
    return 0


@call("lchown", "lchown32", PATH, UINT, UINT)
def lchown(p: Process, path: bytes, user: int, group: int) -> int:
    """Change a link's owners: only to who owns it already."""
    p.sandbox.chown(path, p.cwd, user, follow=False)
    return 0


@call("fchown", "fchown32", INT, UINT, UINT)
def fchown(p: Process, fd: int, user: int, group: int) -> int:
    """Change an open file's owners: only to who owns it already."""
    path_of(p, fd)
    if user not in (p.user, 0xFFFFFFFF):
        raise CallError(Errno.EPERM)
    return 0


@call("fchownat", INT, PATH, UINT, UINT, FLAGS)
def fchownat(p: Process, fd: int, path: bytes, user: int, group: int, flags: int) -> int:
    """Change owners relative to a directory: only to who owns it already."""
    p.sandbox.chown(path, p.start(fd), user, follow=not flags & AT_SYMLINK_NOFOLLOW)
    return 0


@call("utime", PATH, PTR)
def utime(p: Process, path: bytes, times: int) -> int:
    """Set times in seconds (struct utimbuf)."""
    stamps = [t * SECOND for t in p.unpack("<2i", times)] if times else [p.now] * 2
    p.sandbox.utime(path, p.cwd, (stamps[0], stamps[1]))
    return 0


@call("utimes", PATH, PTR)
def utimes(p: Process, path: bytes, times: int) -> int:
    """Set times in microseconds."""
    return futimesat(p, AT_FDCWD, path, times)


@call("futimesat", INT, PATH, PTR)
def futimesat(p: Process, directory: int, path: bytes, times: int) -> int:
    """Set times in microseconds, relative to a directory."""
    now = p.now
    a = m = now
    if times:
        a_seconds, a_micro, m_seconds, m_micro = p.unpack("<4i", times)
        if not (0 <= a_micro < 1_000_000 and 0 <= m_micro < 1_000_000):
            raise CallError(Errno.EINVAL)
        a, m = a_seconds * SECOND + a_micro * 1000, m_seconds * SECOND + m_micro * 1000
    p.sandbox.utime(path, p.start(directory), (a, m))
    return 0


@call("utimensat", INT, PTR, PTR, FLAGS)
def utimensat(p: Process, directory: int, path: int, times: int, flags: int) -> int:
    """Set times in nanoseconds; a null path means the descriptor itself."""
    return _utimensat(p, directory, path, times, flags, "<4i")


@call("utimensat_time64", INT, PTR, PTR, FLAGS)
def utimensat_time64(p: Process, directory: int, path: int, times: int, flags: int) -> int:
    """Set times in nanoseconds, with 64-bit seconds."""
    return _utimensat(p, directory, path, times, flags, "<qi4xqi4x")


def _utimensat(p: Process, fd: int, path: int, times: int, flags: int, layout: str) -> int:
    words = p.unpack(layout, times) if times else (0, UTIME_NOW, 0, UTIME_NOW)
    name = p.path(path) if path else b""
    if not name and (not path or flags & AT_EMPTY_PATH):
        file = path_of(p, fd)
        before = file.status()
        p.sandbox.utime_open(file, _stamps(p, words, before.accessed, before.modified))
        return 0
    follow = not flags & AT_SYMLINK_NOFOLLOW
    before = p.sandbox.status(name, p.start(fd), follow=follow)
    stamps = _stamps(p, words, before.accessed, before.modified)
    p.sandbox.utime(name, p.start(fd), stamps, follow=follow)
    return 0


def _stamps(p: Process, words: tuple[int, ...], accessed: int, modified: int) -> tuple[int, int]:
    """Read two times, of which each may be "now" or "leave it"."""

    def stamp(seconds: int, rest: int, old: int) -> int:
        if rest == UTIME_NOW:
            return p.now
        if rest == UTIME_OMIT:
            return old
        if not 0 <= rest < SECOND:
            raise CallError(Errno.EINVAL)
        return seconds * SECOND + rest

    return stamp(words[0], words[1], accessed), stamp(words[2], words[3], modified)


def truncate_at(p: Process, path: bytes, size: int) -> int:
    """Set a file's length by name."""
    if not 0 <= size <= MAX_LENGTH:
        raise CallError(Errno.EINVAL)
    file = p.sandbox.open(path, p.cwd, O_WRONLY)
    try:
        file.truncate(size)
    finally:
        file.close()
    return 0


def truncate_open(p: Process, fd: int, size: int) -> int:
    """Set an open file's length."""
    file = p.files.get(fd)
    if not file.writable or not 0 <= size <= MAX_LENGTH:
        raise CallError(Errno.EINVAL)
    file.truncate(size)
    return 0


@call("truncate", PATH, INT)
def truncate(p: Process, path: bytes, size: int) -> int:
    """Set a length of 31 bits."""
    return truncate_at(p, path, size)


@call("ftruncate", INT, INT)
def ftruncate(p: Process, fd: int, size: int) -> int:
    """Set an open file's length of 31 bits."""
    return truncate_open(p, fd, size)


@call("truncate64", PATH, UINT, UINT)
def truncate64(p: Process, path: bytes, low: int, high: int) -> int:
    """Set a length of 63 bits."""
    return truncate_at(p, path, high << 32 | low)


@call("ftruncate64", INT, UINT, UINT)
def ftruncate64(p: Process, fd: int, low: int, high: int) -> int:
    """Set an open file's length of 63 bits."""
    return truncate_open(p, fd, high << 32 | low)


@call("fsync", INT)
@call("fdatasync", INT)
def fsync(p: Process, fd: int) -> int:
    """Written is written: the host keeps it."""
    p.files.get(fd)
    return 0


@call("sync")
def sync(p: Process) -> int:
    """Written is written."""
    return 0


@call("fadvise64", INT, UINT, UINT, UINT, INT)
@call("fadvise64_64", INT, UINT, UINT, UINT, UINT, INT)
def fadvise(p: Process, fd: int, *rest: int) -> int:
    """Advice changes nothing."""
    if not p.files.get(fd).seekable:
        raise CallError(Errno.ESPIPE)
    return 0


@call("getxattr", "lgetxattr", "setxattr", "lsetxattr", "removexattr", "lremovexattr", PATH, PATH)
@call("fgetxattr", "fsetxattr", "fremovexattr", INT, PATH)
def xattr(p: Process, target: bytes | int, name: bytes) -> int:
    """Files have no extended attributes."""
    raise CallError(Errno.EOPNOTSUPP)


@call("listxattr", "llistxattr", PATH, PTR, UINT)
@call("flistxattr", INT, PTR, UINT)
def listxattr(p: Process, target: bytes | int, names: int, size: int) -> int:
    """Files have no extended attributes."""
    return 0


@call("umask", MODE)
def umask(p: Process, mask: int) -> int:
    """Set the mask of new files; return the old one."""
    old = p.umask
    for thread in p.table.threads(p):
        thread.umask = mask & 0o777
    return old
