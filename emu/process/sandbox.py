"""The guest's file system: one host directory, walked name by name, and nothing else of the host.

Safety rests on three rules. Every host call names one component relative to a descriptor that was
itself reached that way, and follows no link: links are read and resolved here, absolute ones from
the guest's root. `..` goes back to a descriptor that the walk already holds, never to the host's
idea of a parent. And only regular files and directories are opened, checked before and after.
"""

from __future__ import annotations

import os
import stat as host

from emu.errors import GuestFileError
from emu.process import virtual
from emu.process.entropy import Entropy
from emu.process.files import (
    BytesFile,
    Directory,
    Entry,
    HostFile,
    OpenFile,
    Path,
    Status,
    Times,
    VirtualDevice,
    identity,
)
from emu.process.namespace import Namespace, Storage, Supply
from emu.process.numbers import (
    DT_DIR,
    DT_LNK,
    DT_REG,
    DT_SOCK,
    DT_UNKNOWN,
    MAX_LINKS,
    NAME_MAX,
    O_ACCMODE,
    O_APPEND,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    O_TMPFILE,
    O_TRUNC,
    PATH_MAX,
    S_IFDIR,
    S_IFLNK,
    S_IFREG,
    S_IFSOCK,
    CallError,
    Errno,
)
from emu.process.shared_files import SharedFiles
from isa.hints import Callable, Collection, Iterator, Protocol, cast
from isa.light import cached_property, contextmanager, deque, suppress
from isa.record import NamedTuple

_WALK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_QUIETLY = getattr(os, "O_NOATIME", 0)
_NOBODY = 65534

# File systems whose "regular files" are doors into the host's kernel.
_PSEUDO_NAMES = """
proc sysfs cgroup cgroup2 debugfs tracefs securityfs configfs bpf devpts devtmpfs mqueue
binfmt_misc efivarfs fusectl hugetlbfs pstore selinuxfs rpc_pipefs nfsd
"""
_PSEUDO = frozenset(_PSEUDO_NAMES.split())


class Place(NamedTuple):
    """Where a walk ended: `name` below the host directory `parent`, which may or may not exist."""

    path: Path
    parent: int = -1
    name: bytes = b"."
    found: os.stat_result | None = None
    node: virtual.Node | None = None

    @property
    def exists(self) -> bool:
        """Whether something is there."""
        return self.found is not None or self.node is not None

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        if self.node is not None:
            return self.node.kind == "directory"
        return self.found is not None and host.S_ISDIR(self.found.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link of the root directory (not one of our magic links)."""
        return self.found is not None and host.S_ISLNK(self.found.st_mode)


class _Walk:
    """A walk in progress: the names so far, and a held descriptor for each (-1: virtual)."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.names: list[bytes] = []
        self.held: list[int] = []

    @property
    def here(self) -> int:
        return self.held[-1] if self.held else self.root

    def enter(self, name: bytes) -> None:
        virtual_child = virtual.covers((*self.names, name)) or self.here < 0
        self.held.append(-1 if virtual_child else os.open(name, _WALK, dir_fd=self.here))
        self.names.append(name)

    def leave(self) -> None:
        if self.names:
            self.names.pop()
            self._close(self.held.pop())

    def reset(self) -> None:
        while self.names:
            self.leave()

    @staticmethod
    def _close(descriptor: int) -> None:
        if descriptor >= 0:
            os.close(descriptor)


class SocketFile:
    """A name below the root that stands for a socket; the host has nothing there."""

    def __init__(self, socket: OpenFile, inode: int, user: int, mode: int, time: int) -> None:
        self.socket = socket
        self.inode = inode
        self.user = user
        self.mode = mode
        self.time = time

    def status(self) -> Status:
        """What stat tells of it."""
        return Status(
            S_IFSOCK | self.mode, self.inode, user=self.user, group=self.user,
            accessed=self.time, modified=self.time, changed=self.time,
        )  # fmt: skip


MOST_SOCKET_FILES = 1024


class Programs(Protocol):
    """What /proc tells of processes."""

    def numbers(self) -> Collection[int]:
        """The numbers of those there are."""

    def of(self, number: int | None) -> tuple[bytes, bytes | memoryview | None]:
        """The path of a process's program, and its bytes if it is not below the root; None stands
        for the current process. ENOENT."""


class _Nobody:
    """No processes."""

    def numbers(self) -> Collection[int]:
        return ()

    def of(self, number: int | None) -> tuple[bytes, bytes | memoryview | None]:
        raise CallError(Errno.ENOENT)


class Sandbox:
    """A guest's view of files. Paths are bytes; `start` is where relative ones begin.

    Methods raise CallError, or OSError whose number the caller translates.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        writable: bool = False,
        user: int = 1000,
        entropy: Entropy | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        namespace = namespace or Namespace()
        self.writable = writable and root is not None
        self.user = user
        self.now: Callable[[], int] = lambda: 0  # the guest's time, in nanoseconds since 1970
        self.stream: Callable[[int], OpenFile] | None = None  # what /dev/stdin and friends open
        self._programs: Programs = _Nobody()
        self._entropy = entropy or Entropy(0)
        self.supply = Supply(namespace.files)
        self.storage = None if namespace.storage is None else Storage(namespace.storage)
        self._times = Times(lambda: self.now())
        self.shared = SharedFiles(self.supply, self.storage, lambda: self.now())
        self.sockets: dict[Path, SocketFile] = {}  # files that only the guest has
        self._devices: dict[int, int] = {}  # the host's device numbers -> ours, in order met
        self._root = -1 if root is None else _open_root(root)

    def attach(self, programs: Programs, now: Callable[[], int]) -> None:
        """Know the processes, for /proc, and the time."""
        self._programs, self.now = programs, now

    def close(self) -> None:
        """Let go of the root directory, and of files that are mapped."""
        self.shared.close()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    # -- walking ----------------------------------------------------------------------------

    @contextmanager
    def locate(self, path: bytes, start: Path = (), *, follow: bool = True) -> Iterator[Place]:
        """Walk to a path and hold its parent directory; the last name may be missing.

        `follow` tells whether a symbolic link at the end is resolved.
        """
        walk = _Walk(self._root)
        try:
            yield self._walk(walk, path, start, follow)
        finally:
            walk.reset()

    def _walk(self, walk: _Walk, path: bytes, start: Path, follow: bool) -> Place:
        todo = deque(() if path.startswith(b"/") else start)
        todo.extend(_components(path))
        links = 0
        while todo:
            name = todo.popleft()
            if name in (b".", b".."):
                walk.leave() if name == b".." else None
                continue
            place = self._look(walk, name)
            if place.is_link and (follow or todo):
                links += 1
                if links > MAX_LINKS:
                    raise CallError(Errno.ELOOP)
                target = os.readlink(name, dir_fd=walk.here)
                walk.reset() if target.startswith(b"/") else None
                todo.extendleft(reversed(_components(target)))
            elif not todo:
                return place
            else:
                _require_directory(place)
                walk.enter(name)
        return self._here(walk)

    def _look(self, walk: _Walk, name: bytes) -> Place:
        """Look up one name in the directory that the walk stands in."""
        path = (*walk.names, name)
        if virtual.covers(path) or walk.here < 0:
            return Place(path, name=name, node=virtual.find(path, self._programs.numbers()))
        if path in self.sockets:
            return Place(path, walk.here, name, node=virtual.SOCKET)
        found = None
        with suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=walk.here, follow_symlinks=False)
        if found is not None and found.st_dev in self._pseudo_devices:
            raise CallError(Errno.EACCES)
        return Place(path, walk.here, name, found)

    @cached_property
    def _pseudo_devices(self) -> frozenset[int]:
        return _pseudo_devices()  # takes as long as many a guest that opens no file

    def _here(self, walk: _Walk) -> Place:
        """Return the directory that the walk stands in, for paths that end in a dot or slash."""
        path = tuple(walk.names)
        if walk.here < 0:
            node = virtual.find(path, self._programs.numbers())
            return Place(path, node=node or virtual.ROOT)
        return Place(path, walk.here, b".", os.fstat(walk.here))

    @contextmanager
    def existing(self, path: bytes, start: Path, *, follow: bool = True) -> Iterator[Place]:
        """Walk to something that must exist; ENOENT."""
        with self.locate(path, start, follow=follow) as place:
            if not place.exists:
                raise CallError(Errno.ENOENT)
            yield place

    @contextmanager
    def _changing(self, path: bytes, start: Path, *, follow: bool = False) -> Iterator[Place]:
        """Walk to a name that will be changed; EROFS where nothing may be."""
        with self.existing(path, start, follow=follow) as place:
            self._require_writable(place)
            yield place

    @contextmanager
    def _creating(self, path: bytes, start: Path) -> Iterator[Place]:
        """Walk to a name that must be free; EEXIST, EROFS."""
        with self.locate(path, start, follow=False) as place:
            if place.exists:
                raise CallError(Errno.EEXIST)
            self._require_writable(place)
            with self._naming():
                yield place

    @contextmanager
    def _naming(self, new: int = 1) -> Iterator[None]:
        """Make a name, if it is `new`; ENOSPC."""
        if new and self.storage is not None:
            self.storage.name()
        try:
            yield
        except BaseException:
            if new:
                self._unname()
            raise

    def _unname(self, removed: os.stat_result | None = None) -> None:
        """A name was not made after all, or one is gone that led to a file."""
        if self.storage is None:
            return
        if removed is None or not host.S_ISREG(removed.st_mode):  # what it holds was not counted
            self.storage.removed((0, 0), 0, 0)
        else:
            self.storage.removed(identity(removed), removed.st_nlink, removed.st_size)

    def _require_writable(self, place: Place) -> None:
        if not self.writable or virtual.covers(place.path):
            raise CallError(Errno.EROFS)

    # -- asking -----------------------------------------------------------------------------

    def status(self, path: bytes, start: Path = (), *, follow: bool = True) -> Status:
        """Return what stat (or lstat) tells."""
        self._settle()
        with self.existing(path, start, follow=follow) as place:
            return self._status_of(place, follow=follow)

    def _settle(self) -> None:
        """Let the host know what was written, and when."""
        self.shared.settle()
        self._times.settle()

    def _status_of(self, place: Place, *, follow: bool = False) -> Status:
        if place.found is not None:
            return self.convert(place.found)
        node = place.node or virtual.ROOT
        if node is virtual.SOCKET:
            return self.sockets[place.path].status()
        if node.kind != "program":
            return virtual.status(place.path, node, self.user)
        path, image = self._programs.of(node.process)
        if not follow:
            return virtual.status(place.path, node, self.user, path)
        return self.status(path) if image is None else BytesFile(image).status()

    def convert(self, found: os.stat_result) -> Status:
        """Make a guest's status of the host's: our own files are the guest user's."""
        return Status(
            mode=found.st_mode,
            inode=found.st_ino,
            device=self._devices.setdefault(found.st_dev, len(self._devices) + 1),
            links=found.st_nlink,
            size=found.st_size,
            user=self._identity(found.st_uid, os.geteuid()),
            group=self._identity(found.st_gid, os.getegid()),
            accessed=found.st_atime_ns,
            modified=found.st_mtime_ns,
            changed=found.st_mtime_ns,  # the host's clock, which nobody can set, stays out
            blocks=found.st_blocks,
        )

    def _identity(self, owner: int, ours: int) -> int:
        if owner == ours:
            return self.user
        return 0 if owner == 0 else _NOBODY

    def resolve(self, path: bytes, start: Path = ()) -> Path:
        """Return the canonical path of a directory (chdir); ENOTDIR, ENOENT."""
        with self.existing(path, start) as place:
            _require_directory(place)
            return place.path

    def readlink(self, path: bytes, start: Path = ()) -> bytes:
        """Return a link's text; EINVAL if it is no link."""
        with self.existing(path, start, follow=False) as place:
            if place.node is not None and place.node.kind == "program":
                return self._programs.of(place.node.process)[0]
            if not place.is_link:
                raise CallError(Errno.EINVAL)
            return os.readlink(place.name, dir_fd=place.parent)

    def access(self, path: bytes, start: Path, mode: int, *, follow: bool = True) -> None:
        """Check permissions as access does: EACCES, EROFS, ENOENT."""
        with self.existing(path, start, follow=follow) as place:
            if mode & 2 and place.found is not None:
                self._require_writable(place)
            if place.found is not None and mode & ~_allowed(place.found):
                raise CallError(Errno.EACCES)

    def listing(self, path: Path) -> list[Entry]:
        """Return a directory's names in order, with `.` and `..` first."""
        with self.existing(b".", path) as place:
            dots = [Entry(b".", self._status_of(place).inode, DT_DIR)]
            dots.append(Entry(b"..", dots[0].inode, DT_DIR))
            if place.node is not None:
                return dots + virtual.entries(place.path, self._programs.numbers())
            found = self._scan(place) + self._sockets_in(path)
            return dots + sorted(found, key=lambda entry: entry.name)

    def _sockets_in(self, path: Path) -> list[Entry]:
        return [
            Entry(name[-1], file.inode, DT_SOCK)
            for name, file in self.sockets.items()
            if name[:-1] == path
        ]

    @staticmethod
    def _scan(place: Place) -> list[Entry]:
        descriptor = _open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, place.parent)
        try:
            with os.scandir(descriptor) as found:
                return [Entry(os.fsencode(e.name), e.inode(), _entry_kind(e)) for e in found]
        finally:
            os.close(descriptor)

    # -- opening ----------------------------------------------------------------------------

    def open(self, path: bytes, start: Path, flags: int, mode: int = 0) -> OpenFile:
        """Open as open(2) does. `mode` has the guest's umask applied already."""
        if flags & O_TMPFILE == O_TMPFILE:
            raise CallError(Errno.EOPNOTSUPP)
        exclusive = flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL
        follow = not (flags & O_NOFOLLOW or exclusive)
        with self.locate(path, start, follow=follow) as place:
            if not place.exists:
                if not flags & O_CREAT or path.endswith(b"/"):
                    raise CallError(Errno.EISDIR if flags & O_CREAT else Errno.ENOENT)
                self._require_writable(place)
                return self._open_host(place, flags, mode & 0o777)
            if exclusive:
                raise CallError(Errno.EEXIST)
            return self._open_existing(place, flags)

    def _open_existing(self, place: Place, flags: int) -> OpenFile:
        if place.is_directory:
            return self._open_directory(place, flags)
        if flags & O_DIRECTORY:
            raise CallError(Errno.ENOTDIR)
        if place.node is not None:
            return self._open_virtual(place, place.node, flags)
        if place.is_link:
            raise CallError(Errno.ELOOP)
        if place.found is None or not host.S_ISREG(place.found.st_mode):
            raise CallError(Errno.ENXIO)  # a device, FIFO or socket of the host: never opened
        if flags & O_ACCMODE != O_RDONLY or flags & O_TRUNC:
            self._require_writable(place)
        return self._open_host(place, flags & ~O_CREAT, 0)

    def _open_directory(self, place: Place, flags: int) -> OpenFile:
        if (flags & O_ACCMODE != O_RDONLY or flags & O_CREAT) and not flags & O_PATH:
            raise CallError(Errno.EISDIR)
        path = place.path
        if place.found is not None and not flags & O_PATH and not _allowed(place.found) & 4:
            raise CallError(Errno.EACCES)
        self.supply.take()
        return Directory(
            path, flags, lambda: self.status(b".", path), lambda: self.listing(path),
            self.supply.give_back,
        )  # fmt: skip

    def _open_virtual(self, place: Place, node: virtual.Node, flags: int) -> OpenFile:
        if node.kind == "device":
            return VirtualDevice(place.name, flags, self._entropy)
        if node.kind == "stream" and self.stream is not None:
            return self.stream(node.stream)
        if node.kind != "program":
            raise CallError(Errno.ENXIO)
        if flags & O_ACCMODE != O_RDONLY:
            raise CallError(Errno.ETXTBSY)
        path, image = self._programs.of(node.process)
        return self.open(path, (), flags) if image is None else BytesFile(image, flags)

    def executable(self, path: bytes, start: Path = ()) -> tuple[bytes, OpenFile]:
        """Open a program to be executed; its canonical path, and the file. ENOENT, EACCES."""
        with self.existing(path, start) as place:
            if place.node is not None and place.node.kind == "program":
                known, _ = self._programs.of(place.node.process)
                return known, self._open_virtual(place, place.node, O_RDONLY)
            regular = place.found is not None and host.S_ISREG(place.found.st_mode)
            if not regular or not _allowed(cast(os.stat_result, place.found)) & 1:
                raise CallError(Errno.EACCES)
            return b"/" + b"/".join(place.path), self._open_host(place, O_RDONLY, 0)

    def _open_host(self, place: Place, flags: int, mode: int) -> OpenFile:
        """Open or create a regular file, and check that it is the one that was looked up."""
        create = flags & O_CREAT
        how = _OPEN | {0: os.O_RDONLY, 1: os.O_WRONLY}.get(flags & O_ACCMODE, os.O_RDWR)
        how |= os.O_CREAT | os.O_EXCL if create else 0
        with self._naming(create):
            descriptor = self._descriptor(place, how, mode)
        try:
            self._check_opened(descriptor, place)
            if create:
                os.fchmod(descriptor, mode)
                os.utime(descriptor, ns=(self.now(), self.now()))
                self._names_changed(place)
            elif flags & O_TRUNC:
                self._empty(descriptor)
        except BaseException:
            os.close(descriptor)
            self.supply.give_back()
            raise
        if self.storage is not None:
            self.storage.opened(identity(os.fstat(descriptor)))
        file = HostFile(
            descriptor, flags & (O_ACCMODE | O_APPEND), self._host_status, self._times,
            closed=self.supply.give_back, storage=self.storage, shared=self.shared,
        )  # fmt: skip
        if flags & O_TRUNC and not create:
            self._times.written(file)
        return file

    def _descriptor(self, place: Place, how: int, mode: int) -> int:
        """One more of the host's descriptors; ENFILE."""
        self.supply.take()
        try:
            return _open(place.name, how, place.parent, mode)
        except BaseException:
            self.supply.give_back()
            raise

    def _empty(self, descriptor: int) -> None:
        size, mapped = os.fstat(descriptor).st_size, self.shared.of(descriptor)
        if self.storage is not None:
            self.storage.resize(size, 0)
        os.ftruncate(descriptor, 0)
        if mapped is not None:
            mapped.resized(size, 0)

    @staticmethod
    def _check_opened(descriptor: int, place: Place) -> None:
        now = os.fstat(descriptor)
        same = place.found is None or os.path.samestat(now, place.found)
        if not host.S_ISREG(now.st_mode) or not same:
            raise CallError(Errno.EAGAIN)  # somebody on the host swapped it meanwhile

    def _host_status(self, descriptor: int) -> Status:
        return self.convert(os.fstat(descriptor))

    # -- changing ---------------------------------------------------------------------------

    def mkdir(self, path: bytes, start: Path, mode: int) -> None:
        """Make a directory."""
        with self._creating(_without_slashes(path), start) as place:
            os.mkdir(place.name, mode & 0o777, dir_fd=place.parent)
            self._stamp(place)

    def rmdir(self, path: bytes, start: Path) -> None:
        """Remove an empty directory."""
        with self._changing(_without_slashes(path), start) as place:
            _require_directory(place)
            _require_name(place, path)
            self._require_no_sockets(place)
            os.rmdir(place.name, dir_fd=place.parent)
            self._names_changed(place)
            self._unname(place.found)

    def unlink(self, path: bytes, start: Path) -> None:
        """Remove a name that is no directory."""
        with self._changing(path, start) as place:
            if place.is_directory:
                raise CallError(Errno.EISDIR)
            if place.node is virtual.SOCKET:
                del self.sockets[place.path]
            else:
                os.unlink(place.name, dir_fd=place.parent)
            self._names_changed(place)
            self._unname(place.found)

    def rename(
        self, old: bytes, old_start: Path, new: bytes, new_start: Path, *, replace: bool = True
    ) -> None:
        """Rename, replacing what is there unless told not to."""
        with (
            self._changing(_without_slashes(old), old_start) as source,
            self.locate(_without_slashes(new), new_start, follow=False) as target,
        ):
            self._require_writable(target)
            if source.name == b"." or target.name == b".":
                raise CallError(Errno.EBUSY)
            if target.exists and not replace:
                raise CallError(Errno.EEXIST)
            if virtual.SOCKET in (source.node, target.node):
                raise CallError(Errno.EPERM)
            self._require_no_sockets(source)
            self._require_no_sockets(target)
            os.rename(source.name, target.name, src_dir_fd=source.parent, dst_dir_fd=target.parent)
            self._names_changed(source)
            self._names_changed(target)
            if target.found is not None and not _same(source.found, target.found):
                self._unname(target.found)

    def link(
        self, old: bytes, old_start: Path, new: bytes, new_start: Path, *, follow: bool = False
    ) -> None:
        """Make a hard link to a regular file or a symbolic link."""
        with (
            self._changing(old, old_start, follow=follow) as source,
            self._creating(new, new_start) as target,
        ):
            mode = source.found.st_mode if source.found else 0
            if host.S_IFMT(mode) not in (S_IFREG, S_IFLNK):
                raise CallError(Errno.EPERM)
            os.link(
                source.name,
                target.name,
                src_dir_fd=source.parent,
                dst_dir_fd=target.parent,
                follow_symlinks=False,
            )
            self._names_changed(target)

    def symlink(self, text: bytes, path: bytes, start: Path) -> None:
        """Make a symbolic link; its text is the guest's business."""
        with self._creating(path, start) as place:
            os.symlink(text, place.name, dir_fd=place.parent)
            self._stamp(place)

    def _stamp(self, place: Place) -> None:
        """Give a new name the guest's time."""
        times = self.now(), self.now()
        os.utime(place.name, ns=times, dir_fd=place.parent, follow_symlinks=False)
        self._names_changed(place)

    # -- sockets ----------------------------------------------------------------------------

    def bind(self, path: bytes, start: Path, mode: int, socket: OpenFile) -> None:
        """Let a path stand for a socket; EADDRINUSE, EROFS, ENOSPC. The host sees nothing of it."""
        if len(self.sockets) >= MOST_SOCKET_FILES:
            raise CallError(Errno.ENOSPC)
        with self.locate(path, start, follow=False) as place:
            if place.exists:
                raise CallError(Errno.EADDRINUSE)
        with self._creating(path, start) as place:
            inode = socket.status().inode
            self.sockets[place.path] = SocketFile(socket, inode, self.user, mode, self.now())
            self._names_changed(place)

    def socket(self, path: bytes, start: Path) -> OpenFile:
        """Return the socket that a path stands for; ENOENT, ECONNREFUSED if it is no socket."""
        with self.existing(path, start) as place:
            if place.node is not virtual.SOCKET:
                raise CallError(Errno.ECONNREFUSED)
            return self.sockets[place.path].socket

    def _require_no_sockets(self, place: Place) -> None:
        """Refuse to remove or move a directory with sockets in it, which the host does not know."""
        depth = len(place.path)
        if any(len(path) > depth and path[:depth] == place.path for path in self.sockets):
            raise CallError(Errno.ENOTEMPTY)

    # -- times and permissions --------------------------------------------------------------

    def _names_changed(self, place: Place) -> None:
        """Give a directory whose names have changed the guest's time, if it is ours."""
        with suppress(OSError):
            accessed = os.stat(b".", dir_fd=place.parent).st_atime_ns
            os.utime(b".", ns=(accessed, self.now()), dir_fd=place.parent)

    def chmod(self, path: bytes, start: Path, mode: int) -> None:
        """Change permissions; set-id and sticky bits never reach the host."""
        with self._changing(path, start, follow=True) as place:
            if place.node is virtual.SOCKET:
                self.sockets[place.path].mode = mode & 0o777
                return
            kind = host.S_IFMT(place.found.st_mode) if place.found else 0
            if kind not in (S_IFREG, S_IFDIR):
                raise CallError(Errno.EPERM)
            descriptor = os.open(place.name, _OPEN | os.O_RDONLY, dir_fd=place.parent)
            try:
                os.fchmod(descriptor, mode & 0o777)
            finally:
                os.close(descriptor)

    @staticmethod
    def chmod_open(file: OpenFile, mode: int) -> None:
        """Change permissions of an open file below the root."""
        descriptor = file.host_descriptor()
        if descriptor is not None:
            os.fchmod(descriptor, mode & 0o777)

    @staticmethod
    def utime_open(file: OpenFile, times: tuple[int, int]) -> None:
        """Set the times of an open file below the root."""
        if isinstance(file, HostFile):
            file.set_times(times)

    def chown(self, path: bytes, start: Path, owner: int, *, follow: bool = True) -> None:
        """Succeed where nothing would change; EPERM otherwise."""
        with self._changing(path, start, follow=follow):
            if owner not in (self.user, 0xFFFFFFFF):
                raise CallError(Errno.EPERM)

    def utime(
        self, path: bytes, start: Path, times: tuple[int, int], *, follow: bool = True
    ) -> None:
        """Set access and modification time, in nanoseconds."""
        self._settle()
        with self._changing(path, start, follow=follow) as place:
            if place.node is virtual.SOCKET:
                self.sockets[place.path].time = times[1]
                return
            os.utime(place.name, ns=times, dir_fd=place.parent, follow_symlinks=False)


def _open(name: bytes, how: int, directory: int, mode: int = 0) -> int:
    """Open a file of the host, whose time of access stays what it is: that would be the host's.
    Only who owns a file can have that."""
    with suppress(PermissionError):
        return os.open(name, how | _QUIETLY, mode, dir_fd=directory)
    return os.open(name, how, mode, dir_fd=directory)


def _open_root(root: str | os.PathLike[str]) -> int:
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise GuestFileError(
            f"The root directory {os.fspath(root)!r} cannot be opened",
            where="--root",
            why=str(error),
            advice="Name an existing directory",
        ) from None


def _pseudo_devices() -> frozenset[int]:
    """Return the device numbers of mounted file systems that are doors into the kernel."""
    devices = set()
    with suppress(OSError), open("/proc/self/mountinfo", "rb") as lines:  # noqa: PTH123
        for line in lines:
            major, minor = line.split()[2].split(b":")
            if line.partition(b" - ")[2].split()[0].decode("ascii", "replace") in _PSEUDO:
                devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)


def _components(path: bytes) -> list[bytes]:
    """Split a path; a trailing slash becomes a dot, so that what is before must be a directory."""
    if not path:
        raise CallError(Errno.ENOENT)
    names = [name for name in path.split(b"/") if name]
    if len(path) >= PATH_MAX or any(len(name) > NAME_MAX for name in names):
        raise CallError(Errno.ENAMETOOLONG)
    return [*names, b"."] if path.endswith(b"/") else names


def _without_slashes(path: bytes) -> bytes:
    return path.rstrip(b"/") or path


def _require_directory(place: Place) -> None:
    if not place.is_directory:
        raise CallError(Errno.ENOTDIR if place.exists else Errno.ENOENT)


def _require_name(place: Place, path: bytes) -> None:
    """Refuse to remove a directory by `.` or `..`, and the root."""
    if place.name == b".":
        dotted = path.rstrip(b"/").endswith(b".") and not path.rstrip(b"/").endswith(b"..")
        raise CallError(Errno.EINVAL if dotted else Errno.EBUSY)


def _same(one: os.stat_result | None, other: os.stat_result) -> bool:
    return one is not None and os.path.samestat(one, other)


def _allowed(found: os.stat_result) -> int:
    """Return the permission bits (rwx) that the host grants us."""
    user = os.geteuid()
    if user == 0:
        return 7 if host.S_ISDIR(found.st_mode) or found.st_mode & 0o111 else 6
    if user == found.st_uid:
        return found.st_mode >> 6 & 7
    if found.st_gid == os.getegid() or found.st_gid in os.getgroups():
        return found.st_mode >> 3 & 7
    return found.st_mode & 7


def _entry_kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return DT_LNK
    if entry.is_dir(follow_symlinks=False):
        return DT_DIR
    return DT_REG if entry.is_file(follow_symlinks=False) else DT_UNKNOWN
