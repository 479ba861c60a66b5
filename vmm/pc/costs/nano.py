"""The seven nano-benchmarks of Adams and Agesen, as kernels that do one thing `rounds` times."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from emu.pc.choose import assembled
from emu.pc.guest import Choice
from vmm.pc.guest import Guest

MEMORY: Final = 4 << 20

_START: Final = """
# {what}: {rounds} times.
.machine pc/kernel
header: .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start
.set DIRECTORY, 0x130000
.set TABLE, 0x131000            # maps the first 4 MiB as they are, for both rings
.set MISSING, 0x3F0000          # but for this page
start:
    mov esp, 0x180000
    mov al, 0xFF                # no device interrupts
    out 0x21, al
    out 0xA1, al
    lgdt [gdt_pointer]
    lidt [idt_pointer]
    push 8
    push offset flat
    retf
flat:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, offset tss
    mov word ptr [gdt + 0x2A], ax
    shr eax, 16
    mov byte ptr [gdt + 0x2C], al
    mov eax, 0x28
    ltr ax
    mov edi, TABLE
    mov eax, 7
1:  stosd
    add eax, 0x1000
    cmp edi, TABLE + 0x1000
    jne 1b
    mov dword ptr [TABLE + (MISSING >> 12) * 4], 0
    mov dword ptr [DIRECTORY], TABLE + 7
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
    mov ebp, {rounds}
    {enter}
    test ebp, ebp
    jz 2f
1:
    {body}
    dec ebp
    jnz 1b
2:  {leave}
stop:
    cli
    hlt
function:
    ret
system_call:
    iretd
page_fault:                     # the instruction that faulted has 5 bytes
    add esp, 4
    add dword ptr [esp], 5
    iretd
divide_error:
    add dword ptr [esp], 2
    iretd
    .balign 8
gdt: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFFB000000FFFF, 0x00CFF3000000FFFF
    .word 103, 0, 0x8900, 0
gdt_pointer: .word 47
    .long gdt
idt_pointer: .word 50 * 8 - 1
    .long idt
    .balign 8
tss: .long 0, 0x190000, 0x10
    .fill 92, 1, 0
    .balign 8
idt:
    .word divide_error - header, 8, 0x8E00, 0x10
    .fill 13 * 8, 1, 0
    .word page_fault - header, 8, 0x8E00, 0x10
    .fill 33 * 8, 1, 0
    .word system_call - header, 8, 0xEE00, 0x10
    .word stop - header, 8, 0xEE00, 0x10
"""
_TO_RING_3: Final = """mov eax, 0x23
    mov ds, eax
    push 0x23
    push 0x1A0000
    push 0x202
    push 0x1B
    push offset 3f
    iretd
3:"""
BODIES: Final[dict[str, tuple[str, str]]] = {
    "syscall": ("a system call from ring 3 and back", "int 0x30"),
    "in": ("a read of port 80h", "in al, 0x80"),
    "cr8wr": ("interrupts masked and let through, as CR8 does it: CLI, STI", "cli\n    sti"),
    "callret": ("a call and its return", "call function"),
    "pgfault": ("a page fault that the guest's own kernel takes", "mov eax, [MISSING]"),
    "divzero": ("a fault without work for the MMU", "xor edx, edx\n    div edx"),
    "ptemod": ("a write to a page table entry", "mov dword ptr [TABLE + 0xFFC], 0x3FF007"),
}
"""By the paper's name: what is done, and how."""


def source(name: str, rounds: int) -> str:
    """The guest's text."""
    what, body = BODIES[name]
    user = name == "syscall"
    return _START.format(
        what=what, rounds=rounds, body=body, enter=_TO_RING_3 if user else "",
        leave="int 0x31" if user else "",
    ).lstrip()  # fmt: skip


def guest(name: str, rounds: int, engine: str) -> Guest:
    """It on a small machine."""
    data = _binary(name, rounds)
    choice = Choice(engine=engine, memory=MEMORY, kernel=data, kernel_name=name)
    return Guest(Path(f"{name}.asm"), choice)


@cache
def _binary(name: str, rounds: int) -> bytes:
    return assembled(source(name, rounds), Path(f"{name}.asm"))
