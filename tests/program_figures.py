"""How long Debian's programs take for a second or two of work in qemu-i386: here (with and without
what earlier runs have kept), natively and there, in turns.
`POPEK_I386_SHARED=… python -m tests.program_figures [--rounds N] [--warm-ups N]`."""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.test_busybox import fill

COMMANDS = {
    "dash": ["bin/dash", "report.sh"],
    "lua": ["usr/bin/lua5.4", "report.lua"],
    "perl": ["usr/bin/perl", "report.pl"],
    "python": ["usr/bin/python3.11", "-S", "-B", "report.py"],
    "tcl": ["usr/bin/tclsh8.6", "report.tcl"],
    "sqlite": ["usr/bin/sqlite3", "-batch", ":memory:", ".read report.sql"],
    "openssl": ["usr/bin/openssl", "dgst", "-sha256", "log48"],
    "tcc": ["usr/bin/tcc", "-nostdinc", "-c", "functions.c", "-o", "functions.o"],
    "gzip": ["bin/gzip", "-c", "log6"],
    "bzip2": ["bin/bzip2", "-c", "log2"],
    "xz": ["usr/bin/xz", "-1", "-c", "log2"],
    "sort": ["usr/bin/sort", "log6"],
}
FUNCTION = """
static int f{n}(int a, const char *s) {{
    int i, sum = {n};
    struct {{ int x, y[4]; }} t = {{ a, {{ 1, 2, {n} }} }};
    for (i = 0; s[i]; i++) {{
        switch (s[i] % 5) {{
        case 0: sum += t.y[i & 3] * i; break;
        case {c}: sum ^= a << (i & 7); break;
        default: if (sum > 1000 * {n} && a != i) sum -= s[i] / (a | 1); else t.x++;
        }}
    }}
    return sum + t.x + {previous};
}}
"""
OURS = "from emu.__main__ import main; main()"


def tools(root: Path, argv: list[str], cold: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Each tool's command and what is set for it."""
    program = str(root / argv[0])
    ours = [sys.executable, "-c", OURS, "run", "--root", str(root), "--writable", "--cwd", "/w"]
    here = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    there = {"PYTHONHOME": str(root / "usr")}
    libraries = "lib/i386-linux-gnu:usr/lib/i386-linux-gnu"
    linker = [str(root / "lib/ld-linux.so.2"), "--library-path"]
    linker += [":".join(str(root / path) for path in libraries.split(":"))]
    return {
        "native": ([*linker, program, *argv[1:]], there),
        "popek": ([*ours, program, *argv[1:]], here),
        "popek-cold": ([*ours, program, *argv[1:]], here | {"POPEK_CACHE": str(cold)}),
        "qemu-i386": (["qemu-i386", *linker, program, *argv[1:]], there),
    }


def write_data(directory: Path) -> None:
    """Logs of so many million bytes, and a C program."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(2, 9))) for _ in range(2_000)]
    lines = [
        f"{rng.randrange(10**6)} {' '.join(rng.choices(words, k=rng.randrange(3, 9)))}\n"
        for _ in range(150_000)
    ]
    text = "".join(lines).encode()
    for millions in (2, 6, 48):
        whole = text * (millions * 10**6 // len(text) + 1)
        (directory / f"log{millions}").write_bytes(whole[: millions * 10**6])
    functions = (
        FUNCTION.format(n=n, c=1 + n % 4, previous=f"f{n - 1}(a, s)" if n else "0")
        for n in range(6_000)
    )
    (directory / "functions.c").write_text("".join(functions) + "int last(void) { return 0; }\n")


def fill_root(root: Path) -> None:
    """Debian's programs, and in /w what they work on."""
    shutil.copytree(os.environ["POPEK_I386_SHARED"], root, symlinks=True)
    fill(root / "w")
    for path in Path(__file__).with_name("languages").iterdir():
        shutil.copy(path, root / "w")
    write_data(root / "w")


def seconds(command: list[str], given: dict[str, str], directory: Path) -> float:
    """How long one run takes; its exit code must be 0."""
    began = time.perf_counter()
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "LC_ALL": "C"}
    environment |= given
    subprocess.run(command, cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def measured(root: Path, name: str, rounds: int, warm_ups: int, scratch: Path) -> dict[str, float]:
    """Medians by tool, after rounds that warm everybody up: first ours alone."""
    found: dict[str, list[float]] = {}
    command, given = tools(root, COMMANDS[name], scratch)["popek"]
    for turn in range(1, warm_ups):
        took = seconds(command, given, root / "w")
        print(f"{name:<8} warm-up {turn}: {took:.3f}", file=sys.stderr, flush=True)
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
    parser.add_argument("--warm-ups", type=int, default=1, help="runs of ours that do not count")
    parser.add_argument("names", nargs="*", default=list(COMMANDS))
    chosen = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        fill_root(root)
        for name in chosen.names:
            times = measured(root, name, chosen.rounds, chosen.warm_ups, Path(scratch))
            told = "  ".join(f"{tool} {took:7.3f}" for tool, took in times.items())
            print(f"{name:<8} {told}", flush=True)
            for tool in ("popek", "popek-cold"):
                ratios.setdefault(tool, []).append(times[tool] / times["qemu-i386"])
    for tool, values in ratios.items():
        mean = math.exp(statistics.fmean(map(math.log, values)))
        print(f"{tool}: {mean:.2f} times qemu-i386, geometric mean")


if __name__ == "__main__":
    main()
