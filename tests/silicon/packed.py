"""SSE put to silicon by the hundred thousand: one program, run by the host and by an engine.

The program does each instruction of a list once with each record of a pool, and writes all records
out. A record has 64 bytes: MXCSR, whether there was a fault, EAX and EFLAGS; XMM0; 16 bytes that
are XMM1 and the operand in memory; MM0, and MXCSR as it is afterwards. A SIMD exception's handler
goes on behind the instruction.
"""

from __future__ import annotations

import random
import struct

import numpy as np

from . import floats
from .bulk import Bulk
from .executor import WITH_SSE
from .native import ARITHMETIC

RECORD, FAULT, FLAGS, OPERAND, AFTER = 64, 4, 12, 32, 56

DATA = """
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
"""
BEGIN = """
        mov     eax, 174                # rt_sigaction
        mov     ebx, 8
        mov     ecx, offset action
        xor     edx, edx
        mov     esi, 8
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


class Packed(Bulk):
    """A program for a list of instructions and a pool; its answers are arrays of records."""

    record = RECORD
    data = DATA
    begin = BEGIN
    each = EACH
    model = WITH_SSE

    def text(self, image: bytes) -> str:
        """MXCSR before and after, the fault, EAX, EFLAGS, XMM0, the operand and MM0."""
        mode, fault, eax, flags = struct.unpack_from("<4I", image)
        (after,) = struct.unpack_from("<I", image, AFTER)
        parts = (image[low : low + 16][::-1].hex() for low in (16, 32))
        mm0 = image[48:56][::-1].hex()
        return f" {mode:04x} {after:04x} {fault:2} {eax:08x} {flags:04x}  {'  '.join(parts)}  {mm0}"

    def clear(self, found: np.ndarray) -> None:
        """Make what is not compared the same in all answers."""
        words = found[:, :, FLAGS : FLAGS + 4].view(np.uint32)
        words &= ARITHMETIC
