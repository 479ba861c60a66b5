"""What is compiled at installation: who uses it, and who does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")

from machines import NO_CACHE, x86_machine
from test_startup import HEAVY, LOOP, SAY_HI, TEXT, ran

from emu.assembler import assemble
from emu.engines.native.cache import PREPARED, VERSION, DiskCache
from emu.engines.native.engine import Native, NativeSession
from emu.engines.native.prepare import instructions
from emu.private import VARIABLE
from isa.x86.decode import BAD, decode
from isa.x86.form import Form
from isa.x86.mode import FLAT_USER
from isa.x86.recipe import Recipes

SOURCE = f"""
{LOOP}
{SAY_HI}
    mov eax, 1
    mov ebx, 7
    int 0x80
{TEXT}
"""
CODES = "b800000000 b900000000 ba00000000 bb00000000 01c8 e200 cd80 8ee8"
MAKE = f"""
import sys
from pathlib import Path
from emu.engines.native.prepare import prepare
print(prepare(Path(sys.argv[1]), [bytes.fromhex(code) for code in "{CODES}".split()]))
assert not {{"numpy", "platformdirs"}} & set(sys.modules), "see pyproject.toml's build-system"
"""


def make(directory: Path) -> str:
    """Prepare for the guest's forms, in a process of its own; tells what that says."""
    command = [sys.executable, "-c", MAKE, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that is prepared for the guest."""
    directory = tmp_path_factory.mktemp("installation") / "prepared"
    assert make(directory) == "True"
    return directory


@pytest.fixture
def prepared(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, where runs look for it."""
    copy = tmp_path / "prepared"
    shutil.copytree(made, copy)
    monkeypatch.setenv(PREPARED, str(copy))
    return copy


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    path = tmp_path / "guest"
    path.write_bytes(assemble(SOURCE, "guest.s").image)
    return path


def contents(directory: Path) -> dict[Path, tuple[bytes, int]]:
    """Files, and when they were changed or used."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_first_run_compiles_nothing(guest: Path, prepared: Path, tmp_path: Path) -> None:
    before = contents(prepared)
    report, modules = ran(guest, tmp_path / "cache")
    assert not modules.intersection(HEAVY) - {"tempfile"}  # the digest of our sources is kept
    assert report["engine"] == "native"
    assert [path.name for path in contents(tmp_path / "cache")] == [VERSION]
    assert contents(prepared) == before


def test_it_is_made_once_for_each_version(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "prepared"
    shutil.copytree(made, copy)
    before = contents(copy)
    assert make(copy) == "False"
    assert contents(copy) == before
    (place,) = copy.iterdir()
    place.rename(copy / ("0" * 16))
    (copy / "mine").mkdir()
    assert make(copy) == "True"
    assert {path.name for path in copy.iterdir()} == {place.name, "mine"}


def damage(path: Path) -> None:
    for file in path.rglob("*"):
        if file.is_file():
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)


def make_old(path: Path) -> None:
    (place,) = path.iterdir()
    place.rename(path / ("0" * 16))


def open_place(path: Path) -> None:
    (place,) = path.iterdir()
    place.chmod(0o777)


def open_directory(path: Path) -> None:
    path.chmod(0o777)


@pytest.mark.parametrize("change", [damage, make_old, open_place, open_directory])
def test_what_is_damaged_old_or_anybodys_is_as_good_as_absent(
    guest: Path, prepared: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(prepared)
    before = contents(prepared)
    _, modules = ran(guest, tmp_path / "cache")
    assert {"capstone", "llvmlite.binding"} <= modules
    assert list((tmp_path / "cache").rglob("handlers"))
    assert contents(prepared) == before


def test_without_a_cache_there_is_nothing_below_it_either(guest: Path, prepared: Path) -> None:
    environment = os.environ | {VARIABLE: ""}
    command = [sys.executable, "-m", "emu", "run", "--engine", "native", str(guest)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("hi\n", "", 7)
    assert DiskCache(None, prepared=prepared).load("decoder") is None


def test_the_users_own_comes_first_and_takes_what_is_saved(prepared: Path, tmp_path: Path) -> None:
    before = contents(prepared)
    cache, other = (DiskCache(tmp_path / name, prepared=prepared) for name in ("one", "other"))
    found = cache.load("decoder")
    assert found is not None and cache.has("decoder") and not cache.has("decoders")
    assert cache.names() == frozenset()
    cache.save("decoder", {"fact": 1}, b"code")
    assert cache.load("decoder") == ({"fact": 1}, b"code")
    assert other.load("decoder") == found
    assert DiskCache(tmp_path / "other").load("decoder") is None
    damage(tmp_path / "one")
    assert cache.load("decoder") == found
    assert contents(prepared) == before


def test_the_profile_names_instructions_of_different_keys_that_somebody_can_do() -> None:
    """Native code can do nearly all of them, and nobody has to ask the decoder again."""
    session = Native(cache=NO_CACHE).session(x86_machine(b""))
    assert isinstance(session, NativeSession)
    codes, recipes, native = instructions(), Recipes(FLAT_USER.code_size), []
    for code in codes:
        found, parts = decode(code, FLAT_USER), recipes.split(code)
        assert isinstance(found.form, Form) and found.form.mnemonic != BAD
        assert found.length == len(code) and parts
        if session.is_native(found.form):
            native.append((parts.key, found.form))
    assert codes == sorted(codes)
    assert len(set(native)) == len(native) > len(codes) - 10
    assert len({form for _, form in native}) > 700
