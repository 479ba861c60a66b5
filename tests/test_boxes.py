"""Boxes: what is theirs alone, how much of it, and that nobody else makes a difference."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process_guest import Guest, tiny_elf

from emu.assembler import assemble
from emu.box import Box, Boxes, Running
from emu.box.description import read_boxes
from emu.box.prefix import Prefixed
from emu.cli.commands import app
from emu.errors import GuestFileError
from emu.process.namespace import NAME_COST, Namespace
from emu.process.numbers import CallError, Errno

PROGRAMS = Path(__file__).parent.parent / "programs" / "x86"
BUFFER = Guest.BUFFER
O_RDWR, O_CREAT, O_TRUNC = 2, 0o100, 0o1000
ROOM = 100_000
FOR_EVER = "again: jmp again"
READER = """
        mov     ebx, [esp + 8]          # argv[1]
        mov     eax, 5                  # open
        xor     ecx, ecx
        int     0x80
        test    eax, eax
        js      out
        mov     ebx, eax
        mov     eax, 3                  # read
        mov     ecx, esp
        mov     edx, 64
        int     0x80
        mov     edx, eax
        mov     eax, 4                  # write
        mov     ebx, 1
        int     0x80
        xor     eax, eax
out:    neg     eax
        mov     ebx, eax
        mov     eax, 1                  # exit with the error's number
        int     0x80
"""
KILLER = """
        mov     ebp, 300                # every number that there is in a box, and some more
again:  mov     eax, 37                 # kill
        mov     ebx, ebp
        mov     ecx, 9
        int     0x80
        dec     ebp
        jnz     again
        mov     eax, 20                 # getpid
        int     0x80
        mov     ebx, eax
        mov     eax, 1
        int     0x80
"""
SCRIBBLER = """
        xor     esi, esi                # write wherever anything is, with one of its own calls
again:  mov     eax, 3                  # read, whose pointer the kernel checks
        xor     ebx, ebx
        mov     ecx, esi
        mov     edx, 4096
        int     0x80
        add     esi, 4096
        cmp     esi, 0x1000000
        jne     again
        mov     edi, 0x08048000         # and then with its own hands
        mov     ecx, 0x100000
        rep     stosb
"""


@cache
def built(text: str) -> bytes:
    """A program, from its source."""
    head = ".globl _start\n.text\n_start:\n" if "_start" not in text else ""
    return assemble(head + text, "box.asm").image


def program(path: Path, text: str) -> str:
    """A program of the host's."""
    path.write_bytes(built(text))
    return str(path)


def boxed(tmp_path: Path, name: str, text: str, *arguments: str, **options: Any) -> Running:
    """A box with a root of its own and a program in it."""
    root = tmp_path / name
    root.mkdir(exist_ok=True)
    program(root / "program", text)
    (root / "program").chmod(0o755)
    return Running(Box(name, "program", arguments, root=root, engine="python", **options))


# -- names ------------------------------------------------------------------------------------


def test_a_box_has_a_host_name_and_numbers_of_its_own(tmp_path: Path) -> None:
    guest = Guest(tmp_path, namespace=Box("web", "program", host_name="host-7").namespace)
    assert guest.call("uname", BUFFER) == 0
    names = [guest.get(65, 65 * i).rstrip(b"\0") for i in range(2)]
    assert names == [b"Linux", b"host-7"]
    assert (guest.call("getpid"), guest.call("getppid"), guest.call("getpgrp")) == (1, 0, 1)
    assert guest.call("fork") == 2


def test_init_cannot_be_killed_from_within(tmp_path: Path) -> None:
    guest = Guest(tmp_path, namespace=Box("web", "program").namespace)
    assert guest.call("kill", 1, 9) == guest.call("kill", 1, 15) == 0
    assert guest.outcome is None


def test_orphans_become_inits_children(tmp_path: Path) -> None:
    guest = Guest(tmp_path, namespace=Box("web", "program").namespace)
    child = guest.call("fork")
    assert guest.call("waitpid", child, 0, 0) == 0, "what fork says to the child"
    orphan = guest.call("fork")
    assert guest.call("getpid") == child
    guest.call("exit", 0)
    found = guest.machine.table.find(orphan)
    assert found.parent is not None
    assert found.parent.pid == 1


def test_nobody_outlives_init(tmp_path: Path) -> None:
    guest = Guest(tmp_path, namespace=Box("web", "program").namespace)
    guest.call("fork")
    guest.call("exit", 7)
    assert guest.outcome is not None
    assert guest.outcome.exit_code == 7


# -- limits -----------------------------------------------------------------------------------


def test_processes_and_open_files_are_limited(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    guest = Guest(tmp_path, namespace=Namespace(processes=3, files=4))
    born = 0
    while guest.call("fork") > 0:
        born += 1
    assert born == 2
    opened = 0
    while guest.call("open", b"file", 0) > 0:
        opened += 1
    assert opened == 4


def test_instructions_are_limited(tmp_path: Path) -> None:
    box = boxed(tmp_path, "loop", FOR_EVER, instructions=12_345)
    Boxes([box]).run()
    assert box.report is not None
    assert (box.report.stop, box.report.instructions, box.report.exit_code) == (
        "limit",
        12_345,
        124,
    )


def test_memory_is_limited(tmp_path: Path) -> None:
    text = """
        mov edi, [esp]
        sub esp, 0x400000
        and esp, -4096
    more: mov [esp], edi
        add esp, 4096
        jmp more
    """
    box = boxed(tmp_path, "eater", text, memory=1 << 20)
    Boxes([box]).run()
    assert box.report is not None
    assert "all 1 MiB" in box.report.message
    assert box.report.details["memory_peak"] <= 1 << 20


FILES = st.sampled_from([b"a", b"b", b"c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), FILES, st.sampled_from([O_CREAT, O_CREAT | O_TRUNC, 0])),
        st.tuples(st.just("write"), st.integers(3, 6), st.integers(0, 40_000)),
        st.tuples(st.just("seek"), st.integers(3, 6), st.integers(0, 60_000)),
        st.tuples(st.just("ftruncate"), st.integers(3, 6), st.integers(0, 60_000)),
        st.tuples(st.just("close"), st.integers(3, 6)),
        st.tuples(st.just("unlink"), FILES),
        st.tuples(st.just("rename"), FILES, FILES),
        st.tuples(st.just("link"), FILES, FILES),
        st.tuples(st.just("symlink"), FILES, FILES),
        st.tuples(st.just("mkdir"), FILES),
        st.tuples(st.just("rmdir"), FILES),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_storage_is_what_the_root_has_grown_by(steps, tmp_path_factory):
    """Whatever is done: names and bytes, and of removed files what is still open."""
    root = tmp_path_factory.mktemp("root")
    guest = Guest(root, writable=True, memory=1 << 20, namespace=Namespace(storage=ROOM))
    for step in steps:
        done(guest, step)
        assert guest.machine.sandbox.storage.left == ROOM - taken(root, guest) >= 0
    guest.machine.close()


def done(guest: Guest, step: tuple) -> None:
    """One step, by system calls; some fail."""
    call, *values = step
    if call == "open":
        if len(opened(guest)) < 4:
            guest.call("open", values[0], O_RDWR | values[1], 0o666)
    elif call == "write":
        guest.call("write", values[0], BUFFER, min(values[1], 0x7000))
    elif call == "seek":
        guest.call("lseek", *values, 0)
    else:
        guest.call(call, *values)


def taken(root: Path, guest: Guest) -> int:
    """What there is below the root, and what is open without a name."""
    found = [entry.lstat() for entry in root.iterdir()]
    names = NAME_COST * len(found)
    sizes = {(f.st_dev, f.st_ino): f.st_size for f in found if f.st_mode & 0o170000 == 0o100000}
    for descriptor in opened(guest):
        status = os.fstat(descriptor)
        sizes[status.st_dev, status.st_ino] = status.st_size
    return names + sum(sizes.values())


def opened(guest: Guest) -> list[int]:
    """The host's descriptors of the files that are open."""
    found = []
    for number in range(3, 10):
        with suppress(CallError):
            found.append(guest.process.files.get(number).host_descriptor())
    return [descriptor for descriptor in found if descriptor is not None]


# -- two boxes --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/secret", "../b/secret", "/../b/secret", "/proc/2/exe", "link"])
def test_files_of_others_are_not_there(tmp_path: Path, path: str) -> None:
    other = boxed(tmp_path, "b", FOR_EVER, instructions=1_000)
    (tmp_path / "b" / "secret").write_bytes(b"secret of b")
    box = boxed(tmp_path, "a", READER, path)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b" / "secret")
    Boxes([other, box]).run()
    assert box.report is not None
    assert box.report.exit_code == Errno.ENOENT
    assert not box.output.getvalue()


def test_a_file_of_ones_own_is(tmp_path: Path) -> None:
    box = boxed(tmp_path, "a", READER, "/secret")
    (tmp_path / "a" / "secret").write_bytes(b"secret of a")
    Boxes([box]).run()
    assert box.output.getvalue() == b"secret of a"


@pytest.mark.parametrize("hostile", [KILLER, SCRIBBLER])
def test_processes_and_memory_of_others_are_out_of_reach(tmp_path: Path, hostile: str) -> None:
    text = (PROGRAMS / "children.asm").read_text()
    alone = boxed(tmp_path, "alone", text)
    Boxes([alone]).run()
    beside = boxed(tmp_path, "beside", text)
    Boxes([boxed(tmp_path, "hostile", hostile), beside]).run()
    assert seen(beside) == seen(alone)


NAMES = ["children", "fork", "pipe", "sieve", "signal", "strings"]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chosen=st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(1, 5), st.none() | st.integers(0, 60_000)),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
def test_each_run_is_its_run_alone(chosen, tmp_path_factory):
    """Whatever runs beside it, with whatever share, and whoever of them is killed when."""
    root = tmp_path_factory.mktemp("boxes")

    def started(index):
        name, share, _ = chosen[index]
        return boxed(root, f"{name}{index}", (PROGRAMS / f"{name}.asm").read_text(), share=share)

    def deadline(index):
        name, _, count = chosen[index]
        return {} if count is None else {f"{name}{index}": count}

    together = Boxes([started(index) for index in range(len(chosen))])
    together.run({k: v for index in range(len(chosen)) for k, v in deadline(index).items()})
    for index, box in enumerate(together.boxes.values()):
        alone = Boxes([started(index)])
        alone.run(deadline(index))
        assert seen(box) == seen(next(iter(alone.boxes.values())))


def seen(box: Running) -> tuple[object, ...]:
    """Everything that a run has left."""
    assert box.report is not None
    memory = hashlib.sha256(box.machine.space.physical.view).hexdigest()
    registers = tuple(sorted(box.state.registers().items()))
    said = box.output.getvalue(), box.errors.getvalue()
    return box.report.stop, box.report.exit_code, box.report.instructions, memory, registers, said


# -- commands ---------------------------------------------------------------------------------

DESCRIPTION = """
[web]
program = "program"
root = "web"
hostname = "www"
memory = "8M"
share = 2
engine = "python"
[db]
program = "program"
root = "db"
engine = "python"
"""


def test_boxes_of_a_file(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for name, text in (("web", "fibonacci"), ("db", "hello")):
        (tmp_path / name).mkdir()
        program(tmp_path / name / "program", (PROGRAMS / f"{text}.asm").read_text())
    (tmp_path / "boxes.toml").write_text(DESCRIPTION)
    described = read_boxes(tmp_path / "boxes.toml")
    assert [(box.name, box.host, box.memory, box.share) for box in described] == [
        ("web", "www", 8 << 20, 2), ("db", "db", 64 << 20, 1),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        app(["box", "up", str(tmp_path / "boxes.toml")], standalone_mode=False)
    out, err = capfdbinary.readouterr()
    assert ended.value.code == 0
    expected = (PROGRAMS / "hello.out").read_bytes().splitlines()
    assert [line for line in out.splitlines() if line.startswith(b"db  | ")] == [
        b"db  | " + line for line in expected
    ]
    assert err.startswith(b"box ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "describes no boxes"),
        ("web = 1", "is not a table"),
        ("[web]\nprogramm = 'a'", "no field 'programm'"),
        ("[web]\nroot = 'a'", "no program"),
        ("[web]\nprogram = 'a'\nmemory = 'much'", "is not a size"),
        ("[web]\nprogram = 'a'\nprocesses = 0", "processes = 0"),
        ("[web]\nprogram = 'a'\nhostname = '" + "x" * 65 + "'", "is no host name"),
        ("['a b']\nprogram = 'a'", "is no name for a box"),
        ("[web", "describes no boxes"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "boxes.toml"
    path.write_text(text)
    with pytest.raises(GuestFileError, match=message):
        read_boxes(path)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GuestFileError, match="There is no program 'nothing'"):
        Running(Box("a", "nothing", root=tmp_path))
    (tmp_path / "text").write_bytes(b"hello")
    with pytest.raises(GuestFileError):
        Running(Box("a", "text", root=tmp_path))


def test_two_boxes_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(tiny_elf())
    boxes = [Running(Box("a", "program", root=tmp_path, engine="python")) for _ in range(2)]
    with pytest.raises(GuestFileError, match="Two boxes are named 'a'"):
        Boxes(boxes)


def test_lines_are_told_apart() -> None:
    below = io.BytesIO()
    stream = Prefixed("a", 3, below)
    for piece in (b"one\ntw", b"o\nthree"):
        assert stream.write(piece) == len(piece)
    stream.finish()
    assert below.getvalue() == b"a   | one\na   | two\na   | three\n"


def test_help_names_the_limits() -> None:
    said = CliRunner().invoke(app, ["box", "run", "--help"]).output
    assert all(option in said for option in ("--memory", "--storage", "--instructions", "--files"))
