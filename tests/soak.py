"""A soak: random workloads on native code for as long as one likes, with every limit tiny.

`python -m tests.soak --seconds 600` runs programs of `long_programs` on several native engines,
many machines taking turns on each, and compares every stretch with the python engine. What is kept
is forgotten all the time: few regions, few blocks, a small arena, a small directory on the disk,
machines that come and go. What a process keeps for all its machines (decoded, traced, derived,
emitted, learned, handlers) reaches its limit in the first minute: what grows afterwards has none.

Every ten seconds all machines go, with their engines; Python's collector and malloc, which put off
giving back what is free, are asked to; and then it looks at how much memory the process has: what
is resident, and what of that is in use. While machines run there is up to 20 MiB more, another
number each second.
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
from emu.engines.native.worker import _workers
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
REST = 10  # seconds after which all machines go, and memory is looked at; less in short runs
LEAST = 6  # times that it is


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
        self.names = itertools.cycle(self.makers)
        self._begin()
        self.programs = self.stretches = self.instructions = self.rounds = 0

    def _begin(self) -> None:
        self.engines = {name: make() for name, make in self.makers.items()}
        self.judge = Guest(Python())

    def at_rest(self) -> Sizes:
        """The process's memory without any machine, nor an engine: those are new afterwards."""
        self.engines.clear()
        del self.judge
        for worker in list(_workers):
            worker.close()
        settle()
        sizes = Sizes.now()
        self._begin()
        return sizes

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


class Sizes(NamedTuple):
    """How much memory a process has: MiB that are resident, MiB that malloc has given out, and
    thousands of Python's objects.

    The first of them is what counts, and goes on growing in steps for some time: where much was in
    use at once, what has stayed of it lies among what is free, in memory that nobody gives back.
    What is in use tells for certain whether something is lost.
    """

    resident: float
    allocated: float
    objects: float

    @staticmethod
    def now() -> Sizes:
        """As they are."""
        objects = sys.getallocatedblocks() / 1000
        return Sizes(resident() / MEBIBYTE, allocated() / MEBIBYTE, objects)


@dataclass(slots=True)
class Memory:
    """The process's memory, now and then: (seconds, sizes)."""

    samples: list[tuple[float, Sizes]] = field(default_factory=list)

    @property
    def warm(self) -> float:
        """Seconds until which caches may fill: a minute, of short runs a third."""
        return min(WARM, self.samples[-1][0] / 3)

    @property
    def rest(self) -> list[tuple[float, Sizes]]:
        """The samples of the time in which nothing may grow."""
        return [sample for sample in self.samples if sample[0] >= self.warm]

    def thirds(self) -> list[Sizes]:
        """The medians of the thirds of that time."""
        rest = [sizes for _, sizes in self.rest]
        bounds = itertools.pairwise(len(rest) * n // 3 for n in range(4))
        columns = [zip(*rest[first:end], strict=True) for first, end in bounds]
        return [Sizes(*map(statistics.median, column)) for column in columns]

    def slope(self) -> Sizes:
        """What is more each minute in that time, by least squares."""
        times = [at / 60 for at, _ in self.rest]
        columns = zip(*(sizes for _, sizes in self.rest), strict=True)
        return Sizes(*(statistics.linear_regression(times, column).slope for column in columns))


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


class _Given(ctypes.Structure):
    """What mallinfo2 of the GNU C library returns."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd",
        "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


def allocated() -> int:
    """Bytes that malloc has given out, to all but Python's small objects; 0 where it does not tell.
    With one thread and nothing at work that is exact."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return 0
    mallinfo2.restype = _Given
    given = mallinfo2()
    return int(given.uordblks + given.hblkhd)


def soak(
    seconds: float, directory: Path, *, seed: int = 0, tell: Callable[[str], None] = print
) -> tuple[Soak, Memory, Counter[str]]:
    """Run for so long; raises AssertionError at the first difference."""
    memory, began, worked = Memory(), time.monotonic(), 0.0
    with tiny_limits() as forgotten:
        work = Soak(directory, seed)
        while (now := time.monotonic() - began) < seconds or len(memory.samples) < LEAST:
            work.round()
            if now >= worked + min(REST, seconds / 30):
                memory.samples.append((now, work.at_rest()))
                tell(summary(work, memory, forgotten))
                worked = now
    return work, memory, forgotten


def summary(work: Soak, memory: Memory, forgotten: Counter[str]) -> str:
    """One line."""
    at, sizes = memory.samples[-1]
    return (
        f"{at:.0f} s: {told(sizes)}; {work.programs} programs, "
        f"{work.instructions:,} instructions, {work.stretches} stretches, no difference; "
        + ", ".join(f"{count} {name}" for name, count in sorted(forgotten.items()))
    )


def told(sizes: Sizes, form: str = ".1f") -> str:
    """Sizes for a reader."""
    resident, allocated, objects = (format(size, form) for size in sizes)
    return f"{resident} MiB, {allocated} of malloc, {objects} thousand objects"


class Result(NamedTuple):
    """What a soak found: how often things were forgotten, and after the first minute the memory by
    thirds of the time, and what it grew by a minute."""

    summary: str
    forgotten: dict[str, int]
    thirds: list[Sizes]
    slope: Sizes

    @staticmethod
    def of(found: dict[str, Any]) -> Result:
        """What was printed as JSON."""
        thirds = [Sizes(*sizes) for sizes in found["thirds"]]
        return Result(found["summary"], found["forgotten"], thirds, Sizes(*found["slope"]))

    @property
    def grown(self) -> Sizes:
        """From the first of the thirds to the last."""
        pairs = zip(self.thirds[0], self.thirds[-1], strict=True)
        return Sizes(*(last - first for first, last in pairs))

    def __str__(self) -> str:
        thirds = ", ".join(f"{sizes.resident:.1f}" for sizes in self.thirds)
        after = f"by thirds after the first minute {thirds} MiB ({told(self.grown, '+.1f')})"
        return f"{self.summary}; {after}, slope {told(self.slope, '+.2f')} a minute"


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
        memory.thirds(), memory.slope(),
    )  # fmt: skip
    tell(str(found))
    if options.json:
        print(json.dumps(found._asdict()))


if __name__ == "__main__":
    sys.exit(main())
