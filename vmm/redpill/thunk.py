"""Machine code that carries out one instruction in compatibility mode and tells what became of it.

A 64-bit program calls it; it goes to a 32-bit code segment by a far return, so that the bytes are
those that the tables have, and comes back in the same way. What it finds it leaves in its page, so
that nothing is lost if the instruction has spoilt the program that called it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CODE_64, CODE_32, DATA_32 = 0x33, 0x23, 0x2B  # Linux's selectors (its asm/segment.h)
SIZE: Final = 0x4000
ENTRY_32, DATA, STACK, STACK_BACK, SLOTS = 0x200, 0x1000, 0x2800, 0x3000, 0x3800
MARK: Final = 0x5A5A5A5A
"""What registers and memory hold before."""
_SAVED, DONE, BEGAN, ENDED, EAX, EBX, EDX, ZERO = (SLOTS + 8 * n for n in range(8))
_PUSHES, _POPS = "53 55 41 54 41 55 41 56 41 57", "41 5F 41 5E 41 5D 41 5C 5D 5B"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the page says after the call."""

    done: bool
    cycles: int
    eax: int
    ebx: int
    edx: int
    zero: int
    memory: bytes
    stack: int  # what a push has left
    top: int  # what was on the stack, and what lies there now


def image(base: int, code: bytes, *, far: bool, in_memory: bool) -> bytes:
    """The page's contents for an instruction; `base`, below 4 GiB, is where it will lie.

    `far`: what its operand in memory and the stack say is where it ends; `in_memory`: EBX says
    where memory is, else it is a selector.
    """
    begun = _begin_32(base, base + DATA if in_memory else DATA_32)
    landing = base + ENTRY_32 + len(begun) + len(code)
    ended = _end_32(base)
    entry = _enter(base)
    frame = _far_frame(landing) if far else bytes.fromhex("02 00 00 00") * 4  # flags, IF being 0
    page = bytearray(SIZE)
    for place, data in (
        (0, entry), (len(entry), _leave(base)), (ENTRY_32, begun + code + ended),
        (DATA, frame if far else _word(MARK) + _word(DATA_32) + _word(MARK) * 2), (STACK, frame),
    ):  # fmt: skip
        page[place : place + len(data)] = data
    return bytes(page)


def seen(page: bytes) -> Seen:
    """Read the page after the call."""

    def slot(place: int) -> int:
        return int.from_bytes(page[place : place + 4], "little")

    cycles = (slot(ENDED) - slot(BEGAN)) & 0xFFFFFFFF
    return Seen(bool(slot(DONE)), cycles, slot(EAX), slot(EBX), slot(EDX), slot(ZERO) & 1,
                bytes(page[DATA : DATA + 16]), slot(STACK - 4), slot(STACK))  # fmt: skip


def _far_frame(landing: int) -> bytes:
    """Where to go, CS, and flags with IF being 0."""
    return b"".join(_word(n) for n in (landing, CODE_32, 0x2))


def _enter(base: int) -> bytes:
    """Keep what a called function must, take the page's stack, go to 32 bits."""
    return (
        bytes.fromhex(_PUSHES + "48 89 24 25") + _word(base + _SAVED)
        + b"\xbc" + _word(base + STACK)
        + b"\x6a" + bytes([CODE_32]) + b"\x68" + _word(base + ENTRY_32) + b"\x48\xcb"
    )  # fmt: skip


def _leave(base: int) -> bytes:
    return bytes.fromhex("48 8B 24 25") + _word(base + _SAVED) + bytes.fromhex(_POPS + "C3")


def _begin_32(base: int, ebx: int) -> bytes:
    """Data segments, the stack, registers, and the time."""
    return (
        _data_segments() + b"\xbc" + _word(base + STACK)
        + b"\xb9" + _word(0) + b"\xbb" + _word(ebx)
        + b"\xbe" + _word(base + DATA + 0x100) + b"\xbf" + _word(base + DATA + 0x200)
        + b"\x0f\x31\x36\xa3" + _word(base + BEGAN)
        + b"\xb8" + _word(MARK) + b"\xba" + _word(MARK)
    )  # fmt: skip


def _end_32(base: int) -> bytes:
    """Everything of interest into the slots, through SS; then back to 64 bits."""
    after_entry = len(_enter(base))
    return (
        b"\x36\xa3" + _word(base + EAX)
        + b"\x36\x89\x1d" + _word(base + EBX) + b"\x36\x89\x15" + _word(base + EDX)
        + b"\x0f\x94\xc0\x36\xa2" + _word(base + ZERO)
        + b"\x0f\x31\x36\xa3" + _word(base + ENDED)
        + b"\x36\xc7\x05" + _word(base + DONE) + _word(1)
        + b"\xbc" + _word(base + STACK_BACK) + _data_segments()
        + b"\x6a" + bytes([CODE_64]) + b"\x68" + _word(base + after_entry) + b"\xcb"
    )  # fmt: skip


def _data_segments() -> bytes:
    return b"\xb8" + _word(DATA_32) + b"\x8e\xd8\x8e\xc0"


def _word(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")
