"""Programs that are generated: one that only exits, and one of a million distinct instructions."""

from __future__ import annotations

import random
import struct

from emu.assembler.elf import Segment, executable

CODE, DATA = 0x08048000, 0x40000000
DATA_SIZE = 1 << 14
READ_WRITE, READ_EXECUTE = 6, 5

# Registers by their numbers (SDM volume 2A, table 2-2); ESI points to the data, EDI counts passes.
EAX, ECX, EDX, EBX, ESI, EDI = 0, 1, 2, 3, 6, 7
FREE = (EAX, ECX, EDX, EBX)
ALU = (0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39)  # ADD OR ADC SBB AND SUB XOR CMP


def _modrm(mode: int, register: int, operand: int) -> int:
    return mode << 6 | register << 3 | operand


def exiting(code: bytes, size: int = 0) -> bytes:
    """A program of some code that then exits with the low 7 bits of EAX, and `size` data bytes."""
    end = bytes.fromhex("83e07f 89c3 b801000000 cd80")  # and eax, 7fh; mov ebx, eax; exit
    segments = [Segment(CODE, READ_EXECUTE, bytearray(code + end), len(code + end))]
    segments.append(Segment(DATA, READ_WRITE, bytearray(), size))
    return executable(segments, CODE)


def empty_program() -> bytes:
    """A program that exits with 0."""
    return exiting(bytes.fromhex("31c0"))  # xor eax, eax


def cold_program(count: int, passes: int, seed: int = 1) -> bytes:
    """A program of about `count` distinct instructions in a straight line, run `passes` times.

    Each pass executes every instruction: conditional jumps and calls lead to what follows them.
    The mixture is that of compiled integer code, roughly: moves, loads and stores, arithmetic,
    and every eighth instruction or so one that ends a block. The exit code is made of all data.
    """
    source = random.Random(seed)
    body = b"".join(source.choice(_MIXTURE)(source) for _ in range(count))
    head = struct.pack("<BIBI", 0xB8 + ESI, DATA, 0xB8 + EDI, passes)
    loop = bytes([0xFF, _modrm(3, 1, EDI)])  # dec edi; jnz to the body
    loop += b"\x0f\x85" + struct.pack("<i", -len(body) - len(loop) - 6)
    return exiting(head + body + loop + _sum_of_data(), DATA_SIZE)


def _sum_of_data() -> bytes:
    """Fold the registers and every word at ESI into EAX."""
    head = bytes.fromhex("01c8 01d0 01d8 b9") + struct.pack("<I", DATA_SIZE // 4)  # add …; mov ecx
    return head + bytes.fromhex("03448efc c1c005 49 75f6")  # add eax, [esi+ecx*4-4]; rol; dec; jnz


HOOK_LOOP = bytes.fromhex("0306 894604 49 75f8")
"""1: add eax, [esi]; mov [esi + 4], eax; dec ecx; jnz 1b."""


def call_loop(count: int) -> bytes:
    """A program that asks for its parent's number so many times and exits with 1."""
    return exiting(b"\xb9" + struct.pack("<I", count) + CALL_LOOP)


CALL_LOOP = bytes.fromhex("b840000000 cd80 49 75f6")  # 1: mov eax, 64; int 80h; dec ecx; jnz 1b
PORT_LOOP = bytes.fromhex("e680 49 75fb")  # 1: out 80h, al; dec ecx; jnz 1b


def _register_arithmetic(source: random.Random) -> bytes:
    to, by = source.choice(FREE), source.choice(FREE)
    return bytes([source.choice(ALU), _modrm(3, by, to)])


def _immediate_arithmetic(source: random.Random) -> bytes:
    operand = _modrm(3, source.randrange(8), source.choice(FREE))
    return bytes([0x81, operand]) + source.randbytes(4)


def _short_immediate(source: random.Random) -> bytes:
    return bytes([0x83, _modrm(3, source.randrange(8), source.choice(FREE)), source.randrange(256)])


def _constant(source: random.Random) -> bytes:
    return bytes([0xB8 + source.choice(FREE)]) + source.randbytes(4)


def _move(source: random.Random) -> bytes:
    return bytes([0x89, _modrm(3, source.choice(FREE), source.choice(FREE))])


def _data(source: random.Random, opcode: bytes, register: int) -> bytes:
    """An instruction on an aligned word at [ESI + displacement]."""
    displacement = struct.pack("<I", source.randrange(0, DATA_SIZE, 4))
    return opcode + bytes([_modrm(2, register, ESI)]) + displacement


def _load(source: random.Random) -> bytes:
    return _data(source, b"\x8b", source.choice(FREE))


def _load_byte(source: random.Random) -> bytes:
    return _data(source, b"\x0f\xb6", source.choice(FREE))  # movzx


def _store(source: random.Random) -> bytes:
    return _data(source, b"\x89", source.choice(FREE))


def _add_from_memory(source: random.Random) -> bytes:
    return _data(source, b"\x03", source.choice(FREE))


def _address(source: random.Random) -> bytes:
    """LEA of base + index × scale + displacement."""
    scaled = source.randrange(4) << 6 | source.choice(FREE) << 3 | source.choice(FREE)
    return bytes([0x8D, _modrm(1, source.choice(FREE), 4), scaled, source.randrange(256)])


def _shift(source: random.Random) -> bytes:
    kind = source.choice((4, 5, 7))  # shl, shr, sar
    return bytes([0xC1, _modrm(3, kind, source.choice(FREE)), source.randrange(1, 32)])


def _product(source: random.Random) -> bytes:
    return bytes([0x0F, 0xAF, _modrm(3, source.choice(FREE), source.choice(FREE))])


def _condition(source: random.Random) -> bytes:
    """SETB or SETAE: of the flags, only CF is defined after all of the mixture."""
    return bytes([0x0F, 0x92 + source.randrange(2), _modrm(3, 0, source.choice(FREE))])


def _conditional_jump(source: random.Random) -> bytes:
    return bytes([0x70 + source.randrange(16), 0])


def _jump(source: random.Random) -> bytes:
    return b"\xeb\x00"


_MIXTURE = (
    *[_register_arithmetic] * 5, *[_immediate_arithmetic] * 2, *[_short_immediate] * 3,
    *[_constant] * 2, *[_move] * 4, *[_load] * 5, *[_load_byte] * 2, *[_store] * 4,
    *[_add_from_memory] * 2, *[_address] * 3, *[_shift] * 2, _product, _condition,
    *[_conditional_jump] * 4, _jump,
)  # fmt: skip
