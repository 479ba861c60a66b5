"""Real hardware as the judge of user-mode x86: cases in, what the processor did out.

The processor is reached through `helper.c`, a small 64-bit Linux program that runs each case in
compatibility mode under the trap flag. The addresses below are agreed with it.
"""

from __future__ import annotations

import mmap
import os
import platform
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

PAGE = 0x1000

CODE = range(0x00A00000, 0x00A02000)
"""Readable and executable, full of INT3 but for the case's own bytes."""

READ_ONLY = range(0x00B00000, 0x00B01000)
"""Readable data. The page below it is not mapped."""

WINDOW = range(0x00B01000, 0x00B03000)
"""Readable and writable data, straight after READ_ONLY. The page above it is not mapped."""

LOW_WINDOW = range(0x0000F000, 0x00011000)
"""Readable and writable data within reach of 16-bit addresses, and across their end."""

FLAT_CODE, FLAT_DATA = 0x23, 0x2B
"""CS, and DS = ES = SS = FS = GS, of every case: base 0, limit 4 GiB, privilege 3."""

ORIGIN = 0x00A00800
TILE = 128

REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
SELECTORS = ("es", "cs", "ss", "ds", "fs", "gs")

CF, PF, AF, ZF, SF, DF, OF, NT, AC, ID = (1 << bit for bit in (0, 2, 4, 6, 7, 10, 11, 14, 18, 21))
ARITHMETIC = CF | PF | AF | ZF | SF | OF
COMPARED = ARITHMETIC | DF | NT | AC | ID
FLAG_NAMES = {
    CF: "CF", PF: "PF", AF: "AF", ZF: "ZF", SF: "SF",
    DF: "DF", OF: "OF", NT: "NT", AC: "AC", ID: "ID",
}  # fmt: skip

BATCH = 4096
_SHARED = 16 << 20
_VERSION = 3
_NO_FAULT = 0xFFFFFFFF
_HEADER = struct.Struct("<4I")
_FPU = struct.Struct("<HHBxH8x8x" + 8 * "QH6x")  # control, status, tags, opcode, pointers, stack
_SSE = struct.Struct("<I" + 8 * "QQ")  # MXCSR, XMM0 … XMM7 by halves
_REQUEST = struct.Struct(f"<8I3IB15s{TILE}s{_FPU.size}sI{_SSE.size}s")
_ANSWER = struct.Struct(f"<8I2I6H5I{_FPU.size}s{_SSE.size}s")


class SiliconError(Exception):
    """The helper could not be built or started. Says why."""


@dataclass(frozen=True, slots=True)
class Fpu:
    """The x87: control and status word, a bit for each register that is not empty (by its physical
    number), and what ST(0) … ST(7) hold, 80 bits each."""

    control: int = 0x037F
    status: int = 0
    full: int = 0
    stack: tuple[int, ...] = (0,) * 8

    def pack(self) -> bytes:
        """As the helper wants it."""
        halves = [half for value in self.stack for half in (value & _LOW, value >> 64)]
        return _FPU.pack(self.control, self.status, self.full, 0, *halves)

    @staticmethod
    def unpack(image: bytes) -> Fpu:
        """What the helper tells."""
        control, status, full, _, *halves = _FPU.unpack(image)
        pairs = zip(halves[::2], halves[1::2], strict=True)
        return Fpu(control, status, full, tuple(low | high << 64 for low, high in pairs))


@dataclass(frozen=True, slots=True)
class Sse:
    """MXCSR, and XMM0 … XMM7, 128 bits each."""

    mxcsr: int = 0x1F80
    xmm: tuple[int, ...] = (0,) * 8

    def pack(self) -> bytes:
        """As the helper wants it."""
        halves = [half for value in self.xmm for half in (value & _LOW, value >> 64)]
        return _SSE.pack(self.mxcsr, *halves)

    @staticmethod
    def unpack(image: bytes) -> Sse:
        """What the helper tells."""
        mxcsr, *halves = _SSE.unpack(image)
        pairs = zip(halves[::2], halves[1::2], strict=True)
        return Sse(mxcsr, tuple(low | high << 64 for low, high in pairs))


_LOW = (1 << 64) - 1
_NO_SSE = bytes(_SSE.size)


@dataclass(frozen=True, slots=True)
class Case:
    """What to execute: bytes at `origin` and the state before them.

    Every data page holds `memory` (128 bytes, or a divisor of it) again and again. Execution ends
    after `limit` instructions (one iteration of REP is one), or when eip leaves the code; with
    `limit` 0 it runs without the trap flag until the INT3 that follows the code. `sse` None: what
    SSE's registers hold is not told either.
    """

    code: bytes
    registers: Mapping[str, int]
    eflags: int = 0x202
    memory: bytes = bytes(TILE)
    origin: int = ORIGIN
    limit: int = 1
    fpu: Fpu = Fpu()
    sse: Sse | None = None

    def byte(self, address: int) -> int:
        """The byte of data that stands at an address of a data page before the case."""
        return self.memory[address % len(self.memory)]

    def fetch(self, address: int) -> int:
        """The byte of the code page at an address, before the case."""
        offset = address - self.origin
        return self.code[offset] if 0 <= offset < len(self.code) else 0xCC

    def pages(self, *, low: bool = True) -> dict[int, bytes]:
        """All mapped pages by address: what an emulator must load."""
        filled = self.memory * (PAGE // len(self.memory))
        data = [*pages_of(READ_ONLY), *pages_of(WINDOW), *(pages_of(LOW_WINDOW) if low else ())]
        pages = dict.fromkeys(data, filled)
        for base in pages_of(CODE):
            page = bytearray(b"\xcc" * PAGE)
            for address in range(self.origin, self.origin + len(self.code)):
                if address - base in range(PAGE):
                    page[address - base] = self.code[address - self.origin]
            pages[base] = bytes(page)
        return pages


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception, as the processor names it. `address` is CR2, for page faults only."""

    vector: int
    code: int = 0
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The state after a case.

    `memory` holds the bytes that changed, by address. `iterations` counts what completed: with a
    fault at the third iteration of REP it is 2. `lost` says that there is no answer, and why.
    """

    registers: Mapping[str, int] = field(default_factory=dict)
    eflags: int = 0
    eip: int = 0
    memory: Mapping[int, int] = field(default_factory=dict)
    fault: Fault | None = None
    iterations: int = 1
    selectors: Mapping[str, int] = field(default_factory=dict)
    lost: str | None = None
    fpu: Fpu | None = None
    sse: Sse | None = None


def pages_of(addresses: range) -> range:
    """The page addresses of a range."""
    return range(addresses.start, addresses.stop, PAGE)


def written(case: Case, writes: Mapping[int, int]) -> dict[int, int]:
    """Those bytes written that really changed: the form in which an `Answer` holds memory."""
    return {address: value for address, value in writes.items() if case.byte(address) != value}


def _pack(case: Case) -> bytes:
    if not 0 < len(case.code) <= 15 or TILE % len(case.memory):
        raise ValueError(f"a case needs 1–15 bytes of code and a tile that divides {TILE}: {case}")
    registers = [case.registers.get(name, 0) for name in REGISTERS]
    tile = case.memory * (TILE // len(case.memory))
    return _REQUEST.pack(
        *registers, case.eflags, case.origin, case.limit, len(case.code), case.code, tile,
        case.fpu.pack(), case.sse is not None, case.sse.pack() if case.sse else _NO_SSE,
    )  # fmt: skip


def _changed(case: Case, words: Sequence[int]) -> dict[int, int]:
    changed = {}
    for address, value in zip(words[::2], words[1::2], strict=True):
        for offset, byte in enumerate(value.to_bytes(4, "little")):
            if byte != case.byte(address + offset):
                changed[address + offset] = byte
    return changed


def _unpack(case: Case, shared: mmap.mmap, offset: int) -> tuple[Answer, int]:
    (*values, vector, code, address, iterations, changes, fpu, sse) = _ANSWER.unpack_from(
        shared, offset
    )
    offset += _ANSWER.size
    words = struct.unpack_from(f"<{2 * changes}I", shared, offset)
    fault = None
    if vector != _NO_FAULT:
        fault = Fault(vector, code, address if vector == 14 else None)
    answer = Answer(
        dict(zip(REGISTERS, values[:8], strict=True)), values[8], values[9],
        _changed(case, words) if changes else {}, fault, iterations,
        dict(zip(SELECTORS, values[10:], strict=True)), fpu=Fpu.unpack(fpu),
        sse=Sse.unpack(sse) if case.sse else None,
    )  # fmt: skip
    return answer, offset + 8 * changes


class Silicon:
    """A running helper. Use as a context manager; it is started again whenever a case kills it.

    `low` tells whether LOW_WINDOW is mapped (not so where vm.mmap_min_addr forbids it).
    """

    def __init__(self, program: Path, *, timeout: float = 5.0) -> None:
        self._program = program
        self._timeout = timeout
        self._shared: mmap.mmap | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self.low = False
        self.restarts = 0

    @staticmethod
    def available() -> str | None:
        """Why there is no silicon here, or None when there is."""
        if sys.platform != "linux" or platform.machine() != "x86_64":
            return "the silicon oracle needs Linux on an x86-64 processor"
        return None

    @classmethod
    def build(cls, directory: Path, *, timeout: float = 5.0) -> Silicon:
        """Compile the helper into a directory."""
        source = Path(__file__).with_name("helper.c")
        program = directory / "silicon-helper"
        command = [
            "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-ffreestanding",
            "-fno-stack-protector", "-fcf-protection=none", "-fno-tree-loop-distribute-patterns",
            "-fpie", "-static-pie", "-nostdlib", "-o", os.fspath(program), os.fspath(source),
        ]  # fmt: skip
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise SiliconError("gcc is not installed") from error
        except subprocess.CalledProcessError as error:
            raise SiliconError(f"the helper does not compile:\n{error.stderr}") from error
        return cls(program, timeout=timeout)

    def __enter__(self) -> Silicon:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def run(self, cases: Sequence[Case]) -> list[Answer]:
        """Execute each case on the processor; answers in the same order."""
        answers: list[Answer] = []
        while len(answers) < len(cases):
            answers += self._run_batch(cases[len(answers) : len(answers) + BATCH])
        return answers

    def _run_batch(self, cases: Sequence[Case]) -> list[Answer]:
        """Answers for the first one or more of the cases."""
        assert self._shared is not None, "use Silicon in a `with` statement"
        requests = b"".join(map(_pack, cases))
        _HEADER.pack_into(self._shared, 0, len(cases), 0, self.low, _VERSION)
        self._shared[_HEADER.size : _HEADER.size + len(requests)] = requests
        trouble = self._go()
        done = _HEADER.unpack_from(self._shared)[1]
        answers, offset = [], _HEADER.size + BATCH * _REQUEST.size
        for case in cases[:done]:
            answer, offset = _unpack(case, self._shared, offset)
            answers.append(answer)
        if trouble:
            answers.append(Answer(lost=trouble))
            self.restarts += 1
            self._stop()
            self._start()
        return answers

    def _go(self) -> str | None:
        """Let the helper work on what is in the shared memory. What went wrong, or None."""
        assert self._socket is not None and self._process is not None
        try:
            self._socket.send(b"g")
            if not select.select([self._socket], [], [], self._timeout)[0]:
                return f"no answer in {self._timeout} s"
            if self._socket.recv(1):
                return None
        except OSError:
            pass
        return f"the helper died: exit status {self._process.wait()}"

    def _start(self) -> None:
        descriptor = os.memfd_create("silicon")
        os.ftruncate(descriptor, _SHARED)
        self._shared = mmap.mmap(descriptor, _SHARED)
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen([self._program], stdin=theirs.fileno(), stdout=descriptor)
        os.close(descriptor)
        theirs.close()
        if not select.select([self._socket], [], [], self._timeout)[0] or not self._socket.recv(1):
            self._stop()
            raise SiliconError("the helper did not start: see the exit codes in helper.c")
        self.low = bool(_HEADER.unpack_from(self._shared)[2])

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._socket is not None:
            self._socket.close()
        if self._shared is not None:
            self._shared.close()
        self._process = self._socket = self._shared = None
