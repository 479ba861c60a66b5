"""The `emu` command: what a user types, and what every mistake is answered with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.process_guest import tiny_elf

ENGINES = ("reference", "python")


def emu(
    *arguments: object, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess:
    """Run the command; a traceback is a failure whatever the test looks for."""
    done = subprocess.run(
        [sys.executable, "-m", "emu", *map(str, arguments)],
        input=stdin, capture_output=True, text=True, timeout=120, cwd=cwd,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def program(path: Path, code: str) -> Path:
    """A static ELF program of the given bytes."""
    path.write_bytes(tiny_elf(data=bytes.fromhex(code)))
    return path


EXIT_7 = "b801000000 bb07000000 cd80"
LOOP = "ebfe"


@pytest.mark.parametrize("engine", ENGINES)
def test_exit_code_is_the_guests(tmp_path: Path, engine: str) -> None:
    done = emu("run", "--engine", engine, "--json", program(tmp_path / "seven", EXIT_7))
    facts = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 7
    assert (facts["engine"], facts["stop"], facts["exit_code"]) == (engine, "exit", 7)
    assert facts["instructions"] == 3


def test_one_that_waits_for_ever_is_told_so(tmp_path: Path) -> None:
    """pause, with nobody who could send a signal."""
    done = emu("run", "--json", program(tmp_path / "pause", "b81d000000 cd80"))
    assert done.returncode == 124
    assert "waits for ever: waiting for a signal" in done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["stop"] == "limit"


def test_options_after_the_guest_are_the_guests(tmp_path: Path) -> None:
    done = emu("run", program(tmp_path / "seven", EXIT_7), "--json", "-x")
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("empty", b"", 65, "is empty"),
        ("noise.xyz", b"\x01\x02\x03\x04", 65, "of no kind that can be run"),
        ("cut.elf", b"\x7fELF\x01\x01\x01", 65, "cut.elf: The file ends"),
        ("bad.asm", b"_start: mov eax, [\n", 65, "bad.asm:1"),
        ("latin.asm", b"; caf\xe9\n", 65, "UTF-8"),
        ("bad2.asm", b"        .machine toy/clean\n        frob r1\n", 65, "bad2.asm:2"),
        ("bad3.asm", b"        .machine toy/nowhere\n        halt\n", 65, "toy/nowhere"),
    ],
)
def test_bad_files_are_told(
    tmp_path: Path, name: str, content: bytes, code: int, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    done = emu("run", path)
    assert done.returncode == code
    assert words in done.stderr


def test_missing_file_and_directory(tmp_path: Path) -> None:
    missing = emu("run", tmp_path / "nothing")
    assert (missing.returncode, "cannot be read" in missing.stderr) == (66, True)
    directory = emu("run", tmp_path)
    assert (directory.returncode, "is a directory" in directory.stderr) == (65, True)


def test_path_through_a_file(tmp_path: Path) -> None:
    path = program(tmp_path / "seven", EXIT_7)
    assert emu("run", path / "inside").returncode == 66


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--engine", "warp", "Use one of auto"),
        ("--memory", "lots", "Write 64M"),
        ("--memory", "1", "64 KiB"),
        ("--env", "NAME", "NAME=VALUE"),
        ("--root", "/nonexistent-root", "root"),
        ("--trace", "dreams", "--trace syscalls"),
    ],
)
def test_bad_options_say_what_would_do(tmp_path: Path, option: str, value: str, words: str) -> None:
    done = emu("run", option, value, program(tmp_path / "seven", EXIT_7))
    assert done.returncode == 65
    assert words in done.stderr


def test_wrong_usage_is_2(tmp_path: Path) -> None:
    assert emu("run").returncode == 2
    assert emu("fly").returncode == 2
    assert emu("run", "--max-instructions", "0", program(tmp_path / "s", EXIT_7)).returncode == 2


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        ("0f0b", 132, "invalid instruction"),  # UD2
        ("0fc4c000", 132, "invalid instruction"),  # PINSRW
        ("0f58c0", 132, "invalid instruction"),  # ADDPS: CPUID does not promise it
        ("a100000000", 139, "a null pointer"),  # MOV EAX, [0]
        ("a1efbeadde", 139, "nothing is mapped there"),
        ("c70500800408 00000000", 139, "it is protected"),  # its own code
        ("bc001080bf e8fbffffff", 139, "stack overflow"),  # CALL self, the stack nearly full
        ("31c9 f7f1", 136, "divide error"),
        ("fa", 139, "general protection"),  # CLI
        ("cc", 133, "SIGTRAP"),
        ("b8e7030000 cd80 89c3 f7db b801000000 cd80", 38, "the system call 999 is not there"),
    ],
)
def test_faults_end_with_a_signal_and_its_reason(
    tmp_path: Path, engine: str, code: str, exit_code: int, words: str
) -> None:
    done = emu("run", "--engine", engine, program(tmp_path / "guest", code))
    assert (done.returncode, words in done.stderr) == (exit_code, True), done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_endless_loop_meets_its_limit(tmp_path: Path, engine: str) -> None:
    done = emu(
        "run", "--engine", engine, "--max-instructions", 5000, "--json",
        program(tmp_path / "loop", LOOP),
    )  # fmt: skip
    facts = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 124
    assert (facts["instructions"], facts["stop"]) == (5000, "limit")
    assert "still running after 5000 instructions" in done.stderr


@pytest.mark.parametrize("command", ["run", "trace"])
def test_ctrl_c_ends_it(tmp_path: Path, command: str) -> None:
    path = program(tmp_path / "loop", LOOP)
    running = subprocess.Popen(
        [sys.executable, "-m", "emu", command, str(path)], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip  # whoever started the tests may ignore the signal, and that is inherited
    try:
        time.sleep(2)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told


def test_trace_tells_instructions_and_changes(tmp_path: Path) -> None:
    done = emu("trace", "--json", program(tmp_path / "seven", EXIT_7))
    rows = [json.loads(line) for line in done.stderr.splitlines()]
    assert [r["count"] for r in rows] == [0, 1, 2]
    assert rows[0]["changed"] == {"eax": 1}
    assert "mov ebx, 7" in rows[1]["instruction"]


def test_syscall_trace(tmp_path: Path) -> None:
    done = emu("run", "--trace", "syscalls", program(tmp_path / "seven", EXIT_7))
    assert done.stderr.startswith("exit(7)")


def test_disasm_of_bytes_and_of_programs(tmp_path: Path) -> None:
    assert "adc eax, dword ptr [ebx]" in emu("disasm", "--hex", "13 03").stdout
    done = emu("disasm", "--count", "2", "--json", program(tmp_path / "seven", EXIT_7))
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == [
        "mov eax, 1",
        "mov ebx, 7",
    ]
    assert emu("disasm", "--hex", "xyz").returncode == 65


def test_explain_reads_the_meaning() -> None:
    facts = json.loads(emu("explain", "--json", "adc eax, [ebx]").stdout)
    assert facts["flags_written"] == ["cf", "pf", "af", "zf", "sf", "of"]
    assert facts["writes"] == ["eax", "eip"]
    assert facts["faults"] == ["#PF page fault"]
    assert "ADC" in facts["manual"]
    assert emu("explain", "frobnicate eax").returncode == 65


def test_processors_by_name(tmp_path: Path) -> None:
    """`--cpu`, of what is explained and of what is run; a wrong name is an error."""
    facts = json.loads(emu("explain", "--json", "--cpu", "pentium4", "paddd xmm1, xmm2").stdout)
    assert facts["writes"] == ["eip", "xmm1_high", "xmm1_low"]
    assert json.loads(emu("explain", "--json", "paddd xmm1, xmm2").stdout)["form"] == "(bad)"
    path = program(tmp_path / "sse", "660ffeca b801000000 31db cd80")
    assert emu("run", "--cpu", "pentium4", path).returncode == 0
    assert emu("run", path).returncode == 128 + 4
    assert emu("box", "run", "--cpu", "pentium4", path).returncode == 0
    for wrong in (("run", "--cpu", "pentium5", path), ("explain", "--cpu", "286", "nop")):
        done = emu(*wrong)
        assert done.returncode == 65 and "pentium3, pentium4" in done.stderr


def test_explain_knows_the_toy() -> None:
    done = emu("explain", "--isa", "toy/clean", "svc 3")
    assert done.returncode == 0
    assert "fault" in done.stdout


def test_asm_writes_a_program_that_runs(tmp_path: Path) -> None:
    source = tmp_path / "five.asm"
    source.write_text("_start: mov eax, 1\n        mov ebx, 5\n        int 0x80\n")
    assert emu("asm", source, "-o", tmp_path / "five").returncode == 0
    assert emu("run", tmp_path / "five").returncode == 5
    assert "mov" in emu("asm", source).stdout
    nowhere = emu("asm", source, "-o", tmp_path / "no" / "where")
    assert (nowhere.returncode, "cannot be written" in nowhere.stderr) == (65, True)


def test_fault_names_the_source_line(tmp_path: Path) -> None:
    source = tmp_path / "wild.asm"
    source.write_text("_start: xor ebx, ebx\n        mov eax, [ebx]\n")
    done = emu("run", source)
    assert done.returncode == 139
    assert "wild.asm:2, _start+0x2]" in done.stderr


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    endless = "b804000000 bb01000000 b900800408 ba40000000 cd80 ebe8"
    path = program(tmp_path / "yes", endless)
    done = subprocess.run(
        f"{sys.executable} -m emu run {path} | head -c 10 | wc -c",
        shell=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() == "10"
