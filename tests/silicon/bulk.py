"""The x87 put to silicon by the hundred thousand: one program, run by the host and by an engine.

The program does each instruction of a list once with each state of a pool: FRSTOR, the instruction,
FNSAVE; then it writes all states out. A state is a record of 128 bytes: the unit's image, 16 bytes
for an operand in memory, and EFLAGS. No instruction waits with an exception pending, so unmasked
exceptions are seen in the images and raise no signal.
"""

from __future__ import annotations

import io
import random
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from emu.assembler import assemble
from emu.engines import Engine
from emu.engines.native.cache import DiskCache
from emu.engines.native.engine import Native
from emu.engines.native.layout import QUICK
from emu.engines.python import Python
from emu.process.machine import ProcessMachine
from emu.state import State
from isa.x86 import registers
from isa.x86.machine import X86
from isa.x86.registers import SEGMENT_NAMES

from . import floats
from .cases import text
from .native import ARITHMETIC, TILE, Fpu

RECORD, OPERAND, FLAGS = 128, 108, 124
POINTERS = slice(12, 28)
"""Of the image: which of them are kept differs between processors."""
MASKS = 0x3F

PROGRAM = """\
        .bss
        .balign 64
pool:   .space  {size}
work:   .space  {size} + 128
{data}
        .text
        .globl  _start
_start: {begin}
        mov     ecx, offset pool
        mov     edx, {size}
1:      mov     eax, 3
        xor     ebx, ebx
        int     0x80
        add     ecx, eax
        sub     edx, eax
        jnz     1b
        cld
{each}
        mov     eax, 1
        xor     ebx, ebx
        int     0x80
"""
EACH = """
        mov     esi, offset pool
        mov     edi, offset work
        mov     ecx, {size} / 4
        rep     movsd
        mov     esi, offset work
        mov     ebp, {count}
1:      push    dword ptr [esi + 124]
        popfd
        frstor  [esi]
        jmp     2f
2:      .byte   {code}
        jmp     3f
3:      fnsave  [esi]
        pushfd
        pop     dword ptr [esi + 124]
        sub     esi, -128
        dec     ebp
        jnz     1b
        mov     eax, 4
        mov     ebx, 1
        mov     ecx, offset work
        mov     edx, {size}
        int     0x80
"""
WRITES_ENVIRONMENT = {(0xD9, 6), (0xDD, 6)}
READS_ENVIRONMENT = {(0xD9, 4), (0xDD, 4)}


def instructions(known: Callable[[bytes], bool]) -> Iterator[bytes]:
    """Each escape with each operation, of memory at the operand and of three registers.

    Not those whose images are larger than the operand: every state goes through one anyway.
    """
    for escape in range(0xD8, 0xE0):
        for operation in range(8):
            memory = bytes([escape, 0x46 | operation << 3, OPERAND])
            large = (escape, operation) in WRITES_ENVIRONMENT | READS_ENVIRONMENT
            registers = [bytes([escape, 0xC0 | operation << 3 | n]) for n in range(8)]
            distinct = len({known_name(code) for code in registers}) > 1
            chosen = registers if distinct else [registers[n] for n in (0, 1, 6)]
            yield from (c for c in [*([] if large else [memory]), *chosen] if known(c))


def known_name(code: bytes) -> str:
    """The mnemonic."""
    return text(code).split()[0]


def pool(
    rng: random.Random, count: int, state: Callable[[random.Random], Fpu] = floats.fpu
) -> bytes:
    """Random records."""
    return b"".join(record(rng, state(rng)) for _ in range(count))


def record(rng: random.Random, fpu: Fpu) -> bytes:
    """One record; no exception is pending in it."""
    status = fpu.status & ~(MASKS & ~fpu.control) & ~0x8080
    tags = sum(0 if fpu.full >> n & 1 else 3 << 2 * n for n in range(8))
    image = struct.pack("<7I", fpu.control, status, tags, 0, 0, 0, 0)
    image += b"".join(value.to_bytes(10, "little") for value in fpu.stack)
    operand = floats.tile(rng)[rng.choice((0, 16, TILE - 16)) :][:16]
    flags = rng.getrandbits(32) & ARITHMETIC | 0x202
    return image + operand + struct.pack("<I", flags)


def threaded() -> Native:
    """An engine that has native code for each instruction, and none for whole loops."""
    return Native(hot=1 << 30, wait=True, stitch=1, cache=DiskCache(None))


def compiling(name: str) -> Engine:
    """An engine that compiles loops whole: "python" or "regions"."""
    if name == "python":
        return Python(hot=0)
    return Native(hot=0, wait=True, level=QUICK, cache=DiskCache(None))


class Bulk:
    """A program for a list of instructions and a pool; its answers are arrays of records.

    `record` is how many bytes one has, `data` what the program has besides its pool, `begin` what
    it begins with, `each` its part for one instruction, `model` the engines' processor.
    """

    record = RECORD
    data = begin = ""
    each = EACH
    model = ""

    def __init__(self, codes: Sequence[bytes], pool: bytes) -> None:
        self.codes, self.pool = codes, pool
        self.count = len(pool) // self.record
        each = (
            self.each.format(
                size=len(pool), count=self.count, name=number, code=", ".join(map(str, code))
            )
            for number, code in enumerate(codes)
        )
        text = PROGRAM.format(size=len(pool), data=self.data, begin=self.begin, each="".join(each))
        self.image = assemble(text, "bulk.asm").image

    def host(self, directory: Path) -> np.ndarray:
        """What the processor says."""
        program = directory / "bulk"
        program.write_bytes(self.image)
        program.chmod(0o755)
        done = subprocess.run([program], input=self.pool, stdout=subprocess.PIPE, check=True)
        return self._answers(done.stdout)

    def engine(self, engine: Engine) -> np.ndarray:
        """What an engine says."""
        output = io.BytesIO()
        machine = ProcessMachine(self.image, ["bulk"], stdin=io.BytesIO(self.pool), stdout=output)
        state = State(X86(self.model), {"linear": machine.space, "system": machine.system})
        machine.start(state)
        for name in SEGMENT_NAMES:
            state[f"{name}_limit"] = 0xFFFFFFFF
            code = registers.FLAT_CODE if name == "cs" else registers.FLAT_DATA
            state[f"{name}_attributes"] = code
        state["cpl"] = 3
        outcome = machine.run(engine, state, 1 << 40)
        assert outcome is not None and (outcome.kind, outcome.code) == ("exit", 0), outcome
        return self._answers(output.getvalue())

    def different(self, theirs: np.ndarray, ours: np.ndarray) -> list[str]:
        """The first difference of each instruction, readable."""
        wrong = []
        for number, code in enumerate(self.codes):
            differing = (theirs[number] != ours[number]).any(axis=1)
            if differing.any():
                first = int(differing.argmax())
                wrong.append(self.told(code, first, theirs[number], ours[number]))
        return wrong

    def told(self, code: bytes, number: int, theirs: np.ndarray, ours: np.ndarray) -> str:
        """A difference, readable as it stands."""
        before = self.pool[number * self.record : (number + 1) * self.record]
        sides = {
            "before": before,
            "silicon": theirs[number].tobytes(),
            "here": ours[number].tobytes(),
        }
        lines = [f"{code.hex(' ')}  {known_name(code)}, state {number}"]
        lines += [f"  {name:<8}{self.text(image)}" for name, image in sides.items()]
        return "\n".join(lines)

    def text(self, image: bytes) -> str:
        """A record, readable."""
        words = "".join(f" {n:04x}" for n in struct.unpack_from("<3I", image))
        stack = [image[28 + 10 * n : 38 + 10 * n][::-1].hex() for n in range(3)]
        rest = f"{image[OPERAND:FLAGS].hex()} {image[FLAGS:][::-1].hex()}"
        return f"{words}  {' '.join(stack)} …  {rest}"

    def _answers(self, output: bytes) -> np.ndarray:
        """By instruction, record and byte, without what is not compared."""
        found = np.frombuffer(bytearray(output), np.uint8)
        found = found.reshape(len(self.codes), self.count, self.record)
        self.clear(found)
        return found

    def clear(self, found: np.ndarray) -> None:
        """Make what is not compared the same in all answers."""
        found[:, :, POINTERS] = 0
        words = found[:, :, FLAGS:].view(np.uint32)
        words &= ARITHMETIC
