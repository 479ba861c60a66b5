"""What stands around the stencils of a stitched block, in x86-64 assembly (see `stitch.py`).

`begin` counts the block's entries and its instructions, and leaves the block to the handlers if
less may be done; stitched code enters it where the registers are known to be loaded. `end` and
`fall` are the block's *site*, where it goes on: links compare the program counter with those of
other blocks and jump into their code, the function `link` fills them in. `fall` stands behind a
block that ends before an instruction that no jump leads to. `again` does one of the block's
instructions, and what follows it, in the handlers.
"""

from __future__ import annotations

import struct
from typing import Final

from emu.engines.native.layout import PIECES, Left, Word
from isa.registers import Register

ENTRY: Final = 39  # bytes of `begin` before its entry, where rare things are done
LINKED: Final = 25  # bytes from there to the entry for stitched code
LINK: Final = struct.Struct("<BIBBBi")
"""cmp eax, TAG; jne behind it; jmp TO."""
LINKS: Final = 2  # of a site
LINK_BITS: Final = 48  # of a link's address
NOTE: Final = struct.Struct("<QQ")
"""A link's address, its number in its site above that, and the number of the header that it leads
to."""
TAG, TO = 1, 8  # where in a link the program counter is, and the distance from the link's end
SITE: Final = LINKS * LINK.size + 18
"""Bytes of a site: its links, and what goes to `link`."""


def unlinked(link: int) -> int:
    """The distance in a link of a site, by its number, that leads to none."""
    return (LINKS - 1 - link) * LINK.size


def pieces(pc: Register, space: int) -> str:
    """The module of the pieces, for code in a space (by its number)."""
    storage = Word.SPACES + 3 * space
    now = f"dword ptr [r14 + {8 * pc.slot}]"
    texts = {
        "begin": f"""
0:  mov {_mail(Word.REMAINING)}, rsi
    mov eax, {int(Left.HOT)}
    ret
1:  add rsi, offset count
    mov {_mail(Word.REMAINING)}, rsi
    mov r13d, offset number
    jmp {_mail(Word.HANDLE)}
    .org begin + {ENTRY}, 0xcc
    mov rsi, {_mail(Word.REMAINING)}
    mov r14, {_mail(Word.REGISTERS)}
    mov r15, {_mail(storage + 1)}
    mov rdi, {_mail(storage)}
    .org begin + {ENTRY + LINKED}, 0x90
    sub dword ptr [rip + counter], 1
    je 0b
    sub rsi, offset count
    jl 1b
""",
        "again": f"""
    add rsi, offset count
    mov {_mail(Word.REMAINING)}, rsi
    mov {_mail(Word.AGAIN)}, offset index
    mov r13d, offset number
    jmp {_mail(Word.RESUME)}
""",
        "fall": f"    add {now}, offset size\n{_end(now)}",
        "end": _end(now),
    }
    assert texts.keys() == PIECES.keys()
    return _module("".join(_function(name, text) for name, text in texts.items()))


def _mail(word: int) -> str:
    return f"qword ptr [r12 + {8 * word}]"


def _end(now: str) -> str:
    empty = "    .byte 0x3d, 0, 0, 0, 0, 0x75, 5, 0xe9"
    links = "".join(f"{empty}\n    .long {unlinked(n)}\n" for n in range(LINKS))
    return f"""
    mov eax, {now}
{links}
    mov {_mail(Word.REMAINING)}, rsi
    mov r13d, offset stitched
    jmp {_mail(Word.LINK)}
"""


def _function(name: str, text: str) -> str:
    head = f".globl {name}\n.type {name}, @function\n{name}:\n"
    return f"{head}{text}.size {name}, . - {name}\n"


def _module(text: str) -> str:
    lines = [".intel_syntax noprefix", ".text", *text.splitlines()]
    return "\n".join(f'module asm "{line}"' for line in lines) + "\n"
