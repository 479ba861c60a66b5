"""Random x86 programs that try what fast engines get wrong.

A program is a list of pieces, each made by a function of a source of randomness and the address
where the program starts. The pieces are biased: few registers, so that values are forwarded from
one to the other; addresses at the edges of pages and in the code itself.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.machines import CODE, DATA, PAGE
from tests.silicon.cases import value

Piece = Callable[[random.Random, int], bytes]

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
FEW = (EAX, EAX, EDX, EDX, EBX, EDI, EDI, ESI, EBP)  # ECX counts, ESP is the stack
BYTES = (0, 2, 3, 4, 6, 7)  # all but CL and CH
POINTERS = (EBP, ESI, EDI)
ALU = (0x01, 0x03, 0x09, 0x0B, 0x11, 0x13, 0x19, 0x1B, 0x21, 0x23, 0x29, 0x2B, 0x31, 0x33, 0x39,
       0x3B, 0x85)  # fmt: skip
STRINGS = (0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF)
EDGES = (DATA, DATA + PAGE, DATA + 2 * PAGE, DATA + 3 * PAGE, CODE + PAGE, CODE)


def pointer(rng: random.Random) -> int:
    """An address near the edge of a page; the pages after DATA's second are read-only, missing."""
    near = rng.randrange(-12, 13) if rng.random() < 0.6 else rng.randrange(-200, 200)
    return rng.choice(EDGES[:4] if rng.random() < 0.8 else EDGES) + near


def _modrm(rng: random.Random, registers: tuple[int, ...] = FEW) -> int:
    return 0xC0 | rng.choice(registers) << 3 | rng.choice(registers)


def _memory(rng: random.Random, reg: int) -> bytes:
    """ModRM and displacement of [pointer + disp8], mostly aligned."""
    displacement = rng.randrange(-16, 17) * rng.choice((4, 4, 1))
    return struct.pack("<Bb", 0x40 | reg << 3 | rng.choice(POINTERS), displacement)


def move(rng: random.Random, at: int) -> bytes:
    """MOV and XCHG of whole registers, of bytes and words, and from constants."""
    kind = rng.randrange(8)
    if kind < 4:
        return bytes([rng.choice((0x89, 0x8B)), _modrm(rng)])
    if kind == 4:
        return bytes([0x87, _modrm(rng)])
    if kind == 5:
        return bytes([rng.choice((0x88, 0x8A, 0x86)), _modrm(rng, BYTES)])
    if kind == 6:
        return bytes([0x66, rng.choice((0x89, 0x8B, 0x87)), _modrm(rng)])
    return bytes([0xB8 | rng.choice(FEW)]) + struct.pack("<I", value(rng))


def widen(rng: random.Random, at: int) -> bytes:
    """MOVZX, MOVSX, BSWAP, CDQ, CWDE, SETcc and CMOVcc."""
    condition = rng.randrange(16)
    return rng.choice((
        bytes([0x0F, rng.choice((0xB6, 0xBE)), 0xC0 | rng.choice(FEW) << 3 | rng.choice(BYTES)]),
        bytes([0x0F, rng.choice((0xB7, 0xBF)), _modrm(rng)]),
        bytes([0x0F, 0xC8 | rng.choice(FEW)]), b"\x99", b"\x98",
        bytes([0x0F, 0x90 | condition, 0xC0 | rng.choice(BYTES)]),
        bytes([0x0F, 0x40 | condition, _modrm(rng)]),
    ))  # fmt: skip


def lea(rng: random.Random, at: int) -> bytes:
    """LEA of one or two registers."""
    into = rng.choice(FEW) << 3
    displacement = struct.pack("<b", rng.randrange(-128, 128))
    if rng.random() < 0.5:
        return bytes([0x8D, 0x40 | into | rng.choice(FEW)]) + displacement
    sib = rng.randrange(4) << 6 | rng.choice(FEW) << 3 | rng.choice(FEW)
    return bytes([0x8D, 0x44 | into, sib]) + displacement


def alu(rng: random.Random, at: int) -> bytes:
    """Arithmetic and logic between registers, with carries used and not used."""
    kind = rng.randrange(8)
    if kind < 3:
        return bytes([rng.choice(ALU), _modrm(rng)])
    if kind == 3:
        return bytes([0x83, 0xC0 | rng.randrange(8) << 3 | rng.choice(FEW), rng.randrange(256)])
    if kind == 4:
        return bytes([rng.choice((0x40, 0x48)) | rng.choice(FEW)])
    if kind == 5:
        return bytes([0xF7, 0xC0 | rng.choice((2, 3, 4, 5)) << 3 | rng.choice(FEW)])
    if kind == 6:
        shift = rng.choice((0, 1, 2, 3, 4, 5, 7)) << 3 | rng.choice(FEW)
        return bytes([0xC1, 0xC0 | shift, rng.choice((0, 1, 4, 31, 32))])
    prefix = rng.choice((b"", b"\x66"))
    op = rng.choice(ALU[:-1])
    return prefix + bytes([op]) + _modrm(rng).to_bytes(1, "little")


def memory(rng: random.Random, at: int) -> bytes:
    """Loads, stores and read-modify-writes through a pointer."""
    reg = rng.choice(FEW)
    op = rng.choice((0x89, 0x89, 0x8B, 0x8B, 0x88, 0x8A, 0x87, 0x86, *ALU))
    prefix = rng.choice((b"", b"", b"", b"\x66"))
    if rng.random() < 0.1:
        return b"\xff" + _memory(rng, rng.randrange(2))
    return prefix + bytes([op]) + _memory(rng, reg if op & 1 else rng.choice(BYTES))


def stack(rng: random.Random, at: int) -> bytes:
    """PUSH, POP, PUSHF, LAHF, SAHF, LEAVE after ENTER."""
    reg = rng.choice(FEW)
    return rng.choice((
        bytes([0x50 | reg]), bytes([0x58 | reg]), bytes([0x50 | reg, 0x58 | rng.choice(FEW)]),
        b"\x9c", b"\x9f", b"\x9e", b"\xc8\x10\x00\x01", b"\xff" + _memory(rng, 6),
        b"\x8f" + _memory(rng, 0),
    ))  # fmt: skip


def edge(rng: random.Random, at: int) -> bytes:
    """Point a register at the edge of a page and use it."""
    reg = rng.choice(POINTERS)
    op = rng.choice((0x89, 0x8B, 0x01, 0x03, 0x87, 0x88, 0x8A))
    prefix = rng.choice((b"", b"\x66"))
    use = bytes([op, 0x40 | rng.choice((EAX, EDX, EBX)) << 3 | reg, rng.choice((0, 0, 4, 0xFE))])
    return bytes([0xB8 | reg]) + struct.pack("<I", pointer(rng)) + prefix + use


PLAIN: tuple[Piece, ...] = (move, move, move, alu, alu, lea, widen, memory, memory, stack, edge)


def body(rng: random.Random, at: int, most: int = 4) -> bytes:
    """A few instructions without a jump, which leave ECX alone."""
    return b"".join(rng.choice(PLAIN)(rng, at) for _ in range(rng.randrange(1, most + 1)))


def branch(rng: random.Random, at: int) -> bytes:
    """A jump over something, mostly conditional."""
    over = body(rng, at)
    jump = rng.choice((0xEB, *range(0x70, 0x80), *range(0x70, 0x80)))
    return bytes([jump, len(over)]) + over


def loop(rng: random.Random, at: int) -> bytes:
    """A loop of up to twenty rounds, on one of the ways to write it."""
    inside = body(rng, at)
    if rng.random() < 0.3:
        inside += branch(rng, at)
    if rng.random() < 0.2:
        inside += modify(rng, at)
    head = b"\xb9" + struct.pack("<I", rng.randrange(1, 21))
    back = -len(inside)
    tail = rng.choice((
        b"\xe2" + struct.pack("<b", back - 2),  # loop
        b"\x49\x75" + struct.pack("<b", back - 3),  # dec ecx; jnz
        b"\x83\xe9\x01\x0f\x85" + struct.pack("<i", back - 9),  # sub ecx, 1; jnz near
        b"\x49\xe3\x02\xeb" + struct.pack("<b", back - 5),  # dec ecx; jecxz over; jmp back
    ))  # fmt: skip
    return head + inside + tail


def call(rng: random.Random, at: int) -> bytes:
    """A function, called twice, once through a register."""
    function = body(rng, at, 3) + rng.choice((b"\xc3", b"\xc3", b"\xc2\x04\x00"))
    calls = b"\xe8" + struct.pack("<i", -len(function) - 5)
    calls += body(rng, at, 2)
    calls += b"\xe8" + struct.pack("<i", -len(function) - len(calls) - 5)
    return bytes([0xEB, len(function)]) + function + calls


def repeat(rng: random.Random, at: int) -> bytes:
    """A repeated string instruction that often runs into a page's edge."""
    head = bytes([0xB8 | ESI]) + struct.pack("<I", pointer(rng))
    head += bytes([0xB8 | EDI]) + struct.pack("<I", pointer(rng))
    head += b"\xb9" + struct.pack("<I", rng.choice((0, 1, 2, 5, 30, 60)))
    down = rng.random() < 0.3
    op = rng.choice((b"", b"\x66")) + bytes([rng.choice((0xF3, 0xF3, 0xF2)), rng.choice(STRINGS)])
    return (b"\xfd" if down else b"") + head + op + (b"\xfc" if down else b"")


def modify(rng: random.Random, at: int) -> bytes:
    """A store into the program itself, ahead or behind."""
    where = struct.pack("<I", at + rng.randrange(100))
    opcode = rng.choice((0x90, 0x40, 0x4A, 0xC3, 0x47, 0xF8, 0xF9, rng.randrange(256)))
    if rng.random() < 0.6:
        return b"\xc6\x05" + where + bytes([opcode])
    if rng.random() < 0.5:
        return b"\xc7\x05" + where + bytes([opcode, 0x90, 0x42, 0x90])
    return rng.choice((b"\x00\x05", b"\x01\x05", b"\xfe\x05")) + where


def leave(rng: random.Random, at: int) -> bytes:
    """What stops an engine: INT n, INT3, UD2, HLT, INTO, a jump away."""
    away = b"\xe9" + struct.pack("<i", rng.choice((-0x300, 0x1000, 0x200000, 1)))
    return rng.choice((b"\xcd\x80", b"\xcd\x80", b"\xcc", b"\x0f\x0b", b"\xf4", b"\xce", away))


PIECES: tuple[Piece, ...] = (
    body, move, alu, memory, edge, stack, widen, lea, branch, loop, call, repeat, modify, leave,
)  # fmt: skip
