"""LLVM's passes are run again and again, and nothing is left of that."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

from emu.engines.native import passes
from emu.engines.native.compiler import Compiler
from emu.engines.native.layout import BEST, QUICK
from tests.compiler_growth import text

on_linux = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="asks Linux for memory")
MOST = 16
"""Bytes for each function: nothing, mostly. Of those that were lost before, 79 were a callback and
its share of a builder, and of whole modules 61,000 the passes."""


@on_linux
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc what it gave")
def test_compiling_loses_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "tests.compiler_growth"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert all(lost <= MOST for lost in found.values()), found


@on_linux
def test_the_list_of_callbacks_is_found_and_emptied():
    """It is, in the version of LLVM that is installed: if not, look at what `passes` says of it."""
    runner = Compiler(QUICK)._runner
    assert runner._length is not None
    builder = runner.builder
    for number in range(2 * passes.RUNS):
        compiler_run(runner, number)
        assert runner._length.value == 0
    assert runner.builder is builder


def test_without_the_list_builders_are_replaced(monkeypatch):
    """The code is the same."""
    expected = [compiled(Compiler(level)) for level in (BEST, QUICK)]
    monkeypatch.setattr(passes, "_length", lambda builder: None)
    monkeypatch.setattr(passes, "RUNS", 3)
    compilers = [Compiler(level) for level in (BEST, QUICK)]
    builders = [compiler._runner.builder for compiler in compilers]
    assert [compiled(compiler) for compiler in compilers] == expected
    assert all(c._runner.builder is not b for c, b in zip(compilers, builders, strict=True))


def test_a_list_that_does_not_count_is_left_alone():
    """What was found is not believed for ever."""
    runner = Compiler(QUICK)._runner
    runner._length = other = ctypes.c_uint32(7)
    builder = runner.builder
    for number in range(passes.RUNS):
        compiler_run(runner, number)
    assert other.value == 7
    assert runner.builder is not builder


def test_no_number_leads_to_a_crash():
    """Looking for the list reads at whatever looks like a pointer."""
    with Path(__file__).open("rb") as file:
        assert passes._read(file.fileno(), 1 << 63, 8) == b""
    if Path("/proc/self/mem").exists():
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            assert passes._read(memory.fileno(), 8, 8) == b""
            assert passes._elements(8, memory.fileno()) is None


def compiler_run(runner, number):
    module = passes.llvm.parse_assembly(text(number), passes.llvm.create_context())
    pipeline = passes.llvm.create_new_function_pass_manager()
    runner.run(pipeline, module.get_function("region"))


def compiled(compiler):
    """Ten functions, in each way."""
    texts = list(map(text, range(10)))
    regions = [compiler.region(one).code for one in texts]
    images = [compiler.image(one, ["region"]).code for one in texts]
    return regions, images, [compiler.object_code(one, ["region"]) for one in texts]
