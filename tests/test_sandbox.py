"""Attempts to get out of the sandbox, each by system calls as a guest would make them."""

from __future__ import annotations

import os
import socket
import struct
import tracemalloc
from pathlib import Path

import pytest
from process_guest import Guest, descriptors_into, tiny_elf, tiny_elf_with_linker

from emu.engines import make_engine
from emu.exit import Exit
from emu.guests import process_state
from emu.process import sandbox as sandbox_module
from emu.process.files import MOST_PIPES
from emu.process.machine import ProcessMachine
from emu.process.namespace import MOST_FILES, MOST_PROCESSES
from emu.process.numbers import CallError, Errno
from isa.fault import Fault

O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC = 1, 2, 0o100, 0o200, 0o1000
O_DIRECTORY, O_NOFOLLOW, O_TMPFILE = 0o200000, 0o400000, 0o20200000
AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW = -100, 0x200, 0x400
SECRET = b"secret outside"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A root with files and hostile links, and a secret beside it."""
    root = tmp_path / "root"
    (root / "dir/sub").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    (root / "dir/deep").write_bytes(b"deep")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "secret_dir").mkdir()
    links = {
        "up": "../secret",
        "up_dir": "..",
        "absolute": str(tmp_path / "secret"),
        "absolute_dir": str(tmp_path),
        "many": "../" * 40 + str(tmp_path / "secret").lstrip("/"),
        "etc_link": "/etc/passwd",
        "loop": "loop",
        "ping": "pong",
        "pong": "ping",
        "slash": "/",
        "dangling": "../new_outside",
        "proc_link": "/proc/self/root/etc/passwd",
        "chain": "dir/../up",
        "good": "file",
        "good_absolute": "/dir/deep",
        "dot": ".",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "dir/back").symlink_to("../../secret")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as s:
        here = Path.cwd()
        os.chdir(root)  # a socket's path has 108 bytes at most
        s.bind("socket")
        os.chdir(here)
    return root


@pytest.fixture
def guest(world: Path) -> Guest:
    return Guest(world, writable=True)


def untouched(world: Path) -> bool:
    """Nothing beside the root has changed."""
    beside = sorted(p.name for p in world.parent.iterdir())
    return beside == ["root", "secret", "secret_dir"] and (
        (world.parent / "secret").read_bytes() == SECRET
    )


def content(guest: Guest, path: bytes, flags: int = 0) -> bytes | int:
    """Open and read, or the error."""
    fd = guest.call("open", path, flags, 0)
    if fd < 0:
        return fd
    size = guest.call("read", fd, guest.BUFFER, 512)
    guest.call("close", fd)
    return guest.get(size) if size >= 0 else size


READS = {
    b"../secret": -2,
    b"/../secret": -2,
    b"../../../../../../../../etc/passwd": -2,
    b"dir/../../secret": -2,
    b"dir/sub/../../../secret": -2,
    b"./.././../secret": -2,
    b"//..//secret": -2,
    b"/etc/passwd": -2,
    b"up": -2,
    b"up_dir/secret": -2,
    b"up_dir/../secret": -2,
    b"absolute": -2,
    b"absolute_dir/secret": -2,
    b"many": -2,
    b"etc_link": -2,
    b"chain": -2,
    b"dir/back": -2,
    b"slash/../secret": -2,
    b"slash/slash/slash/etc/passwd": -2,
    b"loop": -40,
    b"ping": -40,
    b"loop/x": -40,
    b"proc_link": -2,
    b"/proc/self/root/etc/passwd": -2,
    b"/proc/self/fd/0": -2,
    b"/proc/self/cwd/file": -2,
    b"/proc/1/root": -2,
    b"/proc/self/mem": -2,
    b"/dev/mem": -2,
    b"/dev/sda": -2,
    b"/dev/pts/0": -2,
    b"/dev/tty": -6,
    b"/dev/../../secret": -2,
    b"/dev/null/../../secret": -20,
    b"fifo": -6,
    b"socket": -6,
    b"file/": -20,
    b"file/..": -20,
    b"file/../file": -20,
    b"": -2,
    b"x" * 256: -36,
    b"dir/" * 1100: -36,
    b"\xff\xfe": -2,
}


@pytest.mark.parametrize("path", READS, ids=lambda p: repr(p[:30]))
def test_paths_that_lead_out_find_nothing(guest: Guest, world: Path, path: bytes) -> None:
    """Each is the guest's own error, for reading and for writing."""
    assert content(guest, path) == READS[path]
    assert not isinstance(content(guest, path, O_RDWR), bytes)
    assert untouched(world)


INSIDE = {
    b"file": b"inside",
    b"/file": b"inside",
    b"../file": b"inside",
    b"../../../../file": b"inside",
    b"good": b"inside",
    b"good_absolute": b"deep",
    b"slash/file": b"inside",
    b"dot/dot/file": b"inside",
    b"dir/../dir/./deep": b"deep",
    b"up_dir/file": b"inside",
    b"//dir//deep": b"deep",
}


@pytest.mark.parametrize("path", INSIDE, ids=repr)
def test_paths_inside_are_found(guest: Guest, path: bytes) -> None:
    """Links and dots work, with the guest's root as the root."""
    assert content(guest, path) == INSIDE[path]


CREATIONS = [b"dangling", b"../new", b"/../new", b"up_dir/../../new", b"absolute_dir/new"]


@pytest.mark.parametrize("path", CREATIONS, ids=repr)
def test_creating_stays_inside(guest: Guest, world: Path, path: bytes) -> None:
    """O_CREAT through links and dots makes the file in the root, or none at all."""
    guest.call("open", path, O_CREAT | O_RDWR, 0o644)
    assert untouched(world)


CHANGES = [
    ("unlink", b"../secret"),
    ("unlink", b"up_dir/secret"),
    ("rmdir", b"../secret_dir"),
    ("rmdir", b"up_dir/secret_dir"),
    ("mkdir", b"absolute_dir/made", 0o755),
    ("rename", b"../secret", b"stolen"),
    ("rename", b"absolute", b"../../moved_out"),
    ("rename", b"file", b"../out"),
    ("rename", b"dir", b"dir/sub/inside_itself"),
    ("link", b"../secret", b"hard"),
    ("link", b"/etc/passwd", b"hard"),
    ("linkat", AT_FDCWD, b"absolute", AT_FDCWD, b"hard", AT_SYMLINK_FOLLOW),
    ("symlink", b"/etc/passwd", b"../link"),
    ("chmod", b"absolute", 0o777),
    ("chmod", b"up", 0o777),
    ("chown", b"absolute", 0, 0),
    ("truncate", b"absolute", 0),
    ("truncate", b"up_dir/secret", 0),
    ("utimes", b"absolute", 0),
    ("creat", b"absolute", 0o644),
    ("chdir", b"absolute_dir"),
    ("openat", 77, b"../secret", 0, 0),
    ("mknod", b"device", 0o60666, 0x801),
    ("mount", b"/etc", b"dir", b"none", 0x1000, 0),
    ("chroot", b"dir"),
    ("pivot_root", b"dir", b"dir"),
    ("init_module", 0, 0, 0),
    ("ptrace", 16, 1, 0, 0),
    ("process_vm_writev", 1, 0, 0, 0, 0),
    ("open_by_handle_at", 0, 0, 0),
]


@pytest.mark.parametrize("row", CHANGES, ids=lambda row: f"{row[0]}-{row[1]!r}")
def test_changes_stay_inside(guest: Guest, world: Path, row: tuple[str, ...]) -> None:
    """Calls that would change something outside fail, or change the root only."""
    before = (world.parent / "secret").stat()
    result = guest.call(*row)
    after = (world.parent / "secret").stat()
    assert untouched(world)
    assert (before.st_mode, before.st_nlink, before.st_mtime_ns) == (
        after.st_mode,
        after.st_nlink,
        after.st_mtime_ns,
    )
    assert result < 0 or row[0] in ("rename", "symlink")


def test_a_moved_directory_does_not_lead_out(guest: Guest, world: Path) -> None:
    """A working directory, and `..` from it, stay below the root whatever is renamed."""
    assert guest.call("chdir", b"dir/sub") == 0
    assert guest.call("rename", b"/dir", b"/moved") == 0
    assert content(guest, b"../../../secret") == -2
    assert guest.call("getcwd", guest.BUFFER, 512) == -2


def test_directory_descriptors_are_relative_to_the_root(guest: Guest) -> None:
    """openat from an open directory cannot climb above the root."""
    fd = guest.call("open", b"dir/sub", O_DIRECTORY, 0)
    assert fd >= 3
    assert guest.call("openat", fd, b"../../../secret", 0, 0) == -2
    assert guest.call("openat", fd, b"../deep", 0, 0) >= 3
    assert guest.call("openat", fd, b"/../secret", 0, 0) == -2


def test_a_link_swapped_in_during_the_walk(
    guest: Guest, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that becomes a link between look and enter is not followed."""
    (world / "victim").mkdir()
    look = sandbox_module.Sandbox._look

    def swap(self: object, walk: object, name: bytes) -> object:
        place = look(self, walk, name)  # type: ignore[arg-type]
        if name == b"victim" and not (world / "victim").is_symlink():
            (world / "victim").rmdir()
            (world / "victim").symlink_to(world.parent)
        return place

    monkeypatch.setattr(sandbox_module.Sandbox, "_look", swap)
    assert content(guest, b"victim/secret") in (-20, -40)


def test_a_file_swapped_for_a_link_during_open(
    guest: Guest, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that becomes a link, or another file, between look and open is refused."""
    look = sandbox_module.Sandbox._look

    def swap(self: object, walk: object, name: bytes) -> object:
        place = look(self, walk, name)  # type: ignore[arg-type]
        if name == b"file":
            (world / "file").unlink(missing_ok=True)
            (world / "file").symlink_to(world.parent / "secret")
        if name == b"deep":
            (world / "dir/deep").unlink(missing_ok=True)
            os.link(world.parent / "secret", world / "dir/deep")
        return place

    monkeypatch.setattr(sandbox_module.Sandbox, "_look", swap)
    assert content(guest, b"file") == -40
    assert content(guest, b"dir/deep") == -11


def test_a_read_only_root_stays_as_it_is(world: Path) -> None:
    """Without `writable`, every change is EROFS."""
    guest = Guest(world)
    calls: list[tuple[str | int | bytes, ...]] = [
        ("open", b"new", O_CREAT | O_WRONLY, 0o644),
        ("open", b"file", O_WRONLY, 0),
        ("open", b"file", O_RDWR, 0),
        ("open", b"file", O_TRUNC, 0),
        ("mkdir", b"new", 0o755),
        ("rmdir", b"dir/sub"),
        ("unlink", b"file"),
        ("unlinkat", AT_FDCWD, b"dir/sub", AT_REMOVEDIR),
        ("rename", b"file", b"renamed"),
        ("link", b"file", b"hard"),
        ("symlink", b"file", b"soft"),
        ("chmod", b"file", 0o777),
        ("chown", b"file", 1000, 1000),
        ("utimes", b"file", 0),
        ("truncate", b"file", 0),
        ("access", b"file", 2),
    ]
    names = sorted(p.name for p in world.iterdir())
    assert [guest.call(*c) for c in calls] == [-30] * len(calls)  # type: ignore[arg-type]
    fd = guest.call("open", b"file", 0, 0)
    assert guest.call("fchmod", fd, 0o777) == -30
    assert guest.call("write", fd, b"x", 1) == -9
    assert guest.call("ftruncate", fd, 0) == -22
    assert names == sorted(p.name for p in world.iterdir())


def test_no_root_is_an_empty_file_system() -> None:
    """Without --root there is `/`, the virtual devices, and nothing of the host."""
    guest = Guest()
    assert content(guest, b"/etc/passwd") == -2
    fd = guest.call("open", b"/", O_DIRECTORY, 0)
    size = guest.call("getdents64", fd, guest.BUFFER, 512)
    assert size == 48  # `.` and `..`
    assert guest.call("open", b"/new", O_CREAT | O_WRONLY, 0o644) == -30
    assert guest.call("mkdir", b"/new", 0o755) == -30


def test_set_id_bits_never_reach_the_host(guest: Guest, world: Path) -> None:
    """A guest cannot leave a set-user-id program behind."""
    fd = guest.call("open", b"new", O_CREAT | O_WRONLY, 0o6755)
    assert (world / "new").stat().st_mode & 0o7777 == 0o755
    assert guest.call("fchmod", fd, 0o4777) == 0
    assert guest.call("chmod", b"file", 0o6777) == 0
    assert guest.call("mkdir", b"made", 0o7777) == 0
    for name in ("new", "file", "made"):
        assert (world / name).stat().st_mode & 0o7000 == 0


def test_pseudo_file_systems_below_the_root_are_closed(
    guest: Guest, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted proc or sysfs inside the root is a door into the host's kernel: EACCES."""
    sandbox = guest.machine.sandbox
    monkeypatch.setattr(sandbox, "_pseudo_devices", frozenset({(world / "dir").stat().st_dev}))
    assert content(guest, b"dir/deep") == -13


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a Linux host")
def test_the_host_root_shows_no_kernel_files() -> None:
    """Even with the host's `/` as root, /proc, /sys and /dev are not the host's."""
    guest = Guest(Path("/"))
    for path in (b"/proc/self/status", b"/proc/self/mem", b"/dev/kmsg", b"/proc/1/environ"):
        assert content(guest, path) == -2
    assert content(guest, b"/sys/kernel/notes") in (-13, -2)


def test_links_made_by_the_guest_stay_in_its_root(guest: Guest, world: Path) -> None:
    """A link that the guest writes may say anything; following it starts at the guest's root."""
    assert guest.call("symlink", str(world.parent / "secret").encode(), b"mine") == 0
    assert content(guest, b"mine") == -2
    assert guest.call("symlink", b"../../../secret", b"dir/mine") == 0
    assert content(guest, b"dir/mine") == -2


def test_too_deep_a_path_is_an_error(guest: Guest, world: Path) -> None:
    """A path of thousands of names is refused or walked, without losing descriptors."""
    before = descriptors_into(world)
    for path in (b"dot/" * 900 + b"file", b"dir/../" * 500 + b"file", b"/" * 4000 + b"file"):
        assert content(guest, path) in (b"inside", -40)
    after = descriptors_into(world)
    assert before == after


def test_no_descriptors_leak(guest: Guest, world: Path) -> None:
    """Failing walks close what they opened."""
    before = descriptors_into(world)
    for path in READS:
        content(guest, path)
        guest.call("stat64", path[:500], guest.BUFFER)
    assert before == descriptors_into(world)


def test_the_descriptor_limit(guest: Guest) -> None:
    """The table ends at its limit, in the guest's words; the host's descriptors survive."""
    guest.call("setrlimit", 7, guest.put((20).to_bytes(4, "little") * 2))
    opened = [guest.call("open", b"file", 0, 0) for _ in range(30)]
    assert opened[:17] == list(range(3, 20))
    assert set(opened[17:]) == {-24}


BAD_DESCRIPTORS = [-1, 3, 1023, 1024, 0x7FFFFFFF, 0x80000000]
CALLS = [
    ("read", 0, 1),
    ("write", 0, 1),
    ("close",),
    ("fstat64", 0x08049000),
    ("lseek", 0, 0),
    ("_llseek", 0, 0, 0x08049000, 0),
    ("dup",),
    ("dup2", 1),
    ("fcntl64", 1, 0),
    ("ioctl", 0x5401, 0),
    ("getdents64", 0x08049000, 100),
    ("fchdir",),
    ("ftruncate", 0),
    ("fsync",),
    ("pread64", 0x08049000, 1, 0, 0),
    ("readv", 0x08049000, 1),
    ("fchmod", 0o644),
    ("flock", 1),
    ("sendfile", 1, 0, 1),
]


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row[0])
def test_bad_descriptors(guest: Guest, row: tuple[str, ...]) -> None:
    """Numbers that are not open are EBADF everywhere."""
    name, *rest = row
    for fd in BAD_DESCRIPTORS:
        assert guest.call(name, fd, *rest) == -9


def test_virtual_devices(guest: Guest) -> None:
    """null, zero, full and random behave, and their entropy is the seeded one."""
    assert content(guest, b"/dev/null") == b""
    assert content(guest, b"/dev/zero") == bytes(512)
    assert content(guest, b"/dev/urandom") != content(guest, b"/dev/urandom")
    full = guest.call("open", b"/dev/full", O_WRONLY, 0)
    assert guest.call("write", full, b"x", 1) == -28
    assert content(Guest(seed=5), b"/dev/random") == content(Guest(seed=5), b"/dev/random")


def test_the_program_itself(guest: Guest) -> None:
    """/proc/self/exe is the loaded file, read-only, and its name is the guest's."""
    data = content(guest, b"/proc/self/exe")
    assert isinstance(data, bytes)
    assert data[:4] == b"\x7fELF"
    size = guest.call("readlink", b"/proc/self/exe", guest.BUFFER, 100)
    assert guest.get(size) == b"/guest"
    assert content(guest, b"/proc/self/exe", O_RDWR) == -26


# -- by way of processes --------------------------------------------------------------------

EXECUTIONS = {
    b"../secret": -2,
    b"up": -2,
    b"absolute": -2,
    b"many": -2,
    b"/bin/sh": -2,
    b"/proc/self/root/bin/sh": -2,
    b"/proc/1/exe": -2,
    b"/proc/self/fd/0": -2,
    b"/dev/null": -13,
    b"/dev/tty": -13,
    b"/dev/stdin": -13,
    b"fifo": -13,
    b"socket": -13,
    b"dir": -13,
    b"slash": -13,
    b"loop": -40,
    b"leads-out": -2,
    b"asks-for-outside": -2,
    b"asks-for-a-device": -80,
}


@pytest.mark.parametrize("path", EXECUTIONS, ids=repr)
def test_programs_outside_cannot_be_executed(guest: Guest, world: Path, path: bytes) -> None:
    """By links, dots, scripts and dynamic linkers alike; the guest goes on."""
    secret = world.parent / "secret"
    secret.write_bytes(tiny_elf())
    secret.chmod(0o755)
    linkers = {"asks-for-outside": b"/../../secret", "asks-for-a-device": b"/dev/zero"}
    (world / "leads-out").write_bytes(b"#!" + bytes(secret) + b"\n")
    for name, linker in linkers.items():
        (world / name).write_bytes(tiny_elf_with_linker(linker))
    for name in ("leads-out", *linkers):
        (world / name).chmod(0o755)
    assert guest.call("execve", path, 0, 0) == EXECUTIONS[path]
    assert guest.call("getpid") == 1000
    secret.write_bytes(SECRET)
    assert untouched(world)


def test_a_program_swapped_for_a_link_is_not_executed(
    guest: Guest, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between look and open, as with any file."""
    (world / "program").write_bytes(tiny_elf())
    (world / "program").chmod(0o755)
    look = sandbox_module.Sandbox._look

    def swap(self: object, walk: object, name: bytes) -> object:
        place = look(self, walk, name)  # type: ignore[arg-type]
        (world / "program").unlink(missing_ok=True)
        (world / "program").symlink_to(world.parent / "secret")
        return place

    monkeypatch.setattr(sandbox_module.Sandbox, "_look", swap)
    assert guest.call("execve", b"program", 0, 0) == -40


def test_set_id_programs_change_nobody(guest: Guest, world: Path) -> None:
    """A program with the bits runs as whoever called it."""
    (world / "program").write_bytes(tiny_elf())
    (world / "program").chmod(0o6755)
    guest.call("execve", b"program", 0, 0)
    assert (guest.call("geteuid32"), guest.call("getegid32")) == (1000, 1000)


def test_a_program_that_claims_much_costs_the_host_nothing(guest: Guest, world: Path) -> None:
    """A thousand headers that name the same megabytes are refused, not copied."""
    count, size = 1000, 32 << 20
    header = struct.pack(
        "<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, 0x10000000, 52, 0, 0, 52, 32, count, 0, 0, 0
    )
    row = struct.pack("<8I", 1, 0, 0x10000000, 0x10000000, size, size, 5, 0x1000)
    with (world / "claims").open("wb") as file:
        file.write(header + row * count)
        file.truncate(size)
    (world / "claims").chmod(0o755)
    tracemalloc.start()
    assert guest.call("execve", b"claims", 0, 0) == -8
    assert tracemalloc.get_traced_memory()[1] < 3 * size
    tracemalloc.stop()


def test_children_are_in_the_same_sandbox(guest: Guest, world: Path) -> None:
    """A child's working directory and descriptors lead nowhere else."""
    assert guest.call("chdir", b"dir/sub") == 0
    guest.call("fork")
    guest.call("waitpid", -1, 0, 0)
    assert guest.process.pid == 1001
    for path, expected in READS.items():
        if path.startswith((b"/", b"..")):
            assert content(guest, path) == (expected if path != b"../secret" else -2)
    assert untouched(world)


def test_marked_descriptors_do_not_reach_other_programs(guest: Guest, world: Path) -> None:
    """O_CLOEXEC by open, dup3, fcntl, ioctl and pipe2; what is not marked is inherited."""
    (world / "program").write_bytes(tiny_elf())
    (world / "program").chmod(0o755)
    kept = guest.call("open", b"file", 0, 0)
    marked = [guest.call("open", b"file", 0o2000000, 0), guest.call("dup", kept)]
    guest.call("fcntl64", marked[1], 2, 1)
    marked.append(guest.call("fcntl64", kept, 1030, 50))
    marked.append(guest.call("dup3", kept, 60, 0o2000000))
    marked.append(guest.call("dup2", kept, 61))
    guest.call("ioctl", 61, 0x5451, 0)
    guest.call("pipe2", guest.BUFFER, 0o2000000)
    marked += guest.words("<II")
    before = descriptors_into(world)
    guest.call("execve", b"program", 0, 0)
    assert [guest.call("close", fd) for fd in marked] == [-9] * len(marked)
    assert guest.call("read", kept, guest.BUFFER, 6) == 6
    assert descriptors_into(world) in (0, before - 1), (
        "one file was opened anew, the others are dups"
    )


def test_a_thousand_programs_leave_no_descriptor(guest: Guest, world: Path) -> None:
    """execve closes what it reads, also where it fails."""
    (world / "program").write_bytes(tiny_elf())
    (world / "program").chmod(0o755)
    (world / "text").write_bytes(b"hello")
    (world / "text").chmod(0o755)
    before = descriptors_into(world)
    for _ in range(300):
        guest.call("execve", b"program", 0, 0)
        assert guest.call("execve", b"text", 0, 0) == -8
    assert descriptors_into(world) == before


def test_other_processes_cannot_be_reached(guest: Guest) -> None:
    """Neither the host's, by number, nor their memory by any call or file."""
    guest.call("fork")
    for pid in (1, 2, os.getpid(), os.getppid(), 0x7FFFFFFF, -0x7FFFFFFF):
        assert guest.call("kill", pid, 9) == -3
        assert guest.call("tgkill", pid, pid, 9) in (-3, -22)
    for name in (b"mem", b"maps", b"environ", b"cwd", b"root", b"fd", b"task", b"status"):
        for pid in (b"1000", b"1001", b"self", b"1"):
            assert content(guest, b"/proc/" + pid + b"/" + name) == -2
            assert content(guest, b"/proc/" + pid + b"/exe/../" + name) in (-20, -2)
    for name in ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "kcmp"):
        assert guest.call(name, 1001, 1001, 0, 0, 0, 0) == -38
    assert guest.call("unlink", b"/proc/1001/exe") == -30
    assert content(guest, b"/proc/1001/exe", O_RDWR) == -26


@pytest.mark.parametrize("engine", ["python", "native"])
def test_a_fork_bomb(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its 256 processes and EAGAIN, and the host has lost nothing."""
    monkeypatch.setattr("emu.process.scheduler.SLICE", 500)
    loop = b"\xb8\2\0\0\0\xcd\x80\xeb\xf7"  # mov eax, 2; int 0x80; jmp
    machine = ProcessMachine(tiny_elf(data=loop), ["bomb"])
    state = process_state(machine)
    machine.run(make_engine(engine), state, 20_000)
    assert len(machine.table.processes) == MOST_PROCESSES
    assert machine.space.physical.free_frames > 0
    machine.close()


def test_a_memory_bomb_ends_alone(guest: Guest) -> None:
    """Who uses up all memory is killed; its parent goes on and has it back."""
    small = Guest(memory=1 << 20)
    where = small.call("mmap2", 0, 0x100000, 3, 0x22, -1, 0) & 0xFFFFFFFF
    small.call("fork")
    small.call("waitpid", -1, small.BUFFER, 0)
    free = small.space.physical.free_frames
    for page in range(0, 0x100000, 0x1000):
        fault = small.space.write(where + page, b"x")
        if fault is not None:
            break
    assert isinstance(fault, Fault)
    assert small.machine.handle(small.state, Exit("fault", fault)) is None
    assert small.process.pid == 1000
    assert small.words("<I") == (9,)
    assert small.space.physical.free_frames >= free
    assert small.space.write(where, b"x") is None


def test_pipe_bombs(guest: Guest) -> None:
    """Pipes of all processes have one limit, and come back when they are closed."""
    made = 0
    while (result := guest.call("pipe", guest.BUFFER)) != -23:
        if result == -24:  # this process has no more descriptors: a child has, once it closes them
            guest.call("fork")
            guest.call("waitpid", -1, 0, 0)
            guest.call("close_range", 3, 1023, 0)
        else:
            made += 1
    assert made == MOST_PIPES
    guest.call("kill", 0, 9)
    assert guest.outcome is not None
    assert guest.machine.table.pipes.left == MOST_PIPES


def test_file_bombs(guest: Guest, world: Path) -> None:
    """Open files of all processes have one limit, below what the host grants."""
    before, opened = descriptors_into(world), 0
    while (result := guest.call("open", b"file", 0, 0)) != -23:
        assert result >= 0
        opened += 1
        if opened % 300 == 0:
            guest.call("vfork")
            guest.call("close_range", 600, 1023, 0)
    assert opened == MOST_FILES
    assert descriptors_into(world) in (0, before + MOST_FILES)
    guest.call("kill", 0, 9)
    assert guest.outcome is not None
    assert descriptors_into(world) <= before


def test_mapping_bombs(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions, and pages that are shared, cost the host memory: all processes have one limit."""
    monkeypatch.setattr("emu.process.table.MOST_REGIONS", 100)
    while guest.call("mmap2", 0, 0x1000, 5, 0x22, -1, 0) & 0xFFFFFFFF < 0xFFFFF000:
        guest.call("mmap2", 0, 0x1000, 3, 0x22, -1, 0)
        if len(guest.space.regions) > 60:
            break
    assert guest.call("fork") == -12
    assert guest.call("munmap", 0xB7F00000, 0x100000) == 0
    assert guest.call("fork") > 0
    monkeypatch.setattr("emu.memory.MOST_SHARES", 0)
    assert guest.call("fork") == -12


def test_errors_are_the_sandboxs_own(guest: Guest) -> None:
    """Below the calls, failures are CallError or OSError and nothing else."""
    with pytest.raises(CallError) as caught:
        guest.machine.sandbox.open(b"loop", (), 0)
    assert caught.value.number == Errno.ELOOP
