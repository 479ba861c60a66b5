"""What files are: every generation of stat, access, and the file system itself.

The layouts carry the kernel's names; padding that the kernel zeroes is zero here.
"""

from __future__ import annotations

from emu.process.files import Status
from emu.process.numbers import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    CallError,
    Errno,
)
from emu.process.process import Process
from emu.process.syscalls.registry import FLAGS, INT, PATH, PTR, UINT, call

OLD_STAT = "<7H2x4I"  # struct __old_kernel_stat
STAT = "<2I4H12I"  # struct stat
STAT64 = "<Q6IQIqIQ6IQ"  # struct stat64
STATX = "<2IQ3IH2x4Q" + "qI4x" * 4 + "4IQ"  # struct statx, up to stx_mnt_id
STATX_SIZE, STATX_BASIC_STATS = 256, 0x7FF
STATFS = "<16I"
STATFS64 = "<2I5Q9I"
TMPFS_MAGIC = 0x01021994
SECOND = 1_000_000_000


def _device(number: int) -> int:
    """Encode a device number as new_encode_dev does: minor, major, minor."""
    major, minor = number >> 8 & 0xFFF, number & 0xFF
    return minor | major << 8


def _times(status: Status) -> list[int]:
    """Return seconds and nanoseconds, three times, the seconds in 32 bits."""
    pairs = [divmod(t, SECOND) for t in (status.accessed, status.modified, status.changed)]
    return [word for seconds, rest in pairs for word in (seconds & 0xFFFFFFFF, rest)]


def _small(size: int) -> int:
    """Return a size that fits 31 bits; EOVERFLOW."""
    if size >> 31:
        raise CallError(Errno.EOVERFLOW)
    return size


def write_old_stat(p: Process, address: int, s: Status) -> int:
    """Store a struct __old_kernel_stat."""
    ids = (s.device, s.inode, s.mode, s.links, s.user, s.group, _device(s.rdevice))
    times = _times(s)[::2]
    p.pack(OLD_STAT, address, *(value & 0xFFFF for value in ids), _small(s.size), *times)
    return 0


def write_stat(p: Process, address: int, s: Status) -> int:
    """Store a struct stat."""
    ids = [value & 0xFFFF for value in (s.mode, s.links, s.user, s.group)]
    rest = [_device(s.rdevice), _small(s.size), s.block_size, s.blocks & 0xFFFFFFFF]
    p.pack(STAT, address, s.device, s.inode & 0xFFFFFFFF, *ids, *rest, *_times(s), 0, 0)
    return 0


def write_stat64(p: Process, address: int, s: Status) -> int:
    """Store a struct stat64."""
    low = (0, s.inode & 0xFFFFFFFF, s.mode, s.links, s.user, s.group)
    rest = (_device(s.rdevice), 0, s.size, s.block_size, s.blocks)
    p.pack(STAT64, address, s.device, *low, *rest, *_times(s), s.inode)
    return 0


def write_statx(p: Process, address: int, s: Status) -> int:
    """Store a struct statx with the basic fields (no birth time)."""
    head = (STATX_BASIC_STATS, s.block_size, 0, s.links, s.user, s.group, s.mode)
    sizes = (s.inode, s.size, s.blocks, 0)
    times = [
        word for stamp in (s.accessed, 0, s.changed, s.modified) for word in divmod(stamp, SECOND)
    ]
    devices = (s.rdevice >> 8, s.rdevice & 0xFF, s.device >> 8, s.device & 0xFF)
    p.write(address, bytes(STATX_SIZE))
    p.pack(STATX, address, *head, *sizes, *times, *devices, 0)
    return 0


def status_at(p: Process, directory: int, path: bytes, flags: int) -> Status:
    """Return the status of a path or, with AT_EMPTY_PATH, of a descriptor."""
    if not path and flags & AT_EMPTY_PATH:
        if directory == AT_FDCWD:
            return p.sandbox.status(b".", p.cwd)
        return p.files.get(directory).status()
    follow = not flags & AT_SYMLINK_NOFOLLOW
    start = () if path.startswith(b"/") else p.start(directory)
    return p.sandbox.status(path, start, follow=follow)


@call("oldstat", PATH, PTR)
def oldstat(p: Process, path: bytes, buffer: int) -> int:
    """Tell of a path, oldest layout."""
    return write_old_stat(p, buffer, p.sandbox.status(path, p.cwd))


@call("oldlstat", PATH, PTR)
def oldlstat(p: Process, path: bytes, buffer: int) -> int:
    """Tell of a path or link, oldest layout."""
    return write_old_stat(p, buffer, p.sandbox.status(path, p.cwd, follow=False))


@call("oldfstat", INT, PTR)
def oldfstat(p: Process, fd: int, buffer: int) -> int:
    """Tell of a descriptor, oldest layout."""
    return write_old_stat(p, buffer, p.files.get(fd).status())


@call("stat", PATH, PTR)
def stat(p: Process, path: bytes, buffer: int) -> int:
    """Tell of a path."""
    return write_stat(p, buffer, p.sandbox.status(path, p.cwd))


@call("lstat", PATH, PTR)
def lstat(p: Process, path: bytes, buffer: int) -> int:
    """Tell of a path or link."""
    return write_stat(p, buffer, p.sandbox.status(path, p.cwd, follow=False))


@call("fstat", INT, PTR)
def fstat(p: Process, fd: int, buffer: int) -> int:
    """Tell of a descriptor."""
    return write_stat(p, buffer, p.files.get(fd).status())


@call("stat64", PATH, PTR)
def stat64(p: Process, path: bytes, buffer: int) -> int:
    """Tell of a path, 64-bit sizes."""
    return write_stat64(p, buffer, p.sandbox.status(path, p.cwd))


@call("lstat64", PATH, PTR)
def lstat64(p: Process, path: bytes, buffer: int) -> int:
    """Tell of a path or link, 64-bit sizes."""
    return write_stat64(p, buffer, p.sandbox.status(path, p.cwd, follow=False))


@call("fstat64", INT, PTR)
def fstat64(p: Process, fd: int, buffer: int) -> int:
    """Tell of a descriptor, 64-bit sizes."""
    return write_stat64(p, buffer, p.files.get(fd).status())


@call("fstatat64", INT, PATH, PTR, FLAGS)
def fstatat64(p: Process, directory: int, path: bytes, buffer: int, flags: int) -> int:
    """Tell of a path relative to a directory, 64-bit sizes."""
    return write_stat64(p, buffer, status_at(p, directory, path, flags))


@call("statx", INT, PATH, FLAGS, FLAGS, PTR)
def statx(p: Process, directory: int, path: bytes, flags: int, mask: int, buffer: int) -> int:
    """Tell of a path, newest layout."""
    if mask >> 31:
        raise CallError(Errno.EINVAL)
    return write_statx(p, buffer, status_at(p, directory, path, flags))


def access_at(p: Process, directory: int, path: bytes, mode: int, flags: int) -> int:
    """Check permissions."""
    if mode & ~7:
        raise CallError(Errno.EINVAL)
    start = () if path.startswith(b"/") else p.start(directory)
    p.sandbox.access(path, start, mode, follow=not flags & AT_SYMLINK_NOFOLLOW)
    return 0


@call("access", PATH, FLAGS)
def access(p: Process, path: bytes, mode: int) -> int:
    """Check permissions of a path."""
    return access_at(p, AT_FDCWD, path, mode, 0)


@call("faccessat", INT, PATH, FLAGS)
def faccessat(p: Process, directory: int, path: bytes, mode: int) -> int:
    """Check permissions relative to a directory."""
    return access_at(p, directory, path, mode, 0)


@call("faccessat2", INT, PATH, FLAGS, FLAGS)
def faccessat2(p: Process, directory: int, path: bytes, mode: int, flags: int) -> int:
    """Check permissions relative to a directory, with flags."""
    return access_at(p, directory, path, mode, flags)


def _file_system() -> tuple[int, ...]:
    """A file system of 1 GiB, half free; the host's own numbers stay hidden."""
    return (262144, 131072, 131072, 65536, 32768)


def write_statfs(p: Process, address: int) -> int:
    """Store a struct statfs."""
    p.pack(STATFS, address, TMPFS_MAGIC, 4096, *_file_system(), 0, 0, 255, 4096, *[0] * 5)
    return 0


def write_statfs64(p: Process, address: int, size: int) -> int:
    """Store a struct statfs64; EINVAL if the caller's is of another size."""
    if size not in (84, 88):
        raise CallError(Errno.EINVAL)
    p.pack(STATFS64, address, TMPFS_MAGIC, 4096, *_file_system(), 0, 0, 255, 4096, *[0] * 5)
    return 0


@call("statfs", PATH, PTR)
def statfs(p: Process, path: bytes, buffer: int) -> int:
    """Tell of a path's file system."""
    p.sandbox.status(path, p.cwd)
    return write_statfs(p, buffer)


@call("fstatfs", INT, PTR)
def fstatfs(p: Process, fd: int, buffer: int) -> int:
    """Tell of a descriptor's file system."""
    p.files.get(fd)
    return write_statfs(p, buffer)


@call("statfs64", PATH, UINT, PTR)
def statfs64(p: Process, path: bytes, size: int, buffer: int) -> int:
    """Tell of a path's file system, 64-bit sizes."""
    p.sandbox.status(path, p.cwd)
    return write_statfs64(p, buffer, size)


@call("fstatfs64", INT, UINT, PTR)
def fstatfs64(p: Process, fd: int, size: int, buffer: int) -> int:
    """Tell of a descriptor's file system, 64-bit sizes."""
    p.files.get(fd)
    return write_statfs64(p, buffer, size)
