"""A synthesised guest as a kernel in assembly language, for everybody to read and run.

It loads its tables, prepares flags and general registers, and jumps to the instruction in
question. Everything that it uses before is innocuous or privileged, so that no monitor of the
theory goes wrong earlier. Whatever traps ends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from isa.registers import Register
from isa.x86 import registers as r
from vmm.x86.guests.layout import (
    CODE_0,
    CRITICAL,
    DATA,
    DATA_0,
    DATA_END,
    DESCRIPTORS,
    END,
    GDT,
    GDT_LIMIT,
    IDT,
    IDT_LIMIT,
    KERNEL_STACK,
    ORIGIN,
    TASK,
    TSS,
)  # fmt: skip

VECTORS: Final = (IDT_LIMIT + 1) // 8
LINE: Final = 8  # bytes in a line of data
_BUSY: Final = 2 << 40
_FLAGS: Final = ((r.SF, 7), (r.ZF, 6), (r.AF, 4), (r.PF, 2), (r.CF, 0))  # as SAHF has them

START: Final = f"""\
.machine pc/kernel
header: .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long header, header, 0, 0, start
start:
    mov esp, {KERNEL_STACK:#x}
    lgdt [gdt_pointer]
    lidt [idt_pointer]
    push {CODE_0:#x}
    push offset flat
    retf
flat:
    mov eax, {DATA_0:#x}
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov eax, {TASK:#x}
    ltr ax
    mov eax, 0
    lldt ax
"""
REST: Final = f"""\
trap:                           # whatever traps ends here
    cli
    hlt
gdt_pointer: .word {GDT_LIMIT:#x}
    .long gdt
idt_pointer: .word {IDT_LIMIT:#x}
    .long idt
"""


def source(
    text: str, code: bytes, registers: Mapping[Register, int], memory: Mapping[int, int]
) -> str:
    """The program that brings about the state and then executes `code`, which reads as `text`."""
    data = ", ".join(f"{byte:#04x}" for byte in code)
    return "\n".join([
        START.rstrip(),
        *_prepared(registers),
        "    jmp critical",
        REST.rstrip(),
        "",
        f"    .org {CRITICAL - ORIGIN:#x}",
        f"critical:                       # {text}",
        f"    .byte {data}",
        "    cli",
        "    hlt",
        f"    .org {END - ORIGIN:#x}",
        "    cli",
        "    hlt",
        *_tables(memory),
        *_at("data", DATA, _lines(memory, DATA, DATA_END)),
        f"    .org {DATA_END - ORIGIN:#x}",
        "",
    ])  # fmt: skip


def _prepared(registers: Mapping[Register, int]) -> Iterator[str]:
    """Flags by SAHF and their own instructions, then the general registers."""
    status = sum(registers[flag] << place for flag, place in _FLAGS)
    yield f"    mov eax, {status << 8 | 2 << 8:#x}"
    yield "    sahf"
    yield "    std" if registers[r.DF] else "    cld"
    yield "    sti" if registers[r.IF] else "    cli"
    for register in r.GPR.members:
        yield f"    mov {register.name}, {registers[register]:#x}"


def _tables(memory: Mapping[int, int]) -> Iterator[str]:
    yield from _at("gdt", GDT, _descriptors(memory))
    yield from _at("idt", IDT, list(_gates(memory)))
    stack = f"    .long 0, {KERNEL_STACK:#x}, {DATA_0:#x}"
    yield from _at("tss", TSS, [stack, "    .fill 92, 1, 0"])


def _at(label: str, address: int, lines: Sequence[str]) -> list[str]:
    return ["", f"    .org {address - ORIGIN:#x}", f"{label}:", *lines]


def _gates(memory: Mapping[int, int]) -> Iterator[str]:
    """Everything leads to the end, but for what the witness asks for."""
    wanted = sorted({(a - IDT) // 8 for a in memory if IDT <= a <= IDT + IDT_LIMIT})
    first = 0
    for vector in [*wanted, VECTORS]:
        yield f"    .rept {vector - first}"
        yield f"    .word trap - header, {CODE_0:#x}, 0x8E00, {ORIGIN >> 16:#x}"
        yield "    .endr"
        if vector < VECTORS:
            value = sum(memory.get(IDT + 8 * vector + n, 0) << 8 * n for n in range(8))
            yield f"    .quad {value:#018x}    # {vector:02x}, for the instruction"
        first = vector + 1


def _descriptors(memory: Mapping[int, int]) -> list[str]:
    """The kernel's own, and those that the witness asks for."""
    wanted = {(a - GDT) & ~7 for a in memory if GDT <= a < IDT}
    lines = []
    for selector in sorted({*DESCRIPTORS, *wanted}):
        value = DESCRIPTORS.get(selector)
        note = ""
        if value is None:
            value = sum(memory.get(GDT + selector + n, 0) << 8 * n for n in range(8))
            note = ", for the instruction"
        if selector > TASK:
            lines.append(f"    .org {GDT + selector - ORIGIN:#x}")
        loaded = value & ~_BUSY if selector == TASK else value  # LTR makes it busy
        lines.append(f"    .quad {loaded:#018x}    # {selector:02x}{note}")
    return lines


def _lines(memory: Mapping[int, int], low: int, high: int) -> list[str]:
    """Bytes of the region that the witness names, by runs."""
    lines: list[str] = []
    last = None
    for address in sorted(a for a in memory if low <= a < high):
        if last is None or address != last + 1 or not address % LINE:
            lines += [f"    .org {address - ORIGIN:#x}", f"    .byte {memory[address]:#04x}"]
        else:
            lines[-1] += f", {memory[address]:#04x}"
        last = address
    return lines
