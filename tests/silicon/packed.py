"""SSE put to silicon by the hundred thousand: one program, run by the host and by an engine.

The program does each instruction of a list once with each record of a pool, and writes all records
out. A record has 64 bytes: MXCSR, whether there was a fault, EAX and EFLAGS; XMM0; 16 bytes that
are XMM1 and the operand in memory; MM0, and MXCSR as it is afterwards. A SIMD exception's handler
goes on behind the instruction.
"""

from __future__ import annotations

import io
import random
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emu.assembler import assemble
from emu.engines import Engine
from emu.process.machine import ProcessMachine
from emu.state import State
from isa.x86 import registers
from isa.x86.machine import X86
from isa.x86.registers import SEGMENT_NAMES

from . import floats
from .cases import text
from .native import ARITHMETIC

RECORD, FAULT, FLAGS, OPERAND, AFTER = 64, 4, 12, 32, 56

PROGRAM = """\
        .bss
        .balign 64
pool:   .space  {size}
work:   .space  {size}
resume: .space  4
        .data
action: .long   handler, 0x40000004, 0, 0, 0
        .text
handler:
        mov     eax, [esp + 12]         # ucontext
        mov     edx, [eax + 40]         # ESI
        mov     ecx, [eax + 68]         # vector
        mov     [edx + 4], ecx
        mov     edx, [resume]
        mov     [eax + 76], edx
        ret
        .globl  _start
_start: mov     eax, 174
        mov     ebx, 8
        mov     ecx, offset action
        xor     edx, edx
        mov     esi, 8
        int     0x80
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
        mov     dword ptr [resume], offset behind_{name}
        mov     esi, offset pool
        mov     edi, offset work
        mov     ecx, {size} / 4
        rep     movsd
        mov     esi, offset work
        mov     ebp, {count}
1:      ldmxcsr [esi]
        movups  xmm0, [esi + 16]
        movups  xmm1, [esi + 32]
        movq    mm0, [esi + 48]
        mov     eax, [esi + 8]
        push    dword ptr [esi + 12]
        popfd
        jmp     2f
2:      .byte   {code}
        jmp     behind_{name}
behind_{name}:
        pushfd
        pop     dword ptr [esi + 12]
        mov     [esi + 8], eax
        movups  [esi + 16], xmm0
        movq    [esi + 48], mm0
        stmxcsr [esi + 56]
        add     esi, 64
        dec     ebp
        jnz     1b
        emms
        mov     ecx, offset work
        mov     edx, {size}
1:      mov     eax, 4
        mov     ebx, 1
        int     0x80
        add     ecx, eax
        sub     edx, eax
        jnz     1b
"""


def pool(rng: random.Random, count: int, size: int, *, unmasked: float = 0.0) -> bytes:
    """Random records of numbers of 4 or 8 bytes; a part of them with exceptions unmasked."""
    return b"".join(_record(rng, size, 1 - unmasked) for _ in range(count))


def _record(rng: random.Random, size: int, masked: float) -> bytes:
    """One record; MM0 and EAX are integers of any size."""
    ours = [_number(rng, size) for _ in range(16 // size)]
    theirs = [
        floats.relative(rng, int.from_bytes(x, "little"), size)
        if rng.random() < 0.35
        else _number(rng, size)
        for x in ours
    ]
    integers = struct.pack("<2I", *(rng.getrandbits(32) >> rng.randrange(32) for _ in range(2)))
    eax = rng.choice((rng.getrandbits(32), rng.randrange(-5, 5) & 0xFFFFFFFF))
    status, flags = floats.mxcsr(rng, masked=masked), rng.getrandbits(32) & ARITHMETIC | 0x202
    head = struct.pack("<4I", status, 0, eax, flags)
    return head + b"".join(ours) + b"".join(theirs) + integers + bytes(8)


def _number(rng: random.Random, size: int) -> bytes:
    return floats.short(rng, size) if rng.random() < 0.75 else rng.randbytes(size)


class Packed:
    """A program for a list of instructions and a pool; its answers are arrays of records."""

    def __init__(self, codes: Sequence[bytes], pool: bytes) -> None:
        self.codes, self.pool = codes, pool
        self.count = len(pool) // RECORD
        each = (
            EACH.format(
                size=len(pool), count=self.count, name=number, code=", ".join(map(str, code))
            )
            for number, code in enumerate(codes)
        )
        program = PROGRAM.format(size=len(pool), each="".join(each))
        self.image = assemble(program, "packed.asm").image

    def host(self, directory: Path) -> np.ndarray:
        """What the processor says."""
        program = directory / "packed"
        program.write_bytes(self.image)
        program.chmod(0o755)
        done = subprocess.run([program], input=self.pool, stdout=subprocess.PIPE, check=True)
        return self._answers(done.stdout)

    def engine(self, engine: Engine) -> np.ndarray:
        """What an engine says."""
        output = io.BytesIO()
        machine = ProcessMachine(self.image, ["packed"], stdin=io.BytesIO(self.pool), stdout=output)
        state = State(X86("user:pentium4"), {"linear": machine.space, "system": machine.system})
        machine.start(state)
        for name in SEGMENT_NAMES:
            state[f"{name}_limit"] = 0xFFFFFFFF
            code = registers.FLAT_CODE if name == "cs" else registers.FLAT_DATA
            state[f"{name}_attributes"] = code
        state["cpl"] = 3
        outcome = machine.run(engine, state, 1 << 40)
        assert outcome is not None and (outcome.kind, outcome.code) == ("exit", 0), outcome
        return self._answers(output.getvalue())

    def told(self, code: bytes, number: int, theirs: np.ndarray, ours: np.ndarray) -> str:
        """A difference, readable as it stands."""
        before = self.pool[number * RECORD : (number + 1) * RECORD]
        sides = {
            "before": before,
            "silicon": theirs[number].tobytes(),
            "here": ours[number].tobytes(),
        }
        lines = [f"{code.hex(' ')}  {text(code)}, record {number}"]
        for name, image in sides.items():
            mode, fault, eax, flags = struct.unpack_from("<4I", image)
            (after,) = struct.unpack_from("<I", image, AFTER)
            parts = (image[low : low + 16][::-1].hex() for low in (16, 32))
            lines.append(
                f"  {name:<8} {mode:04x} {after:04x} {fault:2} eax {eax:08x} {flags:04x}"
                f"  {'  '.join(parts)}  mm0 {image[48:56][::-1].hex()}"
            )
        return "\n".join(lines)

    def _answers(self, output: bytes) -> np.ndarray:
        """By instruction, record and byte; of EFLAGS only what arithmetic changes."""
        found = np.frombuffer(bytearray(output), np.uint8)
        found = found.reshape(len(self.codes), self.count, RECORD)
        words = found[:, :, FLAGS : FLAGS + 4].view(np.uint32)
        words &= ARITHMETIC
        return found
