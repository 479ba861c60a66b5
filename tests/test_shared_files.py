"""Files that are mapped to be written (MAP_SHARED): everybody sees the same, as on Linux."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from c_programs import check
from machines import engines
from process_guest import Guest, descriptors_into

import emu
from emu.assembler import assemble
from emu.guests import process_state
from emu.memory import WRITE
from emu.process.machine import ProcessMachine
from emu.process.namespace import Namespace
from isa.fault import Fault

PAGE = 0x1000
BUFFER = Guest.BUFFER
O_RDWR, O_TRUNC = 2, 0o1000
READ_ONLY, BOTH = 1, 3
MAP_SHARED = 1
EACCES, EINVAL, EFAULT, ENOMEM, ENOSPC, ENFILE = -13, -22, -14, -12, -28, -23


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    (tmp_path / "file").write_bytes(b"first".ljust(PAGE, b"\0") + b"second")
    return Guest(tmp_path, writable=True)


def opened(guest: Guest, flags: int = O_RDWR) -> int:
    return guest.call("open", b"file", flags, 0o600)


def mapped(guest: Guest, fd: int, pages: int = 2, rights: int = BOTH, page: int = 0) -> int:
    return guest.call("mmap2", 0, pages * PAGE, rights, MAP_SHARED, fd, page)


def seen(guest: Guest, address: int, size: int = 6) -> bytes:
    data = guest.space.read(address, size)
    assert isinstance(data, bytes)
    return data


def test_mappings_read_and_write_see_the_same(guest: Guest, tmp_path: Path) -> None:
    """Two mappings of one page, and the calls, whichever descriptor they go by."""
    fd, other = opened(guest), opened(guest)
    one, two = mapped(guest, fd), mapped(guest, other, 1, READ_ONLY, 1)
    assert (seen(guest, one), seen(guest, two)) == (b"first\0", b"second")
    guest.space.write(one + PAGE, b"mapped")
    assert seen(guest, two) == b"mapped"
    assert guest.call("pread64", other, BUFFER, 20, PAGE, 0) == 6
    assert guest.get(6) == b"mapped"
    guest.space.write(one + PAGE, b"again!")
    assert guest.call("pread64", other, BUFFER, 20, PAGE, 0) == 6, "what is written later, too"
    assert guest.get(6) == b"again!"
    assert guest.call("pwrite64", other, guest.put(b"call"), 4, PAGE, 0) == 4
    assert seen(guest, two) == b"calln!"
    assert (tmp_path / "file").read_bytes()[PAGE:] == b"calln!"


@pytest.mark.parametrize("how", ["msync", "munmap", "mmap", "exit", "close"])
def test_what_is_written_reaches_the_file(guest: Guest, tmp_path: Path, how: str) -> None:
    """When the guest asks for it, when nobody maps it any more, and at the end."""
    where = mapped(guest, opened(guest))
    guest.call("close", 3)
    guest.space.write(where + PAGE, b"sixth, and what is behind the end")
    if how == "msync":
        assert guest.call("msync", where, 2 * PAGE, 4) == 0
    elif how == "mmap":
        assert guest.call("mmap2", where, 2 * PAGE, BOTH, 0x32, -1, 0) == where
    elif how == "munmap":
        assert guest.call("munmap", where, 2 * PAGE) == 0
    elif how == "exit":
        guest.call("exit", 0)
    else:
        guest.machine.close()
    assert (tmp_path / "file").read_bytes()[PAGE:] == b"sixth,"
    files = how == "msync"
    assert descriptors_into(tmp_path) == files, "and the host's descriptor is let go of"


def test_parent_and_child_map_the_same(guest: Guest, tmp_path: Path) -> None:
    """Pages that were touched before the fork, and those that were not."""
    where = mapped(guest, opened(guest))
    guest.space.write(where, b"before")
    child = guest.call("fork")
    assert guest.call("waitpid", child, 0, 0) == 0
    assert seen(guest, where) == b"before"
    guest.space.write(where, b"child!")
    guest.space.write(where + PAGE, b"child!")
    assert guest.call("exit", 0) == child
    assert (seen(guest, where), seen(guest, where + PAGE)) == (b"child!",) * 2
    assert (tmp_path / "file").read_bytes()[:5] == b"first", "as the parent maps it still"
    guest.call("exit", 0)
    assert (tmp_path / "file").read_bytes()[:6] == b"child!"


def test_rights_are_the_descriptors(guest: Guest) -> None:
    """Without the right to write the file, there is none to write the mapping, then or later."""
    for flags, rights in ((0, BOTH), (1, READ_ONLY), (1, BOTH)):
        assert mapped(guest, opened(guest, flags), 1, rights) == EACCES
    where = mapped(guest, opened(guest, 0), 1, READ_ONLY)
    assert guest.call("mprotect", where, PAGE, BOTH) == EACCES
    assert isinstance(guest.space.translate(where, WRITE), Fault)
    where = mapped(guest, opened(guest), 1, READ_ONLY)
    assert guest.call("mprotect", where, PAGE, BOTH) == 0
    assert guest.call("msync", where, PAGE, 5) == EINVAL
    assert guest.call("msync", where - PAGE, 2 * PAGE, 4) == ENOMEM


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    """Its files can be mapped to be read."""
    (tmp_path / "file").write_bytes(b"constant")
    guest = Guest(tmp_path)
    fd = opened(guest, 0)
    assert mapped(guest, fd, 1) == EACCES
    assert seen(guest, mapped(guest, fd, 1, READ_ONLY), 8) == b"constant"


def test_the_end_of_a_file(guest: Guest, tmp_path: Path) -> None:
    """There is no page behind it; one that it ends in has zeros there; both move with it."""
    fd = opened(guest)
    where = mapped(guest, fd, 3)
    assert isinstance(guest.space.read(where + 2 * PAGE, 1), Fault)
    assert guest.call("pread64", fd, where + 2 * PAGE, 4, 0, 0) == EFAULT
    guest.space.write(where + PAGE, b"longer than it is")
    assert guest.call("ftruncate", fd, PAGE + 8) == 0
    assert seen(guest, where + PAGE, 10) == b"longer\0\0\0\0"
    assert guest.call("ftruncate", fd, 2) == 0
    assert isinstance(guest.space.read(where + PAGE, 1), Fault)
    assert seen(guest, where) == b"fi\0\0\0\0"
    assert guest.call("pwrite64", fd, guest.put(b"far"), 3, 2 * PAGE, 0) == 3
    assert seen(guest, where + PAGE) == bytes(6)
    assert seen(guest, where + 2 * PAGE) == b"far\0\0\0"
    opened(guest, O_RDWR | O_TRUNC)
    assert isinstance(guest.space.read(where, 1), Fault)
    assert (tmp_path / "file").read_bytes() == b""


def test_moved_cut_and_grown(guest: Guest) -> None:
    """Each piece of a mapping keeps showing its own page of the file."""
    where = mapped(guest, opened(guest))
    target = where - 16 * PAGE
    assert guest.call("mremap", where + PAGE, PAGE, PAGE, 3, target) == target
    assert (seen(guest, where), seen(guest, target)) == (b"first\0", b"second")
    assert guest.call("mremap", where, PAGE, 2 * PAGE, 0, 0) == where
    guest.space.write(where + PAGE, b"second")
    guest.space.write(target, b"Second")
    assert seen(guest, where + PAGE) == b"Second"
    assert guest.call("munmap", where, PAGE) == 0
    assert seen(guest, where + PAGE) == b"Second"


def test_memory_is_given_back(guest: Guest) -> None:
    """Frames and descriptors, however often files are mapped."""
    fd = opened(guest)
    before = guest.space.physical.free_frames, guest.machine.sandbox.supply.left
    for _ in range(3):
        where = mapped(guest, fd)
        guest.space.write(where, b"frame")
        assert guest.machine.sandbox.supply.left == before[1] - 1
        assert guest.call("munmap", where, 2 * PAGE) == 0
    assert (guest.space.physical.free_frames, guest.machine.sandbox.supply.left) == before


def test_limits_hold(tmp_path: Path) -> None:
    """Mappings cannot make a file longer; one without a name counts until nobody maps it; each
    takes one of the host's descriptors."""
    guest = Guest(tmp_path, writable=True, namespace=Namespace(storage=4 * PAGE, files=3))
    storage = guest.machine.sandbox.storage
    assert storage is not None
    fd = guest.call("open", b"file", 0o102, 0o600)
    assert guest.call("ftruncate", fd, 2 * PAGE) == 0
    where = mapped(guest, fd)
    guest.space.write(where, bytes([1]) * 2 * PAGE)
    assert guest.call("ftruncate", fd, 9 * PAGE) == ENOSPC
    opened(guest)
    (tmp_path / "more").write_bytes(b"more")
    assert guest.call("open", b"more", 0, 0) == ENFILE
    assert guest.call("unlink", b"file") == 0
    assert guest.call("close", fd) == guest.call("close", fd + 1) == 0
    assert storage.left == 2 * PAGE, "its name is free again, what is in it not"
    assert seen(guest, where) == bytes([1]) * 6
    assert guest.call("munmap", where, 2 * PAGE) == 0
    assert storage.left == 4 * PAGE


def test_a_written_file_has_the_guests_time(guest: Guest, tmp_path: Path) -> None:
    """That of when it was noticed."""
    where = mapped(guest, opened(guest))
    guest.space.write(where, b"time")
    assert guest.call("msync", where, PAGE, 4) == 0
    assert (tmp_path / "file").stat().st_mtime_ns == guest.process.now


MAPS = """
        .bss
        .balign 4
word:   .space  4
        .data
name:   .asciz  "file"
        .text
        .globl  _start
_start:
        mov     eax, 5                  # open, O_RDWR
        mov     ebx, offset name
        mov     ecx, 2
        xor     edx, edx
        int     0x80
        mov     edi, eax
        mov     eax, 192                # mmap2
        xor     ebx, ebx
        mov     ecx, 4096
        mov     edx, 3
        mov     esi, 1
        xor     ebp, ebp
        int     0x80
"""
"""Where a program begins that has the file open in EDI and mapped at EAX."""

TEXT = (
    MAPS
    + """
        push    eax
        mov     eax, 192
        int     0x80
        mov     esi, eax                # the second one
        pop     ebp                     # the first one
        xor     edx, edx
again:
        inc     dword ptr [ebp]         # by one mapping
        inc     dword ptr [esi]         # by the other
        push    edx
        push    esi
        mov     eax, 180                # pread64
        mov     ebx, edi
        mov     ecx, offset word
        mov     edx, 4
        xor     esi, esi
        push    edi
        xor     edi, edi
        int     0x80
        pop     edi
        mov     eax, 181                # pwrite64, of 1 more
        inc     dword ptr [word]
        push    edi
        xor     edi, edi
        int     0x80
        pop     edi
        pop     esi
        pop     edx
        inc     edx
        cmp     edx, 300
        jb      again
        mov     ebx, [esi]
        shr     ebx, 2                  # 900 / 4
        mov     eax, 1
        int     0x80
"""
)


@pytest.mark.parametrize("engine", engines())
def test_loops_that_write(engine: str, tmp_path: Path) -> None:
    """Translated code goes on being noticed after the file was brought up to date."""
    (tmp_path / "file").write_bytes(bytes(100))
    image = assemble(TEXT, "shared").image
    machine = ProcessMachine(image, ["shared"], root=tmp_path, writable=True, stdout=io.BytesIO())
    state = process_state(machine)
    outcome = machine.run(engines()[engine], state)
    assert outcome is not None
    assert (outcome.kind, outcome.code) == ("exit", 225)
    assert (tmp_path / "file").read_bytes() == (900).to_bytes(4, "little") + bytes(96)


FORKS = (
    MAPS
    + """
        mov     esi, eax
        mov     ebp, 20
again:
        call    count
        mov     eax, 2                  # fork
        int     0x80
        test    eax, eax
        jz      child
        mov     ebx, eax
        mov     eax, 7                  # waitpid
        xor     ecx, ecx
        xor     edx, edx
        int     0x80
        dec     ebp
        jnz     again
        call    count
        mov     ebx, [word]
        mov     eax, 1
        int     0x80
child:
        call    count
        mov     eax, 1
        int     0x80
count:                                  # by the mapping, and see by the descriptor that it is so
        inc     dword ptr [esi]
        push    esi
        push    edi
        mov     eax, 180                # pread64
        mov     ebx, edi
        mov     ecx, offset word
        mov     edx, 4
        xor     esi, esi
        xor     edi, edi
        int     0x80
        pop     edi
        pop     esi
        mov     eax, [word]
        cmp     eax, [esi]
        je      same
        hlt
same:   ret
"""
)


@pytest.mark.parametrize("engine", engines())
def test_processes_that_write_in_turns(engine: str, tmp_path: Path) -> None:
    """What one writes is noticed after another one has brought the file up to date."""
    (tmp_path / "file").write_bytes(bytes(4))
    image = assemble(FORKS, "forks").image
    machine = ProcessMachine(image, ["forks"], root=tmp_path, writable=True, stdout=io.BytesIO())
    state = process_state(machine)
    outcome = machine.run(engines()[engine], state)
    assert outcome is not None
    assert (outcome.kind, outcome.code) == ("exit", 41)
    assert (tmp_path / "file").read_bytes() == (41).to_bytes(4, "little")


@pytest.mark.parametrize("engine", ["reference", "python", "native"])
def test_snapshots_leave_files_as_they_are(engine: str, tmp_path: Path) -> None:
    """A mapping that is there again shows what is in the file by then."""
    source, file = tmp_path / "shared.asm", tmp_path / "file"
    source.write_text(TEXT)
    file.write_bytes(bytes(4))
    guest = emu.load(source, root=tmp_path, writable=True, stdout=io.BytesIO(), engine=engine)
    before = guest.snapshot()
    guest.run(timeout=26)  # the first round has written twice
    within = guest.snapshot()
    guest.restore(before)
    assert file.read_bytes() == (2).to_bytes(4, "little")
    guest.run()
    assert file.read_bytes() == (902).to_bytes(4, "little")
    for again in (1, 2):
        guest.restore(within)
        guest.run()
        assert file.read_bytes() == (902 + again * 898).to_bytes(4, "little")


@pytest.mark.heavy
def test_as_on_the_host(tmp_path: Path) -> None:
    """A C program, byte for byte: signals past the end, growth, truncation, fork, execve."""
    roots = check("shared_files", tmp_path)
    assert len({(root / "data").read_bytes() for root in roots.values()}) == 1
