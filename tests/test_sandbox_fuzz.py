"""A million system calls with hostile arguments: the host and its files come to no harm."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from process_guest import BASE, Guest, descriptors_into

from emu.process.namespace import NAME_COST, Namespace
from emu.process.syscalls import MODULES, name_of

CHUNKS, CALLS_IN_CHUNK = 10, 100_000
LIFE = 2_000  # calls of one guest, unless it ends before
STORAGE = 256 << 10
MEMORY = 4 << 20
PATHS = (
    b"a", b"b", b"dir", b"dir/c", b"dir/../..", b"../outside/secret", b"/../../outside/secret",
    b"out", b"out/secret", b"self", b"/proc/self/exe", b"/proc/1/exe", b"/dev/null", b"/dev/tty",
    b"/dev/stdin", b"/proc/self/fd/0", b".", b"..", b"/", b"", b"a/", b"x" * 300, b"/etc/passwd",
)  # fmt: skip
STEP = 512  # bytes between paths in the guest's buffer
ENDS = ("exit", "exit_group", "kill", "tkill", "tgkill", "rt_sigqueueinfo", "pause", "execve")
BORDERS = (0, 1, 2, 3, 4, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF9C, 0xFFFFF000)
PLACES = (BASE, BASE + 0xFFE, 0xBFFFFF00, 0xC0000000, 0xFFFFFFFC, Guest.BUFFER + 0x7FFE)


def argument(rng: random.Random) -> int:
    """A number that some call takes for something."""
    kind = rng.random()
    if kind < 0.4:
        return Guest.BUFFER + STEP * rng.randrange(len(PATHS))
    if kind < 0.65:
        return rng.randrange(12)
    if kind < 0.8:
        return rng.choice(BORDERS)
    if kind < 0.9:
        return rng.choice(PLACES)
    return rng.getrandbits(rng.randrange(1, 33))


def world(path: Path) -> tuple[Path, Path]:
    """A root, and a place beside it that no guest may reach."""
    root, outside = path / "root", path / "outside"
    (root / "dir").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "a").write_bytes(b"a" * 1000)
    (root / "out").symlink_to(outside)
    (root / "self").symlink_to("self")
    return root, outside


def born(root: Path, seed: int) -> Guest:
    """A guest that may do much, but not everything."""
    namespace = Namespace(contained=True, first_pid=1, processes=6, files=20, storage=STORAGE)
    guest = Guest(root, writable=True, memory=MEMORY, seed=seed, namespace=namespace, net=True)
    for index, path in enumerate(PATHS):
        guest.put(path + b"\0", STEP * index)
    return guest


def calls_of(rng: random.Random) -> list[int]:
    """Numbers to choose from; what ends a guest is among them once, all others ten times."""
    names = {number: name_of(number) for number in MODULES}
    often = [number for number, name in names.items() if name not in ENDS]
    chosen = [*often * 10, *(number for number, name in names.items() if name in ENDS)]
    rng.shuffle(chosen)
    return chosen


@pytest.mark.heavy
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_calls(
    tmp_path: Path, chunk: int, record_property: Callable[[str, object], None]
) -> None:
    """Every call ends in a result or in the guest's end; files beside the root stay as they were,
    the root grows no further than it may, no descriptor is left open."""
    rng, seen = random.Random(chunk), set[bool]()
    numbers, done, guests = calls_of(rng), 0, 0
    before = descriptors_into(tmp_path)
    while done < CALLS_IN_CHUNK:
        root, outside = world(tmp_path / str(guests))
        size, guest = total(root), born(root, guests)
        guests += 1
        for _ in range(min(LIFE, CALLS_IN_CHUNK - done)):
            number = rng.choice(numbers)
            seen.add(guest.call(number, *(argument(rng) for _ in range(6))) < 0)
            done += 1
            if guest.outcome is not None:
                break
        guest.machine.close()
        assert total(root) <= size + STORAGE
        assert [p.name for p in outside.iterdir()] == ["secret"]
        assert (outside / "secret").read_bytes() == b"secret"
        assert len(guest.space.physical.view) == MEMORY
    assert descriptors_into(tmp_path) == before
    assert len(seen) == 2, "some calls succeed, some fail"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    record_property("measured", f"{done:,} calls of {guests} guests; {peak} MiB at most")


def total(root: Path) -> int:
    """What a root takes: its names, and its files once each."""
    entries = [path.lstat() for path in root.rglob("*")]
    files = {(e.st_dev, e.st_ino): e.st_size for e in entries if e.st_mode & 0o170000 == 0o100000}
    return NAME_COST * len(entries) + sum(files.values())
