"""The programs of programs/x86 print what they should: on every engine, and on the host itself."""

from __future__ import annotations

import io
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from machines import engines

from emu.assembler import Assembled, assemble
from emu.process.machine import ProcessMachine
from emu.state import State
from isa.x86.machine import X86
from isa.x86.registers import FLAT_CODE, FLAT_DATA, SEGMENT_NAMES

PROGRAMS = Path(__file__).parent.parent / "programs"
NAMES = sorted(path.stem for path in (PROGRAMS / "x86").glob("*.asm"))
ENVIRONMENT = {"LANG": "C", "USER": "popek"}
LONG = {"bcd", "collatz", "fibonacci", "crc32", "heap", "factorial"}  # for the reference engine


@dataclass(frozen=True)
class Case:
    path: Path

    def _beside(self, suffix: str) -> bytes:
        path = self.path.with_suffix(suffix)
        return path.read_bytes() if path.exists() else b""

    @property
    def output(self) -> bytes:
        return self._beside(".out")

    @property
    def input(self) -> bytes:
        return self._beside(".in")

    @property
    def arguments(self) -> list[str]:
        return [self.path.stem, *self._beside(".args").decode().splitlines()]

    @property
    def code(self) -> int:
        return int(self._beside(".code") or 0)


@cache
def assembled(path: Path) -> Assembled:
    return assemble(path.read_text(), path.name)


def run(case: Case, engine: Any, most: int = 50_000_000) -> tuple[bytes, str, int, int]:
    output = io.BytesIO()
    machine = ProcessMachine(
        assembled(case.path).image,
        case.arguments,
        ENVIRONMENT,
        stdin=io.BytesIO(case.input),
        stdout=output,
        stderr=output,
    )
    state = State(X86(), {"linear": machine.space, "system": machine.system})
    machine.start(state)
    for name in SEGMENT_NAMES:
        state[f"{name}_limit"] = 0xFFFFFFFF
        state[f"{name}_attributes"] = FLAT_CODE if name == "cs" else FLAT_DATA
    state["cpl"] = 3
    outcome = machine.run(engine, state, most)
    assert outcome is not None, "it does not end"
    return output.getvalue(), outcome.kind, outcome.code, state.count


@cache
def on_python(name: str) -> tuple[bytes, str, int, int]:
    return run(Case(PROGRAMS / "x86" / f"{name}.asm"), engines()["python"])


@pytest.mark.parametrize("name", NAMES)
def test_output_and_exit_code(name: str) -> None:
    """On the python engine."""
    case = Case(PROGRAMS / "x86" / f"{name}.asm")
    assert on_python(name)[:3] == (case.output, "exit", case.code)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LONG])
@pytest.mark.parametrize("engine", ["reference", "python-hot", "python-cold"])
def test_engines_count_alike(name: str, engine: str) -> None:
    """Short programs run through every engine with the same output and instruction count."""
    case = Case(PROGRAMS / "x86" / f"{name}.asm")
    assert on_python(name) == run(case, engines()[engine])


ON_NATIVE = [
    "native-stitched",
    "native-tier1",
    pytest.param("native", marks=pytest.mark.heavy, id="native-forced"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", ON_NATIVE)
def test_native_code_counts_alike(name: str, engine: str) -> None:
    """Long ones too: as users run native code, in tier 1 only, and with tier 2 forced."""
    case = Case(PROGRAMS / "x86" / f"{name}.asm")
    assert on_python(name) == run(case, engines()[engine])


@pytest.mark.parametrize("name", NAMES)
def test_stands_as_documented(name: str) -> None:
    """Each begins with what it teaches, has its output beside it, and is in the list."""
    case = Case(PROGRAMS / "x86" / f"{name}.asm")
    first = case.path.read_text().split("\n", 1)[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    assert case.path.with_suffix(".out").exists()
    assert f"| `{name}` |" in (PROGRAMS / "x86" / "README.md").read_text()


@pytest.mark.heavy
@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "i686"),
    reason="the host cannot run i386 programs",
)
@pytest.mark.parametrize("name", NAMES)
def test_the_host_agrees(name: str, tmp_path: Path) -> None:
    """The same ELF file, run by Linux on the processor, prints the same."""
    case = Case(PROGRAMS / "x86" / f"{name}.asm")
    program = tmp_path / case.path.stem
    program.write_bytes(assembled(case.path).image)
    program.chmod(0o755)
    done = subprocess.run(
        case.arguments,
        executable=program,
        input=case.input,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    assert (case.output, case.code) == (done.stdout, done.returncode)
