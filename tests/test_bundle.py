"""Modules that come from one file: they are those that Python would have found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emu.private import VARIABLE

ROOT = Path(__file__).parents[1]
SOURCES = {
    "sample/__init__.py": "from sample.part import VALUE\n",
    "sample/part.py": "VALUE = 1\n\ndef fail():\n    raise ValueError('of a line')\n",
    "sample/note.txt": "a note",
    "alone.py": "VALUE = 10\n",
}
RUN = """
from emu import bundle
modules = bundle.begin()
import importlib.resources, inspect, json, sys, alone, sample, sample.part
modules.keep()
def told(module):
    spec = module.__spec__
    assert spec.loader is module.__loader__ and spec.origin == module.__file__
    return {
        "loader": type(spec.loader).__module__, "file": module.__file__, "value": module.VALUE,
        "cached": module.__cached__, "path": getattr(module, "__path__", None),
        "package": module.__package__, "source": inspect.getsource(module),
        "parent": spec.parent, "location": spec.has_location,
    }
print(json.dumps({
    "modules": {name: told(sys.modules[name]) for name in ("alone", "sample", "sample.part")},
    "note": importlib.resources.files("sample").joinpath("note.txt").read_text(),
}))
"""


class Tree:
    """Some modules, a directory to keep them in, and runs that import them."""

    def __init__(self, place: Path) -> None:
        self.place, self.kept = place / "tree", place / "cache"
        self.cwd = place / "cwd"
        self.cwd.mkdir()
        (self.place / "__pycache__").mkdir(parents=True)  # later it would change the directory
        self.environment = {VARIABLE: str(self.kept), "PYTHONDONTWRITEBYTECODE": ""}
        for name, text in SOURCES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.place), str(ROOT)])
        environment = os.environ | {"PYTHONPATH": path} | self.environment
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.cwd, env=environment, capture_output=True,
            text=True,
        )  # fmt: skip

    def run(self) -> dict[str, dict[str, object]]:
        """What a run has imported, by name."""
        done = self.python("-c", RUN)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["note"] == "a note"
        found: dict[str, dict[str, object]] = told["modules"]
        return found

    def loaders(self) -> dict[str, object]:
        return {name: facts["loader"] for name, facts in self.run().items()}

    @property
    def files(self) -> list[Path]:
        return sorted(self.kept.glob("modules-*"))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


PLAIN = dict.fromkeys(("alone", "sample", "sample.part"), "_frozen_importlib_external")
BUNDLED = dict.fromkeys(PLAIN, "emu.bundle")


def test_modules_of_a_bundle_look_like_others(tree: Tree) -> None:
    plain, bundled = tree.run(), tree.run()
    assert {name: facts.pop("loader") for name, facts in plain.items()} == PLAIN
    assert {name: facts.pop("loader") for name, facts in bundled.items()} == BUNDLED
    assert plain == bundled
    assert len(tree.files) == 1


def test_nothing_is_written_when_nothing_is_new(tree: Tree) -> None:
    tree.run()
    before = tree.files[0].stat()
    assert tree.loaders() == BUNDLED
    assert tree.files[0].stat().st_ino == before.st_ino


def test_a_source_that_changed_is_read_again(tree: Tree) -> None:
    """Even if its size and time are what they were."""
    tree.run()
    part = tree.place / "sample/part.py"
    facts = part.stat()
    part.write_text(SOURCES["sample/part.py"].replace("VALUE = 1", "VALUE = 2"))
    shutil.rmtree(tree.place / "sample/__pycache__")  # Python itself looks at no more than that
    os.utime(part, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    found = tree.run()
    assert found["sample.part"]["value"] == 2
    assert {name: facts["loader"] for name, facts in found.items()} == {
        **BUNDLED, "sample.part": PLAIN["sample.part"]
    }  # fmt: skip
    assert tree.loaders() == BUNDLED
    assert tree.run()["sample.part"]["value"] == 2


def test_a_source_that_is_gone_is_not_found(tree: Tree) -> None:
    tree.run()
    (tree.place / "alone.py").unlink()
    done = tree.python("-c", RUN)
    assert "No module named 'alone'" in done.stderr


def test_what_came_before_it_on_the_path_is_found(tree: Tree) -> None:
    tree.run()
    (tree.cwd / "alone.py").write_text("VALUE = 20\n")
    assert tree.run()["alone"]["value"] == 20
    (tree.cwd / "alone.py").unlink()
    assert tree.run()["alone"]["value"] == 10


def test_what_comes_to_a_directory_of_the_path_is_found(tree: Tree) -> None:
    (tree.place / "first").mkdir()
    path = os.pathsep.join([str(tree.place / "first"), str(tree.place), str(ROOT)])
    tree.environment["PYTHONPATH"] = path
    assert [tree.loaders(), tree.loaders()] == [PLAIN, BUNDLED]
    (tree.place / "first/alone.py").write_text("VALUE = 30\n")
    assert tree.run()["alone"]["value"] == 30


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    """Damage in everything behind the head."""
    size = int.from_bytes(content[:8], "little") + 16
    return content[:size] + bytes(byte ^ 1 for byte in content[size:])


def _flip_head(content: bytes) -> bytes:
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


@pytest.mark.parametrize("damage", [_cut, _flip, _flip_head, lambda _: b"", lambda _: b"text"])
def test_a_damaged_bundle_is_as_good_as_none(tree: Tree, damage: Callable[[bytes], bytes]) -> None:
    tree.run()
    tree.files[0].write_bytes(damage(tree.files[0].read_bytes()))
    found = tree.run()
    assert found["alone"]["value"] == 10
    assert found["alone"]["loader"] == PLAIN["alone"]
    assert tree.loaders() == BUNDLED  # written anew


def test_a_directory_that_others_can_write_to_is_not_used(tree: Tree) -> None:
    tree.run()
    tree.kept.chmod(0o777)
    assert tree.loaders() == PLAIN
    tree.kept.chmod(0o700)
    assert tree.loaders() == BUNDLED


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_directory_of_somebody_else_is_not_used(tree: Tree) -> None:
    tree.run()
    os.chown(tree.kept, 12345, 12345)
    assert tree.loaders() == PLAIN


@pytest.mark.parametrize("where", ["", "/dev/null/cache"])
def test_without_a_directory_modules_are_imported_as_always(tree: Tree, where: str) -> None:
    tree.environment[VARIABLE] = where
    assert [tree.loaders(), tree.loaders()] == [PLAIN, PLAIN]


def test_who_wants_no_bytecode_written_has_no_bundle_written(tree: Tree) -> None:
    tree.environment["PYTHONDONTWRITEBYTECODE"] = "1"
    assert [tree.loaders(), tree.loaders()] == [PLAIN, PLAIN]
    assert not tree.files


def test_a_traceback_tells_the_line(tree: Tree) -> None:
    tree.run()
    begin = "from emu import bundle; bundle.begin(); import sample.part; sample.part.fail()"
    done = tree.python("-c", begin)
    place = tree.place / "sample/part.py"
    assert f'File "{place}", line 4, in fail\n    raise ValueError' in done.stderr


def test_others_finders_come_first(tree: Tree) -> None:
    tree.run()
    done = tree.python("-c", _HOOK)
    assert done.stdout.split() == ["99", "True"], done.stderr


_HOOK = """
import importlib.abc, importlib.machinery, sys
class Loader(importlib.abc.Loader):
    def exec_module(self, module):
        module.VALUE = 99
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, Loader()) if name == "alone" else None
sys.meta_path.insert(0, Finder())
from emu import bundle
bundle.begin()
import alone, sample
print(alone.VALUE, type(sample.__loader__).__module__ == "emu.bundle")
"""


def test_the_command_has_a_bundle(tree: Tree) -> None:
    """From its second warm run on: the first run compiles, and keeps none."""
    pytest.importorskip("llvmlite")
    guest = str(ROOT / "programs/x86/hello.asm")
    program = tree.place / "hello"
    assert tree.python("-m", "emu", "asm", guest, "-o", str(program)).returncode == 0
    run = "-v", "-m", "emu", "run", "--engine", "native", str(program)
    told = [tree.python(*run) for _ in range(3)]
    assert {done.returncode for done in told} == {0}
    assert len({done.stdout for done in told}) == 1
    assert "import 'emu.guests' # <emu.bundle._Loader" not in told[0].stderr
    assert "import 'emu.guests' # <emu.bundle._Loader" in told[-1].stderr
    assert "import 'struct' # <emu.bundle._Loader" in told[-1].stderr
