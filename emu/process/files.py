"""What a guest's file descriptor can stand for, and the table of descriptors.

Every kind of open file answers the same few methods; what a kind cannot do raises CallError with
Linux's error number. No method allocates more than the size it is asked for, and callers ask for
at most CHUNK bytes.
"""

from __future__ import annotations

import os

from emu.process.entropy import Entropy
from emu.process.namespace import Storage, Supply
from emu.process.numbers import (
    O_ACCMODE,
    O_APPEND,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    S_IFCHR,
    S_IFIFO,
    S_IFREG,
    CallError,
    Errno,
)
from isa.hints import TYPE_CHECKING, Any, Callable, Protocol
from isa.light import deque, suppress
from isa.record import NamedTuple

if TYPE_CHECKING:
    from emu.process.shared_files import SharedFile, SharedFiles

Path = tuple[bytes, ...]  # names below the guest's root, no links, no dots


class Status(NamedTuple):
    """What stat tells of a file (the fields of the kernel's struct kstat that we have)."""

    mode: int
    inode: int = 1
    device: int = 1
    links: int = 1
    size: int = 0
    user: int = 0
    group: int = 0
    rdevice: int = 0
    accessed: int = 0  # nanoseconds
    modified: int = 0
    changed: int = 0
    block_size: int = 4096
    blocks: int = 0


class Entry(NamedTuple):
    """One name in a directory."""

    name: bytes
    inode: int
    kind: int  # DT_*


class Watcher(Protocol):
    """Who wants to learn at once that a file may be ready, on behalf of another file."""

    @property
    def owner(self) -> OpenFile:
        """That other file."""

    def hear(self, events: int) -> bool:
        """Some of POLL* may be so now (0: any of them); tell whether the owner may be ready."""

    def forget(self) -> None:
        """The file is closed."""


class OpenFile:
    """What a descriptor refers to; shared by its duplicates. The base refuses everything."""

    seekable = False
    terminal = False
    path: Path = ()
    watchers: dict[Watcher, None] | None = None  # in the order of their coming

    def __init__(self, flags: int = O_RDONLY) -> None:
        self.flags = flags
        self.position = 0
        self.users = 0  # descriptors that refer to it

    @property
    def readable(self) -> bool:
        """Whether it was opened for reading."""
        return self.flags & O_ACCMODE != O_WRONLY

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self.flags & O_ACCMODE != O_RDONLY

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes at the position."""
        raise CallError(Errno.EINVAL)

    def write(self, data: bytes) -> int:
        """Write at the position; return how many bytes were taken."""
        raise CallError(Errno.EINVAL)

    def read_at(self, size: int, offset: int) -> bytes:
        """Read up to `size` bytes at `offset`."""
        raise CallError(Errno.ESPIPE)

    def write_at(self, data: bytes, offset: int) -> int:
        """Write at `offset`."""
        raise CallError(Errno.ESPIPE)

    def size(self) -> int:
        """Return the length, for SEEK_END."""
        return self.status().size

    def status(self) -> Status:
        """Return what fstat tells."""
        raise CallError(Errno.EBADF)

    def truncate(self, size: int) -> None:
        """Set the length."""
        raise CallError(Errno.EINVAL)

    def entries(self) -> list[Entry]:
        """Return a directory's names."""
        raise CallError(Errno.ENOTDIR)

    def host_descriptor(self) -> int | None:
        """Return a host descriptor on a file or directory below the root, if it has one."""
        return None

    def ready(self) -> tuple[bool, bool]:
        """Tell whether a read, and whether a write, would not block."""
        return True, True

    def close(self) -> None:
        """Called when the last descriptor is gone."""

    def let_go(self) -> None:
        """One less refers to it; with the last one it is closed."""
        self.users -= 1
        if self.users == 0:
            for watcher in list(self.watchers or ()):
                watcher.forget()
            self.close()

    # -- those that watch it ------------------------------------------------------------------

    def watch(self, watcher: Watcher) -> None:
        """Somebody wants to be told."""
        if self.watchers is None:
            self.watchers = {}
        self.watchers[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        """And now no more."""
        if self.watchers is not None:
            del self.watchers[watcher]

    def tell(self, events: int = 0) -> None:
        """Tell who watches that some of POLL* may be so now (0: any of them).

        Whoever watches those is told as well, each once: so the cost is that of all who watch.
        """
        if not self.watchers:
            return
        told, news = {self}, deque([(self, events)])
        while news:
            file, what = news.popleft()
            for watcher in reversed(list(file.watchers or ())):  # as Linux: the last one first
                if watcher.hear(what) and watcher.owner not in told:
                    told.add(watcher.owner)
                    news.append((watcher.owner, POLLIN))

    def moment(self) -> int | None:
        """Return the elapsed time at which it can be read if nobody does anything, if there is
        one to come."""
        return None

    def terminals(self) -> list[OpenFile]:
        """Return the terminals that it can be read because of."""
        return []


class WaitingFile(OpenFile):
    """A file whose reads and writes may have to wait: they fail with EAGAIN then.

    It never waits itself: that is for whoever knows the process. `by_messages` tells whether a
    read or a write is of one message, however many buffers that has. A wait for reading and one
    for writing end after so many nanoseconds of `patience` (None: never).
    """

    by_messages = False
    patience: tuple[int | None, int | None] = None, None

    def can_read(self) -> bool:
        """Tell whether a read would not fail with EAGAIN."""
        raise NotImplementedError

    def can_write(self, size: int) -> bool:
        """Tell whether a write of so many bytes would not fail with EAGAIN."""
        raise NotImplementedError

    def room_for(self, data: bytes) -> Callable[[], bool]:
        """Return how to tell whether a write of these bytes would not fail with EAGAIN."""
        size = len(data)  # and nothing else of them is kept
        return lambda: self.can_write(size)

    def waiting(self) -> int:
        """Return how many bytes can be read (FIONREAD)."""
        raise NotImplementedError

    def events(self) -> int:
        """Return what poll tells of it (POLL*)."""
        raise NotImplementedError

    def ready(self) -> tuple[bool, bool]:
        """As select sees what poll tells."""
        found = self.events()
        return bool(found & (POLLIN | POLLHUP | POLLERR)), bool(found & (POLLOUT | POLLERR))


class AnonymousFile(WaitingFile):
    """A file that is only there to be waited for: a counter, a timer, a set of other files.

    Its messages are whole ones. `supply` is what it counts as one of.
    """

    by_messages = True

    def __init__(self, supply: Supply, flags: int = 0) -> None:
        super().__init__(O_RDWR | flags & O_NONBLOCK)
        self._supply = supply
        supply.take()

    def can_write(self, size: int) -> bool:
        """Nobody waits to write, unless said otherwise."""
        return True

    def waiting(self) -> int:
        """It does not know; ENOTTY."""
        raise CallError(Errno.ENOTTY)

    def status(self) -> Status:
        """Of no type, as Linux' anonymous inodes; all have the same one."""
        return Status(0o600, inode=21, device=10)

    def close(self) -> None:
        """There may be another one."""
        self._supply.give_back()


class SeekableFile(OpenFile):
    """A file with a position, defined by read_at and write_at."""

    seekable = True

    def read(self, size: int) -> bytes:
        """Read at the position and move it."""
        data = self.read_at(size, self.position)
        self.position += len(data)
        return data

    def write(self, data: bytes) -> int:
        """Write at the position, or at the end with O_APPEND, and move it."""
        if self.flags & O_APPEND:
            self.position = self.size()
        count = self.write_at(data, self.position)
        self.position += count
        return count


class Times:
    """When files were written, in the guest's time: the host is told before anybody asks it."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._written: dict[HostFile, int] = {}

    def __deepcopy__(self, memo: Any) -> Times:
        return self  # a copied descriptor is one of the same machine

    def written(self, file: HostFile) -> None:
        """Note that it is written now."""
        self._written[file] = self._now()

    def forget(self, file: HostFile) -> int | None:
        """Return when it was last written, if the host does not know."""
        return self._written.pop(file, None)

    def settle(self) -> None:
        """Tell the host."""
        for file in list(self._written):
            file.stamp()


class HostFile(SeekableFile):
    """A regular file below the root, by a host descriptor that the sandbox has checked.

    `closed` is called at the end. If it is one of those that are `shared`, mappings and this see
    the same.
    """

    def __init__(
        self,
        descriptor: int,
        flags: int,
        stat: Callable[[int], Status],
        times: Times,
        *,
        closed: Callable[[], None] = lambda: None,
        storage: Storage | None = None,
        shared: SharedFiles | None = None,
    ) -> None:
        super().__init__(flags)
        self._closed = closed
        self._storage = storage
        self._shared = shared
        self._descriptor = descriptor
        self._stat = stat
        self._times = times

    def read_at(self, size: int, offset: int) -> bytes:
        """Read without moving the position."""
        self._settle()
        return os.pread(self._descriptor, size, offset)

    def _mapped(self) -> SharedFile | None:
        return None if self._shared is None else self._shared.of(self._descriptor)

    def _settle(self) -> None:
        """Let the host know what was written to mappings."""
        if (mapped := self._mapped()) is not None:
            mapped.settle()

    def write_at(self, data: bytes, offset: int) -> int:
        """Write without moving the position; ENOSPC."""
        self._times.written(self)
        mapped = self._mapped()
        if mapped is None:
            return self._write(data, offset)
        old = self._size()
        count = self._write(data, offset)
        mapped.resized(old, self._size())
        mapped.written(data[:count], offset)
        return count

    def _write(self, data: bytes, offset: int) -> int:
        if self._storage is None:
            return os.pwrite(self._descriptor, data, offset)
        old = self._size()
        self._storage.resize(old, grown := max(old, offset + len(data)))
        try:
            return os.pwrite(self._descriptor, data, offset)
        finally:  # the host may have taken less
            self._storage.resize(grown, self._size())

    def status(self) -> Status:
        """Ask the host."""
        self._settle()
        self._times.settle()
        return self._stat(self._descriptor)

    def truncate(self, size: int) -> None:
        """Set the length; ENOSPC. Holes take no space of the host, but of what is granted."""
        old, mapped = self._size(), self._mapped()
        if self._storage is not None:
            self._storage.resize(old, size)
        self._times.written(self)
        os.ftruncate(self._descriptor, size)
        if mapped is not None:
            mapped.resized(old, size)

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def set_times(self, times: tuple[int, int]) -> None:
        """Set access and modification time, in nanoseconds."""
        self._settle()
        self._times.settle()
        os.utime(self._descriptor, ns=times)

    def stamp(self) -> None:
        """Tell the host when it was last written; a file of somebody else keeps the host's time."""
        written = self._times.forget(self)
        if written is not None:
            with suppress(OSError):
                accessed = os.fstat(self._descriptor).st_atime_ns
                os.utime(self._descriptor, ns=(accessed, written))

    def host_descriptor(self) -> int:
        """Return the descriptor itself."""
        return self._descriptor

    def close(self) -> None:
        """Close the host's descriptor."""
        self.stamp()
        found = None if self._storage is None else os.fstat(self._descriptor)
        os.close(self._descriptor)
        if self._storage is not None and found is not None:
            self._storage.closed(identity(found), found.st_nlink, found.st_size)
        self._closed()


def identity(found: os.stat_result) -> tuple[int, int]:
    """What tells a host's file from all others."""
    return found.st_dev, found.st_ino


class BytesFile(SeekableFile):
    """A read-only file whose bytes we hold: the program itself behind /proc/self/exe."""

    def __init__(self, data: bytes | memoryview, flags: int = O_RDONLY) -> None:
        super().__init__(flags)
        self._data = data

    def read_at(self, size: int, offset: int) -> bytes:
        """Slice the bytes."""
        return bytes(self._data[offset : offset + size])

    def status(self) -> Status:
        """A regular, executable file."""
        return Status(S_IFREG | 0o555, inode=3, size=len(self._data))


class Directory(OpenFile):
    """An open directory: a path that is walked anew at each use, and the listing so far."""

    seekable = True

    def __init__(
        self,
        path: Path,
        flags: int,
        status: Callable[[], Status],
        listing: Callable[[], list[Entry]],
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(flags)
        self._closed = closed
        self.path = path
        self._status = status
        self._listing = listing
        self._entries: list[Entry] | None = None

    def read(self, size: int) -> bytes:
        """Directories are not read as bytes."""
        raise CallError(Errno.EISDIR)

    def read_at(self, size: int, offset: int) -> bytes:
        """Directories are not read as bytes."""
        raise CallError(Errno.EISDIR)

    def status(self) -> Status:
        """Walk to the directory and ask."""
        return self._status()

    def entries(self) -> list[Entry]:
        """Return the names, read when the listing starts so that it stays the same."""
        if self._entries is None or self.position == 0:
            self._entries = self._listing()
        return self._entries

    def close(self) -> None:
        """It counts no more."""
        self._closed()


class Stream(OpenFile):
    """Standard input, output or error: a host descriptor, or a binary stream that was injected."""

    def __init__(self, stream: BinaryStream | int, flags: int, index: int) -> None:
        super().__init__(flags)
        self._stream = stream
        self._index = index
        self.terminal = _is_terminal(stream)

    def terminals(self) -> list[OpenFile]:
        """Itself, if it is one to be read."""
        return [self] if self.terminal and self.readable else []

    def read(self, size: int) -> bytes:
        """Read what is there, at most `size` bytes; blocks the host as the program would."""
        if not self.readable:
            raise CallError(Errno.EBADF)
        if isinstance(self._stream, int):
            return os.read(self._stream, size)
        read = getattr(self._stream, "read1", self._stream.read)
        return bytes(read(size) or b"")

    def write(self, data: bytes) -> int:
        """Write unbuffered."""
        if isinstance(self._stream, int):
            return os.write(self._stream, data)
        count = self._stream.write(data)
        self._stream.flush()
        return len(data) if count is None else count

    def status(self) -> Status:
        """A terminal or a pipe, and nothing else of the host."""
        if self.terminal:
            return Status(S_IFCHR | 0o620, inode=10 + self._index, rdevice=0x8800, block_size=1024)
        return Status(S_IFIFO | 0o600, inode=10 + self._index)

    def host_descriptor(self) -> int | None:
        """Not a file below the root."""
        return None

    def terminal_descriptor(self) -> int:
        """Return the host's descriptor of a terminal; asked only if `terminal`."""
        return self._stream if isinstance(self._stream, int) else self._stream.fileno()


class BinaryStream(Protocol):
    """What a stream that stands for standard input or output must be able to do."""

    def read(self, size: int, /) -> bytes | None:
        """Read up to `size` bytes."""

    def write(self, data: bytes, /) -> int | None:
        """Write all of `data`."""

    def flush(self) -> None:
        """Pass on what was written."""

    def fileno(self) -> int:
        """Return the host's descriptor; may raise OSError."""


def _is_terminal(stream: BinaryStream | int) -> bool:
    try:
        return os.isatty(stream if isinstance(stream, int) else stream.fileno())
    except (OSError, ValueError, AttributeError):  # BytesIO and friends have no descriptor
        return False


class VirtualDevice(OpenFile):
    """A character device of our own: null, zero, full, random."""

    def __init__(self, name: bytes, flags: int, entropy: Entropy) -> None:
        super().__init__(flags)
        self.name = name
        self._entropy = entropy

    def read(self, size: int) -> bytes:
        """Nothing, zeros, or bytes of the seeded generator."""
        if self.name == b"null":
            return b""
        if self.name in (b"zero", b"full"):
            return bytes(size)
        return self._entropy.randbytes(size)

    def write(self, data: bytes) -> int:
        """Swallow it; /dev/full has no space."""
        if self.name == b"full":
            raise CallError(Errno.ENOSPC)
        return len(data)

    def read_at(self, size: int, offset: int) -> bytes:
        """Devices have no position."""
        return self.read(size)

    def write_at(self, data: bytes, offset: int) -> int:
        """Devices have no position."""
        return self.write(data)

    def status(self) -> Status:
        """A character device with Linux's major and minor number."""
        return device_status(self.name)


DEVICES = {b"null": 3, b"zero": 5, b"full": 7, b"random": 8, b"urandom": 9}  # minors of major 1


def device_status(name: bytes) -> Status:
    """Return the status of a virtual device."""
    minor = DEVICES[name]
    return Status(S_IFCHR | 0o666, inode=100 + minor, rdevice=1 << 8 | minor)


PIPE_BUF = 4096


MOST_PIPES = 2048  # at a time: 128 MiB, if all are full


class Pipe:
    """The buffer between two ends, as large as Linux's."""

    capacity = 65536

    def __init__(self, supply: Supply) -> None:
        self.supply = supply
        self.data = bytearray()
        self.readers = 1
        self.writers = 1
        self.ends: list[PipeEnd] = []
        supply.take()


class PipeEnd(WaitingFile):
    """One end of a pipe."""

    def __init__(self, pipe: Pipe, flags: int) -> None:
        super().__init__(flags)
        self.pipe = pipe
        pipe.ends.append(self)

    def _tell_other(self, events: int) -> None:
        for end in self.pipe.ends:
            if end is not self:
                end.tell(events)

    def _has_room(self) -> bool:
        return self.pipe.capacity - len(self.pipe.data) >= PIPE_BUF

    def can_read(self) -> bool:
        """Tell whether there is something to read, or end of file."""
        return bool(self.pipe.data) or not self.pipe.writers

    def can_write(self, size: int) -> bool:
        """Tell whether a write would take something or fail: up to PIPE_BUF all or nothing."""
        space = self.pipe.capacity - len(self.pipe.data)
        return not self.pipe.readers or space >= (size if size <= PIPE_BUF else 1)

    def read(self, size: int) -> bytes:
        """Take bytes; empty at end of file; EAGAIN where a process would sleep."""
        if not self.readable:
            raise CallError(Errno.EBADF)
        if size and not self.can_read():
            raise CallError(Errno.EAGAIN)
        data, had_room = bytes(self.pipe.data[:size]), self._has_room()
        del self.pipe.data[:size]
        if not had_room and self._has_room():
            self._tell_other(POLLOUT)
        return data

    def write(self, data: bytes) -> int:
        """Add bytes; EPIPE without readers; EAGAIN where a process would sleep."""
        if not self.writable:
            raise CallError(Errno.EBADF)
        if not self.pipe.readers:
            raise CallError(Errno.EPIPE)
        if not self.can_write(len(data)):
            raise CallError(Errno.EAGAIN)
        space = self.pipe.capacity - len(self.pipe.data)
        self.pipe.data += data[:space]
        if data:
            self._tell_other(POLLIN)
        return min(len(data), space)

    def status(self) -> Status:
        """A FIFO."""
        return Status(S_IFIFO | 0o600, inode=20)

    def waiting(self) -> int:
        """What is in the pipe."""
        return len(self.pipe.data)

    def events(self) -> int:
        """Data or space; that there is no writer, or no reader."""
        if self.readable:
            found = POLLIN if self.pipe.data else 0
            return found if self.pipe.writers else found | POLLHUP
        if not self.pipe.readers:
            return POLLERR | POLLOUT
        return POLLOUT if self._has_room() else 0

    def close(self) -> None:
        """Count this end out."""
        if self.readable:
            self.pipe.readers -= 1
        else:
            self.pipe.writers -= 1
        self._tell_other(0)
        if not self.pipe.readers and not self.pipe.writers:
            self.pipe.supply.give_back()


def readiness(file: OpenFile) -> tuple[bool, bool]:
    """Tell whether a read and a write would go on; asks the host only for terminals."""
    if isinstance(file, Stream) and file.terminal and file.readable:
        import select  # few guests wait for a terminal

        with suppress(OSError, ValueError):
            return bool(select.select([file.terminal_descriptor()], [], [], 0)[0]), False
    ready_read, ready_write = file.ready()
    return ready_read and file.readable, ready_write and file.writable


class Slot:
    """One descriptor: the open file and its close-on-exec flag."""

    def __init__(self, file: OpenFile, close_on_exec: bool) -> None:
        self.file = file
        self.close_on_exec = close_on_exec


class DescriptorTable:
    """The process's descriptors, lowest free number first."""

    def __init__(self, limit: int = 1024) -> None:
        self.limit = limit
        self._slots: dict[int, Slot] = {}

    def slot(self, number: int) -> Slot:
        """Return the slot of a descriptor; EBADF."""
        try:
            return self._slots[number]
        except KeyError:
            raise CallError(Errno.EBADF) from None

    def get(self, number: int) -> OpenFile:
        """Return the open file of a descriptor; EBADF."""
        return self.slot(number).file

    def room(self) -> int:
        """Return the lowest free number; EMFILE. Asked before a host file is opened."""
        return self._lowest(0)

    def _lowest(self, start: int) -> int:
        for number in range(start, self.limit):
            if number not in self._slots:
                return number
        raise CallError(Errno.EMFILE)

    def add(self, file: OpenFile, *, close_on_exec: bool = False, start: int = 0) -> int:
        """Install an open file at the lowest number from `start`; EMFILE."""
        number = self._lowest(start)
        self.put(number, file, close_on_exec=close_on_exec)
        return number

    def put(self, number: int, file: OpenFile, *, close_on_exec: bool = False) -> None:
        """Install at a given number, closing what was there; EBADF out of the limit."""
        if not 0 <= number < self.limit:
            raise CallError(Errno.EBADF)
        file.users += 1
        if number in self._slots:
            self.close(number)
        self._slots[number] = Slot(file, close_on_exec)

    def close(self, number: int) -> None:
        """Remove a descriptor; the file is closed with its last one."""
        file = self.slot(number).file
        del self._slots[number]
        file.let_go()

    def forget(self, file: OpenFile) -> None:
        """Remove a file that was to be installed, wherever it already is."""
        for number in [n for n, slot in self._slots.items() if slot.file is file]:
            self.close(number)
            return
        file.close()

    def close_all(self) -> None:
        """Close everything, at the end of the process."""
        for number in list(self._slots):
            self.close(number)

    def close_for_exec(self) -> None:
        """Close what is marked so."""
        for number in [n for n, slot in self._slots.items() if slot.close_on_exec]:
            self.close(number)

    def copy(self) -> DescriptorTable:
        """Return the table of a new process: the same open files."""
        table = DescriptorTable(self.limit)
        for number, slot in self._slots.items():
            slot.file.users += 1
            table._slots[number] = Slot(slot.file, slot.close_on_exec)
        return table

    def numbers(self) -> list[int]:
        """Return the descriptors in use."""
        return sorted(self._slots)
