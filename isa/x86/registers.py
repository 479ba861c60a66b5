"""The x86's registers (SDM volume 1, section 3.4; volume 3, sections 2.1–2.4 and 3.4)."""

from __future__ import annotations

from typing import Final

from isa.registers import Register, RegisterSet, Role

REGISTERS: Final = RegisterSet()

GENERAL_NAMES: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
GPR: Final = REGISTERS.add_file("gpr", GENERAL_NAMES, 32, Role.GENERAL)
EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = GPR.members
EIP: Final = REGISTERS.add("eip", 32, Role.PROGRAM_COUNTER)

# EFLAGS, bit by bit (SDM volume 1, figure 3-8).
CF: Final = REGISTERS.add("cf", 1, Role.FLAG, "carry")
PF: Final = REGISTERS.add("pf", 1, Role.FLAG, "parity of the result's low byte: even")
AF: Final = REGISTERS.add("af", 1, Role.FLAG, "carry out of bit 3")
ZF: Final = REGISTERS.add("zf", 1, Role.FLAG, "zero")
SF: Final = REGISTERS.add("sf", 1, Role.FLAG, "sign")
TF: Final = REGISTERS.add("tf", 1, Role.FLAG, "trap after each instruction")
IF: Final = REGISTERS.add("if", 1, Role.RESOURCE, "interrupts are taken")
DF: Final = REGISTERS.add("df", 1, Role.FLAG, "string operations go down")
OF: Final = REGISTERS.add("of", 1, Role.FLAG, "signed overflow")
IOPL: Final = REGISTERS.add("iopl", 2, Role.MODE, "highest CPL that may do I/O")
NT: Final = REGISTERS.add("nt", 1, Role.FLAG, "nested task")
RF: Final = REGISTERS.add("rf", 1, Role.FLAG, "resume: no debug fault at this instruction")
VM: Final = REGISTERS.add("vm", 1, Role.MODE, "virtual-8086 mode")
AC: Final = REGISTERS.add("ac", 1, Role.FLAG, "alignment is checked at CPL 3")
VIF: Final = REGISTERS.add("vif", 1, Role.RESOURCE, "virtual interrupt flag")
VIP: Final = REGISTERS.add("vip", 1, Role.RESOURCE, "virtual interrupt pending")
ID: Final = REGISTERS.add("id", 1, Role.FLAG, "can be changed: CPUID exists")

EFLAGS: Final = REGISTERS.pack(
    "eflags",
    32,
    {
        "cf": 0, "pf": 2, "af": 4, "zf": 6, "sf": 7, "tf": 8, "if": 9, "df": 10, "of": 11,
        "iopl": 12, "nt": 14, "rf": 16, "vm": 17, "ac": 18, "vif": 19, "vip": 20, "id": 21,
    },
    fixed=1 << 1,
)  # fmt: skip

CPL: Final = REGISTERS.add("cpl", 2, Role.MODE, "current privilege level")


class Segment:
    """A segment register: the selector, and the descriptor cache behind it.

    `attributes` are bits 40–47 and 52–55 of the descriptor as in its upper half, bits 8–15 and
    20–23 moved down to 0–11 (type 0–3, S 4, DPL 5–6, P 7, AVL 8, L 9, D/B 10, G 11). `limit` is in
    bytes, already scaled. A null selector leaves attributes 0.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.selector: Register = REGISTERS.add(name, 16, Role.RELOCATION)
        self.base = REGISTERS.add(f"{name}_base", 32, Role.RELOCATION)
        self.limit = REGISTERS.add(f"{name}_limit", 32, Role.RELOCATION)
        self.attributes = REGISTERS.add(f"{name}_attributes", 12, Role.RELOCATION)


SEGMENT_NAMES: Final = ("es", "cs", "ss", "ds", "fs", "gs")  # in the order of their encoding
SEGMENTS: Final = {name: Segment(name) for name in SEGMENT_NAMES}

GDT_BASE: Final = REGISTERS.add("gdt_base", 32, Role.RELOCATION)
GDT_LIMIT: Final = REGISTERS.add("gdt_limit", 16, Role.RELOCATION)
LDT_BASE: Final = REGISTERS.add("ldt_base", 32, Role.RELOCATION)
LDT_LIMIT: Final = REGISTERS.add("ldt_limit", 32, Role.RELOCATION)

FLAT_DATA: Final = 0xCF3  # present, DPL 3, writable and accessed data, 32 bit, 4 KiB granules
FLAT_CODE: Final = 0xCFB  # the same for readable code
