"""Compiling regions beside the guest: jobs in, object code out, in a background thread."""

from __future__ import annotations

import atexit
import sys
from _thread import allocate_lock

from isa.hints import TYPE_CHECKING, Any, Callable
from isa.light import WeakSet, deque

if TYPE_CHECKING:
    import threading

PATIENCE = 0.00005  # seconds that a guest which comes out of native code waits for a compiler

_workers: WeakSet[Worker] = WeakSet()


class _Impatience:
    """Python's switch interval, shorter as long as some compiler is at work: a guest leaves native
    code thousands of times in a second, and a compiler would keep the interpreter's lock for five
    milliseconds each time."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._compilers = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._compilers:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, PATIENCE))
            self._compilers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._compilers -= 1
            if not self._compilers:
                sys.setswitchinterval(self._before)


_impatience = _Impatience()


@atexit.register
def _close_all() -> None:
    """LLVM must not be at work while the process takes it down."""
    for worker in list(_workers):
        worker.close()


def do_not_wait() -> None:
    """The process ends without taking LLVM down: nobody waits for regions that the guest has no
    more use for."""
    atexit.unregister(_close_all)
    for worker in list(_workers):
        worker.forget()


class Worker:
    """Does jobs one after the other, the most urgent first; `done` holds (job, result) until the
    owner takes them."""

    def __init__(
        self, work: Callable[[Any], Any], urgency: Callable[[Any], Any], *, wait: bool
    ) -> None:
        self.done: deque[tuple[Any, Any]] = deque()
        self._work = work
        self._urgency = urgency
        self._wait = wait
        self._jobs: list[Any] = []
        self._thread: threading.Thread | None = None
        self._lock = allocate_lock()
        _workers.add(self)

    @property
    def busy(self) -> bool:
        """Whether something is being done, or waits for it."""
        return self._thread is not None

    def take(self) -> tuple[Any, Any]:
        """The oldest job that is done; raises what the work raised."""
        job, result = self.done.popleft()
        if isinstance(result, BaseException):
            raise result
        return job, result

    def submit(self, job: Any) -> None:
        """Queue a job; with `wait`, do it at once."""
        if self._wait:
            self.done.append((job, self._result(job)))
            return
        with self._lock:
            self._jobs.append(job)
            if self._thread is None:
                self._begin()

    def _begin(self) -> None:
        import threading  # most short runs compile nothing

        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Forget what has not begun."""
        with self._lock:
            self._jobs.clear()

    def close(self) -> None:
        """Forget what has not begun, and wait for what has."""
        self.forget()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _result(self, job: Any) -> Any:
        try:
            return self._work(job)
        except Exception as error:  # a bug of ours: raised where the guest runs
            return error

    def _run(self) -> None:
        with _impatience:
            self._do_all()

    def _do_all(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._thread = None
                    return
                job = max(self._jobs, key=self._urgency)
                self._jobs.remove(job)
            self.done.append((job, self._result(job)))
