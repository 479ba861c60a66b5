"""What a machine's processes have alone: numbers, a host name, and how much of each thing."""

from __future__ import annotations

from emu.process.numbers import CallError, Errno
from isa.record import NamedTuple

FIRST_PID = 1000
MOST_PROCESSES = 256  # at a time, those that nobody has waited for included
MOST_FILES = 900  # below the root that are open, of all processes; hosts often grant 1024
MOST_EVENT_FILES = 1024  # counters, timers and epolls
MOST_WATCHED = 8192  # files in all epolls, each time it is in one (fs.epoll.max_user_watches)
NAME_COST = 4096  # bytes that a new name takes of a disk, whatever it names


class Namespace(NamedTuple):
    """The limits are those of all processes together.

    `processes` counts those that nobody has waited for, `files` those below the root that are open,
    `storage` is how many bytes the root directory may grow by (None: whatever the host has). If
    `contained`, the first process is the init of a PID namespace, pid_namespaces(7): who loses its
    parent becomes its child, signals that it does not handle pass it by, and all end with it.
    """

    host_name: bytes = b"popek"
    first_pid: int = FIRST_PID
    contained: bool = False
    processes: int = MOST_PROCESSES
    files: int = MOST_FILES
    storage: int | None = None


class Supply:
    """How many of something there may be on the whole machine; who wants more gets `error`."""

    def __init__(self, most: int, error: Errno = Errno.ENFILE) -> None:
        self.left = most
        self._error = error

    def take(self, amount: int = 1) -> None:
        """So many more; ENFILE, ENOSPC."""
        if amount > self.left:
            raise CallError(self._error)
        self.left -= amount

    def give_back(self, amount: int = 1) -> None:
        """So many less."""
        self.left += amount


class Storage:
    """What the files below a root may grow by; a removed file counts until nobody has it open."""

    def __init__(self, most: int) -> None:
        self._room = Supply(most, Errno.ENOSPC)
        self._open: dict[tuple[int, int], int] = {}  # how often a host's file is open

    @property
    def left(self) -> int:
        """Bytes that may still come."""
        return self._room.left

    def resize(self, old: int, new: int) -> None:
        """A file gets another length; ENOSPC."""
        if new > old:
            self._room.take(new - old)
        else:
            self._room.give_back(old - new)

    def name(self) -> None:
        """A name is made; ENOSPC."""
        self._room.take(NAME_COST)

    def opened(self, file: tuple[int, int]) -> None:
        """A file, by device and inode, is opened."""
        self._open[file] = self._open.get(file, 0) + 1

    def closed(self, file: tuple[int, int], links: int, size: int) -> None:
        """It is closed; without a name it is gone then."""
        self._open[file] -= 1
        if not self._open[file]:
            del self._open[file]
            if not links:
                self._room.give_back(size)

    def removed(self, file: tuple[int, int], links: int, size: int) -> None:
        """A name that was one of so many is gone."""
        self._room.give_back(NAME_COST)
        if links == 1 and file not in self._open:
            self._room.give_back(size)
