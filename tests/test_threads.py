"""Threads: what they share and what not, futexes, how they and their process end."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from c_programs import check
from machines import engines
from process_guest import Guest, tiny_elf

from emu.assembler import assemble
from emu.guests import process_state
from emu.process import scheduler
from emu.process.machine import ProcessMachine
from emu.process.signals import Signal

PROGRAM = Path(__file__).parent.parent / "programs" / "x86" / "threads.asm"
BUFFER = Guest.BUFFER
FLAGS = 0x10F00  # CLONE_VM, FS, FILES, SIGHAND, THREAD
CHILD_CLEARTID, PARENT_SETTID, SETTLS = 0x200000, 0x100000, 0x80000
WORD = BUFFER + 0x2000
STACK = BUFFER + 0x4000
WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAIT_BITSET, WAKE_BITSET = 0, 1, 3, 4, 9, 10
EAGAIN, EINVAL, ETIMEDOUT, ESRCH, ENOSYS = -11, -22, -110, -3, -38


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path, writable=True)


def thread(guest: Guest, flags: int = FLAGS) -> int:
    """Begin a thread that goes on where its parent does; returns its number."""
    return guest.call("clone", flags, STACK, WORD, 0, WORD)


def sleeps(guest: Guest, operation: int = WAIT, **more: int) -> None:
    """The current thread waits at WORD, for another to be the current one."""
    third = more.get("third", 0)
    guest.call("futex", WORD, operation, guest.words("<I", 0x2000)[0], 0, 0, third)


def test_what_threads_share(guest: Guest, tmp_path: Path) -> None:
    """The process's number, memory, files, directory and mask; each has a number of its own."""
    (tmp_path / "dir").mkdir()
    first = guest.process
    number = thread(guest)
    assert number == first.pid + 1
    sleeps(guest)
    assert guest.process.pid == number
    assert guest.call("gettid") == number
    assert guest.call("getpid") == first.pid
    assert guest.call("chdir", b"dir") == guest.call("umask", 0o27) - 0o22 == 0
    assert guest.call("open", b"new", 0o102, 0o666) == 3
    assert first.cwd == (b"dir",)
    assert first.umask == 0o27
    assert first.files.get(3) is guest.process.files.get(3)
    assert first.memory is guest.process.memory


def test_the_registers_of_a_new_thread(guest: Guest) -> None:
    """A stack of its own, 0 as the result, and GS at its own memory."""
    assert guest.call("set_thread_area", struct.pack("<4I", 6, BUFFER, 0xFFFFF, 0x51)) == 0
    guest.process.load_segment("gs", 0x33)
    guest.put(struct.pack("<4I", 6, BUFFER + 64, 0xFFFFF, 0x51), 0x3000)
    flags = FLAGS | SETTLS
    number = guest.call("clone", flags, STACK, 0, BUFFER + 0x3000, 0)
    assert guest.state["gs_base"] == BUFFER
    sleeps(guest)
    assert guest.process.pid == number
    state = guest.state
    assert (state["eax"], state["esp"], state["gs_base"]) == (0, STACK, BUFFER + 64)


def test_a_thread_ends_alone(guest: Guest) -> None:
    """Its word is cleared and whoever waits there is woken; nobody has to wait for it."""
    number = thread(guest, FLAGS | PARENT_SETTID | CHILD_CLEARTID)
    assert guest.words("<I", 0x2000) == (number,)
    sleeps(guest)
    assert guest.call("exit", 3) == 0, "what the futex says to the first thread"
    assert guest.words("<I", 0x2000) == (0,)
    assert guest.outcome is None
    assert guest.call("waitpid", -1, 0, 0) == -10
    assert guest.call("tkill", number, 0) == ESRCH


def test_the_process_ends_with_its_last_thread(guest: Guest) -> None:
    """The first may go before; the code is the first one's."""
    thread(guest)
    guest.call("exit", 5)
    assert guest.outcome is None
    guest.call("exit", 6)
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 5


def test_exit_group_ends_all(guest: Guest) -> None:
    thread(guest)
    thread(guest)
    sleeps(guest)
    guest.call("exit_group", 9)
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 9


def test_a_signal_ends_all(guest: Guest) -> None:
    number = thread(guest)
    assert guest.call("tgkill", guest.process.pid, number, Signal.SIGTERM) == 0
    sleeps(guest)
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 128 + Signal.SIGTERM


def test_a_signal_goes_to_a_thread_that_does_not_block_it(guest: Guest) -> None:
    first = guest.process
    number = thread(guest)
    guest.call("rt_sigprocmask", 0, struct.pack("<Q", 1 << Signal.SIGUSR1 - 1), 0, 8)
    assert guest.call("kill", first.pid, Signal.SIGUSR1) == 0
    assert not first.signals.pending
    assert Signal.SIGUSR1 in guest.machine.table.find(number).signals.pending


def test_the_timer_is_the_processs(guest: Guest) -> None:
    """A thread that blocks SIGALRM sets it; another one reads it, and hears it."""
    first = guest.process
    number = thread(guest)
    guest.call("rt_sigprocmask", 0, struct.pack("<Q", 1 << Signal.SIGALRM - 1), 0, 8)
    assert guest.call("alarm", 7) == 0
    sleeps(guest)
    assert guest.process.pid == number
    assert guest.call("alarm", 5) == 7
    guest.process.clock.skip(6_000_000_000)
    guest.machine.table.expire(first)
    assert not first.signals.pending
    assert Signal.SIGALRM in guest.process.signals.pending


def test_futexes_compare_wake_and_count(guest: Guest) -> None:
    first = guest.process
    guest.put(struct.pack("<I", 7), 0x2000)
    assert guest.call("futex", WORD, WAIT, 8, 0, 0, 0) == EAGAIN
    assert guest.call("futex", WORD, WAKE, 1, 0, 0, 0) == 0
    assert guest.call("futex", WORD + 1, WAIT, 7, 0, 0, 0) == EINVAL
    assert guest.call("futex", 0x10, WAIT, 7, 0, 0, 0) == -14
    assert guest.call("futex", WORD, 77, 7, 0, 0, 0) == ENOSYS
    numbers = [thread(guest) for _ in range(3)]
    for _ in range(3):  # the first thread, then two others
        sleeps(guest)
    assert guest.process.pid == numbers[2]
    assert guest.call("futex", WORD, WAKE, 2, 0, 0, 0) == 2
    assert guest.call("futex", WORD, WAKE, 9, 0, 0, 0) == 1
    assert first.sleep is not None
    assert first.sleep.ready()


def test_futexes_by_bits_and_moved(guest: Guest) -> None:
    first = guest.process
    thread(guest)
    sleeps(guest, WAIT_BITSET, third=2)
    assert guest.call("futex", WORD, WAKE_BITSET, 9, 0, 0, 1) == 0
    assert guest.call("futex", WORD, CMP_REQUEUE, 0, 9, WORD + 4, 1) == EAGAIN
    assert guest.call("futex", WORD, CMP_REQUEUE, 0, 9, WORD + 4, 0) == 1
    assert guest.call("futex", WORD, WAKE_BITSET, 9, 0, 0, 2) == 0
    assert guest.call("futex", WORD + 4, WAKE_BITSET, 9, 0, 0, 2) == 1
    assert first.sleep is not None
    assert first.sleep.ready()


def test_a_futex_times_out(guest: Guest) -> None:
    before = guest.process.elapsed
    address = guest.put(struct.pack("<2I", 0, 5_000_000), 0x1000)
    assert guest.call("futex", WORD, WAIT, 0, address, 0, 0) == ETIMEDOUT
    assert guest.process.elapsed - before >= 5_000_000
    late = guest.process.elapsed + 3_000_000
    address = guest.put(struct.pack("<2I", *divmod(late, 10**9)), 0x1000)
    assert guest.call("futex", WORD, WAIT_BITSET, 0, address, 0, 1) == ETIMEDOUT
    assert guest.process.elapsed >= late


def test_who_waits_in_vain_is_told(guest: Guest) -> None:
    thread(guest)
    sleeps(guest)
    sleeps(guest)
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 124
    assert "a lock is held" in guest.outcome.message


def test_fork_in_a_thread_copies_only_that(guest: Guest) -> None:
    first = guest.process.pid
    number = thread(guest)
    sleeps(guest)
    child = guest.call("fork")
    assert guest.call("waitpid", child, 0, 0) == 0, "what fork says to the child"
    assert guest.process.pid == guest.call("getpid") == child
    assert guest.call("getppid") == first
    assert guest.machine.table.threads(guest.process) == [guest.process]
    guest.call("exit", 0)
    assert guest.process.pid == number, "any thread may wait"


def test_execve_in_a_thread(guest: Guest, tmp_path: Path) -> None:
    """The others end, the process's number is the new program's, with the thread's signals."""
    (tmp_path / "other").write_bytes(tiny_elf())
    (tmp_path / "other").chmod(0o755)
    first, table = guest.process, guest.machine.table
    number = thread(guest)
    sleeps(guest)
    last = guest.call("clone", FLAGS, STACK + 0x800, 0, 0, 0)
    guest.call("rt_sigprocmask", 0, guest.put(struct.pack("<Q", 1 << 9), 0x3000), 0, 8)
    guest.call("alarm", 5)
    assert guest.call("tkill", number, Signal.SIGUSR1) == 0
    assert guest.process.pid == number
    assert guest.call("execve", b"missing", 0, 0) == -2
    assert (guest.process.pid, len(table.running)) == (number, 3)
    guest.call("execve", b"other", 0, 0)
    assert guest.process is first
    assert table.running == [first]
    assert list(table.processes) == [first.pid]
    assert guest.call("gettid") == guest.call("getpid") == first.pid
    assert first.program == b"/other"
    assert (first.signals.blocked, list(first.signals.pending)) == (1 << 9, [Signal.SIGUSR1])
    assert guest.call("alarm", 0) == 5
    assert first.memory.users == 1
    assert guest.call("tkill", last, 0) == ESRCH


def test_execve_when_the_first_thread_has_ended(guest: Guest, tmp_path: Path) -> None:
    """The process lives on with its number, and its end is the new program's."""
    (tmp_path / "other").write_bytes(tiny_elf())
    (tmp_path / "other").chmod(0o755)
    child = guest.call("fork")
    guest.call("waitpid", child, BUFFER, 0)
    thread(guest)
    guest.call("exit", 1)
    assert guest.process.pid == child + 1
    guest.call("execve", b"other", 0, 0)
    assert (guest.process.pid, guest.call("gettid")) == (child, child)
    assert guest.call("exit", 3) == child, "the parent's waitpid"
    assert guest.words("<I") == (3 << 8,)


EXECUTES = """
        .bss
        .space  4096
stack:  .balign 4
word:   .space  4
        .data
path:   .asciz  "/proc/self/exe"
        .balign 4
vector: .long   path, path, 0
        .text
        .globl  _start
_start:
        cmp     dword ptr [esp], 1
        ja      executed
        mov     eax, 120                # clone: VM FS FILES SIGHAND THREAD
        mov     ebx, 0x10f00
        mov     ecx, offset stack
        int     0x80
        test    eax, eax
        jz      executes
        mov     eax, 240                # futex, FUTEX_WAIT
        mov     ebx, offset word
        xor     ecx, ecx
        xor     edx, edx
        xor     esi, esi
        int     0x80
executes:
        mov     ebp, 20000              # so that the first thread waits by then
count:  dec     ebp
        jnz     count
        mov     eax, 11                 # execve
        mov     ebx, offset path
        mov     ecx, offset vector
        xor     edx, edx
        int     0x80
        hlt
executed:
        mov     eax, 20                 # getpid
        int     0x80
        mov     esi, eax
        mov     eax, 224                # gettid
        int     0x80
        sub     eax, esi
        mov     ebx, eax
        add     ebx, [word]             # a memory of its own
        add     ebx, 33
        mov     eax, 1
        int     0x80
"""


@pytest.mark.parametrize("engine", engines())
def test_a_thread_executes_on_each_engine(engine: str) -> None:
    machine = ProcessMachine(assemble(EXECUTES, "executes").image, ["x"], stdout=io.BytesIO())
    state = process_state(machine)
    outcome = machine.run(engines()[engine], state)
    assert outcome is not None
    assert (outcome.kind, outcome.code) == ("exit", 33)


def test_what_cannot_be_is_refused(guest: Guest) -> None:
    assert guest.call("clone", 0x10000, STACK, 0, 0, 0) == EINVAL  # CLONE_THREAD alone
    assert guest.call("clone", FLAGS & ~0x200, STACK, 0, 0, 0) == ENOSYS
    assert guest.call("clone", FLAGS | SETTLS, STACK, 0, 0x10, 0) == -14
    assert guest.call("clone3", 0, 8) == EINVAL
    assert guest.call("clone3", 0x10, 64) == -14
    assert guest.call("clone3", struct.pack("<8Q", 0, 0, 0, 0, 17, 5, 0, 0), 64) == EINVAL
    assert guest.call("clone3", struct.pack("<8Q", 0, 0, 0, 0, 17, 0, 0, 0), 64) > 0


@pytest.mark.parametrize("length", [37, 1009])
@pytest.mark.parametrize("engine", engines())
def test_no_turn_is_too_short(engine: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that are cut off anywhere, in the middle of taking the lock too."""
    monkeypatch.setattr(scheduler, "SLICE", length)
    text = PROGRAM.read_text().replace("mov     ebp, 2000", "mov     ebp, 60")
    output = io.BytesIO()
    machine = ProcessMachine(assemble(text, PROGRAM.name).image, ["threads"], stdout=output)
    state = process_state(machine)
    outcome = machine.run(engines()[engine], state)
    assert outcome is not None
    assert outcome.exit_code == 0
    assert output.getvalue() == b"120\n120\n"


@pytest.mark.heavy
def test_the_c_librarys_threads(tmp_path: Path) -> None:
    """glibc's, byte for byte as on this host, and as many instructions on each engine."""
    check("threads", tmp_path, "-pthread")


@pytest.mark.heavy
def test_execve_in_the_c_librarys_threads(tmp_path: Path) -> None:
    """While the first thread waits, and when it has ended: its number, the caller's signals."""
    check("thread_execs", tmp_path, "-pthread")


@pytest.mark.heavy
def test_timers_in_the_c_librarys_threads(tmp_path: Path) -> None:
    """A thread sets the timer of its process, whose threads hear it if they do not block it."""
    check("thread_timers", tmp_path, "-pthread")
