"""What a monitor needs of its host: files in memory, local descriptors, a stack that is nobody
else's, and signals for what would reach the kernel."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from process_guest import Guest

from emu.exit import Exit
from emu.memory import PAGE_SIZE
from emu.process.descriptors import LDT_BASE, UserDesc
from emu.process.signals import Signal
from isa.fault import Fault

BUFFER = Guest.BUFFER
SHARED, PRIVATE, READ, WRITE = 1, 2, 1, 2
AUTODISARM = 1 << 31


@pytest.fixture
def guest() -> Guest:
    return Guest(memory=1 << 20)


def memory_file(guest: Guest, pages: int) -> int:
    fd = guest.call("memfd_create", b"storage", 0)
    assert guest.call("ftruncate", fd, pages * PAGE_SIZE) == 0
    return fd


def mapped(guest: Guest, fd: int, page: int, flags: int = SHARED, pages: int = 1) -> int:
    where = guest.call("mmap2", 0, pages * PAGE_SIZE, READ | WRITE, flags, fd, page)
    return where & 0xFFFFFFFF


def word(guest: Guest, address: int) -> int:
    found = guest.space.load(address, 4)
    assert isinstance(found, int)
    return found


# -- files in memory -------------------------------------------------------------------------------


def test_shared_mappings_of_a_file_in_memory_are_one(guest: Guest) -> None:
    """What is written in one is read in the other and in the file; a private one is a copy."""
    fd = memory_file(guest, 3)
    one, other = mapped(guest, fd, 1), mapped(guest, fd, 0, pages=3)
    private = mapped(guest, fd, 1, PRIVATE)
    guest.space.store(one, 4, 0x600D)
    assert word(guest, other + PAGE_SIZE) == 0x600D
    assert word(guest, private) == 0
    assert guest.call("pread64", fd, BUFFER, 4, PAGE_SIZE, 0) == 4
    assert guest.words("<I") == (0x600D,)
    assert guest.call("pwrite64", fd, guest.put(b"new!"), 4, PAGE_SIZE + 8, 0) == 4
    assert word(guest, one + 8) == int.from_bytes(b"new!", "little")


def test_a_forked_process_shares_them_too(guest: Guest) -> None:
    fd = memory_file(guest, 1)
    where = mapped(guest, fd, 0)
    guest.call("fork")
    copy = guest.machine.table.processes[max(guest.machine.table.processes)]
    page = where // PAGE_SIZE
    assert copy.memory.mappings.frames[page] == guest.space.frames[page]


def test_a_file_in_memory_takes_no_more_than_there_is(guest: Guest) -> None:
    """ENOSPC; what is past its end cannot be mapped; closed and unmapped, all comes back."""
    free = guest.space.physical.free_frames
    fd = guest.call("memfd_create", b"", 1)
    assert guest.call("ftruncate", fd, 2 << 20) == -28
    assert guest.call("pwrite64", fd, BUFFER, 1, 0xFFFFFFFF, 7) == -28
    assert guest.call("ftruncate", fd, PAGE_SIZE + 1) == 0
    assert guest.call("mmap2", 0, PAGE_SIZE, READ, SHARED, fd, 2) == -22
    where = mapped(guest, fd, 0, pages=2)
    assert guest.call("close", fd) == 0
    guest.space.store(where, 4, 7)
    assert word(guest, where) == 7
    guest.call("munmap", where, 2 * PAGE_SIZE)
    taken_by_arguments = 2
    assert guest.space.physical.free_frames >= free - taken_by_arguments
    assert guest.call("memfd_create", b"", 8) == -22


def test_what_a_shorter_file_has_lost_reads_as_zeros_again(guest: Guest) -> None:
    fd = memory_file(guest, 1)
    guest.call("pwrite64", fd, guest.put(b"x" * 64), 64, 0, 0)
    for size in (10, 64):
        assert guest.call("ftruncate", fd, size) == 0
    assert guest.call("pread64", fd, BUFFER, 100, 0, 0) == 64
    assert guest.get(64) == b"x" * 10 + bytes(54)


def test_only_root_maps_the_lowest_pages() -> None:
    """vm.mmap_min_addr."""
    for user, answer in ((1000, -1), (0, 0)):
        guest = Guest(memory=1 << 20, user=user)
        assert guest.call("mmap2", 0, PAGE_SIZE, READ, 0x32, -1, 0) == answer


# -- local descriptors -----------------------------------------------------------------------------


def write_ldt(guest: Guest, number: int, base: int, limit: int, flags: int, how: int = 0x11) -> int:
    address = guest.put(struct.pack("<4I", number, base, limit, flags))
    return guest.call("modify_ldt", how, address, 16)


DATA = UserDesc.SEG_32BIT | UserDesc.USEABLE


def test_local_descriptors_are_loaded_by_their_selectors(guest: Guest) -> None:
    """TI is 1 in these; the processor's LDTR leads to them, as far as they go."""
    assert write_ldt(guest, 2, 0x12345678, 0xFFFF, DATA) == 0
    state = guest.state
    assert (state["ldt_base"], state["ldt_limit"]) == (LDT_BASE, 23)
    guest.process.load_segment("fs", 2 << 3 | 7)
    assert (state["fs_base"], state["fs_limit"]) == (0x12345678, 0xFFFF)
    assert guest.machine.system.segment(3 << 3 | 7) is None
    assert guest.call("modify_ldt", 0, BUFFER, 100) == 24
    descriptor = int.from_bytes(guest.get(24)[16:], "little")
    assert UserDesc.decode(descriptor) == UserDesc(0x12345678, 0xFFFF, DATA)


def test_local_descriptors_that_linux_refuses(guest: Guest) -> None:
    """Conforming code, numbers beyond the table, another size; the old call knows no AVL."""
    conforming = DATA | UserDesc.CONTENTS
    assert write_ldt(guest, 0, 0, 0xFFFF, conforming) == -22
    assert write_ldt(guest, 0, 0, 0xFFFF, conforming | UserDesc.SEG_NOT_PRESENT) == 0
    assert write_ldt(guest, 8192, 0, 0xFFFF, DATA) == -22
    assert guest.call("modify_ldt", 0x11, BUFFER, 12) == -22
    assert guest.call("modify_ldt", 3, BUFFER, 16) == -38
    assert write_ldt(guest, 1, 0, 0xFFFF, DATA, how=1) == 0
    found = guest.machine.system.segment(1 << 3 | 7)
    assert found is not None
    assert not found[2] & 1 << 8


def test_each_process_has_its_own_local_descriptors(guest: Guest) -> None:
    """A child begins with its parent's, and changes its own."""
    write_ldt(guest, 0, 0x1000, 0xFFFF, DATA)
    guest.call("fork")
    guest.call("sched_yield")
    assert guest.process.pid != 1000
    assert write_ldt(guest, 0, 0x2000, 0xFFFF, DATA) == 0
    assert guest.machine.system.segment(7) == (0x2000, 0xFFFF, 0x5F3)
    guest.call("sched_yield")
    assert guest.process.pid == 1000
    assert guest.machine.system.segment(7) == (0x1000, 0xFFFF, 0x5F3)


# -- signals ---------------------------------------------------------------------------------------


def install(guest: Guest, signal: Signal) -> None:
    """A handler at 0x1234 with siginfo, on the alternate stack."""
    action = guest.put(struct.pack("<IIIQ", 0x1234, 0x08000004, 0, 0))
    assert guest.call("rt_sigaction", signal, action, 0, 8) == 0


def test_a_stack_that_is_given_up_while_it_is_used(guest: Guest) -> None:
    """SS_AUTODISARM: a stack pointer that happens to be there means nothing."""
    stack = guest.call("mmap2", 0, 0x4000, 3, 0x22, -1, 0) & 0xFFFFFFFF
    new = struct.pack("<3I", stack, AUTODISARM, 0x4000)
    assert guest.call("sigaltstack", guest.put(new), 0) == 0
    install(guest, Signal.SIGSEGV)
    guest.state["esp"] = stack + 64  # a frame would not fit below it
    guest.machine.handle(guest.state, Exit("fault", Fault(14, 6, 0x10)))
    frame = guest.state["esp"]
    assert stack + 0x3000 < frame < stack + 0x4000
    assert guest.call("sigaltstack", 0, BUFFER) == 0
    assert guest.words("<3I") == (0, 2, 0)
    guest.state["esp"] = frame + 4
    guest.call("rt_sigreturn")
    assert guest.state["esp"] == stack + 64
    assert guest.call("sigaltstack", 0, BUFFER) == 0
    assert guest.words("<3I") == (stack, AUTODISARM, 0x4000)


def test_system_calls_from_elsewhere_may_be_signals(guest: Guest) -> None:
    """PR_SET_SYSCALL_USER_DISPATCH: who emulates another system gets them himself."""
    stack = guest.call("mmap2", 0, 0x4000, 3, 0x22, -1, 0) & 0xFFFFFFFF
    guest.call("sigaltstack", guest.put(struct.pack("<3I", stack, 0, 0x4000)), 0)
    install(guest, Signal.SIGSYS)
    guest.state["eip"] = 0x2000
    assert guest.call("prctl", 59, 1, 0x2000, 16, 1) == -22
    assert guest.call("prctl", 59, 1, 0x2000, 16, 0) == 0
    assert guest.call("getpid") == 1000
    guest.state["eip"] = 0x3000
    guest.call("exit", 1)
    assert (guest.outcome, guest.state["eip"]) == (None, 0x1234)
    (info,) = guest.process.unpack("<I", guest.state["esp"] + 8)
    told = guest.process.unpack("<3i3I", info)
    assert told == (Signal.SIGSYS, 0, 2, 0x3000, 1, 0x40000003)


def test_the_time_stamp_may_be_a_signal(guest: Guest) -> None:
    """PR_SET_TSC is CR4.TSD."""
    for wanted in (2, 1):
        assert guest.call("prctl", 26, wanted) == 0
        assert guest.state["tsd"] == wanted - 1
        assert guest.call("prctl", 25, BUFFER) == 0
        assert guest.words("<I") == (wanted,)
    assert guest.call("prctl", 26, 3) == -22


def test_time_ends_for_those_who_sleep_for_ever(tmp_path: Path) -> None:
    """Files that are closed after it have a time that the host knows."""
    guest = Guest(tmp_path, writable=True)
    number = guest.call("open", b"file", 0o101, 0o644)
    assert guest.call("write", number, b"x", 1) == 1
    longest = struct.pack("<qq", (1 << 63) - 1, 0)
    for _ in range(3):
        assert guest.call("clock_nanosleep_time64", 1, 0, longest, 0) == 0
    assert guest.call("close", number) == 0
    assert (tmp_path / "file").stat().st_size == 1


def test_the_time_stamp_is_told_of(guest: Guest) -> None:
    assert guest.call("prctl", 25, BUFFER, 0, 0, 0) == 0
    assert guest.get(4) == b"\1\0\0\0"
