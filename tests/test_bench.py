"""`emu bench`: its guests compute what they should, its figures are what was measured."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machines import engines
from needs import missing

from emu.bench import cold, exit_driver, exits, hook_driver, hooks, images, kernels, tools
from emu.bench.child import Run, fresh_cache, peak_memory, run_child
from emu.bench.errors import BenchError
from emu.bench.guests import DIRECTORY, BenchGuest, find_guests
from emu.bench.images import call_loop, cold_program, empty_program
from emu.bench.table import KernelTable, rest
from emu.errors import GuestFileError
from emu.guests import process_state
from emu.process.machine import ProcessMachine
from emu.report import EXIT_INTERRUPTED

command = importlib.import_module("emu.cli.bench")  # the name in emu.cli is the click command
GUESTS = {guest.name: guest for guest in find_guests()}
PYTHON = tools.Reporting(
    "popek-python",
    (sys.executable, "-m", "emu", "run", "--json", "--engine", "python"),
    driver=(sys.executable, "-m", "emu.bench.exit_driver", "python"),
    hook_driver=(sys.executable, "-m", "emu.bench.hook_driver", "python"),
)


def run(image: bytes, *arguments: str, engine: str = "python") -> tuple[bytes, int]:
    """Run a program on one of our engines; returns its output and exit code."""
    output = io.BytesIO()
    machine = ProcessMachine(image, ["guest", *arguments], stdout=output, stderr=output)
    outcome = machine.run(engines()[engine], process_state(machine))
    assert outcome is not None
    return output.getvalue(), outcome.exit_code


def quiet(_: str) -> None:
    """Nobody asks how far it is."""


def emu_bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "emu", "bench", *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


# -- guests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GUESTS)
def test_a_round_of_each_guest(name: str) -> None:
    """The program that is in the repository prints the first line of its `.out` file."""
    guest = GUESTS[name]
    assert run(guest.program.read_bytes(), "1") == (guest.output(1), 0)


def random_words(number: int) -> Iterator[int]:
    """The numbers that a round of a guest is made from (programs/bench/guest.h)."""
    state = (number * 2654435761 + 1) & 0xFFFFFFFF
    while True:
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        yield state


def random_bytes(number: int, size: int) -> bytes:
    return bytes(word & 255 for _, word in zip(range(size), random_words(number), strict=False))


def crc32(number: int) -> int:
    return zlib.crc32(random_bytes(number, 1 << 16))


def sha256(number: int) -> int:
    return int.from_bytes(hashlib.sha256(random_bytes(number, 1 << 14)).digest()[:4], "big")


def bignum(number: int) -> int:
    return sum(map(int, str(math.factorial(750 + number % 16))))


def sieve(number: int) -> int:
    limit = 100_000 + number % 1024
    return sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2, limit))


def matrix(number: int) -> int:
    words, size = random_words(number), range(56)
    left, right = ([[next(words) for _ in size] for _ in size] for _ in "ab")
    answer = 0
    for i in size:
        column = (row[55 - i] for row in right)
        answer = answer * 31 + sum(a * b for a, b in zip(left[i], column, strict=True))
    return answer & 0xFFFFFFFF


def sort(number: int) -> int:
    answer = 0
    for _, word in sorted(zip(range(4096), random_words(number), strict=False), key=lambda p: p[1]):
        answer = answer * 31 + word & 0xFFFFFFFF
    return answer


@pytest.mark.parametrize("meaning", [crc32, sha256, bignum, sieve, matrix, sort])
def test_guests_compute_what_they_say(meaning: Callable[[int], int]) -> None:
    """What Python computes in a few lines for the first rounds and for a late one."""
    answers = GUESTS[meaning.__name__].answers
    for number in (0, 1, 60):
        assert int(answers[number], 16) == meaning(number)


@pytest.mark.parametrize("arguments", [[], ["x"], ["1", "2"], ["-1"]])
def test_guests_refuse_what_is_no_number_of_rounds(arguments: list[str]) -> None:
    assert run(GUESTS["sieve"].program.read_bytes(), *arguments) == (b"", 2)


def test_guests_say_what_they_teach() -> None:
    """Each source begins with what it is; each is in the list of programs."""
    listed = (DIRECTORY.parent / "README.md").read_text()
    for name in GUESTS:
        source = DIRECTORY / f"{name}.c"
        if not source.exists():
            source = DIRECTORY / name / f"{name}.c"
        assert source.read_text().startswith("/* ")
        assert f"| `{name}` |" in listed


def test_guests_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(GuestFileError, match=r"no benchmark guest 'sorting'.*Use some of bignum"):
        find_guests(["sorting"])
    with pytest.raises(GuestFileError, match="Install from a clone"):
        find_guests(directory=tmp_path)


# -- generated programs -------------------------------------------------------------------------


def test_generated_programs_end_alike_on_every_engine() -> None:
    """Cold code ends with the same digest of all data, whichever engine runs it."""
    image = cold_program(300, 2)
    assert len({run(image, engine=name) for name in ("reference", "python", "python-hot")}) == 1
    assert len({run(cold_program(300, 1, seed)) for seed in range(5)}) > 2
    assert run(empty_program()) == (b"", 0)
    assert run(call_loop(3)) == (b"", 1)


@pytest.mark.parametrize("engine", ["reference", "python", "native"])
@pytest.mark.parametrize("kind", exits.LOOPS)
def test_loops_of_exits_end(engine: str, kind: str) -> None:
    assert exit_driver.time_exits(engine, kind, exits.LOOPS[kind], 20) > 0


def test_peak_memory_is_that_of_the_process() -> None:
    """A process that fills 64 MiB has a peak of that; where Linux does not tell, there is none."""
    fill = "import time; x = b'x' * (64 << 20); time.sleep(0.2)"
    peak = peak_memory([sys.executable, "-c", fill])
    assert peak is None or 64 << 20 < peak < 160 << 20


# -- measuring ----------------------------------------------------------------------------------


def result(**seconds: tuple[int, list[float]]) -> kernels.GuestResult:
    """Measurements by tool: rounds and seconds."""
    measured = {
        name: kernels.Measurement(rounds, seconds=times, instructions=7 * rounds)
        for name, (rounds, times) in seconds.items()
    }
    return kernels.GuestResult(GUESTS["sort"], measured)


def test_ratios_are_of_medians_for_the_same_work() -> None:
    """A tool that ran a tenth of the rounds in twice the time is twenty times slower."""
    found = result(native=(100, [1.0, 9.0, 2.0]), slow=(10, [4.0, 4.0, 5.0]))
    assert found.seconds == {"native": 2.0, "slow": 40.0}
    assert found.ratio == {"slow": 20.0}
    assert (found.rounds, found.instructions) == (100, 700)


def test_geometric_means_are_over_guests() -> None:
    found = [
        result(native=(1, [1.0]), slow=(1, [2.0])),
        result(native=(1, [1.0]), slow=(1, [8.0])),
    ]
    assert kernels.geometric_means(found) == {"slow": pytest.approx(4.0)}
    assert kernels.geometric_means([result(slow=(1, [2.0]))]) == {}


def table_of(facts: Mapping[str, Any]) -> list[str]:
    """The lines that a table has when all is done."""
    names = [guest["name"] for guest in facts["guests"]]
    table = KernelTable(names, facts["tools"], facts["repeat"])
    rows = [*map(table.row, facts["guests"]), table.means(facts)]
    return [line for text in (table.head(), *rows, rest(facts)) for line in text.splitlines()]


def test_first_runs_are_told_by_themselves() -> None:
    """Whoever keeps code on the disk has two figures: that of the first run, and that of later
    ones."""
    found = result(**{"native": (100, [1.0]), "popek-native": (50, [1.0, 1.5])})
    found.measured["popek-native"].first = 4.0
    facts = kernels.facts([found])
    assert (facts["geomean"], facts["geomean_first"]) == (
        {"popek-native": pytest.approx(2.5)}, {"popek-native": pytest.approx(8.0)}
    )  # fmt: skip
    names = {"tools": ["native", "popek-native"], "missing": {}}
    table = table_of({"repeat": 2, **names, **facts})
    assert table[2].split()[-2:] == ["2.50", "8.00"]


def test_the_cache_of_a_measurement_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children see a directory of their own, and keep Python's bytecode."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("POPEK_CACHE", "elsewhere")
    look = (sys.executable, "-c", "import os; print(os.environ['POPEK_CACHE'], *os.environ)")
    with fresh_cache(tmp_path):
        where, *names = run_child(look).output.decode().split()
    assert where == str(tmp_path)
    assert set(os.environ) - set(names) == {"PYTHONDONTWRITEBYTECODE"}
    assert os.environ["POPEK_CACHE"] == "elsewhere"


def test_without_a_native_process_seconds_are_told() -> None:
    found = kernels.facts([result(slow=(10, [4.0]))])
    table = table_of({"repeat": 1, "tools": ["slow"], "missing": {"native": "no"}, **found})
    assert table == [
        "Kernels, medians of 1 (seconds)",
        "guest           million instr.      slow",
        "sort                         0     4.000",
        "",
        "native: no",
    ]


def answering(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[str, str], None]
) -> list[tools.Tool]:
    """Three tools that answer rightly at once; `before` is called with each guest and tool."""

    def answer(words: Sequence[str]) -> Run:
        tool, path, rounds = words
        guest = GUESTS[Path(path).stem]
        before(guest.name, tool)
        return Run(guest.output(int(rounds)), "", 0, 0.25 if tool == "native" else 0.5)

    monkeypatch.setattr(kernels, "run_child", answer)
    return [tools.Process(name, (name,)) for name in ("native", "popek-native", "qemu-i386")]


def test_order_of_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guest after guest, and in each all tools in turns; only who learns is warmed repeatedly."""
    order: list[tuple[str, str]] = []
    found = answering(monkeypatch, lambda *what: order.append(what))
    guests = [GUESTS["sort"], GUESTS["chase"]]
    results = list(kernels.measure(guests, found, 3, False, quiet, quiet))
    names = ["native", "popek-native", "qemu-i386"]
    expected = [*names, *["popek-native"] * 5, *names * 3]
    assert order == [(guest, name) for guest in ("sort", "chase") for name in expected]
    assert len(order) == kernels.runs(2, found, 3)
    measured = results[0].facts()["measured"]
    assert [measured[name]["warming"] for name in names] == [1, 6, 1]
    assert all(len(measured[name]["seconds"]) == 3 for name in names)


def test_columns_are_as_wide_as_any_figure() -> None:
    """A row's columns stand where those of the head do, whatever the figures are."""
    tools_here = ["native", "popek-native", "x"]
    table = KernelTable(["sort", "a long name of a guest"], tools_here, 5)
    lines = table.head().splitlines()[1:]
    for seconds in (0.001, 9999.9):
        measured = {name: (1, [seconds * (n + 1)]) for n, name in enumerate(tools_here)}
        lines.append(table.row(result(**measured).facts()))
    assert len({len(line) for line in lines}) == 1


def run_kernels(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[str, str], None], *, as_json: bool = False
) -> int:
    """`emu bench sort chase --part kernels`, of tools that answer at once; its exit code."""
    found = answering(monkeypatch, before)
    monkeypatch.setattr(command, "find_tools", lambda *_: found)
    return int(command.run_bench(["sort", "chase"], [], [], ["kernels"], 2, False, as_json))


def test_rows_appear_as_they_are_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When a guest begins, the rows of those before it are printed, and who measured them told."""
    out: list[str] = []
    errors: list[str] = []
    begun: dict[str, list[str]] = {}

    def look(guest: str, _: str) -> None:
        captured = capsys.readouterr()
        out.extend(captured.out.splitlines())
        errors.extend(captured.err.splitlines())
        begun.setdefault(guest, [line.split()[0] for line in out])

    assert run_kernels(monkeypatch, look) == 0
    assert begun == {"sort": ["Kernels,", "guest"], "chase": ["Kernels,", "guest", "sort"]}
    assert capsys.readouterr().out.splitlines() == [
        "chase                        –      250.0          2.00       2.00                2.00",
        "geometric mean                                     2.00       2.00                2.00",
    ]
    assert "sort on qemu-i386: 0.500 s for 1600 rounds, median of 2" in errors


def interrupted(guest: str, tool: str) -> None:
    """Ctrl-C in the second guest."""
    if (guest, tool) == ("chase", "qemu-i386"):
        raise KeyboardInterrupt


def test_interruption_leaves_the_rows_that_are_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_kernels(monkeypatch, interrupted) == EXIT_INTERRUPTED
    told = capsys.readouterr()
    firsts = [line.split()[0] for line in told.out.splitlines()]
    assert firsts == ["Kernels,", "guest", "sort", "geometric"]
    assert told.err.endswith("emu: interrupted in kernels; what is told is incomplete\n")


def test_interruption_leaves_valid_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_kernels(monkeypatch, interrupted, as_json=True) == EXIT_INTERRUPTED
    facts = json.loads(capsys.readouterr().out)
    assert not facts["complete"]
    assert [guest["name"] for guest in facts["guests"]] == ["sort"]
    assert facts["geomean"] == {"popek-native": 2.0, "qemu-i386": 2.0}


def test_interruption_before_any_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no mean of nothing."""

    def at_once(*_: str) -> None:
        raise KeyboardInterrupt

    assert run_kernels(monkeypatch, at_once) == EXIT_INTERRUPTED
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert run_kernels(monkeypatch, at_once, as_json=True) == EXIT_INTERRUPTED
    facts = json.loads(capsys.readouterr().out)
    assert (facts["complete"], facts["guests"], facts["geomean"]) == (False, [], {})


def test_rows_take_the_place_of_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a terminal the bar's line is erased before a row, and no line tells of measurements."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run_kernels(monkeypatch, lambda *_: None) == 0
    errors = capsys.readouterr().err
    assert errors.count(command.ERASED) == 4
    assert "rounds" not in errors


def tampered(directory: Path) -> BenchGuest:
    """Long numbers with a wrong answer in the second round."""
    for suffix in (".elf", ".out"):
        shutil.copy(DIRECTORY / f"bignum{suffix}", directory)
    lines = (directory / "bignum.out").read_bytes().splitlines(keepends=True)[:2]
    (directory / "bignum.out").write_bytes(lines[0] + b"0000beef\n")
    return find_guests(directory=directory)[0]


def test_a_wrong_output_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"bignum on popek-python: round 1 answers .*'0000beef'"):
        list(kernels.measure([tampered(tmp_path)], [PYTHON], 1, False, quiet, quiet))


def test_a_wrong_output_ends_the_command_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = tampered(tmp_path)
    monkeypatch.setattr(command, "find_guests", lambda _: [guest])
    monkeypatch.setattr(command, "find_tools", lambda *_: [PYTHON])
    with pytest.raises(SystemExit) as ended:
        command.run_bench([], [], [], ["kernels"], 1, False, False)
    assert ended.value.code == 1
    assert "instead of '0000beef'" in capsys.readouterr().err


def test_a_tool_that_fails_is_told(tmp_path: Path) -> None:
    """A guest that ends otherwise than with 0, and generated programs that end differently."""
    broken = tools.Process("broken", (sys.executable, "-c", "raise SystemExit(5)"))
    with pytest.raises(BenchError, match="sort on broken ended with 5"):
        list(kernels.measure([GUESTS["sort"]], [broken], 1, True, quiet, quiet))
    other = replace(broken, prefix=(sys.executable, "-c", "raise SystemExit(6)"), name="other")
    with pytest.raises(BenchError, match="on other ended with 6, elsewhere with 5"):
        cold.measure_cold(tmp_path, [broken, other], True, quiet)


def test_tools_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay in the list, with the reason."""
    probe = tmp_path / "probe"
    cold.write(probe, empty_program())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(tools.UNICORN_PYTHON, str(tmp_path / "python"))
    found = {tool.name: tool.missing() for tool in tools.find_tools(["python"], [], probe)}
    assert list(found) == ["native", "popek-python", "qemu-i386", "unicorn"]
    assert (found["popek-python"], found["qemu-i386"]) == ("", "not installed")
    assert "No such file" in found["unicorn"]


def test_tools_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is not even looked for."""
    probe = tmp_path / "probe"
    cold.write(probe, empty_program())
    monkeypatch.setattr(tools, "_unicorn", lambda: pytest.fail("Unicorn was looked for"))
    found = tools.find_tools(["python"], ["unicorn", "native", "popek-native"], probe)
    assert [tool.name for tool in found] == ["popek-python", "qemu-i386"]


def test_some_tool_must_be_left(tmp_path: Path) -> None:
    everything = ["native", "popek-python", "qemu-i386", "unicorn"]
    with pytest.raises(GuestFileError, match=r"No tool is left.*native, popek-python, qemu-i386"):
        tools.find_tools(["python"], everything, tmp_path)


# -- the command --------------------------------------------------------------------------------


def test_json_and_its_table() -> None:
    """The object has what it promises, and the table shows it."""
    done = emu_bench("bignum", "distance", "--quick", "--json", "--engine", "python",
                     "--part", "kernels", "--part", "startup")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["complete"]
    assert [guest["name"] for guest in facts["guests"]] == ["bignum", "distance"]
    assert set(facts["tools"]) | set(facts["missing"]) == {
        "native", "popek-python", "qemu-i386", "unicorn"
    }  # fmt: skip
    for guest in facts["guests"]:
        assert set(guest["seconds"]) == set(facts["tools"])
        assert all(seconds > 0 for seconds in guest["seconds"].values())
        assert guest["instructions"] > 1_000_000
        assert guest["ratio"].keys() == facts["geomean"].keys()
    assert set(facts["startup"]) == set(facts["tools"])
    table = "\n".join(table_of(facts))
    assert "\nbignum " in table
    assert "\npopek-python " in table


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["sorting"], 65, "no benchmark guest 'sorting'"),
        (["--engine", "warp"], 65, "Use some of reference"),
        (["--without", "unicron"], 65, "Use some of native, popek-reference"),
        (["--part", "luck"], 2, "luck"),
        (["--repeat", "0"], 2, "repeat"),
    ],
)
def test_mistakes_are_answered(arguments: list[str], code: int, words: str) -> None:
    done = emu_bench(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_ctrl_c_ends_it_with_what_there_is() -> None:
    """The command itself, interrupted when its first guest is done."""
    running = subprocess.Popen(
        [sys.executable, "-m", "emu", "bench", "bignum", "distance", "--quick", "--json",
         "--engine", "python", "--part", "kernels", "--without", "native", "--without", "qemu-i386",
         "--without", "unicorn"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip  # whoever started the tests may ignore the signal, and that is inherited
    assert running.stderr is not None
    try:
        told = next(line for line in running.stderr if line.startswith("bignum on popek-python"))
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert (running.returncode, "median of 1" in told) == (130, True)
    assert errors == "emu: interrupted in kernels; what is told is incomplete\n"
    facts = json.loads(out)
    assert (facts["complete"], [guest["name"] for guest in facts["guests"]]) == (False, ["bignum"])


# -- heavy --------------------------------------------------------------------------------------


def host() -> tools.Tool:
    """The host as a tool."""
    try:
        run_child([str(GUESTS["sieve"].program), "0"])
    except OSError as error:
        missing(f"the host runs no i386 programs of Linux ({error})")
    return tools.Process(tools.NATIVE)


@pytest.mark.heavy
@pytest.mark.parametrize("name", GUESTS)
def test_all_rounds_natively(name: str) -> None:
    """Every line of every `.out` file is what the host computes."""
    guest = GUESTS[name]
    done = run_child(host().command(guest.program, [str(guest.rounds)]))
    assert (done.code, done.output) == (0, guest.output(guest.rounds))


@pytest.mark.heavy
def test_programs_are_those_of_the_sources(tmp_path: Path) -> None:
    """Compiled again, by whichever gcc is here and without optimisation, guests answer the same."""
    if not shutil.which("make") or not shutil.which("gcc"):
        missing("needs make and gcc")
    tree = shutil.copytree(DIRECTORY, tmp_path / "bench")
    for optimisation in ("-O2", "-O0"):
        flags = f"CFLAGS_MORE={optimisation}"
        subprocess.run(["make", "-B", "-C", tree, flags], check=True, capture_output=True)
        for guest in find_guests(directory=tree):
            done = run_child(host().command(guest.program, ["20"]))
            assert (guest.name, done.output) == (guest.name, guest.output(20))


@pytest.mark.heavy
def test_cold_code_natively(tmp_path: Path) -> None:
    """The host and our engine end a generated program alike."""
    measured = cold.measure_cold(tmp_path, [host(), PYTHON], True, quiet)
    assert set(measured) == {"native", "popek-python"}


@pytest.mark.heavy
def test_exits_are_counted(tmp_path: Path) -> None:
    rates = exits.measure_exits(tmp_path, [host(), PYTHON], True, quiet)
    assert set(rates) == {"popek-python"}
    assert all(rate > 0 for rate in rates["popek-python"].values())


@pytest.mark.parametrize("engine", ["reference", "python", "native"])
@pytest.mark.parametrize("kind", hooks.KINDS)
def test_loops_with_hooks_call_as_often_as_they_should(engine: str, kind: str) -> None:
    seconds, calls = hook_driver.time_hooks(engine, kind, images.HOOK_LOOP, 20)
    assert seconds > 0
    assert calls == 20 * hooks.KINDS[kind]


@pytest.mark.heavy
def test_hooks_are_counted() -> None:
    rates = hooks.measure_hooks([host(), PYTHON], True, quiet)
    assert set(rates) == {"popek-python"}
    assert set(rates["popek-python"]) == set(hooks.KINDS)
