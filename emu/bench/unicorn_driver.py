"""Runs an i386 program, or a loop of exits, under Unicorn; tells seconds as JSON on stderr.

A script for whichever Python has the package `unicorn`; it imports nothing of ours.
`unicorn_driver.py PROGRAM [ARGS…]`, or `unicorn_driver.py --exits call|port CODE COUNT`, where CODE
is the loop in hexadecimal; it runs at ADDRESS with ECX = COUNT. `--hooks block|instruction|memory
CODE COUNT` does the same with hooks, and ESI at a page of data; it tells their calls too.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

from unicorn import (
    UC_ARCH_X86,
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_INSN,
    UC_HOOK_INTR,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MODE_32,
    Uc,
)
from unicorn.x86_const import (
    UC_X86_INS_OUT,
    UC_X86_REG_EAX,
    UC_X86_REG_EBX,
    UC_X86_REG_ECX,
    UC_X86_REG_EDX,
    UC_X86_REG_ESI,
    UC_X86_REG_ESP,
)

PAGE = 4096
STACK, STACK_SIZE = 0xBF000000, 1 << 20
ADDRESS, DATA = 0x00A00000, 0x00B00000
SYS_EXIT, SYS_WRITE, SYS_GETPPID = 1, 4, 64
ENOSYS = 38


class Program:
    """A loaded program, and the few system calls that the benchmark's guests make."""

    def __init__(self, image: bytes, arguments: list[str]) -> None:
        self.machine = Uc(UC_ARCH_X86, UC_MODE_32)
        self.code = 0
        self.entry = load(self.machine, image)
        self.machine.mem_map(STACK, STACK_SIZE)
        self.machine.reg_write(UC_X86_REG_ESP, build_stack(self.machine, arguments))
        self.machine.hook_add(UC_HOOK_INTR, self.on_interrupt)

    def run(self) -> float:
        """Run to the exit; returns the seconds."""
        began = time.perf_counter()
        self.machine.emu_start(self.entry, 0)
        return time.perf_counter() - began

    def on_interrupt(self, machine: Any, vector: int, _: Any) -> None:
        """Serve INT 80h."""
        if vector != 0x80:
            raise SystemExit(f"interrupt {vector}")
        machine.reg_write(UC_X86_REG_EAX, self.serve(machine.reg_read(UC_X86_REG_EAX)))

    def serve(self, number: int) -> int:
        """One system call; returns its result."""
        if number == SYS_EXIT:
            self.code = self.machine.reg_read(UC_X86_REG_EBX) & 255
            self.machine.emu_stop()
            return 0
        if number == SYS_WRITE:
            address, size = (self.machine.reg_read(r) for r in (UC_X86_REG_ECX, UC_X86_REG_EDX))
            return sys.stdout.buffer.write(self.machine.mem_read(address, size))
        return 1 if number == SYS_GETPPID else -ENOSYS & 0xFFFFFFFF


def load(machine: Any, image: bytes) -> int:
    """Map an ELF file's segments, pages of all permissions; returns the entry point."""
    entry, table = struct.unpack_from("<II", image, 24)
    size, count = struct.unpack_from("<HH", image, 42)
    headers = [struct.unpack_from("<8I", image, table + i * size) for i in range(count)]
    segments = [header for header in headers if header[0] == 1]
    low = min(segment[2] for segment in segments) // PAGE * PAGE
    high = max(-(-(segment[2] + segment[5]) // PAGE) * PAGE for segment in segments)
    machine.mem_map(low, high - low)
    for _, offset, address, _, stored, *_ in segments:
        machine.mem_write(address, image[offset : offset + stored])
    return int(entry)


def build_stack(machine: Any, arguments: list[str]) -> int:
    """argc, argv and an empty environment; returns ESP."""
    top, pointers = STACK + STACK_SIZE, []
    for argument in arguments:
        data = argument.encode() + b"\0"
        top -= len(data)
        machine.mem_write(top, data)
        pointers.append(top)
    words = [len(arguments), *pointers, 0, 0, 0, 0]
    top = (top - 4 * len(words)) & -16
    machine.mem_write(top, struct.pack(f"<{len(words)}I", *words))
    return top


def time_exits(kind: str, code: bytes, count: int) -> float:
    """Seconds for a loop of `count` exits to a Python handler that answers as little as can be."""
    machine = Uc(UC_ARCH_X86, UC_MODE_32)
    machine.mem_map(ADDRESS, PAGE)
    machine.mem_write(ADDRESS, code)
    machine.reg_write(UC_X86_REG_ECX, count)
    if kind == "call":
        machine.hook_add(UC_HOOK_INTR, lambda uc, *_: uc.reg_write(UC_X86_REG_EAX, 1))
    else:
        machine.hook_add(UC_HOOK_INSN, lambda *_: None, aux1=UC_X86_INS_OUT)
    began = time.perf_counter()
    machine.emu_start(ADDRESS, ADDRESS + len(code))
    seconds = time.perf_counter() - began
    if machine.reg_read(UC_X86_REG_ECX) != 0:
        raise SystemExit("the loop did not end")
    return seconds


def time_hooks(kind: str, code: bytes, count: int) -> tuple[float, int]:
    """Seconds for a loop with a hook that only counts its calls, and how many there were."""
    machine, calls = Uc(UC_ARCH_X86, UC_MODE_32), 0
    machine.mem_map(ADDRESS, PAGE)
    machine.mem_map(DATA, PAGE)
    machine.mem_write(ADDRESS, code)
    machine.reg_write(UC_X86_REG_ECX, count)
    machine.reg_write(UC_X86_REG_ESI, DATA)

    def at_code(uc: Any, address: int, size: int, data: Any) -> None:
        nonlocal calls
        calls += 1

    def at_access(uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        nonlocal calls
        calls += 1

    if kind == "memory":
        machine.hook_add(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, at_access)
    else:
        machine.hook_add(UC_HOOK_BLOCK if kind == "block" else UC_HOOK_CODE, at_code)
    began = time.perf_counter()
    machine.emu_start(ADDRESS, ADDRESS + len(code))
    return time.perf_counter() - began, calls


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    if arguments[0] == "--hooks":
        kind, code, count = arguments[1:]
        seconds, calls = time_hooks(kind, bytes.fromhex(code), int(count))
        print(json.dumps({"seconds": seconds, "calls": calls}), file=sys.stderr)
        return 0
    if arguments[0] == "--exits":
        kind, code, count = arguments[1:]
        seconds, exit_code = time_exits(kind, bytes.fromhex(code), int(count)), 0
    else:
        program = Program(Path(arguments[0]).read_bytes(), arguments)
        seconds = program.run()
        exit_code = program.code
        sys.stdout.flush()
    print(json.dumps({"seconds": seconds}), file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
