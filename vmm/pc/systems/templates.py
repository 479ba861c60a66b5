"""What activities are made of: templates of a few instructions, with holes for numbers.

All are assembled at once, each hole holding a number that occurs nowhere else; a step of a system
is a template whose holes are filled in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from emu.assembler import flat
from vmm.pc.systems import layout as at
from vmm.pc.systems.nucleus import SOURCE, SYMBOLS

_HOLE: Final = re.compile(r"\{(\w+)\}")
_PLACEHOLDER: Final = {32: 0x6A3B4C00, 16: 0x6A80}
STABLE: Final = at.DATA + at.PAGES * at.PAGE
_FIRST_ENTRY: Final = at.TABLE + at.DATA // at.PAGE * 4

# -- numbers -----------------------------------------------------------------------------------


def _page(random: Random) -> int:
    """In a page whose entry changes, or across two pages."""
    page = random.randrange(at.PAGES)
    return at.DATA + at.PAGE * page + random.choice((0, 4, 0x800, 0xFFC, 0xFFE, 0xFFF))


def _safe(random: Random) -> int:
    """In a page that stays."""
    return STABLE + at.PAGE * random.randrange(at.PAGES - 1) + 4 * random.randrange(at.PAGE // 4)


def _far(random: Random) -> int:
    """The same memory elsewhere, the kernel's, or nothing."""
    other = random.choice((at.LARGE, at.ALIAS, at.HIGH))
    alias = other + STABLE + 4 * random.randrange(64)
    nothing = random.choice(
        (at.LARGE + 0x180000, 0x00F00000, 0xC0000000, 0xFFBFFFFE, 0xFFFFFFFE, 0x000F0000)
    )
    own = at.HIGH + 0x400 + 4 * random.randrange(64)
    return random.choice((alias, alias, alias, nothing, at.KERNEL_STACK - 0x800, own))


def _code(random: Random) -> int:
    """A byte of a user program."""
    return at.USER_CODE + random.randrange(0x100)


def _entry(random: Random) -> int:
    """An entry of the page table."""
    return _FIRST_ENTRY + 4 * random.randrange(at.PAGES)


def _number(random: Random) -> int:
    return random.choice((0, 1, 0xFF, 0x8000, 0x7FFFFFFF, 0xFFFFFFFF, random.getrandbits(32)))


DRAWS: Final[Mapping[str, Callable[[Random], int]]] = {
    "page": _page,
    "safe": _safe,
    "far": _far,
    "code": _code,
    "entry": _entry,
    "number": _number,
    "wild": lambda random: random.getrandbits(32),
    "selector": lambda random: random.choice(at.SELECTORS),
    "bit": lambda random: random.choice((1, 2, 2, 4, 4, 0x20, 0x40, 0x62)),
    "large_bit": lambda random: random.choice((2, 4, 0x20, 0x40)),
    "descriptor": lambda random: at.GDT + (random.choice(at.SELECTORS[2:26]) & 0xF8) + 5,
    "period": lambda random: random.choice((3, 7, 19, 40)),
    "task_bit": lambda random: random.choice((0x0008, 0x10000, 0x40000, 0x20)),
    "control_bit": lambda random: random.choice((1, 2, 4, 8, 0x100)),
    "segment": lambda random: random.choice((0x1000, 0x1800, 0x2000, 0xF000, 0x1804)),
    "offset": lambda random: random.choice((0, 4, 0x40, 0xFFF, 0xFFFE, 0xFFFF, 0x7FFF)),
}
"""What may stand in a hole. A hole "entry_page" is the page of the hole "entry"."""


def drawn(random: Random, names: tuple[str, ...]) -> dict[str, int]:
    """A number for each of some holes."""
    return {name: DRAWS[name](random) for name in names if name in DRAWS}


def _value(name: str, numbers: Mapping[str, int]) -> int:
    if name == "entry_page":
        return at.DATA + (numbers["entry"] - _FIRST_ENTRY) // 4 * at.PAGE
    return numbers[name]


# -- templates ----------------------------------------------------------------------------------

_SAME_PLACE: Final = "call 1f\n1: pop eax\n.byte 0x83, 0xC0, 2f - 1b\n"
_CALM: Final = """
pushfd; pop eax | push 0x202; popfd | push 2; popfd | push 0x3202; popfd | push 0x40202; popfd
push 0x200202; popfd | pushfd; popfd | pushf; popf | lahf; sahf | std; cld | stc; cmc; .byte 0xD6
mov eax, cs | mov eax, ss | mov [{safe}], cs | push cs; pop eax | push ss; pop eax | push ds; pop es
push es; push fs; push gs; popa | mov ecx, {selector}; lar eax, ecx
mov ecx, {selector}; lsl eax, ecx | mov ecx, {selector}; verr cx | mov ecx, {selector}; verw cx
int 0x31 | mov eax, {number}; int 0x31 | daa | .byte 0xD6 | cpuid | xor eax, eax; cpuid | rdtsc
rdtsc; mov [{safe}], eax | nop | mov edx, 0x80; mov esi, {safe}; mov ecx, 3; rep outsb
mov eax, [{page}] | mov [{page}], eax | inc dword ptr [{page}] | mov ax, [{page}] | add [{page}], cl
xchg eax, [{page}] | lock xadd [{page}], edx | lock cmpxchg [{page}], ecx
push dword ptr [{page}]; pop dword ptr [{safe}] | cmpxchg8b [{page}] | bts dword ptr [{page}], eax
mov eax, [{safe}] | mov [{safe}], eax | inc dword ptr [{safe}] | add eax, [{safe}]
mov esi, {safe}; mov edi, {page}; mov ecx, 5; rep movsd | mov edi, {page}; mov ecx, 9; rep stosb
mov esi, {page}; mov edi, {safe}; mov ecx, 4; repe cmpsb | mov edi, {page}; mov ecx, 6; repne scasw
std; mov esi, {safe}; mov edi, {page}; mov ecx, 3; rep movsb; cld | mov esi, {page}; lodsw
mov edi, {code}; mov al, 0x90; mov ecx, 2; rep stosb | mov edi, {page}; mov esi, {safe}; movsb
mov byte ptr [{code}], 0x43 | mov byte ptr [{code}], 0x90 | mov byte ptr [{code}], 0xCC
mov byte ptr [{code}], 0x9C | mov byte ptr [{code}], 0xFA | mov word ptr [{code}], 0xC88C
cmp byte ptr [{code}], 0x9C | call 1f; 1: pop eax; .byte 0xC6, 0x40, 2f - 1b, 0x43; 2: inc ecx
call 1f; 1: pop eax; .byte 0x66, 0xC7, 0x40, 2f - 1b, 0x9C, 0x58; 2: inc ecx; inc edx
call 1f; 1: pop eax; .byte 0x80, 0x70, 2f - 1b, 8; mov ecx, 3; 2: inc edx; loop 2b
mov eax, {number} | mov ecx, {number}; mul ecx | imul eax, ecx, 77 | shld eax, edx, 5 | bswap eax
adc eax, {number} | sbb edx, eax | rcl eax, 3 | bsf ecx, eax | cmp eax, edx; setc cl | cwde; cdq
mov ecx, 3; 1: add eax, ecx; loop 1b | call 1f; jmp 2f; 1: inc edx; ret; 2: | pusha; popa
enter 8, 2; leave | xlatb | push esp; pop ebp | mov ecx, 20; 1: dec ecx; jnz 1b
fld1; fstp dword ptr [{safe}] | fld1; fnstenv [{safe}] | fninit; fnstsw ax
fldz; fdiv st, st; fwait
call 1f; 1: pop edx; .byte 0x83, 0xC2, 2f - 1b; mov ecx, esp; sysenter; 2:
call 1f; 1: pop eax; .byte 0x83, 0xC0, 2f - 1b; push cs; push eax; retf; 2:
call 1f; 1: pop eax; .byte 0x83, 0xC0, 2f - 1b; pushfd; push cs; push eax; iretd; 2:
call 1f; 1: pop eax; .byte 0x83, 0xC0, 2f-1b; mov [ebx], eax; mov [ebx+4], cs; .byte 0xFF, 43; 2:
call 1f; 1: pop eax; .byte 0x83, 0xC0, 2f-1b; mov [ebx], eax; mov [ebx+4], cs; .byte 255, 27; 2:
"""
_TRAPPING: Final = """
push 0x4002; popfd | push 0x302; popfd | cli | sti | cli; sti | sti; nop; cli | sgdt [{safe}]
sidt [{safe}] | sldt ax | sldt [{safe}] | str ax | str [{page}] | smsw eax | smsw [{safe}]
arpl ax, cx | mov ecx, {selector}; mov ds, cx
mov ecx, {selector}; mov es, cx; mov eax, es:[{safe}]
mov ecx, {selector}; mov fs, cx; mov eax, fs:[{page}] | mov ecx, {selector}; mov ss, cx
mov ecx, {selector}; mov gs, cx; mov gs:[{safe}], eax | push {selector}; pop ss; nop
push {selector}; pop es | mov dword ptr [{safe}], {number}; lss ecx, [{safe}]
mov dword ptr [ebx], {number}; mov dword ptr [ebx + 4], {selector}; lfs ecx, [ebx]
mov dword ptr [ebx], {number}; mov dword ptr [ebx + 4], {selector}; les edx, [ebx] | int3 | int 0x32
int 0x33 | int 0x34 | int 0x35 | int 0x36 | int 0x3F | int 0x80 | into | xor eax, eax; div eax
mov eax, 0x80000000; cdq; idiv ecx | ud2 | bound eax, [{safe}] | aam 0 | .byte 0xF1
mov ecx, 0x174; rdmsr | xor ecx, ecx; rdpmc | clts | invd | wbinvd | mov eax, cr0 | mov edx, cr2
mov eax, cr3; mov cr3, eax | mov eax, cr4 | hlt | lmsw ax | invlpg [{page}] | mov eax, dr7
mov dr6, eax | sysexit | rsm | iretd | retf | in al, 0x60 | in al, 0x40 | in eax, 0x80
out 0x80, al | out 0x20, al | mov edx, 0x3F8; out dx, al | mov edx, 0x3F8; in al, dx; out dx, al
mov edx, 0x3FD; in al, dx | in al, 0x21 | mov edx, 0x60; lea edi, [{page}]; insb | mov eax, [{far}]
mov [{far}], eax | inc dword ptr [{far}] | cmp byte ptr [{far}], 0 | mov esi, {far}; lodsd
mov dword ptr [{code}], {wild}
.byte 0xEA; .long 0; .word 0x38 | .byte 0x9A; .long 0; .word 0x6B | .byte 0x9A; .long 0; .word 0x73
push 0x23; push {number}; push 0x202; push 0x1B; push {code}; iretd
push 0x23; push {safe}; push 0x1B; push {code}; retf
push 0x63; call 1f; 1: .byte 0x83, 0x04, 0x24, 2f - 1b; retf; 2:
"""
_KERNEL: Final = """
cli; xor dword ptr [{entry}], {bit}; invlpg [{entry_page}]
cli; xor dword ptr [{entry}], {bit}; invlpg [{entry_page}]; mov eax, [{entry_page}]
cli; xor dword ptr [{entry}], {bit}; invlpg [{entry_page}]; inc dword ptr [{entry_page}]
cli; xor dword ptr [{entry}], 0x1000; mov eax, cr3; mov cr3, eax; sti
cli; xor dword ptr [{entry}], 0x1001; invlpg [{entry_page}]; sti
cli; and dword ptr [{entry}], 0xFFFFFF9F; invlpg [{entry_page}]
mov eax, {other_directory}; mov cr3, eax | mov eax, {directory}; mov cr3, eax
mov eax, {other_directory}; mov cr3, eax; inc dword ptr [{page}]; mov eax, {directory}; mov cr3, eax
xor dword ptr [{large_entry}], {large_bit}; invlpg [{large}]; mov eax, [{large_data}]
xor dword ptr [{large_entry}], {large_bit}; invlpg [{large_data}]; inc dword ptr [{large_data}]
xor dword ptr [{large_entry}], 1; mov eax, cr3; mov cr3, eax
mov eax, cr0; xor eax, {task_bit}; mov cr0, eax | mov eax, cr4; xor eax, {control_bit}; mov cr4, eax
mov eax, cr0; and eax, 0x7FFFFFFF; mov cr0, eax; mov ecx, [{page}]; or eax, 0x80000000; mov cr0, eax
mov eax, cr0; or eax, 0x10000; mov cr0, eax; mov [{page}], eax | smsw eax; lmsw ax
xor byte ptr [{descriptor}], 1 | xor byte ptr [{descriptor}], 0x80 | xor byte ptr [{descriptor}], 2
xor byte ptr [{descriptor}], 1; mov ecx, {selector}; mov es, cx
xor byte ptr [{descriptor}], 0x60; mov ecx, {selector}; lar eax, ecx
mov ecx, 0x1B; mov es, cx; mov ecx, 0x23; mov ds, cx | sldt ax; lldt ax | xor eax, eax; lldt ax
lgdt [ebx] | sgdt [ebx]; lgdt [ebx] | sidt [ebx]; lidt [ebx]
mov al, 0x34; out 0x43, al; mov eax, {period}; out 0x40, al; xor eax, eax; out 0x40, al; sti
mov al, 0xEC; out 0x21, al | mov al, 0xFF; out 0x21, al | in al, 0x21; xor al, 1; out 0x21, al
mov al, 0x0A; out 0x20, al; in al, 0x20 | mov edx, 0x3F9; mov al, 3; out dx, al; sti; nop
sti; hlt | sti; mov ecx, 30; 1: loop 1b; cli | sti; mov ecx, 40; 1: dec dword ptr [ebx]; loop 1b
mov ecx, 0x176; rdmsr; wrmsr | mov ecx, 0x10; rdmsr; wrmsr | mov eax, {safe}; mov dr0, eax
mov eax, {code}; mov dr1, eax; mov eax, 0x404; mov dr7, eax | xor eax, eax; mov dr7, eax
mov eax, 0xD0703; mov dr7, eax; mov [{safe}], eax | mov dr6, eax; mov eax, dr6
mov edi, {safe}; mov edx, 0x60; mov ecx, 2; rep insb | mov eax, 0x23; mov ds, ax; mov [{page}], eax
mov eax, {directory}; invlpg [eax] | call 1f; 1: pop eax; .byte 0xC6, 0x40, 2f - 1b, 0xFA; 2: nop
"""
_SMALL: Final = """
pushf; pop ax | push 0x202; popf | push 2; popf | pushf; popf | pushfd; popfd | cli | sti | sti; nop
mov ax, {segment}; mov ds, ax | mov ax, {segment}; mov es, ax; mov es:[bx + 8], ax
mov ax, {segment}; mov fs, ax; mov cx, fs:[bx] | mov ax, {segment}; mov gs, ax | push cs; pop ax
smsw ax | smsw eax | sgdt [bx + 8] | sidt [bx + 8] | sldt ax | str ax | lar ax, ax | verr ax
mov eax, cr0 | mov eax, cr0; mov cr0, eax | lmsw ax | clts | lgdt [bx] | mov eax, cr3 | invlpg [bx]
int3 | int 0x31 | int 0x21 | into | xor ax, ax; div ax | aam 0 | bound ax, [bx + 4] | ud2 | hlt
in al, 0x60 | in ax, 0x40 | out 0x80, al | out 0x20, al | mov dx, 0x3F8; out dx, al | in al, 0x21
mov ax, [bx + {offset}] | mov [bx + 4], ax | inc dword ptr [bx + 12] | mov al, [{offset}]
mov bx, {offset} | mov bx, 16; mov [bx], cx | xor bx, bx | push {offset}; pop ax
mov si, {offset}; lodsw | mov si, 4; mov di, 64; mov cx, 5; rep movsw
mov di, 8; mov cx, 4; rep stosd
mov di, {offset}; mov cx, 3; repne scasb | mov ebx, 0x18000; mov eax, [ebx]
xor ebx, ebx; mov al, [ebx + 8]
mov cx, 3; 1: add ax, cx; loop 1b | pusha; popa | enter 4, 0; leave | xlatb | daa | lahf | cpuid
call 1f; jmp 2f; 1: inc dx; ret; 2: | rdtsc | fld1; fnstenv [bx + 32] | fninit; fnstsw ax
call 1f; 1: pop ax; .byte 0x83, 0xC0, 2f - 1b; push cs; push ax; retf; 2:
call 1f; 1: pop ax; .byte 0x83, 0xC0, 2f - 1b; pushf; push cs; push ax; iret; 2:
call 1f; 1: pop si; .byte 0x2E, 0xC6, 0x44, 2f - 1b, 0x43; 2: inc ax
lds si, [bx] | les di, [bx + 4] | push ss; pop ss; nop | sub sp, 2; add sp, 2 | xchg ax, [bx + 6]
mov eax, {wild}; mov [bx + 16], eax | mov ecx, 20; 1: dec ecx; jnz 1b | jmp 1f; nop; 1: nop
"""
_CONSTANTS: Final = {
    "directory": at.DIRECTORY,
    "other_directory": at.OTHER_DIRECTORY,
    "large_entry": at.DIRECTORY + 4,
    "large": at.LARGE,
    "large_data": at.LARGE + STABLE,
}
WILD: Final = ".long {wild}"
SKIPS: Final = (".byte 0x74, 0x7F", ".byte 0x72, 0x7F", ".byte 0xEB, 0x7F")
"""Jumps over the next step: if equal, if below, always."""


@dataclass(frozen=True, slots=True)
class Template:
    """Instructions with holes, one a line. `skips`: its last byte is a distance."""

    text: str
    bits: int
    skips: bool = False

    @property
    def holes(self) -> tuple[str, ...]:
        """Names in the order of their first occurrence."""
        return tuple(dict.fromkeys(_HOLE.findall(self.text)))

    def shown(self, numbers: Mapping[str, int]) -> str:
        """As assembly."""
        return _HOLE.sub(lambda match: f"{_value(match[1], numbers):#x}", self.text)


def _lines(text: str, bits: int) -> tuple[Template, ...]:
    """Templates are separated by bars or lines, their instructions by semicolons."""
    for name, value in _CONSTANTS.items():
        text = text.replace(f"{{{name}}}", f"{value:#x}")
    each = re.split(r"[|\n]", text.strip())
    return tuple(Template("\n".join(re.split(r"\s*;\s*", t.strip())), bits) for t in each)


_SPECIAL: Final = tuple(
    Template(text, bits, skips=text != WILD) for bits in (32, 16) for text in (WILD, *SKIPS)
)
CALM: Final = _lines(_CALM, 32)
"""What seldom traps in any ring."""
ANYWHERE: Final = CALM + _lines(_TRAPPING, 32)
KERNEL: Final = _lines(_KERNEL, 32)
SMALL: Final = _lines(_SMALL, 16)
WILD_32, *SKIPS_32 = _SPECIAL[:4]
WILD_16, *SKIPS_16 = _SPECIAL[4:]
TEMPLATES: Final = tuple(dict.fromkeys((*ANYWHERE, *KERNEL, *SMALL, *_SPECIAL)))

# -- assembled ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assembled:
    """Everything that was assembled: the nucleus, its addresses, and templates as bytes."""

    nucleus: bytes
    symbols: Mapping[str, int]
    codes: Mapping[Template, tuple[bytes, tuple[tuple[int, str], ...]]]

    def code(self, template: Template, numbers: Mapping[str, int]) -> bytearray:
        """A template with its holes filled in."""
        code, places = self.codes[template]
        filled, size = bytearray(code), template.bits // 8
        for place, name in places:
            value = _value(name, numbers) & (1 << template.bits) - 1
            filled[place : place + size] = value.to_bytes(size, "little")
        return filled


@cache
def assembled() -> Assembled:
    """The nucleus and all templates. Raises AssemblyError where there is no assembler."""
    nucleus = flat(SOURCE, "nucleus", at.NUCLEUS)
    count = len(TEMPLATES)
    source = [f".code{t.bits}\nt{n}:\n{_with_placeholders(t)}" for n, t in enumerate(TEMPLATES)]
    labels = ", ".join(f"t{n}" for n in range(count))
    data = flat("\n".join([*source, f"t{count}: .long {labels}"]), "templates", 0)
    starts = [*_words(data, count), len(data) - 4 * count]
    pieces = zip(TEMPLATES, starts[:-1], starts[1:], strict=True)
    codes = {t: (data[start:end], _places(t, data[start:end])) for t, start, end in pieces}
    addresses = _words(nucleus, len(SYMBOLS))
    return Assembled(nucleus, dict(zip(SYMBOLS, addresses, strict=True)), codes)


def _words(data: bytes, count: int) -> list[int]:
    """The last words of some data."""
    tail = data[len(data) - 4 * count :]
    return [int.from_bytes(tail[n : n + 4], "little") for n in range(0, len(tail), 4)]


def _with_placeholders(template: Template) -> str:
    numbers = {name: _PLACEHOLDER[template.bits] + n for n, name in enumerate(template.holes)}
    return _HOLE.sub(lambda match: str(numbers[match[1]]), template.text)


def _places(template: Template, code: bytes) -> tuple[tuple[int, str], ...]:
    """Where the holes are."""
    found, size = [], template.bits // 8
    for n, name in enumerate(template.holes):
        pattern = (_PLACEHOLDER[template.bits] + n).to_bytes(size, "little")
        places = [p for p in range(len(code)) if code[p : p + size] == pattern]
        assert len(places) == template.text.count(f"{{{name}}}"), f"{template.text}: {name}"
        found += [(place, name) for place in places]
    return tuple(found)
