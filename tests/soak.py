"""A soak: random workloads on native code for as long as one likes, with every limit tiny.

`python -m tests.soak --seconds 600` runs programs of `long_programs` on several native engines,
many machines taking turns on each, and compares every stretch with the python engine. What is kept
is forgotten all the time: few regions, few blocks, a small arena, a small directory on the disk,
machines that come and go. What a process keeps for all its machines (decoded, traced, derived,
emitted, learned, handlers) reaches its limit in the first minute: what grows afterwards has none.

Once a second it looks at how much memory the process has (RSS); Python's collector and malloc,
which put off giving back what is free, are asked to after every round.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from emu.engines import Engine
from emu.engines import facts as deriving
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native, NativeSession
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from isa.x86 import decode as decoding
from isa.x86 import tracing
from tests.long_programs import PIECES_OF, Guest, Program, Seen, differing

LIMITS = {
    "emu.engines.native.regions.MOST_REGIONS": 4,
    "emu.engines.native.engine.MOST_BLOCKS": 300,
    "emu.engines.compiling.MOST": 500,
    "emu.engines.python.MOST_BLOCKS": 2_000,
    "emu.engines.native.arena.ARENA": 3_000,
    "emu.engines.python.MOST_SESSIONS": 2,
    "emu.engines.native.linking.MOST_LINKED": 50,
    "emu.engines.native.handler_store.MOST": 400,
    "emu.engines.native.learned.MOST_KEPT": 500,
    "emu.engines.native.remembered.MOST": 50,
}
DISK = 4 << 20  # bytes of compiled code that may be kept
DECODED = 1 << 12  # instructions whose decoding is remembered
TRACED = 1 << 9  # forms whose trace is remembered, and what an engine derives from it
JUDGED = 10  # rounds after which there is a new judge, as python keeps a function for each form
TURNS = 2  # machines at a time on one engine
MEBIBYTE = 1 << 20
WARM = 60  # seconds after which nothing may grow


@contextmanager
def tiny_limits() -> Iterator[Counter[str]]:
    """Every limit small; yields how often things were forgotten."""
    found: Counter[str] = Counter()
    forget, close = NativeSession.forget, NativeSession.close

    def counted(name: str, method: Callable[[Any], None]) -> Callable[[Any], None]:
        def call(session: Any) -> None:
            found[name] += 1
            method(session)

        return call

    small = lru_cache(DECODED)(decoding.decode.__wrapped__)
    with ExitStack() as stack:
        for name, limit in LIMITS.items():
            stack.enter_context(patch(name, limit))
        for module in ("decode", "recipe"):  # which has it by name
            stack.enter_context(patch(f"isa.x86.{module}.decode", small))
        traces = lru_cache(TRACED)(tracing.trace.__wrapped__)
        stack.enter_context(patch("isa.x86.tracing.trace", traces))
        known = lru_cache(TRACED)(deriving._facts.__wrapped__)
        stack.enter_context(patch("emu.engines.facts._facts", known))
        stack.enter_context(patch.object(NativeSession, "forget", counted("evictions", forget)))
        stack.enter_context(patch.object(NativeSession, "close", counted("machines", close)))
        yield found


class Soak:
    """Native engines, and what they are compared with."""

    def __init__(self, directory: Path, seed: int = 0, most: int = 3_000) -> None:
        self.rng = random.Random(f"soak {seed}")
        self.most = most
        disk = DiskCache(directory, DISK)
        self.makers: dict[str, Callable[[], Engine]] = {
            "as users have it": lambda: Native(cache=disk),
            "eager": lambda: Native(hot=20, cache=disk),
            "tier 1": lambda: Native(hot=1 << 30, stitch=1, cache=disk),
            "forced": lambda: Native(hot=0, wait=True, level=QUICK, cache=disk),
            "forced, compiled well": lambda: Native(hot=5, wait=True, cache=disk),
        }
        self.engines = {name: make() for name, make in self.makers.items()}
        self.names = itertools.cycle(self.makers)
        self.judge = Guest(Python())
        self.programs = self.stretches = self.instructions = self.rounds = 0

    def round(self) -> None:
        """A few programs on the next of the engines, which sometimes is a new one."""
        name = next(self.names)
        self.rounds += 1
        if self.rounds % JUDGED == 0:
            self.judge = Guest(Python())
        if self.rng.random() < 0.1:
            self.engines[name] = self.makers[name]()
        turns = [self._turn(self.engines[name]) for _ in range(self.rng.randrange(1, TURNS + 1))]
        while turns:
            turns = [turn for turn in turns if next(turn, None)]
        settle()

    def _turn(self, engine: Engine) -> Iterator[bool]:
        """One program on a new machine, a stretch at a time, compared."""
        program = Program(self.rng.getrandbits(32), self.rng.choice([*PIECES_OF]))
        expected: list[Seen] = list(self.judge.run(program, self.most))
        for found, wanted in zip(Guest(engine).run(program, self.most), expected, strict=True):
            assert found == wanted, f"{engine.name}: {program}: {differing(found, wanted)}"
            self.stretches += 1
            yield True
        self.programs += 1
        self.instructions += expected[-1][0]


@dataclass(slots=True)
class Memory:
    """The process's memory, once a second: (seconds, bytes)."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def warm(self) -> float:
        """Seconds until which caches may fill: a minute, of short runs a third."""
        return min(WARM, self.samples[-1][0] / 3)

    def between(self, start: float, end: float) -> list[int]:
        """The samples of a time."""
        return [size for at, size in self.samples if start <= at < end]

    def thirds(self) -> list[float]:
        """The medians of the thirds of the time in which nothing may grow."""
        first, last = self.warm, self.samples[-1][0] + 1
        bounds = [first + (last - first) * n / 3 for n in range(4)]
        return [statistics.median(self.between(*both)) for both in itertools.pairwise(bounds)]

    def slope(self) -> float:
        """Bytes a minute in that time, by least squares."""
        rest = [sample for sample in self.samples if sample[0] >= self.warm]
        line = statistics.linear_regression([at for at, _ in rest], [size for _, size in rest])
        return 60 * line.slope


def settle() -> None:
    """Have Python's collector and malloc give back what nobody uses, which they put off."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def soak(
    seconds: float, directory: Path, *, seed: int = 0, tell: Callable[[str], None] = print
) -> tuple[Soak, Memory, Counter[str]]:
    """Run for so long; raises AssertionError at the first difference."""
    memory, done = Memory(), threading.Event()
    began = time.monotonic()

    def sample() -> None:
        while not done.wait(1):
            memory.samples.append((time.monotonic() - began, resident()))

    with tiny_limits() as forgotten:
        work = Soak(directory, seed)
        thread = threading.Thread(target=sample)
        thread.start()
        told = 0.0
        try:
            while time.monotonic() - began < seconds:
                work.round()
                if time.monotonic() - began >= told + 10:
                    told = time.monotonic() - began
                    tell(summary(work, memory, forgotten))
        finally:
            done.set()
            thread.join()
    return work, memory, forgotten


def summary(work: Soak, memory: Memory, forgotten: Counter[str]) -> str:
    """One line."""
    at, size = memory.samples[-1] if memory.samples else (0.0, resident())
    return (
        f"{at:.0f} s: {size / MEBIBYTE:.1f} MiB, {work.programs} programs, "
        f"{work.instructions:,} instructions, {work.stretches} stretches, no difference; "
        + ", ".join(f"{count} {name}" for name, count in sorted(forgotten.items()))
    )


class Result(NamedTuple):
    """What a soak found: how often things were forgotten, and after the first minute the memory in
    MiB, by thirds of the time, and what it grew by a minute."""

    summary: str
    forgotten: dict[str, int]
    thirds: list[float]
    slope: float

    @property
    def grown(self) -> float:
        """MiB from the first of the thirds to the last."""
        return self.thirds[-1] - self.thirds[0]

    def __str__(self) -> str:
        thirds = ", ".join(f"{size:.1f}" for size in self.thirds)
        after = f"by thirds after the first minute {thirds} MiB ({self.grown:+.1f})"
        return f"{self.summary}; {after}, slope {self.slope:+.2f} MiB a minute"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="say what was found, and nothing else")
    options = parser.parse_args()

    def tell(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        work, memory, forgotten = soak(options.seconds, Path(place), seed=options.seed, tell=tell)
    found = Result(
        summary(work, memory, forgotten), dict(forgotten),
        [size / MEBIBYTE for size in memory.thirds()], memory.slope() / MEBIBYTE,
    )  # fmt: skip
    tell(str(found))
    if options.json:
        print(json.dumps(found._asdict()))


if __name__ == "__main__":
    sys.exit(main())
