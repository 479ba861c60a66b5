"""Sets of files that are waited for together (epoll(7)).

A set has a list of the files in it that may be ready, in the order in which they became so: who
changes a file tells (`OpenFile.tell`). What of them is ready is only asked when somebody wants to
know. So edges are seen as they are, and the order does not depend on when anybody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from emu.process.files import AnonymousFile, OpenFile, Stream, WaitingFile, readiness
from emu.process.namespace import Supply
from emu.process.numbers import POLLERR, POLLHUP, POLLIN, POLLOUT, S_IFMT, S_IFREG, CallError, Errno
from emu.process.timers import Timers

EPOLLEXCLUSIVE, EPOLLWAKEUP, EPOLLONESHOT, EPOLLET = 1 << 28, 1 << 29, 1 << 30, 1 << 31
PRIVATE = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET  # what is not about a file
EXCLUSIVE_OK = POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE
DEEPEST = 4  # sets in sets (EP_MAX_NESTS)


class Watch:
    """A file in a set, under one of its descriptors: which events are wanted, and what to say."""

    def __init__(self, owner: EventPoll, file: OpenFile, fd: int, events: int, data: int) -> None:
        self._owner, self.file, self.fd = owner, file, fd
        self.events, self.data = events, data

    @property
    def owner(self) -> EventPoll:
        """The set."""
        return self._owner

    @property
    def enabled(self) -> bool:
        """Whether it waits for anything: with EPOLLONESHOT, until something was told."""
        return bool(self.events & ~PRIVATE)

    def hear(self, events: int) -> bool:
        """See Watcher."""
        if not self.enabled or (events and not events & self.events):
            return False
        self.owner.may_be_ready(self)
        return True

    def forget(self) -> None:
        """See Watcher."""
        self.owner.remove(self.file, self.fd)

    def found(self, seen: dict[EventPoll, bool] | None = None) -> int:
        """The wanted events that are so; `seen` are sets whose readiness is known."""
        return poll_events(self.file, {} if seen is None else seen) & self.events


def poll_events(file: OpenFile, seen: dict[EventPoll, bool]) -> int:
    """What poll tells of a file (POLL*)."""
    if isinstance(file, EventPoll):
        return POLLIN if file.has_ready(seen) else 0
    if isinstance(file, WaitingFile):
        return file.events()
    can_read, can_write = readiness(file)
    return (POLLIN if can_read else 0) | (POLLOUT if can_write else 0)


class EventPoll(AnonymousFile):
    """A set of files; `watched` is what each file in it counts as one of."""

    def __init__(self, supply: Supply, watched: Supply, timers: Timers) -> None:
        super().__init__(supply)
        self._watched, self._timers = watched, timers
        self._watches: dict[tuple[OpenFile, int], Watch] = {}
        self._ready: dict[Watch, None] = {}  # those that may be, oldest first
        self._terminals: dict[Watch, None] = {}  # nobody tells of those

    # -- what is in it ------------------------------------------------------------------------

    def find(self, file: OpenFile, fd: int) -> Watch:
        """Return how a file is watched; ENOENT."""
        try:
            return self._watches[file, fd]
        except KeyError:
            raise CallError(Errno.ENOENT) from None

    def add(self, file: OpenFile, fd: int, events: int, data: int) -> None:
        """Take in a file; EPERM, EINVAL, ELOOP, EEXIST, ENOSPC."""
        if isinstance(file, EventPoll):
            if events & EPOLLEXCLUSIVE:
                raise CallError(Errno.EINVAL)
            self._check_depth(file)
        if events & EPOLLEXCLUSIVE and events & ~EXCLUSIVE_OK:
            raise CallError(Errno.EINVAL)
        if (file, fd) in self._watches:
            raise CallError(Errno.EEXIST)
        self._watched.take()
        watch = Watch(self, file, fd, events | POLLERR | POLLHUP, data)
        self._watches[file, fd] = watch
        file.watch(watch)
        if isinstance(file, Stream) and file.terminal:
            self._terminals[watch] = None
        self._look_at(watch)

    def change(self, file: OpenFile, fd: int, events: int, data: int) -> None:
        """Want something else of a file; ENOENT, EINVAL."""
        if events & EPOLLEXCLUSIVE:
            raise CallError(Errno.EINVAL)
        watch = self.find(file, fd)
        if watch.events & EPOLLEXCLUSIVE:
            raise CallError(Errno.EINVAL)
        watch.events, watch.data = events | POLLERR | POLLHUP, data
        self._look_at(watch)

    def remove(self, file: OpenFile, fd: int) -> None:
        """Drop a file; ENOENT."""
        watch = self.find(file, fd)
        del self._watches[file, fd]
        self._ready.pop(watch, None)
        self._terminals.pop(watch, None)
        file.unwatch(watch)
        self._watched.give_back()

    def _look_at(self, watch: Watch) -> None:
        if watch.found():
            self.may_be_ready(watch)
            self.tell(POLLIN)

    def may_be_ready(self, watch: Watch) -> None:
        """A file in it may have become ready, after the timers that have run out."""
        self._timers.settle()
        self._ready.setdefault(watch)

    # -- sets in sets -------------------------------------------------------------------------

    def _check_depth(self, other: EventPoll) -> None:
        """A set may not come to contain itself, nor too many one in the other; ELOOP."""
        below, above = _layers(other, _contained), _layers(self, _containers)
        if self in {each for layer in below for each in layer}:
            raise CallError(Errno.ELOOP)
        if len(below) + len(above) - 1 > DEEPEST:
            raise CallError(Errno.ELOOP)

    def files(self) -> list[OpenFile]:
        """The files in it."""
        return [file for file, _ in self._watches]

    def _reached(self) -> Iterator[OpenFile]:
        """The files that it can be read because of, also those in sets in it."""
        seen, waiting = {self}, [self]
        for each in waiting:
            for watch in each._watches.values():
                if not watch.events & POLLIN:
                    continue
                if not isinstance(watch.file, EventPoll):
                    yield watch.file
                elif watch.file not in seen:
                    seen.add(watch.file)
                    waiting.append(watch.file)

    def moment(self) -> int | None:
        """When the first of its timers runs out."""
        return min((at for f in self._reached() if (at := f.moment()) is not None), default=None)

    def terminals(self) -> list[OpenFile]:
        """Those in it."""
        return [terminal for file in self._reached() for terminal in file.terminals()]

    # -- what is ready ------------------------------------------------------------------------

    def has_ready(self, seen: dict[EventPoll, bool]) -> bool:
        """Tell whether a file in it is ready; `seen` are sets of which that is known."""
        if self not in seen:
            self._timers.settle()
            self._ask_terminals()
            seen[self] = any(watch.found(seen) for watch in self._ready)
        return seen[self]

    def _ask_terminals(self) -> None:
        for watch in self._terminals:
            if watch.found():
                self._ready.setdefault(watch)

    def can_read(self) -> bool:
        """A file in it is ready."""
        return self.has_ready({})

    def events(self) -> int:
        """See WaitingFile."""
        return POLLIN if self.has_ready({}) else 0

    def take(self, most: int, store: Callable[[int, int, int], None]) -> int:
        """Store the events of up to so many files; return of how many.

        `store` gets a number from 0 on, events, and what to say of them. What is still ready comes
        after all others the next time, unless it is told but once. An error of the first is raised.
        """
        self._timers.settle()
        self._ask_terminals()
        left, self._ready, again, count = self._ready, {}, dict[Watch, None](), 0
        for watch in list(left):
            if count == most:
                break
            if found := watch.found():
                try:
                    store(count, found, watch.data)
                except CallError:
                    self._ready = {**left, **again}
                    if not count:
                        raise
                    return count
                count += 1
                self._told(watch, again)
            del left[watch]
        self._ready = {**left, **again, **self._ready}
        return count

    @staticmethod
    def _told(watch: Watch, again: dict[Watch, None]) -> None:
        if watch.events & EPOLLONESHOT:
            watch.events &= PRIVATE
        elif not watch.events & EPOLLET:
            again[watch] = None

    def close(self) -> None:
        """Watch nothing."""
        for file, fd in list(self._watches):
            self.remove(file, fd)
        super().close()


def _contained(of: EventPoll) -> list[OpenFile]:
    return of.files()


def _containers(of: EventPoll) -> list[OpenFile]:
    return [watcher.owner for watcher in of.watchers or ()]


def _layers(
    start: EventPoll, neighbours: Callable[[EventPoll], list[OpenFile]]
) -> list[set[EventPoll]]:
    """The sets that are 0, 1, 2 … steps away; all that are, by the longest way."""
    layers = [{start}]
    while True:
        found = {f for each in layers[-1] for f in neighbours(each) if isinstance(f, EventPoll)}
        if not found:
            return layers
        layers.append(found)


def can_watch(file: OpenFile) -> bool:
    """Tell whether a file can be in a set: what is always ready cannot, unless it is a stream."""
    if isinstance(file, Stream):
        return file.status().mode & S_IFMT != S_IFREG
    return isinstance(file, WaitingFile)
