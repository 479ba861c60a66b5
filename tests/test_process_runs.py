"""Small programs from start to end on every engine: output, exit codes, signals, threads' areas."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from machines import NO_CACHE
from process_guest import BASE, EHDR, PHDR, tiny_elf

from emu.engines.native.engine import Native
from emu.engines.native.layout import BEST
from emu.engines.python import Python
from emu.engines.reference import Reference
from emu.process.layout import STACK_SIZE, STACK_TOP
from emu.process.machine import Engine, ProcessMachine
from emu.process.process import Outcome
from emu.state import State
from isa.x86.machine import X86

CODE = BASE + EHDR.size + 2 * PHDR.size
DATA = BASE + 0x1000
ENGINES: dict[str, Callable[[], Engine]] = {
    "reference": Reference,
    "python": Python,
    "python-hot": lambda: Python(hot=0),
    "native": lambda: Native(cache=NO_CACHE),
    "native-tier1": lambda: Native(hot=1 << 30, wait=True, cache=NO_CACHE),
    "native-forced": lambda: Native(hot=0, wait=True, level=BEST, cache=NO_CACHE),
}


def mov(register: int, value: int) -> bytes:
    """MOV r32, imm32."""
    return bytes([0xB8 + register]) + struct.pack("<I", value & 0xFFFFFFFF)


def call(number: int, *arguments: int) -> bytes:
    """Load EAX, EBX, ECX, EDX, ESI, EDI and do INT 80h."""
    order = (3, 1, 2, 6, 7)
    loads = b"".join(mov(r, v) for r, v in zip(order, arguments, strict=False))
    return loads + mov(0, number) + b"\xcd\x80"


def run(engine: str, code: bytes, *, until: int = 100_000) -> tuple[Outcome | None, bytes]:
    """Run machine code as a program; return how it ended and what it wrote."""
    output = io.BytesIO()
    machine = ProcessMachine(tiny_elf(data=code), ["prog"], stdout=output)
    state = State(X86(), {"linear": machine.space, "system": machine.system})
    machine.start(state)
    return machine.run(ENGINES[engine](), state, until), output.getvalue()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_hello(engine: str) -> None:
    """A program writes a line and ends with its own code."""
    text = b"hello, world\n"
    code = call(4, 1, CODE + 50, len(text)) + call(1, 7)
    outcome, output = run(engine, code.ljust(50, b"\x90") + text)
    assert outcome == Outcome("exit", 7)
    assert output == text


def test_the_argument_count_is_on_the_stack(engine: str) -> None:
    """POP EBX takes argc as the exit code."""
    outcome, _ = run(engine, b"\x5b" + mov(0, 1) + b"\xcd\x80")
    assert outcome == Outcome("exit", 1)


ENDINGS = {
    "divide": (b"\x31\xdb\xf7\xf3", 136),
    "null": (b"\xa1\x00\x00\x00\x00", 139),
    "write to text": (b"\xa3" + struct.pack("<I", BASE), 139),
    "ud2": (b"\x0f\x0b", 132),
    "int3": (b"\xcc", 133),
    "int 21h": (b"\xcd\x21", 139),
    "hlt": (b"\xf4", 139),
    "overflow": (mov(4, STACK_TOP - STACK_SIZE + 64) + b"\x50\xeb\xfd", 139),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_faults_end_the_program(engine: str, name: str) -> None:
    """Each fault is its signal, and the message has the address."""
    code, expected = ENDINGS[name]
    outcome, _ = run(engine, code)
    assert outcome is not None
    assert outcome.exit_code == expected
    assert f"{CODE >> 12:#07x}"[2:] in outcome.message
    assert ("stack overflow" in outcome.message) == (name == "overflow")


def test_a_handler_repairs_and_returns(engine: str) -> None:
    """A SIGSEGV handler changes EAX in its frame; the instruction runs again and the program ends.

    The frame of the old kind: return address, number, then the context, whose EAX is word 11.
    """
    handler = CODE + 64
    main = call(48, 11, handler) + mov(0, 0) + b"\x8b\x18" + mov(0, 1) + b"\xcd\x80"
    repair = b"\xc7\x44\x24" + bytes([8 + 4 * 11]) + struct.pack("<I", DATA) + b"\xc3"
    outcome, _ = run(engine, main.ljust(64, b"\x90") + repair)
    assert outcome == Outcome("exit", 0)


def test_thread_local_memory_through_gs(engine: str) -> None:
    """What set_thread_area wrote is what MOV GS and a GS: load read."""
    request = DATA
    words = {request: 0xFFFFFFFF, request + 4: DATA + 64, request + 8: 0xFFFFF, request + 12: 0x51}
    stores = b"".join(b"\xc7\x05" + struct.pack("<II", a, v) for a, v in words.items())
    store_42 = b"\xc7\x05" + struct.pack("<II", DATA + 64, 42)
    load = mov(0, 6 << 3 | 3) + b"\x8e\xe8" + b"\x65\x8b\x1d" + bytes(4)
    code = stores + store_42 + call(243, request) + load + mov(0, 1) + b"\xcd\x80"
    outcome, _ = run(engine, code)
    assert outcome == Outcome("exit", 42)


def test_an_alarm_ends_a_loop(engine: str) -> None:
    """SIGALRM comes at its instruction, on every engine at the same count."""
    timer = struct.pack("<4I", 0, 0, 0, 50)  # 50 microseconds are 5,000 instructions
    code = call(104, 0, CODE + 40, 0) + b"\xeb\xfe"
    output = io.BytesIO()
    machine = ProcessMachine(tiny_elf(data=code.ljust(40, b"\x90") + timer), ["p"], stdout=output)
    state = State(X86(), {"linear": machine.space, "system": machine.system})
    machine.start(state)
    outcome = machine.run(ENGINES[engine](), state, 100_000)
    assert outcome is not None
    assert (outcome.exit_code, state.count) == (142, 5005)
