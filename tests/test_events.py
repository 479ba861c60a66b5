"""Counters, timers and sets of files: each call as a program makes it, limits, programs."""

from __future__ import annotations

import os
import random
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from c_programs import check
from process_guest import Guest, descriptors_into

import emu
from emu.process.files import Stream
from emu.process.namespace import MOST_EVENT_FILES, MOST_WATCHED, Namespace

BUFFER, BAD = Guest.BUFFER, 0x10
NONBLOCK, CLOEXEC, SEMAPHORE = 0o4000, 0o2000000, 1
ADD, DEL, MOD = 1, 2, 3
IN, OUT, ERR, HUP, RDHUP = 1, 4, 8, 16, 0x2000
ONESHOT, ET, EXCLUSIVE = 1 << 30, 1 << 31, 1 << 28
EPERM, ENOENT, EBADF, EAGAIN, EFAULT, EEXIST, EINVAL = -1, -2, -9, -11, -14, -17, -22
ENFILE, EMFILE, ENOSPC, ESPIPE, ELOOP = -23, -24, -28, -29, -40
MS, SECOND = 1_000_000, 1_000_000_000


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path, writable=True, net=True)


def put(guest: Guest, fd: int, value: int) -> int:
    """Write a number of 8 bytes."""
    return guest.call("write", fd, guest.put(struct.pack("<Q", value)), 8)


def take(guest: Guest, fd: int) -> int:
    """Read such a number; returns the error instead."""
    result = guest.call("read", fd, BUFFER, 8)
    return guest.words("<Q")[0] if result == 8 else result


def control(guest: Guest, epoll: int, operation: int, fd: int, events: int, data: int = 0) -> int:
    """Do epoll_ctl."""
    return guest.call(
        "epoll_ctl", epoll, operation, fd, guest.put(struct.pack("<IQ", events, data))
    )


def ready(guest: Guest, epoll: int, most: int = 10, timeout: int = 0) -> list[tuple[int, int]]:
    """What epoll_wait tells: data and events."""
    count = guest.call("epoll_wait", epoll, BUFFER, most, timeout)
    assert count >= 0
    found = [guest.words("<IQ", 12 * i) for i in range(count)]
    return [(data, events) for events, data in found]


def pipe(guest: Guest) -> tuple[int, int]:
    """Both ends of a pipe that never waits."""
    assert guest.call("pipe2", BUFFER, NONBLOCK) == 0
    one, other = guest.words("<II")
    return one, other


def timer(guest: Guest, value: int, interval: int = 0, flags: int = 0, clock: int = 1) -> int:
    """A timer that runs, in nanoseconds."""
    fd = guest.call("timerfd_create", clock, NONBLOCK)
    words = struct.pack("<4q", *divmod(interval, SECOND), *divmod(value, SECOND))
    assert guest.call("timerfd_settime64", fd, flags, guest.put(words), 0) == 0
    return fd


def sleep(guest: Guest, nanoseconds: int) -> None:
    """Let time pass."""
    words = struct.pack("<iI", *divmod(nanoseconds, SECOND))
    assert guest.call("nanosleep", guest.put(words), 0) == 0


# -- counters ---------------------------------------------------------------------------------


def test_counter(guest: Guest) -> None:
    """It adds up, is taken at once, has an end, and takes 8 bytes only."""
    fd = guest.call("eventfd2", 3, NONBLOCK | CLOEXEC)
    assert guest.call("fcntl", fd, 1, 0) == 1
    assert put(guest, fd, 4) == 8
    assert take(guest, fd) == 7
    assert take(guest, fd) == EAGAIN
    assert put(guest, fd, (1 << 64) - 2) == 8
    assert put(guest, fd, 1) == EAGAIN
    assert put(guest, fd, (1 << 64) - 1) == EINVAL
    assert [guest.call(call, fd, BUFFER, 7) for call in ("read", "write")] == [EINVAL] * 2
    assert [guest.call(call, fd, BAD, 8) for call in ("read", "write")] == [EFAULT] * 2
    assert guest.call("eventfd2", 0, 2) == EINVAL


def test_semaphore(guest: Guest) -> None:
    """It is taken from one by one."""
    fd = guest.call("eventfd2", 2, NONBLOCK | SEMAPHORE)
    assert [take(guest, fd) for _ in range(3)] == [1, 1, EAGAIN]


@pytest.mark.parametrize("made", [("eventfd", 0), ("epoll_create", 1), ("timerfd_create", 1, 0)])
def test_what_they_are(guest: Guest, made: tuple[str, int]) -> None:
    """Files of no type, without positions or length, as many as there may be."""
    fd = guest.call(*made)
    assert guest.call("fstat64", fd, BUFFER) == 0
    assert guest.words("<I", 16)[0] == 0o600
    assert guest.call("lseek", fd, 5, 0) == 0
    assert guest.call("pread64", fd, BUFFER, 8, 0, 0) == ESPIPE
    assert guest.call("ftruncate", fd, 0) == EINVAL
    assert guest.call("close", fd) == 0
    guest.process.files.limit = MOST_EVENT_FILES + 100
    results = [guest.call(*made) for _ in range(MOST_EVENT_FILES + 1)]
    assert min(results[:-1]) > 0
    assert results[-1] == ENFILE
    guest.process.files.limit = 20
    assert guest.call("close", 10) == 0
    assert guest.call(*made) == 10
    assert guest.call("close", 10) == 0
    guest.process.files.limit = 10
    assert guest.call(*made) == EMFILE, "and none is lost by that"
    assert guest.machine.table.event_files.left == 1


# -- sets of files ----------------------------------------------------------------------------


def test_errors_of_control(guest: Guest) -> None:
    """Each error, and which is told first."""
    epoll, (end, _) = guest.call("epoll_create1", CLOEXEC), pipe(guest)
    directory = guest.call("open", b"/", 0, 0)
    null = guest.call("open", b"/dev/null", 2, 0)
    assert guest.call("epoll_create", 0) == guest.call("epoll_create1", NONBLOCK) == EINVAL
    assert [control(guest, epoll, ADD, fd, IN) for fd in (directory, null)] == [EPERM] * 2
    assert control(guest, epoll, ADD, epoll, IN) == control(guest, end, ADD, epoll, IN) == EINVAL
    assert control(guest, epoll, ADD, 99, IN) == control(guest, 99, ADD, end, IN) == EBADF
    assert guest.call("epoll_ctl", 99, ADD, end, BAD) == EFAULT
    assert guest.call("epoll_ctl", epoll, DEL, end, BAD) == ENOENT
    assert control(guest, epoll, MOD, end, IN) == ENOENT
    assert control(guest, epoll, 4, end, IN) == EINVAL
    assert [control(guest, epoll, ADD, end, IN) for _ in range(2)] == [0, EEXIST]
    assert control(guest, epoll, MOD, end, EXCLUSIVE | IN) == EINVAL
    assert guest.call("epoll_ctl", epoll, DEL, end, BAD) == 0


def test_errors_of_waiting(guest: Guest) -> None:
    """Counts, descriptors; what could not be stored is told again."""
    epoll, (end, other) = guest.call("epoll_create1", 0), pipe(guest)

    def wait(fd: int, most: int, where: int = BUFFER) -> int:
        return guest.call("epoll_wait", fd, where, most, 0)

    assert [wait(epoll, most) for most in (0, -1, 0x7FFFFFFF)] == [EINVAL] * 3
    assert (wait(end, 1), wait(99, 1)) == (EINVAL, EBADF)
    assert control(guest, epoll, ADD, other, OUT, 7) == 0
    assert wait(epoll, 1, BAD) == EFAULT
    assert guest.call("epoll_pwait", epoll, BUFFER, 1, 0, BUFFER, 4) == EINVAL
    assert guest.call("epoll_pwait", epoll, BUFFER, 1, 0, BAD, 8) == EFAULT
    assert ready(guest, epoll) == [(7, OUT)]
    assert guest.process.signals.saved_mask is None


def test_levels_edges_and_once(guest: Guest) -> None:
    """What is ready is told each time, at each change, or once."""
    epoll, fds = guest.call("epoll_create1", 0), [guest.call("eventfd", 0) for _ in range(3)]
    for data, (fd, how) in enumerate(zip(fds, (0, ET, ONESHOT), strict=True)):
        control(guest, epoll, ADD, fd, IN | how, data)
    for fd in reversed(fds):
        put(guest, fd, 1)
    assert ready(guest, epoll) == [(2, IN), (1, IN), (0, IN)]
    assert ready(guest, epoll) == [(0, IN)]
    for fd in fds:
        put(guest, fd, 1)
    assert ready(guest, epoll) == [(0, IN), (1, IN)]
    assert control(guest, epoll, MOD, fds[2], IN | ONESHOT, 5) == 0
    assert ready(guest, epoll) == [(0, IN), (5, IN)]


def test_turns(guest: Guest) -> None:
    """Who has been told comes after those who have not."""
    epoll = guest.call("epoll_create1", 0)
    for data in range(5):
        control(guest, epoll, ADD, guest.call("eventfd", 1), IN, data)
    told = [data for _ in range(4) for data, _ in ready(guest, epoll, 3)]
    assert told == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_it_leaves_with_the_last_descriptor(guest: Guest) -> None:
    """A file stays as long as any descriptor is open; who only changed goes on being told."""
    epoll, (end, other) = guest.call("epoll_create1", 0), pipe(guest)
    control(guest, epoll, ADD, end, IN, 1)
    again = guest.call("dup", end)
    guest.call("write", other, BUFFER, 1)
    guest.call("close", end)
    assert ready(guest, epoll) == [(1, IN)]
    assert control(guest, epoll, DEL, again, 0) == ENOENT
    guest.call("close", again)
    assert ready(guest, epoll) == []
    assert guest.machine.table.watched.left == MOST_WATCHED


def test_sets_in_sets(guest: Guest) -> None:
    """A set is ready if a file in it is; no cycles, five at most one in the other."""
    chain = [guest.call("epoll_create1", 0) for _ in range(6)]
    counter = guest.call("eventfd", 0)
    for i in range(4):
        assert control(guest, chain[i], ADD, chain[i + 1], IN | ET, i) == 0
    assert control(guest, chain[4], ADD, chain[5], IN) == ELOOP
    assert control(guest, chain[4], ADD, chain[0], IN) == ELOOP
    assert control(guest, chain[4], ADD, counter, IN, 9) == 0
    assert ready(guest, chain[0]) == []
    put(guest, counter, 1)
    assert ready(guest, chain[0]) == [(0, IN)]
    assert ready(guest, chain[0]) == []
    put(guest, counter, 1)
    assert ready(guest, chain[0]) == [(0, IN)]
    assert ready(guest, chain[4]) == [(9, IN)]


def test_many_ways_cost_as_little_as_one(guest: Guest) -> None:
    """Four layers, in each of which the next is fifty times: nobody walks six million ways."""
    guest.process.files.limit = 1024
    layers = [guest.call("epoll_create1", 0) for _ in range(5)]
    for above, below in pairwise(layers):
        for _ in range(50):
            assert control(guest, above, ADD, guest.call("dup", below), IN) == 0
    counter = guest.call("eventfd", 0)
    control(guest, layers[-1], ADD, counter, IN)
    assert ready(guest, layers[0]) == []
    put(guest, counter, 1)
    assert len(ready(guest, layers[0], 100)) == 50
    take(guest, counter)
    assert ready(guest, layers[0], 100) == []


def test_how_many_are_watched(guest: Guest) -> None:
    """All sets together have so many files; a set that is closed gives its own back."""
    counter = guest.call("eventfd", 0)
    guest.process.files.limit = 1024
    descriptors = [guest.call("dup", counter) for _ in range(1000)]
    results = []
    for _ in range(MOST_WATCHED // 1000 + 1):
        epoll = guest.call("epoll_create1", 0)
        results += [control(guest, epoll, ADD, fd, IN) for fd in descriptors]
    assert results.count(0) == MOST_WATCHED
    assert set(results[MOST_WATCHED:]) == {ENOSPC}
    guest.call("close", epoll)
    assert guest.machine.table.watched.left == MOST_WATCHED % 1000
    guest.machine.close()
    assert guest.machine.table.watched.left == MOST_WATCHED
    assert guest.machine.table.event_files.left == MOST_EVENT_FILES


def test_streams_of_bytes(guest: Guest) -> None:
    """A socket tells what came, that the other end is gone, and that it hangs up."""
    guest.call("socketpair", 1, 1, 0, BUFFER)
    one, other = guest.words("<II")
    epoll = guest.call("epoll_create1", 0)
    control(guest, epoll, ADD, one, IN | RDHUP | ET)
    guest.call("write", other, BUFFER, 5)
    assert ready(guest, epoll) == [(0, IN)]
    guest.call("shutdown", other, 1)
    assert ready(guest, epoll) == [(0, IN | RDHUP)]
    guest.call("close", other)
    assert ready(guest, epoll) == [(0, IN | RDHUP | HUP)]


def test_no_file_of_the_host(guest: Guest, tmp_path: Path) -> None:
    """Nothing of it is the host's."""
    before = len(list(Path("/proc/self/fd").iterdir())), descriptors_into(tmp_path)
    for made in (("eventfd", 0), ("epoll_create", 1), ("timerfd_create", 1, 0)):
        guest.call(*made)
    assert before == (len(list(Path("/proc/self/fd").iterdir())), descriptors_into(tmp_path))


# -- timers -----------------------------------------------------------------------------------


def test_timer(guest: Guest) -> None:
    """It runs out after its time, then at each interval, and is read as a count."""
    once, often = timer(guest, 40 * MS), timer(guest, 100 * MS, 100 * MS)
    assert take(guest, once) == take(guest, often) == EAGAIN
    sleep(guest, 350 * MS)
    assert (take(guest, once), take(guest, often)) == (1, 3)
    assert take(guest, once) == take(guest, often) == EAGAIN
    assert guest.call("timerfd_gettime64", often, BUFFER) == 0
    assert guest.words("<4q") == (0, 100 * MS, 0, 50 * MS)
    assert guest.call("timerfd_gettime", once, BUFFER) == 0
    assert guest.words("<4I") == (0, 0, 0, 0)


def test_timer_of_a_clock(guest: Guest) -> None:
    """A time of a clock that is over is told at once, with all intervals since."""
    sleep(guest, MS)
    assert take(guest, timer(guest, 1, flags=1)) == 1
    now = guest.process.now
    fd = timer(guest, now + 40 * MS, clock=0, flags=1)
    assert take(guest, fd) == EAGAIN
    sleep(guest, 40 * MS)
    assert take(guest, fd) == 1
    assert take(guest, timer(guest, now - 10 * SECOND, SECOND, clock=0, flags=1)) == 11


def test_errors_of_timers(guest: Guest) -> None:
    """Clocks, flags, times that are none, pointers."""
    assert [guest.call("timerfd_create", clock, 0) for clock in (2, 4, 11, -1)] == [EINVAL] * 4
    assert guest.call("timerfd_create", 8, 0) == guest.call("timerfd_create", 9, 0) == EPERM
    assert guest.call("timerfd_create", 1, 1) == EINVAL
    fd, words = guest.call("timerfd_create", 1, 0), guest.put(struct.pack("<4i", 0, 0, 0, SECOND))
    assert guest.call("timerfd_settime", fd, 0, words, 0) == EINVAL
    words = guest.put(struct.pack("<4i", 0, 0, 1, 0))
    assert [guest.call("timerfd_settime", fd, 4, words, 0)] == [EINVAL]
    assert guest.call("timerfd_settime", 1, 0, words, 0) == EINVAL
    assert guest.call("timerfd_settime", 99, 0, words, 0) == EBADF
    for call in ("timerfd_settime", "timerfd_settime64"):
        assert guest.call(call, fd, 0, BAD, 0) == EFAULT
        assert guest.call(call, fd, 0, guest.put(struct.pack("<4q", 0, 0, 1, 0)), BAD) == EFAULT
    assert guest.call("timerfd_gettime", fd, BAD) == EFAULT
    assert guest.call("timerfd_gettime64", fd, BAD) == EFAULT
    forever = timer(guest, (1 << 62) * SECOND, (1 << 62) * SECOND)
    assert guest.call("timerfd_gettime", forever, BUFFER) == 0


def test_waiting_lets_time_pass(guest: Guest) -> None:
    """Reading, poll and epoll_wait go on when a timer has run out, none with a timeout of it."""
    fd = timer(guest, 40 * MS)
    guest.call("fcntl", fd, 4, 0)
    begin = guest.process.elapsed
    assert take(guest, fd) == 1
    assert guest.process.elapsed - begin == 40 * MS
    epoll, inner = guest.call("epoll_create1", 0), guest.call("epoll_create1", 0)
    control(guest, epoll, ADD, inner, IN, 8)
    control(guest, inner, ADD, timer(guest, 30 * MS), IN, 9)
    begin = guest.process.elapsed
    assert ready(guest, epoll, timeout=10) == []
    assert guest.process.elapsed - begin == 10 * MS
    assert ready(guest, epoll, timeout=-1) == [(8, IN)]
    assert guest.process.elapsed - begin == 30 * MS
    fd = timer(guest, 20 * MS)
    assert guest.call("poll", guest.put(struct.pack("<iHH", fd, IN, 0)), 1, -1) == 1


@pytest.mark.parametrize("events", [0, OUT])
def test_a_timer_that_nobody_wants_is_no_hope(guest: Guest, events: int) -> None:
    """Who waits for something else of it waits for ever, and is told so."""
    epoll = guest.call("epoll_create1", 0)
    control(guest, epoll, ADD, timer(guest, MS, MS), events)
    guest.call("epoll_wait", epoll, BUFFER, 1, -1)
    assert guest.outcome is not None
    assert "waits for ever" in guest.outcome.message


def test_timers_and_others_in_the_order_of_time(guest: Guest) -> None:
    """However late anybody asks."""
    epoll, late, early = (
        guest.call("epoll_create1", 0),
        timer(guest, 80 * MS),
        timer(guest, 40 * MS),
    )
    counter = guest.call("eventfd", 0)
    for fd in (late, counter, early):
        control(guest, epoll, ADD, fd, IN, fd)
    sleep(guest, 60 * MS)
    put(guest, counter, 1)
    sleep(guest, 60 * MS)
    assert [data for data, _ in ready(guest, epoll)] == [early, counter, late]


def test_a_terminal_is_asked(tmp_path: Path) -> None:
    """Nobody tells of a terminal; it is waited for together with others."""
    master, slave = os.openpty()
    with os.fdopen(master, "wb", 0) as keys, os.fdopen(slave, "rb", 0) as terminal:
        guest = Guest(tmp_path)
        guest.process.files.put(0, Stream(terminal, 0, 0))
        epoll, counter = guest.call("epoll_create1", 0), guest.call("eventfd", 0)
        assert control(guest, epoll, ADD, 0, IN, 5) == 0
        assert control(guest, epoll, ADD, counter, IN, 6) == 0
        assert ready(guest, epoll, timeout=1) == []
        keys.write(b"line\n")
        assert ready(guest, epoll, timeout=-1) == [(5, IN)]
        put(guest, counter, 1)
        assert ready(guest, epoll) == [(5, IN), (6, IN)]
        assert guest.call("read", 0, BUFFER, 100) == 5
        assert ready(guest, epoll) == [(6, IN)]


OPENED = """
    mov eax, 323            # eventfd(0)
    mov ebx, 0
    int 0x80
opened:
    mov ebx, eax
    mov eax, 6              # close
    int 0x80
closed:
    mov eax, 1
    mov ebx, 3
    int 0x80
"""


def test_snapshots_are_of_guests_without_them() -> None:
    """An error says so; when they are closed, a snapshot can be taken."""
    guest = emu.source(OPENED, engine="python")
    guest.run(until="opened")
    with pytest.raises(emu.ScriptError, match="epolls open"):
        guest.snapshot()
    guest.run(until="closed")
    snapshot = guest.snapshot()
    for _ in range(2):
        assert guest.run().code == 3
        guest.restore(snapshot)


# -- all of it at random ----------------------------------------------------------------------

FILES = (
    ("eventfd2", 1, NONBLOCK), ("epoll_create1", 0), ("timerfd_create", 1, NONBLOCK),
    ("pipe2", BUFFER + 0x400, NONBLOCK), ("socketpair", 1, 1 | NONBLOCK, 0, BUFFER + 0x400),
    ("socketpair", 1, 2 | NONBLOCK, 0, BUFFER + 0x400), ("fork",),
)  # fmt: skip


def step(guest: Guest, rng: random.Random) -> None:
    """Do something with one or two of the files there are."""
    one, other, some = rng.randrange(3, 24), rng.randrange(3, 24), rng.choice((0, 1, 5, 4096))
    events = rng.choice((0, IN, OUT, IN | OUT, IN | RDHUP)) | rng.choice((0, 0, ET, ONESHOT))
    kind = rng.randrange(11)
    if kind < 3:
        control(guest, one, rng.choice((ADD, ADD, MOD, DEL)), other, events, other)
    elif kind == 3:
        guest.call(*rng.choice(FILES))
    elif kind == 4:
        guest.call(*rng.choice((("close", one), ("dup", one), ("dup2", one, other))))
    elif kind == 5:
        put(guest, one, some)
    elif kind == 6:
        guest.call(rng.choice(("read", "write")), one, BUFFER, rng.choice((8, some)))
    elif kind == 7:
        spec = struct.pack("<4I", 0, rng.choice((0, 1, MS)), 0, rng.choice((0, 1, MS, 50 * MS)))
        guest.call("timerfd_settime", one, rng.randrange(2), guest.put(spec), 0)
    elif kind == 8:
        guest.call("poll", guest.put(struct.pack("<iHH", one, events & 0xFFFF, 0)), 1, some)
    else:
        guest.call("epoll_wait", one, BUFFER, 1 + some, rng.choice((0, 0, 1, 20, -1)))


@pytest.mark.parametrize("seed", range(8))
def test_anything_ends(tmp_path: Path, seed: int) -> None:
    """Whatever is watched, changed and waited for: each call ends, or the guest does; the same
    happens the next time, and nothing is left."""
    ends = []
    for _ in range(2):
        rng, log = random.Random(seed), []
        for _ in range(6):
            namespace = Namespace(processes=4)
            guest = Guest(tmp_path, net=True, namespace=namespace)
            while guest.outcome is None and len(log) % 500 != 499:
                step(guest, rng)
                stored = guest.get(24) if guest.outcome is None else b""
                log.append((guest.state["eax"], guest.process.elapsed, stored))
            log.append(guest.outcome)
            guest.machine.close()
            table = guest.machine.table
            assert table.watched.left == MOST_WATCHED
            assert table.event_files.left == MOST_EVENT_FILES
        ends.append(log)
    assert ends[0] == ends[1]
    assert len(ends[0]) > 500


# -- programs ---------------------------------------------------------------------------------


@pytest.mark.heavy
def test_event_loops_as_on_the_host(tmp_path: Path) -> None:
    """Every call and error, edges, orders, signals and a server, as the host's Linux has them."""
    check("events", tmp_path, net=True)
