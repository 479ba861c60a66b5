"""Several processes: birth, waiting, pipes and signals between them, other programs, who runs."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from machines import NO_CACHE
from process_guest import BASE, EHDR, PHDR, Guest, tiny_elf, tiny_elf_with_linker

from emu.engines import Engine
from emu.engines.native.engine import Native
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.guests import process_state
from emu.process import scheduler
from emu.process.machine import ProcessMachine
from emu.process.namespace import MOST_PROCESSES
from emu.process.signals import Signal
from emu.process.syscalls import CallEvent
from isa.fault import Fault

BUFFER = Guest.BUFFER
CODE = BASE + EHDR.size + 2 * PHDR.size
BAD = 0x10  # nothing is mapped there
O_NONBLOCK, O_CLOEXEC = 0o4000, 0o2000000
WNOHANG, WUNTRACED, WCONTINUED = 1, 2, 8
SIGCHLD = int(Signal.SIGCHLD)


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path, writable=True)


def program(root: Path, name: str, content: bytes | None = None, mode: int = 0o755) -> Path:
    """A file below the root, by default a program."""
    path = root / name
    path.write_bytes(tiny_elf() if content is None else content)
    path.chmod(mode)
    return path


def into_child(guest: Guest, call: str = "fork") -> int:
    """Fork and have the parent wait, so that the child is the current process."""
    child = guest.call(call)
    if call == "fork":
        assert guest.call("waitpid", child, BUFFER + 0x800, 0) == 0, "what fork says to the child"
    return guest.process.pid


# -- birth ----------------------------------------------------------------------------------


def test_a_child_is_a_copy(guest: Guest) -> None:
    """Memory is its own, descriptors share their positions; who it is, it can ask."""
    guest.put(b"before")
    fd = guest.call("open", b"file", 0o102, 0o644)
    guest.call("umask", 0o77)
    child = into_child(guest)
    assert guest.call("getpid") == child == 1001
    assert (guest.call("getppid"), guest.call("getpgrp"), guest.call("umask", 0)) == (1000,) * 2 + (
        0o77,
    )
    assert guest.get(6) == b"before"
    guest.put(b"after!")
    assert guest.call("write", fd, BUFFER, 6) == 6
    assert guest.call("exit", 3) == child, "the parent's waitpid"
    assert guest.get(6) == b"before"
    assert guest.words("<I", 0x800) == (3 << 8,)
    assert guest.call("lseek", fd, 0, 1) == 6
    assert guest.call("umask", 0) == 0o77


def test_vfork_lends_the_memory(guest: Guest) -> None:
    """The parent goes on when the child has ended, and sees what it wrote."""
    assert guest.call("vfork") == 0
    assert guest.process.pid == 1001
    guest.put(b"from the child")
    assert guest.call("exit", 0) == 1001
    assert guest.get(14) == b"from the child"
    assert guest.call("waitpid", -1, 0, 0) == 1001


def test_clone(guest: Guest) -> None:
    """In the forms of glibc's fork and posix_spawn."""
    at = BUFFER + 0x100
    assert guest.call("clone", 0x01300000 | SIGCHLD, 0, at, 0, at + 8) == 1001
    assert guest.words("<3I", 0x100) == (1001, 0, 0)
    assert guest.call("waitpid", -1, 0, 0) == 0
    assert guest.words("<3I", 0x100) == (0, 0, 1001), "its number is only in its own memory"
    guest.call("exit", 0)
    assert guest.call("clone", 0x4100 | SIGCHLD, BUFFER + 0x4000, 0, 0, 0) == 0
    assert guest.state["esp"] == BUFFER + 0x4000
    guest.call("exit", 0)
    for flags in (0x100 | SIGCHLD, 0x20000000):
        assert guest.call("clone", flags, 0, 0, 0, 0) == -38
    assert guest.call("clone", 255, 0, 0, 0, 0) == -22


def test_there_is_a_limit_on_processes(guest: Guest) -> None:
    """EAGAIN, for dead ones too that nobody has waited for; waiting makes room."""
    born = 1
    while guest.call("fork") > 0:
        born += 1
    assert born == MOST_PROCESSES
    assert guest.call("fork") == -11
    assert guest.call("kill", 1001, Signal.SIGKILL) == 0
    assert guest.call("waitpid", 1001, BUFFER, 0) == 0, "another child runs first"
    assert guest.call("fork") == -11


def test_a_limit_can_be_lowered(guest: Guest) -> None:
    """RLIMIT_NPROC."""
    assert guest.call("setrlimit", 6, guest.put(struct.pack("<2I", 2, 2))) == 0
    assert guest.call("fork") == 1001
    assert guest.call("fork") == -11
    assert guest.call("setrlimit", 6, guest.put(struct.pack("<2I", 9, 9))) == -1


def test_memory_is_the_limit_too() -> None:
    """ENOMEM where the copy would not fit; the parent has lost nothing."""
    guest = Guest(memory=1 << 20)
    size = 150 * 4096
    where = guest.call("mmap2", 0, size, 3, 0x22, -1, 0) & 0xFFFFFFFF
    assert guest.space.write(where, b"x" * size) is None
    free = guest.space.physical.free_frames
    assert guest.call("fork") == -12
    assert guest.space.physical.free_frames == free
    assert guest.call("munmap", where, size) == 0
    assert guest.call("fork") == 1001


def test_memory_comes_back(guest: Guest) -> None:
    """A thousand children, one after the other, leave no page behind."""
    into_child(guest)
    guest.call("exit", 0)
    free = guest.space.physical.free_frames
    for number in range(1000):
        assert into_child(guest) == 1002 + number
        guest.call("exit", 0)
    assert guest.space.physical.free_frames == free


def test_shared_memory_is_shared(guest: Guest) -> None:
    """MAP_SHARED without a file is one for parent and child, touched before or not."""
    where = guest.call("mmap2", 0, 0x2000, 3, 0x21, -1, 0) & 0xFFFFFFFF
    guest.space.write(where, b"parent")
    into_child(guest)
    assert guest.space.read(where, 6) == b"parent"
    guest.space.write(where + 0x1000, b"child")
    guest.call("exit", 0)
    assert guest.space.read(where + 0x1000, 5) == b"child"


def test_constants_are_shared_until_they_can_be_written(guest: Guest) -> None:
    """The text is one for both; making it writable, or a debugger's poke, takes a copy."""
    into_child(guest)
    text = guest.space.read(BASE, 16)
    frame = guest.space.frames[BASE >> 12]
    assert guest.space.physical.is_shared(frame)
    assert guest.call("mprotect", BASE, 0x1000, 7) == 0
    guest.space.write(BASE, b"changed")
    guest.space.poke(BASE + 8, b"poked")
    guest.call("exit", 0)
    assert guest.space.read(BASE, 16) == text
    assert guest.space.frames[BASE >> 12] == frame


# -- waiting --------------------------------------------------------------------------------


def test_waiting(guest: Guest) -> None:
    """For one, for any, for a group; without hanging; for nobody."""
    assert guest.call("wait4", -1, 0, 0, 0) == -10
    first, second = guest.call("fork"), guest.call("fork")
    assert guest.call("wait4", -1, BUFFER, WNOHANG, 0) == 0
    assert guest.call("waitpid", 5, 0, 0) == -10
    assert guest.call("wait4", -1, 0, 0x100, 0) == -22
    guest.call("waitpid", second, BUFFER, 0)
    assert guest.process.pid == first
    guest.call("exit", 1)
    assert guest.process.pid == second, "the first one ended, but that is not who is waited for"
    assert guest.call("exit", 2) == second
    assert guest.words("<I") == (2 << 8,)
    assert guest.call("wait4", 0, BUFFER, 0, BUFFER + 8) == first
    assert guest.call("wait4", -1, 0, WNOHANG, 0) == -10


def test_waitid(guest: Guest) -> None:
    """A siginfo for each; WNOWAIT leaves it."""
    into_child(guest)
    guest.call("kill", 1001, Signal.SIGTERM)
    assert guest.words("<I", 0x800) == (Signal.SIGTERM,)
    child = guest.call("fork")
    assert guest.call("waitid", 1, child, BUFFER, 5, 0) == 0
    assert guest.words("<6i") == (0,) * 6
    guest.call("kill", child, Signal.SIGKILL)
    for options in (0x1000004, 4):
        assert guest.call("waitid", 0, 0, BUFFER, options, 0) == 0
        assert guest.words("<6i") == (SIGCHLD, 0, 2, child, 1000, Signal.SIGKILL)
    assert guest.call("waitid", 0, 0, BUFFER, 4, 0) == -10
    assert guest.call("waitid", 0, 0, BUFFER, 1, 0) == -22
    assert guest.call("waitid", 7, 0, BUFFER, 4, 0) == -22


def test_nobody_waits_for_the_children_of_who_ignores_them(guest: Guest) -> None:
    """SIGCHLD ignored: they are gone at once, and the wait ends without any."""
    guest.call("signal", SIGCHLD, 1)
    into_child(guest)
    assert guest.call("exit", 0) == -10


def test_orphans(guest: Guest) -> None:
    """They are init's, go on when the first process has ended, and its outcome counts."""
    guest.call("fork")
    assert guest.call("exit", 5) == 0
    assert guest.outcome is None
    assert guest.call("getppid") == 1
    assert guest.call("write", 1, guest.put(b"late"), 4) == 4
    guest.call("exit", 6)
    assert guest.outcome is not None
    assert (guest.outcome.kind, guest.outcome.code) == ("exit", 5)
    assert guest.stdout.getvalue() == b"late"


def test_a_fault_ends_only_its_process(guest: Guest) -> None:
    """The parent learns of the signal."""
    child = into_child(guest)
    guest.outcome = guest.machine.handle(guest.state, Exit("fault", Fault(14, 6, BAD)))
    assert guest.outcome is None
    assert guest.process.pid == child - 1
    assert guest.words("<I", 0x800) == (Signal.SIGSEGV,)


def test_what_children_used(guest: Guest) -> None:
    """Time is the machine's, processor time each process's own."""
    into_child(guest)
    guest.state.count += 5_000_000
    guest.call("times", BUFFER)
    assert guest.words("<4I") == (5, 0, 0, 0)
    guest.call("exit", 0)
    guest.state.count += 2_000_000
    assert guest.call("times", BUFFER) == 7
    assert guest.words("<4I") == (2, 0, 5, 0)
    guest.call("getrusage", -1, BUFFER)
    assert guest.words("<2I") == (0, 50_000)


# -- pipes ----------------------------------------------------------------------------------


def test_a_reader_waits_for_the_writer(guest: Guest) -> None:
    """An empty pipe lets the other process run; its end is the end of the file."""
    guest.call("pipe", BUFFER)
    read, write = guest.words("<II")
    guest.call("fork")
    guest.call("close", write)
    assert guest.call("read", read, BUFFER, 100) == 0
    assert guest.process.pid == 1001
    guest.call("close", read)
    assert guest.call("write", write, guest.put(b"hello"), 5) == 5
    assert guest.call("exit", 0) == 5
    assert guest.get(5) == b"hello"
    assert guest.call("read", read, BUFFER, 100) == 0


@pytest.mark.parametrize("vectored", [False, True])
def test_a_writer_waits_until_all_is_written(guest: Guest, vectored: bool) -> None:
    """More than a pipe holds goes through in turns, each byte once and in order."""
    guest.call("pipe", BUFFER)
    read, write = guest.words("<II")
    size = 200_000
    where = guest.call("mmap2", 0, size, 3, 0x22, -1, 0) & 0xFFFFFFFF
    sent = bytes(range(251)) * 800
    guest.space.write(where, sent[:size])
    child = guest.call("fork")
    pair = struct.pack("<4I", where, 70_000, where + 70_000, size - 70_000)
    request = ("writev", write, guest.put(pair), 2) if vectored else ("write", write, where, size)
    guest.call(*request)
    assert guest.process.pid == child
    guest.call("close", write)
    found = b""
    while len(found) < size:
        count = guest.call("read", read, where, 30_000)
        if guest.process.pid != child:
            assert count == size, "what the parent's write says, all at once"
            count = guest.call("waitpid", child, 0, 0)
        data = guest.space.read(where, count)
        assert isinstance(data, bytes)
        found += data
    assert found == sent[:size]
    assert guest.call("exit", 0) == child


def test_a_broken_pipe_ends_the_writer_only(guest: Guest) -> None:
    """SIGPIPE for the child; the parent waits for it."""
    guest.call("pipe", BUFFER)
    read, write = guest.words("<II")
    guest.call("close", read)
    into_child(guest)
    guest.call("write", write, BUFFER, 1)
    assert guest.words("<I", 0x800) == (Signal.SIGPIPE,)


def test_poll_waits_for_another_process(guest: Guest) -> None:
    """With a timeout it comes first, by virtual time; without one, the other process does."""
    guest.call("pipe", BUFFER)
    read, write = guest.words("<II")
    polled = guest.put(struct.pack("<iHH", read, 1, 0), 64)
    guest.call("fork")
    guest.call("poll", polled, 1, -1)
    assert guest.process.pid == 1001
    guest.call("write", write, BUFFER, 1)
    assert guest.call("nanosleep", guest.put(struct.pack("<2i", 1, 0)), 0) == 1
    assert guest.words("<iHH", 64) == (read, 1, 1)
    guest.call("waitpid", -1, 0, 0)
    assert guest.process.elapsed == 10**9


def test_two_that_wait_for_each_other(guest: Guest) -> None:
    """It is told that nobody could end the wait."""
    guest.call("pipe", BUFFER)
    read, _ = guest.words("<II")
    guest.call("fork")
    guest.call("waitpid", -1, 0, 0)
    guest.call("read", read, BUFFER, 1)
    assert guest.outcome is not None
    assert (guest.outcome.kind, guest.outcome.code) == ("error", 124)
    assert "waiting for a child" in guest.outcome.message


# -- signals --------------------------------------------------------------------------------

HANDLER = 0x08048123


def install(guest: Guest, number: int, flags: int = 0) -> None:
    action = struct.pack("<IIIQ", HANDLER, flags, 0, 0)
    assert guest.call("rt_sigaction", number, guest.put(action, 0x700), 0, 8) == 0


@pytest.mark.parametrize("restart", [False, True])
def test_a_signal_interrupts_a_wait(guest: Guest, restart: bool) -> None:
    """EINTR, or the call is made again behind the handler."""
    install(guest, Signal.SIGUSR1, 0x10000000 if restart else 0)
    here = guest.state["eip"]
    into_child(guest)
    guest.call("kill", 1000, Signal.SIGUSR1)
    guest.call("nanosleep", guest.put(struct.pack("<2i", 1, 0)), 0)
    assert guest.process.pid == 1000
    assert guest.state["eip"] == HANDLER
    guest.state["esp"] += 8
    guest.call("sigreturn")
    assert guest.state["eip"] == here - (2 if restart else 0)
    assert guest.state["eax"] == (7 if restart else 0x100000000 - 4)


def test_a_sleep_tells_what_is_left(guest: Guest) -> None:
    """nanosleep, interrupted by another process after half of its time."""
    install(guest, Signal.SIGUSR1, 0x10000000)
    guest.call("fork")
    guest.call("nanosleep", guest.put(struct.pack("<2i", 4, 0)), BUFFER + 64)
    assert guest.process.pid == 1001
    guest.call("nanosleep", guest.put(struct.pack("<2i", 1, 0)), 0)
    guest.call("kill", 1000, Signal.SIGUSR1)
    guest.call("exit", 0)
    assert guest.process.pid == 1000
    assert guest.words("<2i", 64) == (3, 0)
    assert guest.state["eip"] == HANDLER


def test_sigchld(guest: Guest) -> None:
    """It tells who and how, to a handler of the new kind."""
    install(guest, SIGCHLD, 0x4 | 0x10000000)
    child = into_child(guest)
    guest.call("exit", 9)
    assert guest.state["eip"] == HANDLER
    info = struct.unpack("<I", guest.space.read(guest.state["esp"] + 8, 4))[0]  # type: ignore[arg-type]
    fields = struct.unpack("<6i", guest.space.read(info, 24))  # type: ignore[arg-type]
    assert fields == (SIGCHLD, 0, 1, child, 1000, 9)


def test_groups(guest: Guest) -> None:
    """Children can be put into groups, and signals sent to these."""
    one, two, three = (guest.call("fork") for _ in range(3))
    assert guest.call("setpgid", one, 0) == 0
    assert guest.call("setpgid", two, one) == 0
    assert guest.call("getpgid", two) == one
    assert guest.call("setpgid", three, 4000) == -1
    assert guest.call("setpgid", 4000, 0) == -3
    assert guest.call("setpgid", 0, 0) == 0
    assert guest.call("setsid") == -1
    assert guest.call("kill", -4000, 0) == -3
    assert guest.call("kill", -one, Signal.SIGTERM) == 0
    assert guest.call("kill", 0, 0) == 0
    guest.call("waitpid", -one, BUFFER, 0)
    assert guest.process.pid == three, "those before it are dead"
    assert guest.call("setsid") == three
    assert guest.call("getsid", 0) == guest.call("getpgrp") == three
    assert guest.call("exit", 0) == one
    assert guest.words("<I") == (Signal.SIGTERM,)
    assert guest.call("waitpid", -one, BUFFER, 0) == two
    assert guest.call("kill", -1, 0) == 0
    assert guest.call("waitpid", three, BUFFER, 0) == three
    assert guest.call("kill", -1, 0) == -3


def test_stopping_and_going_on(guest: Guest) -> None:
    """A stopped child is told of, does not run, and goes on with SIGCONT."""
    child = guest.call("fork")
    assert guest.call("kill", child, Signal.SIGSTOP) == 0
    assert guest.call("wait4", -1, BUFFER, WUNTRACED, 0) == child
    assert guest.words("<I") == (Signal.SIGSTOP << 8 | 0x7F,)
    assert guest.call("wait4", -1, BUFFER, WUNTRACED | WNOHANG, 0) == 0
    assert guest.call("kill", child, Signal.SIGCONT) == 0
    assert guest.call("wait4", -1, BUFFER, WCONTINUED, 0) == child
    assert guest.words("<I") == (0xFFFF,)
    guest.call("kill", child, Signal.SIGSTOP)
    guest.call("kill", child, Signal.SIGKILL)
    assert guest.call("waitpid", child, BUFFER, 0) == child


def test_one_that_stops_itself_for_ever(guest: Guest) -> None:
    """The parent waits for it, and nobody could continue it: the program ends and says so."""
    into_child(guest)
    guest.call("kill", 1001, Signal.SIGSTOP)
    assert guest.outcome is not None
    assert guest.outcome.code == 124


# -- other programs -------------------------------------------------------------------------


def vector(guest: Guest, *strings: bytes, offset: int = 0x2000) -> int:
    """An argument vector in memory; its address."""
    pointers, data = [], b""
    for string in strings:
        pointers.append(BUFFER + offset + 0x400 + len(data))
        data += string + b"\0"
    guest.put(data, offset + 0x400)
    return guest.put(struct.pack(f"<{len(pointers) + 1}I", *pointers, 0), offset)


def arguments(guest: Guest) -> list[bytes]:
    """What a program finds on its stack."""
    stack = guest.state["esp"]
    count = guest.space.load(stack, 4)
    assert isinstance(count, int)
    pointers = [guest.space.load(stack + 4 + 4 * i, 4) for i in range(count)]
    return [guest.space.read_string(p, 1 << 17) for p in pointers]  # type: ignore[arg-type,misc]


def test_execve(guest: Guest, tmp_path: Path) -> None:
    """New memory, registers and arguments; what is ignored, blocked and open stays."""
    program(tmp_path, "other")
    guest.put(b"old")
    guest.call("signal", Signal.SIGUSR1, 1)
    install(guest, Signal.SIGUSR2)
    guest.call("dup3", 1, 7, O_CLOEXEC)
    guest.call("dup2", 1, 8)
    guest.call(
        "execve", b"other", vector(guest, b"name", b"argument"), vector(guest, offset=0x3000)
    )
    assert guest.outcome is None
    assert arguments(guest) == [b"name", b"argument"]
    assert guest.state["eip"] == CODE
    assert (guest.state["ebx"], guest.state["cs"], guest.state["gs"]) == (0, 0x73, 0)
    assert guest.get(3) == bytes(3)
    assert guest.call("signal", Signal.SIGUSR1, 0) == 1
    assert guest.call("signal", Signal.SIGUSR2, 0) == 0
    assert (guest.call("close", 7), guest.call("close", 8)) == (-9, 0)
    assert guest.call("readlink", b"/proc/self/exe", BUFFER, 100) == 6
    assert guest.get(6) == b"/other"


def test_execve_after_vfork_lets_the_parent_go_on(guest: Guest, tmp_path: Path) -> None:
    """It has its memory back as it was lent."""
    program(tmp_path, "other")
    guest.put(b"parent's")
    guest.call("vfork")
    guest.call("execve", b"other", 0, 0)
    guest.call("sched_yield")
    assert guest.process.pid == 1000
    assert guest.get(8) == b"parent's"


def test_scripts(guest: Guest, tmp_path: Path) -> None:
    """An interpreter gets its one argument, the path, and the rest; it may be a script itself."""
    program(tmp_path, "other")
    program(tmp_path, "script", b"#! /other -x y \nrest")
    program(tmp_path, "twice", b"#!/script\n")
    guest.call("execve", b"twice", vector(guest, b"zero", b"one"), 0)
    assert arguments(guest) == [b"/other", b"-x y", b"/script", b"twice", b"one"]


REFUSED = {
    b"missing": -2,
    b"directory": -13,
    b"no-rights": -13,
    b"text": -8,
    b"empty": -8,
    b"for-others": -8,
    b"truncated": -8,
    b"other/below": -20,
    b"loop": -40,
    b"itself": -40,
    b"no-interpreter": -2,
    b"no-linker": -2,
    b"bad-linker": -80,
    b"fifo": -13,
    b"bare": -8,
    b"": -2,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_execve_refuses(guest: Guest, tmp_path: Path, name: bytes) -> None:
    """Each with its number, and the program goes on as it was."""
    (tmp_path / "directory").mkdir()
    program(tmp_path, "no-rights", mode=0o644)
    program(tmp_path, "text", b"hello")
    program(tmp_path, "empty", b"")
    program(tmp_path, "for-others", tiny_elf()[:18] + b"\x3e" + tiny_elf()[19:])
    program(tmp_path, "truncated", tiny_elf()[:60])
    program(tmp_path, "other")
    program(tmp_path, "itself", b"#!/itself\n")
    program(tmp_path, "no-interpreter", b"#!/missing\n")
    program(tmp_path, "no-linker", tiny_elf_with_linker(b"/missing"))
    program(tmp_path, "bad-linker", tiny_elf_with_linker(b"/text"))
    program(tmp_path, "bare", b"#!\n")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo", 0o755)
    guest.put(b"here")
    frames = dict(guest.space.frames)
    assert guest.call("execve", name, vector(guest, b"x"), 0) == REFUSED[name]
    assert guest.get(4) == b"here"
    assert frames.items() <= guest.space.frames.items()


def test_bad_vectors(guest: Guest, tmp_path: Path) -> None:
    """Pointers to nowhere are EFAULT, what is too long is E2BIG, no memory is ENOMEM."""
    program(tmp_path, "other")
    assert guest.call("execve", b"other", BAD, 0) == -14
    assert guest.call("execve", b"other", guest.put(struct.pack("<2I", BAD, 0)), 0) == -14
    assert guest.call("execve", BAD, 0, 0) == -14
    long = guest.call("mmap2", 0, 0x40000, 3, 0x22, -1, 0) & 0xFFFFFFFF
    guest.space.write(long, b"x" * 0x3FFFF)
    assert guest.call("execve", b"other", guest.put(struct.pack("<2I", long, 0)), 0) == -7
    guest.space.write(long + 0x10000, b"\0")
    many = struct.pack("<40I", *[long] * 39, 0)
    assert guest.call("execve", b"other", guest.put(many), 0) == -7
    guest.call("execve", b"other", guest.put(struct.pack("<2I", long, 0)), 0)
    assert arguments(guest) == [b"x" * 0x10000]


def test_execve_without_memory(tmp_path: Path) -> None:
    """ENOMEM, and the old program is whole."""
    guest = Guest(tmp_path, memory=1 << 20)
    program(tmp_path, "other")
    where = guest.call("mmap2", 0, 0x100000, 3, 0x22, -1, 0) & 0xFFFFFFFF
    free = guest.space.physical.free_frames
    guest.space.write(where, b"x" * (4096 * (free - 4)))
    assert guest.call("execve", b"other", 0, 0) == -12
    assert guest.space.read(where, 1) == b"x"
    assert guest.call("munmap", where, 0x100000) == 0
    guest.call("execve", b"other", 0, 0)
    assert guest.state["eip"] == CODE


def test_proc_has_every_process(guest: Guest, tmp_path: Path) -> None:
    """Of each the program, which the first one may have from outside."""
    program(tmp_path, "other")
    guest.call("vfork")
    guest.call("execve", b"other", 0, 0)
    guest.call("fork")
    fd = guest.call("open", b"/proc", 0o200000, 0)
    listed = guest.get(guest.call("getdents64", fd, BUFFER, 1000))
    assert all(b"%d\0" % pid in listed for pid in (1000, 1001, 1002))
    for name, path in {b"self": b"/other", b"1000": b"/guest", b"1002": b"/other"}.items():
        size = guest.call("readlink", b"/proc/" + name + b"/exe", BUFFER, 100)
        assert guest.get(size) == path
    for name in (b"1003", b"01000", b"1", b"1000x", b"9" * 200):
        assert guest.call("readlink", b"/proc/" + name + b"/exe", BUFFER, 100) == -2
    fd = guest.call("open", b"/proc/1000/exe", 0, 0)
    assert guest.call("read", fd, BUFFER, 4) == 4
    assert guest.get(4) == b"\x7fELF"


def test_traces_tell_whose_call_it_is(tmp_path: Path) -> None:
    """The first process needs no name."""
    seen: list[CallEvent] = []
    guest = Guest(tmp_path, on_call=seen.append)
    into_child(guest)
    guest.call("exit", 3)
    assert [str(event) for event in seen] == [
        "fork() = 1001",
        "[pid 1001] exit(3) = ?",
        f"waitpid(1001, {BUFFER + 0x800:#x}, 0x0) = 1001",
    ]


# -- who runs when --------------------------------------------------------------------------

SLICE = 2_000
COUNTING: dict[str, Callable[[], Engine]] = {
    "reference": Reference,
    "python": Python,
    "native": lambda: Native(cache=NO_CACHE),
    "native-tier1": lambda: Native(hot=1 << 30, wait=True, cache=NO_CACHE),
}


def spin(count: int) -> bytes:
    """MOV ECX, count; then LOOP to itself: one instruction each."""
    return b"\xb9" + struct.pack("<I", count) + b"\xe2\xfe"


def letter(where: int) -> bytes:
    """Write one byte of the code to standard output."""
    moves = b"\xb8\4\0\0\0\xbb\1\0\0\0\xb9" + struct.pack("<I", where) + b"\xba\1\0\0\0"
    return moves + b"\xcd\x80"


@pytest.mark.parametrize("name", COUNTING)
@pytest.mark.parametrize("step", [1 << 62, 777])
def test_slices(name: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that compute take turns: who needs fewer slices is first, whoever looks on meanwhile."""
    monkeypatch.setattr(scheduler, "SLICE", SLICE)
    letters = CODE + 0x200
    end = b"\xb8\1\0\0\0\x31\xdb\xcd\x80"
    parent = spin(3 * SLICE) + letter(letters) + end
    child = spin(2 * SLICE) + letter(letters + 1) + spin(SLICE // 2) + letter(letters + 2) + end
    fork = b"\xb8\2\0\0\0\xcd\x80\x85\xc0\x0f\x84" + struct.pack("<i", len(parent))
    code = (fork + parent + child).ljust(0x200, b"\x90") + b"pcd"
    output = io.BytesIO()
    machine = ProcessMachine(tiny_elf(data=code), ["prog"], stdout=output)
    state, engine, outcome = process_state(machine), COUNTING[name](), None
    while outcome is None:
        outcome = machine.run(engine, state, state.count + step)
    assert output.getvalue() == b"cdp"
    assert state.count == 5 * SLICE + SLICE // 2 + (2 + 2 * 2) + 3 + 3 * 5 + 2 * 3
