"""Lock-step: every setting of the native engine, on programs that run for millions of instructions.

The python engine runs each program first and writes down what there is to see after each stretch
(from one stop of the engine to the next): the count, why it stopped, all registers, and after every
stretch that ended at its count, and one in eight of the others, a digest of all memory. Then native
code has to pass through the same: with the tiers that users get, compiling in the background; with
tier 1 only; with tier 2 forced, every block compiled before it runs.

The reference engine is some hundred times slower, so it cannot run fifty million instructions here.
It judges python: it does each stretch of the eventful programs once more, from the state at its
beginning, and those of the long programs that are not too long, and everything is compared. So the
fifty million are in lock-step with python; how many of these were in lock-step with the
reference too, and how many were rounds of REP, is told by what the test measures.

What happens in the programs (`tests/long_programs.py`): interrupts at random counts with IF set and
clear, code that modifies itself, code across pages, faults in the middle of REP and restarts, pages
that go and come, breakpoints, ports, single steps, alignment checks, patched code.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import BEST, QUICK
from emu.engines.reference import Reference
from tests.long_programs import (
    FLAGS,
    PIECES_OF,
    STACK,
    TOP,
    CountingPython,
    Guest,
    Program,
    Seen,
    Watch,
    differing,
    look,
    machine,
    space_of,
)
from tests.machines import CODE, NO_CACHE, PAGE, engines

TOTAL = 50_000_000  # instructions of native code in lock-step, in all chunks together
CHUNKS = 8
LONG, PACE = 3_200_000, 250  # instructions of a long program, and its stretches' length
SMALL = 300  # bytes of code of a program all of which is compiled
SHORT = 30_000  # instructions of a program that the reference engine repeats wholly
FORCED = 2_000  # instructions of a large program with tier 2 forced: each block is compiled


class Bench:
    """One guest for each engine, and how many instructions each was compared for."""

    def __init__(self, cache: DiskCache = NO_CACHE) -> None:
        forced = {"hot": 0, "wait": True, "cache": NO_CACHE}
        self.judge = CountingPython()
        self.python = Guest(self.judge)
        self.guests = {
            "native": Guest(Native(cache=cache)),
            "native, tier 1 only": Guest(Native(hot=1 << 30, wait=True, stitch=1, cache=NO_CACHE)),
            "native, tier 2 forced": Guest(Native(**forced, level=BEST)),
            "native, tier 2 forced in a hurry": Guest(Native(**forced, level=QUICK)),
        }
        self.reset()

    def reset(self) -> None:
        """Count from the beginning."""
        self.instructions: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.watched = self.rounds = self.judge.rounds = 0

    def agree(self, program: Program, most: int, forced: int, share: float = 1.0) -> None:
        """Run a program on every engine; those with tier 2 forced run only so much of it.

        `share` is how many of the stretches the reference engine repeats.
        """
        watch = Watch(program.seed, share)
        with self.timed("python, reference"):
            expected = list(self.python.run(program, most, watch))
        assert self.python.kernel is not None
        self.events.update(self.python.kernel.events)
        self.watched += watch.instructions
        self.rounds += watch.reference.rounds
        for name, guest in self.guests.items():
            with self.timed(name):
                wanted = self.part(expected, forced if "forced" in name else most)
                self.instructions[name] += self.follow(name, guest, program, wanted, most)

    def part(self, seen: list[Seen], most: int) -> list[Seen]:
        """The stretches up to about a count."""
        return seen[: 1 + sum(one[0] < most for one in seen[:-1])]

    def follow(
        self, name: str, guest: Guest, program: Program, wanted: list[Seen], most: int
    ) -> int:
        """Compare stretch by stretch; returns the instructions compared."""
        before = (0, None, b"", 0)
        found = islice(guest.run(program, most), len(wanted))
        for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
            if ours != theirs:
                raise AssertionError(
                    f"{name}: {program}, stretch {number} after {before[:2]}: "
                    f"{differing(ours, theirs)}"
                )
            before = theirs
        return wanted[-1][0]

    def timed(self, name: str) -> Timer:
        """Add the time that something takes."""
        return Timer(self.seconds, name)

    def __str__(self) -> str:
        counts = "; ".join(f"{n}: {c:,}" for n, c in self.instructions.items())
        times = ", ".join(f"{n} {t:.0f} s" for n, t in self.seconds.items())
        happened = ", ".join(f"{n} {e}" for e, n in self.events.most_common())
        return (
            f"instructions in lock-step with python: {counts}; of python's {self.judge.rounds:,} "
            f"were rounds of REP; python in lock-step with the reference: {self.watched:,}, "
            f"{self.rounds:,} of them rounds; no difference. {happened}. CPU: {times}"
        )


class Timer:
    """Adds up seconds of this process by name."""

    def __init__(self, into: Counter[str], name: str) -> None:
        self.into, self.name = into, name

    def __enter__(self) -> None:
        self.start = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.into[self.name] += time.process_time() - self.start  # type: ignore[assignment]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield Bench(DiskCache(tmp_path_factory.mktemp("cache") / "native"))


@pytest.mark.parametrize("kind", PIECES_OF)
def test_programs_of_each_kind_agree(bench: Bench, kind: str) -> None:
    """A few thousand instructions of each kind, on every setting."""
    bench.agree(Program(1000, kind, room=500), 1_500, 100)


@pytest.mark.parametrize("back", [b"\xfb", b"\x9d"], ids=["sti", "popf"])
@pytest.mark.parametrize("name", [n for n in engines() if n != "reference"])
def test_an_interrupt_waits_until_its_flag_is_set(name: str, back: bytes) -> None:
    """Requested while IF is clear, it comes after the instruction that sets IF, at its count."""
    code = b"\x9c\xfa\xb9\x28\0\0\0\xe2\xfe" + back + b"\x40\x40\xeb\xf2"  # pushf, cli, loop
    seen = []
    for engine in (Reference(), engines()[name]):
        state = machine()
        space = space_of(state)
        space.map(CODE, PAGE, 7)
        space.map(STACK, PAGE, 6)
        space.poke(CODE, code)
        state["eip"], state["esp"], state["eflags"] = CODE, TOP, FLAGS
        for until in (20, 150, 163, 301):
            state.interrupt_requested = False
            seen.append(look(state, engine.run(state, until), memory=True))  # type: ignore[attr-defined]
            state.interrupt_requested = True
            seen.append(look(state, engine.run(state, until + 90), memory=True))  # type: ignore[attr-defined]
    half = len(seen) // 2
    assert seen[half:] == seen[:half]
    assert [stop.reason for _, stop, _, _ in seen].count("window") == half


@pytest.mark.heavy
@pytest.mark.parametrize("chunk", range(1, CHUNKS + 1))  # 0 faults 25,000 times: 20 minutes
def test_long_programs_agree(
    bench: Bench, record_property: Callable[[str, object], None], chunk: int
) -> None:
    """Fifty million instructions in all without a difference; see the file's docstring."""
    bench.reset()
    bench.agree(Program(100 * chunk, "calm", PACE), LONG, FORCED)
    bench.agree(Program(100 * chunk + 1, "calm", PACE, SMALL), LONG, LONG)
    for number, kind in enumerate([k for k in PIECES_OF if k != "calm"]):
        bench.agree(Program(100 * chunk + 10 + number, kind), SHORT, FORCED)
    record_property("measured", f"{bench}")
    assert bench.instructions["native"] >= TOTAL // CHUNKS
    assert bench.instructions["native, tier 1 only"] >= TOTAL // CHUNKS
    assert bench.instructions["native, tier 2 forced"] >= LONG
    assert bench.watched >= SHORT * (len(PIECES_OF) - 1)
