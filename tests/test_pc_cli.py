"""`emu run` with a PC, as users have it: what is bad is said; a triple fault says where and why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emu.pc.choose import assembled
from tests.pc_machines import PROGRAMS

BOOTABLE = bytes(510) + b"\x55\xaa"
SHUTDOWN = """
.machine pc/kernel
header:
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start
start:
    mov esp, 0x180000
    lidt [none]
    ud2
none:
    .word 0
    .long 0
"""


def emu(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emu", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_kernel_from_its_source() -> None:
    done = emu("run", "--serial", "stdio", "--engine", "python", PROGRAMS / "paging.asm")
    assert done.returncode == 0
    assert done.stdout == (PROGRAMS / "paging.out").read_text()
    assert "halted with interrupts off" in done.stderr


def test_a_triple_fault_says_where_and_why(tmp_path: Path) -> None:
    source = tmp_path / "shutdown.asm"
    source.write_text(SHUTDOWN)
    done = emu("run", "--engine", "python", source)
    assert done.returncode == 126
    for part in ("shut down at 0008:", "ud2", "#UD invalid opcode, then #GP", "error code 0x0033"):
        assert part in done.stderr


BAD = {
    "empty": (b"", [], "is empty"),
    "truncated": (BOOTABLE + bytes((3 << 20) + 5), [], "is truncated"),
    "no boot": (bytes(512), ["--machine", "pc"], "no boot signature"),
    "processor": (BOOTABLE, ["--cpu", "z80"], "There is no processor 'z80'"),
    "memory": (BOOTABLE, ["--memory", "64K"], "too few for a PC"),
    "much memory": (BOOTABLE, ["--memory", "100G"], "too much memory"),
    "no firmware": (BOOTABLE, ["--bios", "nowhere"], "nowhere cannot be read"),
    "serial": (BOOTABLE, ["--serial", "carrier pigeon"], "no serial port 'carrier pigeon'"),
    "boot order": (BOOTABLE, ["--boot", "x"], "no boot device 'x'"),
    "no key": (BOOTABLE, ["--type", "<nokey>"], "no key <nokey>"),
    "no disk": (BOOTABLE, ["--hda", "nowhere"], "nowhere cannot be opened"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_said(name: str, tmp_path: Path) -> None:
    data, options, message = BAD[name]
    image, bios = tmp_path / "guest.img", tmp_path / "bios.bin"
    image.write_bytes(data)
    bios.write_bytes(bytes(1 << 16))
    given = options if "--bios" in options else [*options, "--bios", bios]
    done = emu("run", *given, image)
    assert done.returncode == 65, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_options_come_before_the_guest() -> None:
    done = emu("run", PROGRAMS / "hello.asm", "--type", "abc")
    assert done.returncode == 65
    assert "takes no arguments, as '--type' would be" in done.stderr


def test_a_source_is_assembled_to_what_runs(tmp_path: Path) -> None:
    """And its listing has the addresses at which it will stand."""
    image = tmp_path / "kernel.bin"
    done = emu("asm", "-o", image, "--listing", PROGRAMS / "paging.asm")
    assert done.returncode == 0, done.stderr
    assert image.read_bytes() == assembled((PROGRAMS / "paging.asm").read_text(), image)
    address, *code = done.stdout.splitlines()[-1].split()[:3]
    assert int(address, 16) > 0x100000 and code
    done = emu("run", "--serial", "stdio", "--engine", "python", image)
    assert done.stdout == (PROGRAMS / "paging.out").read_text()


def test_a_disk_may_be_large(tmp_path: Path) -> None:
    image, bios = tmp_path / "disk.img", tmp_path / "bios.bin"
    bios.write_bytes(bytes(1 << 16))
    with image.open("wb") as file:
        file.write(BOOTABLE)
        file.truncate(300 << 20)  # takes no room on the host's disk
    done = emu("run", "--engine", "python", "--bios", bios, "--max-instructions", "1000", image)
    assert done.returncode == 124, done.stderr


def linux_header(version: int, length: int = 100, sectors: int = 4) -> bytes:
    data = bytearray(4096)
    data[0x1F1], data[0x201] = sectors, 0x66
    data[0x202:0x208] = b"HdrS" + version.to_bytes(2, "little")
    data[0x248:0x250] = (0).to_bytes(4, "little") + length.to_bytes(4, "little")
    return bytes(data)


KERNELS = {
    "old": (linux_header(0x204), "boot protocol 2.04"),
    "short": (linux_header(0x20F, 1 << 20), "is truncated"),
    "packed": (linux_header(0x20F), "packed in a way"),
    "cut": (linux_header(0x20F)[:0x210], "is truncated"),
    "no kernel": (b"nothing" * 100, "This is no kernel"),
}


@pytest.mark.parametrize("name", KERNELS)
def test_bad_kernels(name: str, tmp_path: Path) -> None:
    data, message = KERNELS[name]
    path = tmp_path / "kernel"
    path.write_bytes(data)
    done = emu("run", "--kernel", path)
    assert done.returncode == 65, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    output = tmp_path / "screen.png"
    done = emu("screenshot", "--engine", "python", "-o", output, PROGRAMS / "paging.asm")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes().startswith(b"\x89PNG")


def test_only_a_pc_has_a_screen(tmp_path: Path) -> None:
    hello = PROGRAMS.parent / "hello.asm"
    done = emu("screenshot", "-o", tmp_path / "x.png", hello)
    assert (done.returncode, "Only a PC has a screen" in done.stderr) == (65, True)
