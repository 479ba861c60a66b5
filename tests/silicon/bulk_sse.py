"""SSE put to silicon by the hundred thousand, as `bulk.py` does it with the x87.

A state is a record of 512 bytes, FXSAVE's image: the program does FXRSTOR, the instruction, FXSAVE.
What is left to software at the image's end holds 32 bytes for an operand in memory, which begin at
a multiple of 16, EFLAGS, EAX and ECX. ESI is what an operand's address counts from: byte OPERAND is
[ESI + DISPLACEMENT]. EDI is [ESI + DISPLACEMENT] as well, for MASKMOVDQU and MASKMOVQ.

All exceptions are masked, as #XM would be a signal: those not masked are for `compare.py`.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import numpy as np

from . import floats
from .bulk import Bulk
from .executor import WITH_SSE
from .native import ARITHMETIC, Fpu, Sse

RECORD = 512
OPERAND, FLAGS, GENERAL = 464, 496, slice(500, 508)
MXCSR, STACK, XMM = slice(24, 28), slice(32, 160), slice(160, 288)
DISPLACEMENT = 0x40  # of the operand, from ESI
POINTERS, MASK = slice(8, 24), slice(28, 32)
"""Of the image, what differs between processors: the last pointers, and MXCSR's known bits."""

EACH = """
        mov     esi, offset pool
        mov     edi, offset work
        mov     ecx, {size} / 4
        rep     movsd
        mov     esi, offset work + 400
        mov     ebp, {count}
1:      fxrstor [esi - 400]
        push    dword ptr [esi + 96]
        popfd
        mov     eax, [esi + 100]
        mov     ecx, [esi + 104]
        lea     edi, [esi + 64]
        jmp     2f
2:      .byte   {code}
        jmp     3f
3:      fxsave  [esi - 400]
        mov     [esi + 100], eax
        mov     [esi + 104], ecx
        pushfd
        pop     dword ptr [esi + 96]
        add     esi, 512
        dec     ebp
        jnz     1b
        mov     eax, 4
        mov     ebx, 1
        mov     ecx, offset work
        mov     edx, {size}
        int     0x80
"""

State = tuple[Sse, Fpu]


def state(rng: random.Random) -> State:
    """A random one: numbers and words in all registers; MMX registers are those of the x87."""
    return Sse(floats.mxcsr(rng, masked=1), floats.xmm(rng)), floats.fpu(rng)


def pool(rng: random.Random, count: int, state: Callable[[random.Random], State] = state) -> bytes:
    """Random records."""
    return b"".join(record(rng, *state(rng)) for _ in range(count))


def record(rng: random.Random, sse: Sse, fpu: Fpu) -> bytes:
    """One record; no exception of the x87 is pending in it, as MMX instructions wait."""
    status = fpu.status & ~(0x3F & ~fpu.control) & ~0x8080
    image = struct.pack("<HHBxH16x", fpu.control, status, fpu.full, 0)
    image += struct.pack("<II", sse.mxcsr, 0)
    image += b"".join(value.to_bytes(16, "little") for value in (*fpu.stack, *sse.xmm))
    first = sse.xmm[0].to_bytes(16, "little")
    operand = floats.packed(rng, first) + floats.packed(rng)
    flags = rng.getrandbits(32) & ARITHMETIC | 0x202
    general = floats.packed(rng)[:8]
    return image.ljust(OPERAND, b"\0") + operand + struct.pack("<I8s4x", flags, general)


class SseBulk(Bulk):
    """A program for a list of instructions and a pool; its answers are arrays of records."""

    record = RECORD
    each = EACH
    model = WITH_SSE

    def text(self, image: bytes) -> str:
        """XMM0, XMM1, MXCSR, the operand, EFLAGS, EAX, ECX, ST(0) or MM0, ST(1) and tags."""
        registers = [image[start : start + 16][::-1].hex() for start in range(160, 192, 16)]
        stack = [image[start : start + 10][::-1].hex() for start in range(32, 64, 16)]
        flags, eax, ecx = struct.unpack_from("<3I", image, FLAGS)
        mxcsr = image[MXCSR][::-1].hex()[4:]
        operand = image[OPERAND : OPERAND + 16][::-1].hex()
        general = f"{flags:03x} {eax:08x} {ecx:08x}"
        return (
            f" {' '.join(registers)} {mxcsr} {operand} {general} {' '.join(stack)} {image[4]:02x}"
        )

    def clear(self, found: np.ndarray) -> None:
        """Make what is not compared the same in all answers."""
        found[:, :, POINTERS] = 0
        found[:, :, MASK] = 0
        words = found[:, :, FLAGS : FLAGS + 4].view(np.uint32)
        words &= ARITHMETIC
