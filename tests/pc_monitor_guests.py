"""Guests for the PC's monitors: one critical instruction each, and whole systems from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from random import Random

from emu.pc.choose import assembled
from emu.pc.guest import Choice
from emu.pc.kinds import is_kernel
from tests.pc_machines import PROGRAMS, guest_file
from vmm.pc.guest import Guest, open_guest

MEMORY = 4 << 20
TYPED = {"timer": "x", "bios": "hello\n"}

PROLOGUE = """
.machine pc/kernel
header: .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start
start:
    mov esp, 0x180000
    lgdt [gdt_pointer]
    lidt [idt_pointer]
    push 8
    push offset flat
    retf
flat:
    mov eax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, offset tss
    mov word ptr [gdt + 0x2A], ax
    shr eax, 16
    mov byte ptr [gdt + 0x2C], al
    mov eax, 0x28
    ltr ax
    mov ebx, offset scratch
"""
EPILOGUE = """
    cli
    hlt
trap:
    cli
    hlt
    .balign 8
gdt:
    .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFFB000000FFFF, 0x00CFF3000000FFFF
    .word 103, 0, 0x8900, 0                 # 28: the TSS; its base is put here at the start
gdt_pointer: .word 47
    .long gdt
idt_pointer: .word 49 * 8 - 1
    .long idt
scratch: .fill 64, 1, 0
    .balign 8
tss: .long 0, 0x190000, 0x10
    .fill 92, 1, 0
    .balign 8
idt: .rept 49
    .word trap - header, 8, 0xEE00, 0x10
    .endr
"""
USER = """
    mov eax, 0x23
    mov ds, eax
    push 0x23
    push 0x1A0000
    push 0x202
    push 0x1B
    push offset user
    iretd
user:
    {body}
    int 0x30
"""

SUPERVISOR = {
    "pushfd": ("cli", "pushfd"),
    "popfd": ("push 0x202", "popfd"),
    "sgdt": ("", "sgdt [ebx]"),
    "sidt": ("", "sidt [ebx]"),
    "sldt": ("", "sldt ax"),
    "str": ("", "str ax"),
    "smsw": ("", "smsw eax"),
    "lar": ("mov ecx, 8", "lar eax, ecx"),
    "lsl": ("mov ecx, 8", "lsl eax, ecx"),
    "verr": ("mov ecx, 8", "verr cx"),
    "verw": ("mov ecx, 16", "verw cx"),
    "push": ("", "push cs"),
    "pop": ("push 0x23", "pop ss"),
    "mov": ("", "mov eax, cs"),
    "lss": ("mov dword ptr [ebx + 4], 0x23", "lss ecx, [ebx]"),
    "ljmp": ("", ".byte 0xEA\n.long 1f\n.word 0x1B\n1:"),
    "lcall": ("", ".byte 0x9A\n.long 1f\n.word 0x1B\n1:"),
    "retf": ("push 0x23\npush 0x1A0000\npush 0x1B\npush offset 1f", "retf\n1:"),
    "iretd": ("push 0x23\npush 0x1A0000\npush 0x202\npush 0x1B\npush offset 1f", "iretd\n1:"),
    "fld1": ("", "fld1"),
}
"""By the mnemonic that must be named: what is prepared, and the critical instruction."""
PROGRAM = {
    "sgdt": "sgdt [ebx]", "sidt": "sidt [ebx]", "sldt": "sldt ax", "str": "str ax",
    "smsw": "smsw eax",
}  # fmt: skip
"""User sensitive: what hinders the hybrid monitor, and what UMIP makes trap."""
HARMLESS = (
    "mov ecx, 0x1B\nlar eax, ecx", "mov ecx, 8\nlar eax, ecx", "mov ecx, 0x28\nlsl eax, ecx",
    "mov ecx, 0x23\nverw cx", "mov ecx, 0x10\nverr cx", "pushfd\npopfd", "mov eax, cs", "push ss",
    "mov eax, 0x23\nmov es, eax", "mov eax, 0x10\nmov es, eax", "rdtsc", "cpuid", "fld1\nfnstenv "
    "[ebx]", ".byte 0xEA\n.long 1f\n.word 0x1B\n1:", "push 0x1B\npush offset 1f\nretf\n1:", "cli",
    "sti", "hlt", "in al, 0x60", "out 0x80, al", "int3", "ud2", "mov eax, cr0", "sysenter",
)  # fmt: skip
"""What ring 3 may do under the hybrid monitor, trapping or not."""


@cache
def binary(text: str) -> bytes:
    """An assembled source."""
    return assembled(text, Path("guest.asm"))


def guest(data: bytes, *, engine: str = "reference", umip: bool = False, typed: str = "") -> Guest:
    """A kernel on a small machine."""
    choice = Choice(engine=engine, memory=MEMORY, kernel=data, kernel_name="guest", typed=typed)
    return Guest(Path("guest.asm"), choice, umip)


def program(name: str, *, engine: str = "python") -> Guest:
    """A Multiboot program of programs/x86/pc."""
    data = binary((PROGRAMS / f"{name}.asm").read_text())
    assert is_kernel(data)
    return guest(data, engine=engine, typed=TYPED.get(name, ""))


def booted(name: str) -> Guest:
    """A program of programs/x86/pc that the firmware boots."""
    bios = guest_file("usr/share/seabios/bios.bin")
    chosen = {"engine": "python", "bios": bios, "typed": TYPED.get(name, "")}
    return open_guest(PROGRAMS / f"{name}.asm", None, chosen)


def in_ring_0(prepared: str, critical: str) -> Guest:
    """A kernel that executes one critical instruction."""
    return guest(binary(f"{PROLOGUE}\n{prepared}\n{critical}\n{EPILOGUE}"))


def in_ring_3(body: str, *, umip: bool = False) -> Guest:
    """A kernel whose user program executes something."""
    return guest(binary(PROLOGUE + USER.format(body=body) + EPILOGUE), umip=umip)


# -- systems from a seed ---------------------------------------------------------------------------

SLOTS, SLOT = 8, 64
KERNEL_CODE, PROGRAM_CODE, DATA = 0x110000, 0x200000, 0x240000
DIRECTORY, TABLE = 0x130000, 0x131000
PAGES = 8  # of data, whose entries kernels change
SYSTEM = f"""
.set ROUNDS, 30
    mov eax, {DIRECTORY}
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
    mov esi, offset commands    # the 8259s and the 8254
1:  lodsb
    movzx edx, al
    lodsb
    test edx, edx
    jz round
    out dx, al
    jmp 1b
trap_again:
    mov eax, 16
    mov ds, ax
    mov es, ax
    mov al, 0x20
    out 0x20, al
round:
    mov esp, 0x180000
    inc dword ptr [rounds]
    mov eax, [rounds]
    cmp eax, ROUNDS
    ja stop
    mov ecx, cr2
    add [total], ecx
    and eax, {SLOTS - 1}
    shl eax, 6
    add eax, {KERNEL_CODE}
    mov ebx, {DATA}
    call eax
    mov esp, 0x180000
    mov eax, [rounds]
    imul eax, eax, 5
    and eax, {SLOTS - 1}
    shl eax, 6
    add eax, {PROGRAM_CODE}
    push 0x23
    push 0x2F0000
    push dword ptr [image]
    push 0x1B
    push eax
    mov eax, 0x23
    mov ds, ax
    mov es, ax
    mov ebx, {DATA}
    iretd
stop:
    cli
    hlt
commands:
    .byte 0x20, 0x11, 0xA0, 0x11, 0x21, 0x20, 0xA1, 0x28
    .byte 0x21, 0x04, 0xA1, 0x02, 0x21, 0x01, 0xA1, 0x01, 0x21, 0xFE, 0xA1, 0xFF
    .byte 0x43, 0x34, 0x40, {{ticks}}, 0x40, 0
    .byte 0, 0
rounds: .long 0
total: .long 0
image: .long 0x202
"""


def page_tables() -> Iterator[tuple[int, int]]:
    """Identity for 4 MiB: below 2 MiB the kernel's, above the program's, two pages but for that."""
    yield DIRECTORY, TABLE + 7
    for page in range(1024):
        yield TABLE + 4 * page, page << 12 | (3 if page < 512 else 7)
    first = TABLE + 4 * (DATA >> 12)
    yield from ((first, 0), (first + 4, DATA + 5))


@cache
def system_kernel(ticks: int) -> bytes:
    """The fixed part of a system, as long as up to the end of its data."""
    text = PROLOGUE + SYSTEM.replace("{ticks}", str(ticks)) + EPILOGUE
    return binary(text.replace(".word trap -", ".word trap_again -"))


def system(seed: int) -> Guest:
    """A kernel with paging and a timer, and a program in ring 3; both do random things."""
    random = Random(seed)
    image = bytearray(system_kernel(random.choice([17, 60, 250])))
    end = PROGRAM_CODE + SLOTS * SLOT - 0x100000
    image += bytes(end - len(image))
    for at, entry in page_tables():
        image[at - 0x100000 : at - 0x100000 + 4] = entry.to_bytes(4, "little")
    for base, many in ((KERNEL_CODE, KERNEL), (PROGRAM_CODE, ANYWHERE)):
        for slot in range(SLOTS):
            code = b""
            most = random.choice([8, 24, 40]) if many is KERNEL else SLOT - 2
            while len(more := random.choice(many)(random)) + len(code) < most:
                code += more
            at = base + slot * SLOT - 0x100000
            code += b"\xc3" if many is KERNEL else b"\xcd\x30"
            image[at : at + len(code)] = code
    return guest(bytes(image), umip=True)


Make = Callable[[Random], bytes]
"""A few bytes of code."""


def _fixed(*codes: str) -> list[Make]:
    return [partial(_same, bytes.fromhex(code)) for code in codes]


def _same(code: bytes, _: Random) -> bytes:
    return code


def _selector(random: Random) -> bytes:
    known = [0, 3, 8, 0x10, 0x18, 0x1B, 0x20, 0x23, 0x28, 0x33, 7]
    return random.choice(known).to_bytes(4, "little")


def _place(random: Random) -> bytes:
    page = random.randrange(PAGES) if random.randrange(6) else random.choice([-0x140, 0x40, 0x1000])
    address = DATA + 4096 * page + random.choice([0, 4, 0xFFE, 0x800])
    return (address & 0xFFFFFFFF).to_bytes(4, "little")


def _page(random: Random) -> bytes:
    """A place in the pages of data, mostly in those that are never taken away."""
    page = random.randrange(PAGES, 12) if random.randrange(4) else random.randrange(PAGES)
    return (DATA + 4096 * page + 4 * random.randrange(1024)).to_bytes(4, "little")


def _with(head: str, operand: Make, tail: str = "") -> Make:
    return lambda random: bytes.fromhex(head) + operand(random) + bytes.fromhex(tail)


def _entry(random: Random) -> bytes:
    """CLI; change an entry; INVLPG."""
    page = random.randrange(PAGES)
    entry = (TABLE + (DATA >> 12) * 4 + 4 * page).to_bytes(4, "little")
    bit = random.choice([1, 2, 4, 0x20, 0x40]).to_bytes(1, "little")
    at = (DATA + 4096 * page).to_bytes(4, "little")
    return b"\xfa\x80\x35" + entry + bit + b"\x0f\x01\x3d" + at


def _wild(random: Random) -> bytes:
    return random.randbytes(3)


CALM = [
    *_fixed(
        "9C 58", "9C 9D", "8C C8", "8C D0", "0E 58", "16 58", "0F 01 E0", "0F 00 C8", "0F 00 C0",
        "0F 01 03", "0F 01 0B", "0F A2", "0F 31", "D9 E8", "D9 33", "60 61", "40", "01 C8", "EB 00",
        "74 01 90", "50 58", "A8 01", "E8 00 00 00 00 5A",
    ),
    _with("B9", _selector, "0F 02 C1"), _with("B9", _selector, "0F 03 C1"),
    _with("B9", _selector, "0F 00 E1"), _with("B9", _selector, "0F 00 E9"),
    _with("A1", _page), _with("A3", _page), _with("FF 05", _page),
]  # fmt: skip
"""Code that both rings may have: flags, selectors, tables, descriptors, memory."""
TRAPPING = [
    *_fixed("CC", "0F 0B", "31 C0 F7 F0", "CD 30", "0F 34", "CF", "CB"),
    _with("B8", _selector, "8E D8"), _with("B8", _selector, "8E C0"), _with("B8", _selector,
    "8E D0"), _with("A1", _place), _with("A3", _place), _with("FF 05", _place),
    _with("BF", _place, "B9 09 00 00 00 F3 AB"),
]  # fmt: skip
SYSTEM_CODE = [
    *_fixed(
        "FA", "FB", "0F 20 C0", "0F 20 D9", "E4 60", "E6 80", "0F 06", "0F 20 D8 0F 22 D8",
        "68 02 02 00 00 9D", "68 02 00 00 00 9D", "16 17",
    ),
    *[_entry] * 4,
]  # fmt: skip
"""What a kernel does, and a program may not."""
ANYWHERE = [*CALM * 2, *TRAPPING, *SYSTEM_CODE, *_fixed("F4"), _wild]
KERNEL = [*CALM * 2, *TRAPPING[-8:], *SYSTEM_CODE * 2]
