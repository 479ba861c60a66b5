"""What a run that finds all its code on the disk does not import: that is most of a short run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("llvmlite")

from emu import private
from emu.assembler import assemble
from emu.engines.native import cache

HEAVY = (
    "numpy", "capstone", "llvmlite.binding", "platformdirs", "tempfile", "dataclasses",
    "isa.x86.meanings", "isa.x86.decode", "isa.ops", "isa.trace", "emu.engines.compiling",
    "emu.engines.reference", "emu.process.frames", "emu.process.syscalls.descriptors",
    "emu.engines.native.lowering", "emu.engines.native.movable", "emu.engines.native.runtime",
)  # fmt: skip

MEANT_FOR_LONGER_RUNS = (
    *HEAVY, "click", "inspect", "hashlib", "typing", "re", "enum", "json", "pathlib", "random",
    "shutil", "signal", "threading", "weakref", "copy", "importlib.util", "functools", "contextlib",
    "collections", "operator", "types", "array", "ctypes", "zlib",
)  # fmt: skip
"""What no plain command line needs either, each some percent of a short run."""

LOOP = """
    .globl _start
_start:
    mov ecx, 2000
again:
    add eax, ecx
    loop again
"""
SAY_HI = """
    mov eax, 4
    mov ebx, 1
    mov ecx, offset text
    mov edx, 3
    int 0x80
"""
TEXT = """
    .data
text: .ascii "hi\\n"
"""
SOURCE = f"""
{LOOP}
    mov eax, 243            # set_thread_area
    mov ebx, offset area
    int 0x80
    mov eax, [area]
    lea eax, [eax * 8 + 3]
    mov gs, eax             # native code leaves that to the python engine
    mov edx, gs:[0]
{SAY_HI}
    jmp crossing
    .p2align 12
    .skip 4093
crossing:
    mov eax, 1              # in two pages: native code asks somebody else how long it is
    mov ebx, 7
    int 0x80
{TEXT}
area: .long -1, text, 0xfffff, 0x51
"""

RUN = """
import json, sys
from emu.cli import main
sys.argv = ["emu", "run", "--json", sys.argv[1]]
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(autouse=True)
def nothing_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first run has to compile, whatever was made when we were installed."""
    monkeypatch.setenv(cache.PREPARED, "")


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    path = tmp_path / "guest"
    path.write_bytes(assemble(SOURCE, "guest.s").image)
    return path


def ran(guest: Path, kept: Path) -> tuple[dict[str, object], set[str]]:
    """What `emu run` reports, and which modules it has imported."""
    environment = os.environ | {private.VARIABLE: str(kept)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(guest)], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    said, told = done.stdout.splitlines()
    found = json.loads(told)
    assert (said, found["code"]) == ("hi", 7)
    return json.loads(done.stderr.splitlines()[-1]), set(found["modules"])


def test_a_warm_run_imports_no_decoder_no_meanings_no_compiler_and_no_numpy(
    guest: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "cache"
    first, cold = ran(guest, kept)
    assert {"capstone", "llvmlite.binding", "isa.x86.meanings"} <= cold
    again, warm = ran(guest, kept)
    assert not warm.intersection(HEAVY)
    assert again["engine"] == "native"
    assert again["instructions"] == first["instructions"]


PLAIN_RUN = """
import sys
before = set(sys.modules)
from emu.cli import main
sys.argv = ["emu", "run", sys.argv[1]]
try:
    main()
except SystemExit as end:
    found = {"code": end.code, "modules": sorted(set(sys.modules) - before)}
import json
print(json.dumps(found))
"""


def test_a_plain_warm_run_imports_nobody_who_knows_options(guest: Path, tmp_path: Path) -> None:
    """Nor OpenSSL, for the checksums of what is on the disk, nor what types and paths are for."""
    environment = os.environ | {private.VARIABLE: str(tmp_path / "cache")}
    command = [sys.executable, "-c", PLAIN_RUN, str(guest)]
    told = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    said, facts = told[1].splitlines()
    found = json.loads(facts)
    assert (said, found["code"]) == ("hi", 7)
    assert not set(MEANT_FOR_LONGER_RUNS).intersection(found["modules"])


PLAIN = (
    ["guest"], ["guest", "--seed", "1"],
    ["--root", "/tree", "--writable", "--net", "--cwd", "/w", "guest", "-x"],
    ["--env", "A=1", "--engine", "python", "--env", "B=-", "--cpu", "pentium", "guest", "--", "y"],
    ["--cwd", "--net", "guest"], ["--cwd", "", "guest"],
)  # fmt: skip


@pytest.mark.parametrize("given", PLAIN, ids=" ".join)
def test_few_options_are_what_the_command_line_says(given: list[str]) -> None:
    from emu.cli.commands import app
    from emu.cli.plain import plain

    said = app.commands["run"].make_context("run", list(given)).params
    own = ("guest", "arguments", "max_instructions", "as_json", "coverage")
    found = plain(["run", *given])
    assert found is not None
    asked = {k: str(v) if isinstance(v, Path) else v for k, v in said.items() if k not in own}
    assert asked == found.options
    guest, *arguments = found.command
    assert [said[name] for name in own] == [Path(guest), tuple(arguments), None, False, None]


@pytest.mark.parametrize(
    "given",
    [
        [], ["run"], ["run", "--seed", "1", "guest"], ["trace", "guest"], ["run", "--root"],
        ["run", "--root=/tree", "guest"], ["run", "--", "guest"], ["run", "--net"],
        ["run", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_other_options_are_left_to_who_knows_them(given: list[str]) -> None:
    from emu.cli.plain import plain

    assert plain(given) is None


def test_mistakes_without_options_are_told_as_with_them(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    ends = [
        subprocess.run([sys.executable, "-m", "emu", "run", *given], capture_output=True, text=True)
        for given in ([missing], ["--seed", "0", missing])
    ]
    assert ends[0].returncode == ends[1].returncode == 66
    assert ends[0].stderr == ends[1].stderr != ""


def test_a_command_that_ends_at_once_has_done_what_was_left_for_the_end(
    guest: Path, tmp_path: Path
) -> None:
    """Python does not take itself apart, but its output and what it keeps are written."""
    command = [sys.executable, "-m", "emu", "run", "--engine", "native", str(guest)]
    environment = os.environ | {private.VARIABLE: str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("hi\n", "", 7)
    (kept,) = (tmp_path / "cache").rglob("handlers")
    head, _ = cache._unpack(memoryview(kept.read_bytes()))
    called = {name for _, name, _ in head["imports"]}
    assert called <= {"memmove", "memset", "memcpy"}  # all other functions are in the file


def test_sources_are_read_again_when_their_status_changed(tmp_path: Path) -> None:
    """The digest that is kept counts for sources of one status, and for no others."""
    version = cache.version.__wrapped__
    found, kept = version(tmp_path), tmp_path / cache.VERSION
    head, _ = cache._unpack(memoryview(kept.read_bytes()))
    assert head["digest"] == found
    sources = head["sources"]
    path = next(path for path in sources if path.endswith("isa/x86/meanings/logic.py"))
    kept.write_bytes(cache._pack(head | {"digest": "kept"}, b""))
    assert version(tmp_path) == "kept"
    kept.write_bytes(kept.read_bytes() + b"!")  # damaged
    assert version(tmp_path) == found
    for other in (sources | {path: (0, 0, 0, 0)}, sources | {str(tmp_path / "gone"): (0, 0, 0, 0)}):
        kept.write_bytes(cache._pack(head | {"digest": "kept", "sources": other}, b""))
        assert version(tmp_path) == found
    kept.write_bytes(cache._pack(head | {"digest": "kept", "facts": "other"}, b""))
    assert version(tmp_path) == found


def test_trees_that_share_a_directory_have_versions_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's sources have not changed, and say nothing of ours: code of another version
    would be executed."""
    version = partial(cache.version.__wrapped__, tmp_path)
    ours = version()
    for content in ("ONE = 1", "ONE = 2"):
        tree = tmp_path / content[-1]
        tree.mkdir()
        (tree / "one.py").write_text(content)
        monkeypatch.setattr(cache, "isa", SimpleNamespace(__path__=[str(tree)]))
        assert version() != ours
    assert version() == version()
    monkeypatch.undo()
    assert version() == ours


def test_a_version_is_another_one_when_a_source_changes_comes_or_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    source = tree / "part/one.py"
    source.parent.mkdir(parents=True)
    source.write_text("ONE = 1")
    monkeypatch.setattr(cache, "isa", SimpleNamespace(__path__=[str(tree)]))

    def version() -> str:
        private.seen.clear()  # as another process sees it
        return cache.version.__wrapped__(tmp_path)

    found, facts = version(), source.stat()
    source.write_text("ONE = 2")
    os.utime(source, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    changed = version()
    (tree / "part/two.py").write_text("TWO = 2")
    more = version()
    assert len({found, changed, more}) == 3
    (tree / "part/two.py").unlink()
    assert version() == changed
    (tree / "part/__pycache__").mkdir()
    (tree / "part/__pycache__/three.py").write_text("THREE = 3")
    assert version() == changed
