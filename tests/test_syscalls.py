"""System calls as a program makes them: results, layouts in memory, errors, signals, time."""

from __future__ import annotations

import importlib
import os
import pkgutil
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process_guest import BASE, Guest

from emu.exit import Exit
from emu.memory import READ, WRITE
from emu.process import syscalls, x87_state
from emu.process.descriptors import GDT_BASE, UserDesc
from emu.process.signals import Signal
from emu.process.syscalls import MODULES, NAMES, CallEvent, registry, row_of
from isa.fault import Fault

BAD = 0x10  # nothing is mapped there
O_RDWR, O_CREAT, O_APPEND, O_NONBLOCK, O_CLOEXEC = 2, 0o100, 0o2000, 0o4000, 0o2000000
BUFFER = Guest.BUFFER


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    (tmp_path / "file").write_bytes(b"0123456789")
    return Guest(tmp_path, writable=True, stdin=b"typed in")


# -- reading and writing --------------------------------------------------------------------


def test_standard_streams(guest: Guest) -> None:
    """write and writev reach the given streams; read takes from the given input."""
    assert guest.call("write", 1, guest.put(b"hello"), 5) == 5
    vector = struct.pack("<4I", guest.put(b"ab", 64), 2, guest.put(b"cde", 80), 3)
    assert guest.call("writev", 2, guest.put(vector, 128), 2) == 5
    assert (guest.stdout.getvalue(), guest.stderr.getvalue()) == (b"hello", b"abcde")
    assert guest.call("read", 0, BUFFER, 5) == 5
    assert guest.get(5) == b"typed"
    assert guest.call("read", 0, BUFFER, 100) == 3
    assert guest.call("read", 0, BUFFER, 100) == 0


def test_files_have_positions(guest: Guest) -> None:
    """Reads, writes, seeks, and duplicates that share the position."""
    fd = guest.call("open", b"file", O_RDWR, 0)
    assert guest.call("read", fd, BUFFER, 4) == 4
    assert guest.call("lseek", fd, 0, 1) == 4
    copy = guest.call("dup", fd)
    assert guest.call("write", copy, guest.put(b"AB"), 2) == 2
    assert guest.call("lseek", fd, 0, 1) == 6
    assert guest.call("pread64", fd, BUFFER, 100, 2, 0) == 8
    assert guest.get(8) == b"23AB6789"
    assert guest.call("_llseek", fd, 0xFFFFFFFF, 0xFFFFFFFE, BUFFER, 2) == 0
    assert guest.words("<q") == (8,)
    assert guest.call("lseek", fd, -1, 0) == -22
    assert guest.call("lseek", 1, 0, 1) == -29


def test_append_and_truncate(guest: Guest, tmp_path: Path) -> None:
    """O_APPEND writes at the end; ftruncate64 cuts."""
    fd = guest.call("open", b"file", O_RDWR | O_APPEND, 0)
    guest.call("write", fd, guest.put(b"end"), 3)
    assert (tmp_path / "file").read_bytes() == b"0123456789end"
    assert guest.call("ftruncate64", fd, 3, 0) == 0
    assert (tmp_path / "file").read_bytes() == b"012"
    assert guest.call("ftruncate64", fd, 0, 0x80000000) == -22


def test_umask_and_creation(guest: Guest, tmp_path: Path) -> None:
    """New files have the mode asked for, less the mask."""
    assert guest.call("umask", 0o027) == 0o022
    assert guest.call("open", b"new", O_RDWR | O_CREAT, 0o666) == 3
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    assert guest.call("open", b"new", O_RDWR | O_CREAT | 0o200, 0o666) == -17


def test_huge_sizes_are_cut_and_not_allocated(guest: Guest) -> None:
    """A read of 2 GiB fills what memory there is, in pieces."""
    fd = guest.call("open", b"/dev/zero", 0, 0)
    assert guest.call("read", fd, BUFFER, 0x7FFFFFFF) == 0x8000
    assert guest.call("read", fd, BAD, 0x7FFFFFFF) == -14
    assert guest.call("write", 1, BASE, 0xFFFFFFFF) == 0x9000
    assert guest.call("getrandom", BUFFER, 0xFFFFFFFF, 0) == -14
    assert guest.call("writev", 1, BUFFER, 0x7FFFFFFF) == -22


def test_sendfile(guest: Guest) -> None:
    """Copies from an offset and moves that, not the position."""
    fd = guest.call("open", b"file", 0, 0)
    assert guest.call("sendfile", 1, fd, guest.put(struct.pack("<i", 7)), 100) == 3
    assert guest.stdout.getvalue() == b"789"
    assert guest.words("<i") == (10,)


def test_pipes(guest: Guest) -> None:
    """A bounded buffer; end of file without writers; SIGPIPE without readers."""
    assert guest.call("pipe2", BUFFER, O_NONBLOCK) == 0
    read, write = guest.words("<II")
    assert guest.call("read", read, BUFFER, 10) == -11
    sent = 0
    while (count := guest.call("write", write, BUFFER, 0x3000)) > 0:
        sent += count
    assert (sent, count) == (65536, -11)
    assert guest.call("ioctl", read, 0x541B, BUFFER) == 0
    assert guest.words("<I") == (65536,)
    guest.call("close", write)
    while guest.call("read", read, BUFFER, 0x8000) > 0:
        pass
    assert guest.call("read", read, BUFFER, 10) == 0


def test_a_broken_pipe_ends_the_process(guest: Guest) -> None:
    """SIGPIPE by default; EPIPE where it is ignored."""
    guest.call("pipe", BUFFER)
    read, write = guest.words("<II")
    guest.call("close", read)
    guest.call("signal", Signal.SIGPIPE, 1)
    assert guest.call("write", write, BUFFER, 1) == -32
    guest.call("signal", Signal.SIGPIPE, 0)
    guest.call("write", write, BUFFER, 1)
    assert guest.outcome is not None
    assert (guest.outcome.kind, guest.outcome.exit_code) == ("signal", 141)


def test_waiting_for_ever_is_told(guest: Guest) -> None:
    """A process alone that waits for itself would hang; it ends with a reason."""
    guest.call("pipe", BUFFER)
    guest.call("read", guest.words("<II")[0], BUFFER, 1)
    assert guest.outcome is not None
    assert guest.outcome.kind == "error"
    assert "waits for ever" in guest.outcome.message


def test_poll_and_select(guest: Guest) -> None:
    """Files are ready, empty pipes are not, and a timeout takes virtual time only."""
    guest.call("pipe", BUFFER)
    read, write = guest.words("<II")
    polled = struct.pack("<iHHiHHiHH", read, 1, 0, write, 4, 0, 99, 1, 0)
    assert guest.call("poll", guest.put(polled), 3, 1000) == 2
    assert guest.words("<iHHiHHiHH") == (read, 1, 0, write, 4, 4, 99, 1, 32)
    before = guest.process.elapsed
    assert guest.call("poll", guest.put(struct.pack("<iHH", read, 1, 0)), 1, 1500) == 0
    assert guest.process.elapsed - before == 1_500_000_000
    sets = guest.put(struct.pack("<II", 1 << read, 1 << write))
    assert guest.call("_newselect", write + 1, sets, sets + 4, 0, 0) == 1
    assert guest.words("<II") == (0, 1 << write)


# -- descriptors ----------------------------------------------------------------------------


def test_duplicates_and_flags(guest: Guest) -> None:
    """dup2, dup3, F_DUPFD, close-on-exec and status flags."""
    assert guest.call("dup2", 1, 10) == 10
    assert guest.call("dup3", 1, 11, O_CLOEXEC) == 11
    assert guest.call("fcntl64", 11, 1, 0) == 1
    assert guest.call("fcntl64", 1, 0, 10) == 12
    assert guest.call("dup3", 1, 1, 0) == -22
    assert guest.call("dup2", 1, 5000) == -9
    assert guest.call("close", 10) == 0
    assert guest.call("write", 12, guest.put(b"x"), 1) == 1
    assert guest.call("fcntl64", 1, 4, O_NONBLOCK) == 0
    assert guest.call("fcntl64", 1, 3, 0) & O_NONBLOCK
    assert guest.call("fcntl64", 1, 99, 0) == -22


def test_streams_are_no_terminals_here(guest: Guest) -> None:
    """TCGETS on what is no terminal is ENOTTY, and ls prints one name a line."""
    for request in (0x5401, 0x5413):
        assert guest.call("ioctl", 1, request, BUFFER) == -25


# -- layouts --------------------------------------------------------------------------------


def test_stat_layouts_agree(guest: Guest, tmp_path: Path) -> None:
    """Mode, size and time of one file at the places where each generation keeps them."""
    file = tmp_path / "file"
    file.chmod(0o640)
    seconds = int(file.stat().st_mtime)
    assert guest.call("stat64", b"file", BUFFER) == 0
    s64 = guest.words("<Q6IQIqIQ6IQ")
    assert (s64[3], s64[9], s64[14], s64[18]) == (0o100640, 10, seconds, file.stat().st_ino)
    assert guest.call("stat", b"file", BUFFER) == 0
    s32 = guest.words("<2I4H12I")
    assert (s32[2], s32[7], s32[12]) == (0o100640, 10, seconds)
    assert guest.call("statx", -100, b"file", 0, 0x7FF, BUFFER) == 0
    mode, size = guest.words("<28xHxx8xQ")
    assert (mode, size) == (0o100640, 10)
    assert guest.words("<q", 112) == (seconds,)
    assert guest.call("oldstat", b"file", BUFFER) == 0
    assert guest.words("<4xH8xxxI")[0] == 0o100640
    fd = guest.call("open", b"file", 0, 0)
    assert guest.call("fstat64", fd, BUFFER) == 0
    assert guest.words("<Q6IQIqIQ6IQ") == s64
    assert guest.call("fstatat64", fd, b"", BUFFER, 0x1000) == 0


def test_directory_listings(guest: Guest, tmp_path: Path) -> None:
    """Names come in order, in both layouts, and continue where the buffer ended."""
    for name in ("b", "a", "long" * 10):
        (tmp_path / name).touch()
    fd = guest.call("open", b"/", 0o200000, 0)
    names: list[bytes] = []
    while (size := guest.call("getdents64", fd, BUFFER, 64)) > 0:
        data = guest.get(size)
        while data:
            length = struct.unpack_from("<H", data, 16)[0]
            names.append(data[19:length].partition(b"\0")[0])
            data = data[length:]
    assert names == [b".", b"..", b"a", b"b", b"file", b"long" * 10]
    assert guest.call("lseek", fd, 0, 0) == 0
    assert guest.call("getdents", fd, BUFFER, 16) == 16
    assert guest.get(16)[10:12] == b".\0"
    assert guest.call("getdents", fd, BUFFER, 3) == -22
    assert guest.call("getdents64", 1, BUFFER, 100) == -20


def test_the_working_directory(guest: Guest, tmp_path: Path) -> None:
    """chdir moves what relative paths mean; getcwd tells."""
    guest.call("mkdir", b"dir", 0o755)
    assert guest.call("chdir", b"dir") == 0
    assert guest.call("getcwd", BUFFER, 100) == 5
    assert guest.get(5) == b"/dir\0"
    assert guest.call("getcwd", BUFFER, 4) == -34
    assert guest.call("open", b"../file", 0, 0) >= 3
    assert guest.call("rmdir", b"/dir") == 0
    assert guest.call("open", b"x", O_CREAT | O_RDWR, 0o644) == -2


def test_names_change(guest: Guest, tmp_path: Path) -> None:
    """rename, link, symlink, readlink, unlink, times."""
    assert guest.call("rename", b"file", b"moved") == 0
    assert guest.call("link", b"moved", b"hard") == 0
    assert guest.call("symlink", b"moved", b"soft") == 0
    assert guest.call("readlink", b"soft", BUFFER, 3) == 3
    assert guest.get(3) == b"mov"
    times = guest.put(struct.pack("<4i", 5, 0, 7, 0))
    assert guest.call("utimensat", -100, guest.put(b"moved\0", 64), times, 0) == 0
    assert (tmp_path / "hard").stat().st_mtime == 7
    assert guest.call("renameat2", -100, b"hard", -100, b"moved", 1) == -17
    assert guest.call("unlink", b"hard") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["moved", "soft"]


# -- memory ---------------------------------------------------------------------------------


def test_the_heap(guest: Guest) -> None:
    """brk grows, shrinks, zeroes, and says no by staying."""
    start = guest.call("brk", 0)
    assert guest.call("brk", start + 0x2345) == start + 0x2345
    assert guest.space.write(start + 0x2344, b"x") is None
    assert guest.call("brk", start) == start
    assert isinstance(guest.space.read(start, 1), Fault)
    assert guest.call("brk", start + 0x3000) == start + 0x3000
    assert guest.space.read(start + 0x2344, 1) == b"\0"
    for end in (start - 1, 0xBF000000, 0xFFFFFFFF):
        assert guest.call("brk", end) == start + 0x3000


def mmap(guest: Guest, address: int, size: int, prot: int = 3, flags: int = 0x22) -> int:
    return guest.call("mmap2", address, size, prot, flags, -1, 0) & 0xFFFFFFFF


def test_mappings(guest: Guest) -> None:
    """Top-down below the stack; fixed ones replace; unmapped ones fault."""
    one, two = mmap(guest, 0, 0x1000), mmap(guest, 0, 0x2000)
    assert (one, two) == (0xB7FFF000, 0xB7FFD000)
    assert guest.space.write(two, b"data") is None
    assert mmap(guest, two, 0x1000, 3, 0x32) == two
    assert guest.space.read(two, 4) == bytes(4)
    assert guest.call("munmap", two, 0x1000) == 0
    assert isinstance(guest.space.read(two, 1), Fault)
    assert guest.call("mprotect", one, 0x1000, 1) == 0
    assert isinstance(guest.space.translate(one, WRITE), Fault)
    assert isinstance(guest.space.translate(one, READ), int)
    assert guest.call("mprotect", 0x10000000, 0x1000, 1) == -12


def test_mappings_of_files(guest: Guest, tmp_path: Path) -> None:
    """Private copies from an offset, zeros after the end."""
    (tmp_path / "file").write_bytes(bytes(0x1000) + b"second page")
    fd = guest.call("open", b"file", O_RDWR, 0)
    where = guest.call("mmap2", 0, 0x1000, 3, 2, fd, 1) & 0xFFFFFFFF
    assert guest.space.read(where, 12) == b"second page\0"
    guest.space.write(where, b"private")
    assert (tmp_path / "file").read_bytes()[0x1000:] == b"second page"
    assert guest.call("mmap2", 0, 0x1000, 1, 1, fd, 0) & 0xFFFFF000 == where - 0x1000
    assert guest.call("mmap2", 0, 0x1000, 1, 2, 99, 0) == -9
    assert guest.call("mmap2", 0, 0x1000, 1, 2, 1, 0) == -19


def test_hostile_mappings(guest: Guest) -> None:
    """Sizes and places beyond user space are errors."""
    assert mmap(guest, 0, 0) == 0x100000000 - 22
    assert mmap(guest, 0, 0xFFFFFFFF) == 0x100000000 - 12
    assert mmap(guest, 0, 0x80000000) == 0x100000000 - 12
    assert mmap(guest, 0xC0000000, 0x1000, 3, 0x32) == 0x100000000 - 22
    assert mmap(guest, 0xBFFFF000, 0x2000, 3, 0x32) == 0x100000000 - 22
    assert mmap(guest, 0, 0x1000, 3, 0x32) == 0x100000000 - 1
    assert guest.call("munmap", 1, 0x1000) == -22
    assert guest.call("munmap", 0xB0000000, 0xFFFFF000) == -22


def test_mremap(guest: Guest) -> None:
    """Growing moves the contents, shrinking frees the end."""
    mmap(guest, 0, 0x1000)  # stands in the way of growing in place
    where = mmap(guest, 0, 0x2000)
    guest.space.write(where + 0x1000, b"keep")
    moved = guest.call("mremap", where, 0x2000, 0x9000, 1, 0) & 0xFFFFFFFF
    assert moved != where
    assert guest.space.read(moved + 0x1000, 4) == b"keep"
    assert isinstance(guest.space.read(where, 1), Fault)
    assert guest.call("mremap", moved, 0x9000, 0x1000, 0, 0) & 0xFFFFFFFF == moved
    assert isinstance(guest.space.read(moved + 0x1000, 1), Fault)
    assert guest.call("mremap", moved, 0x1000, 0x2000, 4, 0) == -22
    assert guest.call("mremap", 0x10000000, 0x1000, 0x2000, 1, 0) == -14


def test_madvise_dontneed_zeroes(guest: Guest) -> None:
    """Anonymous memory that is not needed comes back as zeros."""
    where = mmap(guest, 0, 0x1000)
    guest.space.write(where, b"data")
    assert guest.call("madvise", where, 0x1000, 4) == 0
    assert guest.space.read(where, 4) == bytes(4)


def test_thread_areas(guest: Guest) -> None:
    """The bytes in the table are Linux's for glibc's usual request; it can be read back."""
    flags = 0x51  # 32-bit, limit in pages, useable
    request = struct.pack("<iIII", -1, 0x08244380, 0xFFFFF, flags)
    assert guest.call("set_thread_area", guest.put(request)) == 0
    assert guest.words("<I") == (6,)
    assert guest.machine.system.load(GDT_BASE + 48, 8) == 0x08DFF3244380FFFF
    assert guest.call("get_thread_area", BUFFER) == 0
    assert guest.words("<4I") == (6, 0x08244380, 0xFFFFF, flags)
    for number in (5, 9, -2):
        assert guest.call("set_thread_area", guest.put(struct.pack("<iI", number, 0))) == -22
    for expected in (7, 8):
        guest.call("set_thread_area", guest.put(request))
        assert guest.words("<I") == (expected,)
    assert guest.call("set_thread_area", guest.put(request)) == -3
    code = struct.pack("<iIII", -1, 0, 0xFFFFF, 0x51 | 4)
    assert guest.call("set_thread_area", guest.put(code)) == -22
    assert guest.call("set_thread_area", BAD) == -14


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFF), st.integers(0, 127))
def test_descriptors_round_trip(base: int, limit: int, flags: int) -> None:
    """What is encoded decodes to itself, unless it asks for an empty entry."""
    desc = UserDesc(base, limit, flags)
    assert UserDesc.decode(desc.encode()) == desc or desc.empty


# -- time -----------------------------------------------------------------------------------


def test_time_is_the_instruction_count(guest: Guest) -> None:
    """100 million instructions are a second, from a fixed epoch."""
    assert guest.call("time", 0) == 1_704_067_200
    guest.state.count = 150_000_000
    assert guest.call("clock_gettime", 1, BUFFER) == 0
    assert guest.words("<II") == (1, 500_000_000)
    assert guest.call("clock_gettime64", 0, BUFFER) == 0
    assert guest.words("<qq") == (1_704_067_201, 500_000_000)
    assert guest.call("gettimeofday", BUFFER, 0) == 0
    assert guest.words("<II") == (1_704_067_201, 500_000)
    assert guest.call("clock_gettime", 99, BUFFER) == -22


def test_sleeping_moves_the_clock_and_not_the_processor(guest: Guest) -> None:
    """nanosleep passes virtual time only."""
    assert guest.call("nanosleep", guest.put(struct.pack("<iI", 3600, 5)), 0) == 0
    assert guest.process.elapsed == 3600 * 10**9 + 5
    guest.call("clock_gettime", 2, BUFFER)
    assert guest.words("<II") == (0, 0)
    assert guest.call("nanosleep", guest.put(struct.pack("<iI", -1, 5)), 0) == -22


def test_an_alarm_interrupts_sleep(guest: Guest) -> None:
    """SIGALRM comes at its time and tells what is left."""
    guest.call("alarm", 2)
    assert guest.machine.next_event() == 200_000_000
    guest.call("nanosleep", guest.put(struct.pack("<iI", 5, 0)), BUFFER)
    assert guest.outcome is not None
    assert (guest.outcome.code, guest.process.elapsed) == (14, 2 * 10**9)
    assert guest.words("<iI") == (3, 0)


def test_written_files_have_virtual_times(guest: Guest, tmp_path: Path) -> None:
    """Neither the guest nor a later one sees when the host wrote; times set by hand stay."""
    guest.state.count = 10**9
    fd = guest.call("open", b"new", O_RDWR | O_CREAT, 0o644)
    guest.call("write", fd, BUFFER, 1)
    guest.call("fstat64", fd, BUFFER)
    assert guest.words("<Q6IQIqIQ6IQ")[14] == 1_704_067_210
    guest.call("write", fd, BUFFER, 1)
    guest.call("utimensat", fd, 0, guest.put(struct.pack("<4i", 5, 0, 7, 0)), 0)
    guest.call("close", fd)
    assert (tmp_path / "new").stat().st_mtime == 7
    guest.call("mkdir", b"made", 0o755)
    assert (tmp_path / "made").stat().st_mtime == 1_704_067_210


def times_of(guest: Guest, path: bytes) -> tuple[int, int]:
    """When a file was read and written, asked by its path: seconds."""
    guest.call("stat64", path, BUFFER)
    found = guest.words("<Q6IQIqIQ6IQ")
    return found[12], found[14]


def test_times_are_those_of_what_was_done(guest: Guest, tmp_path: Path) -> None:
    """A file that is open has the time of its last write, whoever asks and when; directories that
    of their names; reading leaves no trace."""
    guest.call("mkdir", b"made", 0o755)
    os.utime(tmp_path / "file", (1_000, 2_000))
    clock = guest.process.clock
    first = guest.call("open", b"made/new", O_RDWR | O_CREAT, 0o644)
    clock.skip(10**10)
    guest.call("write", first, BUFFER, 1)
    clock.skip(10**10)
    start = 1_704_067_200
    assert times_of(guest, b"made/new") == (start, start + 10)
    assert times_of(guest, b"made") == (start, start)
    guest.call("write", first, BUFFER, 1)
    second = guest.call("open", b"made/new", O_RDWR)
    clock.skip(10**10)
    guest.call("fstat64", second, BUFFER)
    assert guest.words("<Q6IQIqIQ6IQ")[14] == start + 20
    guest.call("unlink", b"made/new")
    assert times_of(guest, b"made") == (start, start + 30)
    guest.call("read", guest.call("open", b"file", 0), BUFFER, 10)
    assert times_of(guest, b"file") == (1_000, 2_000)


def test_two_runs_see_the_same(tmp_path: Path) -> None:
    """Entropy and time depend on the seed and the count alone."""

    def run(seed: int) -> bytes:
        guest = Guest(seed=seed)
        guest.call("getrandom", BUFFER, 32, 0)
        guest.call("gettimeofday", BUFFER + 32, 0)
        return guest.get(40)

    assert run(1) == run(1) != run(2)


# -- identity -------------------------------------------------------------------------------


def test_identity(guest: Guest) -> None:
    """Fixed numbers, whoever runs the emulator."""
    names = ("getpid", "gettid", "getpgrp", "getuid32", "geteuid", "getgid32", "getegid")
    assert [guest.call(n) for n in names] == [1000] * 7
    assert guest.call("getppid") == 1
    guest.call("uname", BUFFER)
    assert guest.get(390)[65 * 4 : 65 * 4 + 5] == b"i686\0"
    assert guest.call("ugetrlimit", 3, BUFFER) == 0
    assert guest.words("<II") == (8 << 20, 0xFFFFFFFF)
    assert guest.call("prctl", 15, b"name", 0, 0, 0) == 0


def test_sysinfo(guest: Guest) -> None:
    """Uptime, memory in bytes, and how many processes there are."""
    guest.state.count = 3 * 10**8
    assert guest.call("sysinfo", BUFFER) == 0
    words = guest.words("<i9I2H3I")
    assert (words[0], words[4], words[10], words[14]) == (3, 256 << 20, 1, 1)
    assert 0 < words[5] < words[4]


def test_unknown_calls_are_recorded(guest: Guest) -> None:
    """ENOSYS to the guest, a note for the front end."""
    assert guest.call("bpf", 0, 0, 0) == -38
    assert guest.call(0xFFFFFFFF) == -38
    assert guest.machine.unknown_calls == {"bpf": 1, "call_4294967295": 1}


def test_every_call_is_traced(tmp_path: Path) -> None:
    """The callback gets names, decoded arguments and results."""
    seen: list[CallEvent] = []
    guest = Guest(tmp_path, on_call=seen.append)
    guest.call("open", b"nothing here", 0, 0)
    guest.call("exit_group", 3)
    assert str(seen[0]) == 'open("nothing here", 0x0, 0o0) = -1 ENOENT'
    assert str(seen[1]) == "exit_group(3) = ?"
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 3


# -- faults and signals ---------------------------------------------------------------------


def fault(guest: Guest, vector: int, code: int | None = None, address: int | None = None) -> None:
    guest.outcome = guest.machine.handle(guest.state, Exit("fault", Fault(vector, code, address)))


FAULTS = [
    (0, "SIGFPE", "divide error"),
    (3, "SIGTRAP", "breakpoint"),
    (6, "SIGILL", "invalid instruction"),
    (13, "SIGSEGV", "general protection"),
    (17, "SIGBUS", "misaligned"),
]


@pytest.mark.parametrize(("vector", "name", "words"), FAULTS)
def test_faults_become_signals(guest: Guest, vector: int, name: str, words: str) -> None:
    """Linux's signal for each vector, told with address and cause."""
    fault(guest, vector, 0)
    assert guest.outcome is not None
    assert guest.outcome.kind == "signal"
    assert guest.outcome.code == Signal[name]
    assert name in guest.outcome.message
    assert words in guest.outcome.message


def test_page_faults_tell_why(guest: Guest) -> None:
    """Null pointers, protection, holes and stack overflows have names."""
    places = {
        0x10: "null pointer",
        BASE: "protected",
        0x50000000: "nothing is mapped",
    }
    for address, words in places.items():
        one = Guest()
        fault(one, 14, 6, address)
        assert one.outcome is not None
        assert words in one.outcome.message
    guest.state["esp"] = 0xC0000000 - (8 << 20) - 64
    fault(guest, 14, 6, guest.state["esp"] - 4)
    assert guest.outcome is not None
    assert "stack overflow" in guest.outcome.message


def test_other_interrupts_are_protection_faults(guest: Guest) -> None:
    """INT 0x21 is not for users: SIGSEGV at the instruction."""
    guest.state["eip"] = 0x08048102
    guest.outcome = guest.machine.handle(guest.state, Exit("interrupt", values=(0x21,)))
    assert guest.outcome is not None
    assert guest.outcome.code == Signal.SIGSEGV
    assert guest.outcome.fault == Fault(13, 0x21 << 3 | 2)
    assert "0x08048100" in guest.outcome.message


def test_used_up_memory_is_told() -> None:
    """A guest that touches more than there is ends as by the OOM killer, with advice."""
    guest = Guest(memory=1 << 20)
    where = mmap(guest, 0, 1 << 20)
    for page in range(256):
        found = guest.space.translate(where + page * 4096, WRITE)
        if isinstance(found, Fault):
            guest.outcome = guest.machine.handle(guest.state, Exit("fault", found))
            break
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 137
    assert "give it more" in guest.outcome.message


def test_an_engine_that_cannot_go_on(guest: Guest) -> None:
    """An unimplemented instruction is an error with a documented code, not a signal."""
    outcome = guest.machine.handle(guest.state, Exit("unimplemented"))
    assert outcome is not None
    assert (outcome.kind, outcome.exit_code) == ("error", 70)


HANDLER, RESTORER = 0x08048200, 0x08048300


def install(guest: Guest, number: int, flags: int, mask: int = 0) -> None:
    action = struct.pack("<IIIQ", HANDLER, flags, RESTORER, mask)
    assert guest.call("rt_sigaction", number, guest.put(action), 0, 8) == 0


def registers(guest: Guest) -> dict[str, int]:
    return dict(guest.state)


@pytest.mark.parametrize("flags", [0x04000000, 0x04000004, 0, 4], ids=lambda f: f"{f:#x}")
def test_handlers_and_the_way_back(guest: Guest, flags: int) -> None:
    """The frame is what a handler expects, and sigreturn restores every register and the mask."""
    install(guest, Signal.SIGSEGV, flags, mask=0x2)
    for i, name in enumerate(("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi")):
        guest.state[name] = 0x1111 * (i + 1)
    guest.state["eflags"] = 0x646  # DF, IF, ZF, PF
    unit = struct.pack("<7I", 0xFFFF0C7F, 0xFFFF2800, 0xFFFF57FF, 1, 2, 3, 0xFFFF0004) + bytes(80)
    x87_state.put(guest.state, unit)
    before = registers(guest)
    fault(guest, 14, 6, 0x50000000)
    assert guest.outcome is None
    stack = guest.state["esp"]
    assert (stack + 4) % 16 == 0
    assert guest.state["eip"] == HANDLER
    assert guest.state["eflags"] & 0x400 == 0
    assert x87_state.pack(guest.state) == x87_state.INITIAL
    back, number = struct.unpack("<II", guest.space.read(stack, 8))  # type: ignore[arg-type]
    assert number == Signal.SIGSEGV
    assert guest.process.signals.blocked == 1 << 10 | 2
    if flags & 0x04000000:
        assert back == RESTORER
    else:
        code = guest.space.read(back, 8)
        assert code in (bytes.fromhex("58b877000000cd80"), bytes.fromhex("b8ad000000cd8000"))
    if flags & 4:
        info, context = struct.unpack("<II", guest.space.read(stack + 8, 8))  # type: ignore[arg-type]
        fields = struct.unpack("<3iI", guest.space.read(info, 16))  # type: ignore[arg-type]
        assert fields == (11, 0, 1, 0x50000000)
    at = context + 20 if flags & 4 else stack + 8
    pointer, unit_at = (guest.process.unpack("<I", at + offset)[0] for offset in (56, 76))
    assert pointer == before["eip"]
    assert unit_at % 64 == 0
    assert guest.space.read(unit_at, 112) == unit + struct.pack("<2H", 0x2800, 0xFFFF)
    guest.state["esp"] = stack + (4 if flags & 4 else 8)
    for name in ("ecx", "edx", "ebx", "ebp", "esi", "edi"):
        guest.state[name] = 0
    guest.call("rt_sigreturn" if flags & 4 else "sigreturn")
    assert registers(guest) == before
    assert guest.process.signals.blocked == 0


@pytest.mark.parametrize("rt", [True, False])
def test_what_a_handler_does_to_the_saved_unit(guest: Guest, rt: bool) -> None:
    """It comes back with what is in the frame; without a pointer initial; from nowhere not at all,
    which ends the process."""
    offset = 16 + 128 + 20 + 76 if rt else 8 + 76  # of fpstate
    install(guest, Signal.SIGSEGV, 4 if rt else 0)
    for change in ("values", "none", "nowhere"):
        x87_state.put(guest.state, x87_state.INITIAL)
        fault(guest, 14, 6, 0x50000000)
        stack = guest.state["esp"]
        (unit_at,) = guest.process.unpack("<I", stack + offset)
        if change == "values":
            guest.process.pack("<3I", unit_at, 0x0F7F, 0x1800, 0xFFFE)
            guest.process.pack("<QH", unit_at + 28, 0xA << 60, 0xC002)
        else:
            guest.process.pack("<I", stack + offset, 0 if change == "none" else 8)
        guest.state["fcw"], guest.state["st_top"] = 0x40, 5
        guest.state["esp"] = stack + (4 if rt else 8)
        guest.call("rt_sigreturn" if rt else "sigreturn")
        found = [guest.state[name] for name in ("fcw", "st_top", "st_full", "st0_exponent")]
        changed = [0xF7F, 3, 1 << 5, 0xC002]  # the register of number 0, while ST(0) has 3
        assert found == (changed if change == "values" else [0x37F, 0, 0, 0])
    assert guest.state["eip"] == HANDLER, "as SIGSEGV has one"


def test_codes_of_x87_errors(guest: Guest) -> None:
    """The first unmasked one that Linux looks for."""
    install(guest, Signal.SIGFPE, 4 | 0x40000000)
    codes = ((0x21, 0, 7), (0x21, 1, 6), (4, 0, 3), (8, 0, 4), (2, 0, 5), (16, 0, 5))
    for flags, masks, code in codes:
        guest.state["fpu_flags"], guest.state["fcw"] = flags, 0x340 | masks
        fault(guest, 16)
        (info,) = guest.process.unpack("<I", guest.state["esp"] + 8)
        assert guest.process.unpack("<3i", info) == (8, 0, code)


def test_a_handler_on_the_alternate_stack(guest: Guest) -> None:
    """A stack overflow can be caught on another stack."""
    stack = mmap(guest, 0, 0x4000)
    assert guest.call("sigaltstack", guest.put(struct.pack("<3I", stack, 0, 0x4000)), 0) == 0
    install(guest, Signal.SIGSEGV, 0x0C000004)
    guest.state["esp"] = 0xC0000000 - (9 << 20)
    fault(guest, 14, 6, guest.state["esp"] - 4)
    assert guest.outcome is None
    assert stack < guest.state["esp"] < stack + 0x4000
    assert guest.call("sigaltstack", 0, BUFFER) == 0
    assert guest.words("<3I") == (stack, 1, 0x4000)
    assert guest.call("sigaltstack", guest.put(struct.pack("<3I", 0, 2, 0)), 0) == -1


def test_a_handler_without_a_stack_ends_the_process(guest: Guest) -> None:
    """A frame that cannot be written is SIGSEGV, not a loop."""
    install(guest, Signal.SIGSEGV, 0)
    guest.state["esp"] = 0x100
    fault(guest, 14, 6, 0xFC)
    assert guest.outcome is not None
    assert guest.outcome.code == Signal.SIGSEGV


def test_a_fault_that_is_blocked_or_ignored_ends_the_process(guest: Guest) -> None:
    """Ignoring SIGSEGV does not help."""
    guest.call("signal", Signal.SIGSEGV, 1)
    fault(guest, 14, 4, 0)
    assert guest.outcome is not None


def test_blocked_signals_wait(guest: Guest) -> None:
    """A blocked signal is pending until it is unblocked."""
    mask = guest.put(struct.pack("<Q", 1 << 9))
    assert guest.call("rt_sigprocmask", 0, mask, 0, 8) == 0
    assert guest.call("kill", 1000, Signal.SIGUSR1) == 0
    assert guest.outcome is None
    assert guest.call("rt_sigpending", BUFFER + 64, 8) == 0
    assert guest.words("<Q", 64) == (1 << 9,)
    guest.call("rt_sigprocmask", 1, mask, 0, 8)
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 128 + 10


def test_sending_signals(guest: Guest) -> None:
    """Default actions, ignored signals, and processes that are not there."""
    assert guest.call("kill", 1000, Signal.SIGCHLD) == 0
    assert guest.outcome is None
    assert guest.call("kill", 1000, 0) == 0
    assert guest.call("kill", 1, Signal.SIGTERM) == -3
    assert guest.call("kill", 1000, 65) == -22
    assert guest.call("rt_sigaction", Signal.SIGKILL, BUFFER, 0, 8) == -22
    guest.call("tgkill", 1000, 1000, Signal.SIGABRT)
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 134


def test_sigreturn_from_nowhere(guest: Guest) -> None:
    """A frame that is not there ends the process; one that is forged gives no privilege."""
    guest.state["esp"] = BUFFER + 0x1000
    guest.space.write(BUFFER + 0x1000 - 4, b"\xff" * 600)
    guest.call("rt_sigreturn")
    assert guest.state["cs"] & 3 == 3
    assert guest.state["eflags"] & 0x3000 == 0
    other = Guest()
    other.state["esp"] = 0
    other.call("rt_sigreturn")
    assert other.outcome is not None
    assert other.outcome.code == Signal.SIGSEGV


# -- hostile arguments ----------------------------------------------------------------------


def test_bad_pointers_are_efault(guest: Guest) -> None:
    """Every structure that a call stores or reads may be nowhere."""
    calls = {
        "read": (0, BAD, 1),
        "write": (1, BAD, 1),
        "open": (BAD, 0, 0),
        "stat64": (BAD, BUFFER),
        "fstat64": (1, BAD),
        "uname": (BAD,),
        "pipe": (BAD,),
        "gettimeofday": (BAD, 0),
        "nanosleep": (BAD, 0),
        "rt_sigaction": (2, BAD, 0, 8),
        "sigaltstack": (BAD, 0),
        "ugetrlimit": (3, BAD),
        "getcwd": (BAD, 100),
        "sysinfo": (BAD,),
        "poll": (BAD, 1, 0),
        "writev": (1, BAD, 1),
        "set_thread_area": (BAD,),
        "mmap": (BAD,),
        "getrandom": (BAD, 4, 0),
        "times": (BAD,),
        "futex": (BAD, 1, 1, 0),
    }
    assert {name: guest.call(name, *a) for name, a in calls.items()} == dict.fromkeys(calls, -14)
    assert guest.call("close", 3) == -9  # the pipe's ends were closed again


def test_calls_are_where_they_are_looked_for() -> None:
    """A file is imported when one of its calls is made: each of them must be named."""
    for found in pkgutil.iter_modules(syscalls.__path__):
        importlib.import_module(f"{syscalls.__name__}.{found.name}")
    assert registry._calls.keys() == MODULES.keys()
    named = " ".join(syscalls.PLACES.values()).split()
    assert sorted(row.name for row in registry._calls.values()) == sorted(named)


def test_every_call_has_a_name_and_a_contract() -> None:
    """Rows are complete: the kernel's name, a documented handler, six arguments at most."""
    for number in MODULES:
        row = row_of(number)
        assert row is not None
        assert NAMES[number] == row.name
        assert row.handler.__doc__
        assert len(row.kinds) <= 6


NUMBER = st.one_of(
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from([0, 1, 2, 3, 4, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF9C]),
    st.sampled_from([BUFFER, BUFFER + 0x7FFE, BASE, 0xBFFFFF00, 0xC0000000, 0xFFFFFFFC]),
)
RANDOM_CALL = st.tuples(st.sampled_from(sorted(MODULES)), st.lists(NUMBER, min_size=6, max_size=6))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(RANDOM_CALL, min_size=5, max_size=25), st.binary(min_size=64, max_size=256))
def test_random_calls_never_hurt_the_host(
    tmp_path: Path, calls: list[tuple[int, list[int]]], data: bytes
) -> None:
    """Any call with any arguments ends in a result or an outcome, and nothing else."""
    guest = Guest(tmp_path, writable=False, memory=4 << 20)
    guest.put(data)
    guest.put(b"/dev/zero\0", 0x1000)
    install(guest, Signal.SIGSEGV, int.from_bytes(data[:4], "little"))
    for number, arguments in calls:
        guest.call(number, *arguments)
        if guest.outcome is None and arguments[0] % 4 == 0:
            guest.state["esp"], guest.state["eip"] = arguments[1], arguments[2]
            fault(guest, arguments[3] % 20, arguments[4] & 7, arguments[5])
        if guest.outcome is not None:
            break
    guest.machine.close()
