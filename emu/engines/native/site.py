"""What stands around the stencils of a stitched block, in x86-64 assembly (see `stitch.py`).

`begin` counts the block's instructions, and leaves the block to the handlers if less may be done:
there stitched code enters it. Others come through `enter`, which loads the registers and stands
apart, as does whatever is done seldom.

`end` is the *site* of a block that goes on wherever a register says: links compare the program
counter with those of other blocks and jump into their code, the function `link` fills them in. Most
blocks end in a jump of which it is known where it leads, one way or one of two (`LEADS`): those
jumps are led to other blocks' code by the function `join`, and until then to `one` or `two`, which
stand apart. `fall` is such a jump of a block that ends before an instruction to which none leads.

`again` does one of the block's instructions, and what follows it, in the handlers; `settle`
computes the flags that are pending. Where they leave, `exits` puts what stitched code has in the
host's registers into the mailbox.
"""

from __future__ import annotations

import struct

from emu.engines.native.layout import CONVENTION, PIECES, Word
from emu.engines.native.spaces import Space, first_word
from isa.hints import Final
from isa.registers import Register

PARAMETERS: Final = (
    "ptr %mailbox, i64 %number, ptr %registers, ptr %tables, ptr %storage, i64 %remaining, "
    "i32 %pc, i32 %kind, i64 %first, i64 %second"
)
"""The mailbox; the number of a block's header, for whoever goes on; the registers; the page tables
and the storage of the space that code is in; how many instructions may be counted after the block;
behind it, the program counter; and the kind of the flags that are pending, or 0, with the first two
operands that they follow from. The assembly here knows which registers those are: r12 to r15, rdi,
rsi, edx, ecx, r8 and r9."""
_DECLARED: Final = f"declare {CONVENTION} i64 @%s(ptr, i64, ptr, ptr, ptr, i64, i32, i32, i64, i64)"
LEADS: Final = ("leads0", "leads1")
"""Where a block goes on of which that is known: always, or if not the one then the other. Behind
their names stands where that is (see `way_to`)."""
WAYS: Final = tuple(_DECLARED % name for name in ("next", "again"))
"""What is copied behind a stencil, and what does the instruction in the handlers."""

ENTRY: Final = 26  # bytes of `enter` before where it is entered: what `begin` does seldom
LINK: Final = struct.Struct("<HIBBBi")
"""cmp edx, TAG; jne behind it; jmp TO."""
LINKS: Final = 2  # of a site
NO_SITE: Final = LINKS  # the number of a jump (see `LEADS`), instead of a link's in its site
LINK_BITS: Final = 48  # of an address
NOTE: Final = struct.Struct("<QQ")
"""Where the distance of a link is, and above that its number in its site; and the number of the
header that it leads to, and above that what the distance was."""
HEADER_BITS: Final = 32
TAG, TO = 2, 9  # where in a link the program counter is, and the distance from the link's end
SITE: Final = LINKS * LINK.size + 21
"""Bytes of a site: its links, and what goes to `link`."""
STUB: Final = 26  # bytes of what goes to `join`, for one jump
LEAVE: Final = "leave_"  # before the name of a function of `discover` where stitched code leaves
LEAVE_PASS: Final = _DECLARED % f"{LEAVE}pass"
EXITS: Final = ("resume", "handle", "link", "join")
SETTLE, ENTER = "settle_here", "enter"
THUNK: Final = struct.Struct("<BIHIHQII3x")
"""mov edx, a program counter; mov r13d, the number of a region's entry there; mov rax, its
function; jmp [r12 + Word.ENTER]."""
EMPTY_THUNK: Final = (0xBA, 0, 0xBD41, 0, 0xB848, 0, 0x24A4FF41, 8 * Word.ENTER)
THUNK_PC, THUNK_ENTRY, THUNK_FUNCTION = 1, 7, 13  # where in a thunk those are


def way_on(word: Word) -> int:
    """The last 32 bits of a site, which goes on in the function that a word of the mailbox has."""
    return 8 * word


def way_to(lead: str, *parts: int) -> str:
    """The symbol of a way on to a sum, by its parts (see `stencils.Sum`)."""
    return ".".join([lead, *map(str, parts)])


def declared_way(name: str) -> str:
    """The declaration of such a symbol."""
    return _DECLARED % name


def go_on(name: str, **changed: str) -> list[str]:
    """Lines that go on in one of `WAYS`, with parameters that have changed."""
    return go_on_at(f"@{name}", **changed)


def go_on_at(function: str, **changed: str) -> list[str]:
    """The same in a function like those."""
    given = []
    for parameter in PARAMETERS.split(", "):
        kind, text = parameter.split()
        given.append(f"{kind} {({'number': 'poison'} | changed).get(text[1:], text)}")
    name = f"%gone.{function[1:]}"
    call = f"  {name} = musttail call {CONVENTION} i64 {function}({', '.join(given)})"
    return [call, f"  ret i64 {name}"]


def unlinked(link: int) -> int:
    """The distance in a link of a site, by its number, that leads to none."""
    return (LINKS - 1 - link) * LINK.size


def pieces(space: Space) -> str:
    """The module of the pieces, for code in a space."""
    links = "".join(
        f"    .byte 0x81, 0xfa, 0, 0, 0, 0, 0x75, 5, 0xe9\n    .long {unlinked(n)}\n"
        for n in range(LINKS)
    )
    end = f"""
0:
{links}
    lea r11, [rip + 0b]
    mov r13d, offset stitched
    jmp {_mail(Word.LINK)}
"""
    stubs = [
        f"""
    mov edx, offset goal{n}
    lea r11, [rip + link{n}]
    mov r13d, offset stitched
    jmp {_mail(Word.JOIN)}
"""
        for n in range(len(LEADS))
    ]
    texts = {
        "enter": f"""
    mov edx, offset pc
    add rsi, offset count
    mov r13d, offset number
    jmp {_mail(Word.HANDLE)}
    .org enter + {ENTRY}, 0xcc
    mov rsi, {_mail(Word.REMAINING)}
    mov r14, {_mail(Word.REGISTERS)}
    mov r15, {_mail(first_word(space.number) + 1)}
    mov rdi, {_mail(space.base)}
    xor ecx, ecx
    jmp apart
""",
        "begin": """
    sub rsi, offset count
    jl apart
""",
        "again": f"""
    mov edx, offset pc
    add rsi, offset count
    mov {_mail(Word.AGAIN)}, offset index
    mov r13d, offset number
    jmp {_mail(Word.RESUME)}
""",
        "settle": f"""
    test ecx, ecx
    je 0f
    call {_mail(Word.SETTLE)}
0:
""",
        "fall": f"    jmp {way_to(LEADS[0], 1, 0, 0, 0)}\n",
        "one": stubs[0],
        "two": "".join(stubs),
        "end": end,
    }
    assert texts.keys() == PIECES.keys()
    return assembly("".join(_function(name, text) for name, text in texts.items()))


def exits(pc: Register) -> str:
    """What stitched code jumps to where it leaves, and what it calls to have flags settled: between
    its registers and the mailbox."""
    keep = f"""
    mov dword ptr [r12 + {8 * Word.PENDING}], ecx
    mov {_mail(Word.OPERANDS)}, r8
    mov {_mail(Word.OPERANDS + 1)}, r9
"""
    tell = f"""
    mov {_mail(Word.REMAINING)}, rsi
    mov dword ptr [r14 + {8 * pc.slot}], edx
"""
    settle = f"""
{keep}
    push rdi
    push rsi
    push rdx
    sub rsp, 8
    mov rdi, r12
    mov rax, {_mail(Word.SETTLERS)}
    mov ecx, ecx
    call qword ptr [rax + 8 * rcx]
    add rsp, 8
    pop rdx
    pop rsi
    pop rdi
    mov dword ptr [r12 + {8 * Word.PENDING}], 0
    xor ecx, ecx
    ret
"""
    enter = f"""
{tell}
    test ecx, ecx
    je 0f
    mov rbx, rax
    call {SETTLE}
    mov rax, rbx
0:  jmp rax
"""
    texts = {f"{LEAVE}{name}": f"{tell}{keep}\n    jmp {name}\n" for name in (*EXITS, "pass")}
    place = f"    mov {_mail(Word.PLACE)}, r11\n"
    texts |= {name: place + texts[name] for name in (f"{LEAVE}link", f"{LEAVE}join")}
    texts |= {SETTLE: settle, ENTER: enter}
    return assembly("".join(_function(name, text) for name, text in texts.items()))


def _mail(word: int) -> str:
    return f"qword ptr [r12 + {8 * word}]"


def _function(name: str, text: str) -> str:
    head = f".globl {name}\n.type {name}, @function\n{name}:\n"
    return f"{head}{text}.size {name}, . - {name}\n"


def assembly(text: str) -> str:
    """A module of assembly, in Intel's syntax."""
    lines = [".intel_syntax noprefix", ".text", *text.splitlines()]
    return "\n".join(f'module asm "{line}"' for line in lines) + "\n"
