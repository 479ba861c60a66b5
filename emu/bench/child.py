"""Running one process and telling how long it took, on one core."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emu.bench.errors import BenchError

MOST_SECONDS = 900
POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process; `seconds` from before it is started until it has been waited for."""

    output: bytes
    errors: str
    code: int
    seconds: float

    @property
    def last_words(self) -> str:
        """The last line of standard error."""
        return (self.errors.strip().splitlines() or [""])[-1]


@contextmanager
def pinned() -> Iterator[int | None]:
    """Keep this process, and the children that it starts, on one core; None where none can."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def fresh_cache(directory: Path) -> Iterator[None]:
    """Let children keep what they compile in a directory, which is empty at first; Python's own
    bytecode is kept beside its sources, as for everybody who did not forbid that."""
    before = dict(os.environ)
    os.environ["POPEK_CACHE"] = str(directory)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run_child(command: Sequence[str]) -> Run:
    """Run a command to its end; raises BenchError if it never comes, OSError if it cannot start."""
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(command)} still runs after {MOST_SECONDS} s") from None
    seconds = time.perf_counter() - began
    return Run(done.stdout, done.stderr.decode("utf-8", "replace"), done.returncode, seconds)


def peak_memory(command: Sequence[str]) -> int | None:
    """The most bytes that a command had resident, by polling; None where Linux does not tell.

    The kernel's own account (`ru_maxrss`) would begin with the size of whoever started the process.
    """
    peak = 0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            while process.poll() is None:
                peak = max(peak, _high_water(process.pid))
                time.sleep(POLL_SECONDS)
        finally:
            process.kill()  # of an interruption the child need not have heard
    return peak or None


def _high_water(pid: int) -> int:
    """Bytes of VmHWM of a process, 0 if it is not told."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0
