"""What runs guests: the host itself, our engines, qemu-i386 and Unicorn."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emu.bench.child import Run, run_child
from emu.engines import ENGINES
from emu.errors import GuestFileError

NATIVE, QEMU, UNICORN = "native", "qemu-i386", "unicorn"
OURS = "popek-"
SLOW_ROUNDS = {"popek-python": 4, "popek-reference": 1}
"""How many rounds the engines run that would take minutes for all."""

QUICK = 160

SHARES = {"unicorn": 64}
"""Tools that would take minutes for all, but long for a few rounds: they run one in so many."""

DRIVER = Path(__file__).with_name("unicorn_driver.py")
UNICORN_PYTHON = "POPEK_UNICORN_PYTHON"  # names a Python that has Unicorn, if ours has not


class Tool(Protocol):
    """One way to run an i386 program; `missing` says why it is none here, else is empty."""

    @property
    def name(self) -> str:
        """As tables and JSON call it."""

    @property
    def driver(self) -> tuple[str, ...]:
        """A command that runs loops of exits to a Python handler; empty if there is none."""

    @property
    def hook_driver(self) -> tuple[str, ...]:
        """A command that runs loops with hooks; empty if there is none."""

    def missing(self) -> str:
        """Why it cannot be used here; empty if it can."""

    def command(self, program: Path, arguments: Sequence[str]) -> list[str]:
        """The command that runs a program."""

    def seconds(self, run: Run) -> float:
        """How long the guest ran."""

    def instructions(self, run: Run) -> int | None:
        """How many instructions retired, if the tool counts them."""


@dataclass(frozen=True, slots=True)
class Process:
    """A tool that is a process of its own and tells nothing but the guest's output."""

    name: str
    prefix: tuple[str, ...] = ()
    absent: str = ""
    driver: tuple[str, ...] = ()
    hook_driver: tuple[str, ...] = ()

    def missing(self) -> str:
        """As found when the tool was looked for."""
        return self.absent

    def command(self, program: Path, arguments: Sequence[str]) -> list[str]:
        """The program, behind the tool's own command."""
        return [*self.prefix, str(program), *arguments]

    def seconds(self, run: Run) -> float:
        """The whole process."""
        return run.seconds

    def instructions(self, run: Run) -> int | None:
        """Not counted."""
        return None


@dataclass(frozen=True, slots=True)
class Reporting(Process):
    """A tool whose last line of standard error is JSON, with `seconds` and perhaps more."""

    def seconds(self, run: Run) -> float:
        """From the first instruction to the last."""
        return float(json.loads(run.last_words)["seconds"])

    def instructions(self, run: Run) -> int | None:
        """As counted by the tool."""
        count = json.loads(run.last_words).get("instructions")
        return None if count is None else int(count)


def find_tools(engines: Sequence[str], probe: Path) -> list[Tool]:
    """The host, our engines (by name), qemu-i386 and Unicorn, those that are missing included.

    `probe` is a program that only exits. Raises GuestFileError for an engine that is not there.
    """
    known = [name for name in ENGINES if name != "auto"]
    for engine in engines:
        if engine not in known:
            raise GuestFileError(
                f"There is no engine {engine!r}", advice=f"Use some of {', '.join(known)}"
            )
    chosen = list(dict.fromkeys(engines)) or [name for name in known if name != "reference"]
    ours = [_engine(name, probe) for name in chosen]
    return [_native(probe), *ours, _qemu(), _unicorn()]


def _native(probe: Path) -> Tool:
    if not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "i686"):
        return Process(NATIVE, absent="the host runs no i386 programs of Linux")
    try:
        code = run_child([str(probe)]).code
    except OSError as error:
        return Process(NATIVE, absent=f"the host does not run i386 programs ({error.strerror})")
    return Process(NATIVE, absent="" if code == 0 else f"an i386 program ends with {code}")


def _engine(engine: str, probe: Path) -> Tool:
    prefix = (sys.executable, "-m", "emu", "run", "--json", "--engine", engine)
    driver = (sys.executable, "-m", "emu.bench.exit_driver", engine)
    run = run_child([*prefix, str(probe)])
    hooks = (sys.executable, "-m", "emu.bench.hook_driver", engine)
    return Reporting(OURS + engine, prefix, "" if run.code == 0 else run.last_words, driver, hooks)


def _qemu() -> Tool:
    path = shutil.which(QEMU) or shutil.which(f"{QEMU}-static")
    return Process(QEMU, (path or QEMU,), "" if path else "not installed")


def _unicorn() -> Tool:
    python = os.environ.get(UNICORN_PYTHON, sys.executable)
    absent = ""
    try:
        if run_child([python, "-c", "import unicorn"]).code:
            absent = "not installed"
    except OSError as error:
        absent = f"{UNICORN_PYTHON}={python}: {error.strerror}"
    driver = (python, str(DRIVER))
    return Reporting(UNICORN, driver, absent, driver, driver)


def rounds_of(tool: Tool, rounds: int, quick: bool) -> int:
    """How many of a guest's rounds a tool runs; `quick` asks for one in QUICK."""
    if quick:
        return 1 if tool.name in SLOW_ROUNDS else max(1, rounds // QUICK)
    return min(SLOW_ROUNDS.get(tool.name, rounds), max(1, rounds // SHARES.get(tool.name, 1)))
