"""Carry out one instruction on this processor, in a child that it may kill."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from vmm.redpill.thunk import SIZE, Seen, image, seen

ROUNDS: Final = 50  # the shortest time counts
SECONDS: Final = 2  # an instruction that takes longer hangs
_READ_WRITE_EXECUTE, _SHARED_ANONYMOUS_LOW = 7, 0x01 | 0x20 | 0x40  # MAP_32BIT


class NoSiliconError(Exception):
    """This computer cannot carry them out. Says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What an instruction did: the signal that it ended in (0: none), and what it left."""

    signal: int
    seen: Seen

    @property
    def executed(self) -> bool:
        """Whether the processor went on after it."""
        return self.seen.done


def why_not() -> str | None:
    """Why this computer cannot; None if it can."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"this computer's processor is no x86 but {platform.machine() or 'unknown'}"
    if sys.platform != "linux" or sys.maxsize < 1 << 32:
        return "it takes Linux and a Python of 64 bits"
    return None


class Silicon:
    """A page that parent and children share."""

    def __init__(self) -> None:
        reason = why_not()
        if reason is not None:
            raise NoSiliconError(reason)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3,
                                    ctypes.c_long]  # fmt: skip
        found = self._libc.mmap(None, SIZE, _READ_WRITE_EXECUTE, _SHARED_ANONYMOUS_LOW, -1, 0)
        if found is None or found >= 1 << 32:
            raise NoSiliconError("no memory that can be executed below 4 GiB is to be had")
        self.base = int(found)

    def close(self) -> None:
        """Give the page back."""
        self._libc.munmap(ctypes.c_void_p(self.base), ctypes.c_size_t(SIZE))

    def carry_out(self, code: bytes, *, far: bool = False, in_memory: bool = False) -> Result:
        """The instruction, a few times; the result is of the quickest, or of what was left."""
        fresh = image(self.base, code, far=far, in_memory=in_memory)
        self._write(fresh)
        ended = _in_child(lambda: self._call(fresh))
        return Result(ended, seen(self._read()))

    def _call(self, fresh: bytes) -> None:
        function = ctypes.CFUNCTYPE(None)(self.base)
        best = fresh
        for _ in range(ROUNDS):
            self._write(fresh)
            function()
            now = self._read()
            if best is fresh or seen(now).cycles < seen(best).cycles:
                best = now
        self._write(best)

    def _read(self) -> bytes:
        return ctypes.string_at(self.base, SIZE)

    def _write(self, data: bytes) -> None:
        ctypes.memmove(self.base, data, SIZE)


def _in_child(work: Callable[[], Any]) -> int:
    """The signal that ended the work, or 0. Nothing that it does to its process reaches us."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            for number in (signal.SIGSEGV, signal.SIGILL, signal.SIGTRAP, signal.SIGBUS):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
