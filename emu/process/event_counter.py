"""Counters that are files (eventfd(2)): writing adds to one, reading takes."""

from __future__ import annotations

import struct
from collections.abc import Callable

from emu.process.files import AnonymousFile
from emu.process.namespace import Supply
from emu.process.numbers import POLLIN, POLLOUT, CallError, Errno

COUNT = struct.Struct("<Q")
MOST = (1 << 64) - 2


class EventCounter(AnonymousFile):
    """A 64-bit counter; as a semaphore it is taken from one by one."""

    def __init__(self, supply: Supply, count: int, flags: int = 0, *, semaphore: bool) -> None:
        super().__init__(supply, flags)
        self._count, self._semaphore = count, semaphore

    def can_read(self) -> bool:
        """It is not 0."""
        return bool(self._count)

    def read(self, size: int) -> bytes:
        """Take all of it, or 1 of a semaphore, 8 bytes; EINVAL for less, EAGAIN."""
        if size < COUNT.size:
            raise CallError(Errno.EINVAL)
        if not self._count:
            raise CallError(Errno.EAGAIN)
        taken = 1 if self._semaphore else self._count
        self._count -= taken
        self.tell(POLLOUT)
        return COUNT.pack(taken)

    def write(self, data: bytes) -> int:
        """Add a number of 8 bytes; EINVAL for any other size and the largest one, EAGAIN."""
        value = _number(data)
        if value > MOST - self._count:
            raise CallError(Errno.EAGAIN)
        self._count += value
        self.tell(POLLIN)
        return len(data)

    def room_for(self, data: bytes) -> Callable[[], bool]:
        """See WaitingFile: that depends on the number."""
        value = _number(data)
        return lambda: value <= MOST - self._count

    def events(self) -> int:
        """See WaitingFile."""
        return (POLLIN if self._count else 0) | (POLLOUT if self._count < MOST else 0)


def _number(data: bytes) -> int:
    """The number that is to be added; EINVAL."""
    if len(data) != COUNT.size:
        raise CallError(Errno.EINVAL)
    value = int.from_bytes(data, "little")
    if value > MOST:
        raise CallError(Errno.EINVAL)
    return value
