"""How long Debian's programs take: here (with and without what an earlier run has kept), natively
and in qemu-i386, in turns. `POPEK_I386_SHARED=… python -m tests.program_figures [--rounds N]`."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.test_busybox import fill

LOOP = "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); done; echo $i"
COMMANDS = {
    "dash": ["bin/dash", "-c", LOOP],
    "lua": ["usr/bin/lua5.4", "work.lua"],
    "perl": ["usr/bin/perl", "work.pl"],
    "python": ["usr/bin/python3.11", "-S", "-B", "work.py"],
    "tcl": ["usr/bin/tclsh8.6", "work.tcl"],
    "sqlite": ["usr/bin/sqlite3", "-batch", ":memory:", ".read work.sql"],
    "openssl": ["usr/bin/openssl", "dgst", "-sha256", "big"],
    "tcc": ["usr/bin/tcc", "-c", "work.c", "-o", "work.o"],
    "gzip": ["bin/gzip", "-c", "-9", "big"],
    "bzip2": ["bin/bzip2", "-c", "big"],
    "xz": ["usr/bin/xz", "-c", "big"],
    "sort": ["usr/bin/sort", "words"],
}
OURS = "from emu.cli import main; main()"


def tools(root: Path, argv: list[str], cold: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Each tool's command and what is set for it."""
    program = str(root / argv[0])
    ours = [sys.executable, "-c", OURS, "run", "--root", str(root), "--writable", "--cwd", "/w"]
    libraries = "lib/i386-linux-gnu:usr/lib/i386-linux-gnu"
    linker = [str(root / "lib/ld-linux.so.2"), "--library-path"]
    linker += [":".join(str(root / path) for path in libraries.split(":"))]
    return {
        "native": ([*linker, program, *argv[1:]], {}),
        "popek": ([*ours, program, *argv[1:]], {}),
        "popek-cold": ([*ours, program, *argv[1:]], {"POPEK_CACHE": str(cold)}),
        "qemu-i386": (["qemu-i386", *linker, program, *argv[1:]], {}),
    }


def seconds(command: list[str], given: dict[str, str], directory: Path) -> float:
    """How long one run takes; its exit code must be 0."""
    began = time.perf_counter()
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "LC_ALL": "C"}
    environment |= {"PYTHONPATH": os.environ.get("PYTHONPATH", "")} | given
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def measured(root: Path, name: str, rounds: int, scratch: Path) -> dict[str, float]:
    """Medians by tool, after one round that warms everybody up."""
    found: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        cold = scratch / f"{name}{turn}"
        cold.mkdir(mode=0o700)
        for tool, (command, given) in tools(root, COMMANDS[name], cold).items():
            took = seconds(command, given, root / "w")
            if turn:
                found.setdefault(tool, []).append(took)
    return {tool: statistics.median(times) for tool, times in found.items()}


def main() -> None:
    """Print a table, a line for each program as it comes, and the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("names", nargs="*", default=list(COMMANDS))
    chosen = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        shutil.copytree(os.environ["POPEK_I386_SHARED"], root, symlinks=True)
        fill(root / "w")
        for path in Path(__file__).with_name("languages").iterdir():
            shutil.copy(path, root / "w")
        for name in chosen.names:
            times = measured(root, name, chosen.rounds, Path(scratch))
            told = "  ".join(f"{tool} {took:7.3f}" for tool, took in times.items())
            print(f"{name:<8} {told}", flush=True)
            for tool in ("popek", "popek-cold"):
                ratios.setdefault(tool, []).append(times[tool] / times["qemu-i386"])
    for tool, values in ratios.items():
        mean = math.exp(statistics.fmean(map(math.log, values)))
        print(f"{tool}: {mean:.2f} times qemu-i386, geometric mean")


if __name__ == "__main__":
    main()
