"""The x86's registers (SDM volume 1, section 3.4; volume 3, sections 2.1–2.4 and 3.4)."""

from __future__ import annotations

from isa.hints import Final
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
STATUS_FLAGS: Final = (CF, PF, AF, ZF, SF, OF)

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

# The system half (SDM volume 3, chapter 2). All of it is 0, and unused, in the process machine.

PE: Final = REGISTERS.add("pe", 1, Role.MODE, "protection enable")
MP: Final = REGISTERS.add("mp", 1, Role.MODE, "WAIT minds TS")
EM: Final = REGISTERS.add("em", 1, Role.MODE, "no x87: its instructions are #NM")
TS: Final = REGISTERS.add("ts", 1, Role.MODE, "a task switch has happened")
ET: Final = REGISTERS.add("et", 1, Role.MODE, "extension type: 80387")
NE: Final = REGISTERS.add("ne", 1, Role.MODE, "x87 errors are #MF")
WP: Final = REGISTERS.add("wp", 1, Role.RELOCATION, "supervisors mind read-only pages")
AM: Final = REGISTERS.add("am", 1, Role.MODE, "AC is minded")
NW: Final = REGISTERS.add("nw", 1, Role.RESOURCE, "not write-through")
CD: Final = REGISTERS.add("cd", 1, Role.RESOURCE, "cache disable")
PG: Final = REGISTERS.add("pg", 1, Role.RELOCATION, "paging")
CR0: Final = REGISTERS.pack(
    "cr0",
    32,
    {
        "pe": 0, "mp": 1, "em": 2, "ts": 3, "et": 4, "ne": 5, "wp": 16, "am": 18, "nw": 29,
        "cd": 30, "pg": 31,
    },
)  # fmt: skip
CR2: Final = REGISTERS.add("cr2", 32, Role.RESOURCE, "address of the last page fault")
CR3: Final = REGISTERS.add("cr3", 32, Role.RELOCATION, "page directory base")

VME: Final = REGISTERS.add("vme", 1, Role.MODE, "virtual-8086 mode extensions")
PVI: Final = REGISTERS.add("pvi", 1, Role.MODE, "protected-mode virtual interrupts")
TSD: Final = REGISTERS.add("tsd", 1, Role.MODE, "RDTSC only at CPL 0")
DE: Final = REGISTERS.add("de", 1, Role.MODE, "debugging extensions")
PSE: Final = REGISTERS.add("pse", 1, Role.RELOCATION, "pages of 4 MiB")
PAE: Final = REGISTERS.add("pae", 1, Role.RELOCATION, "physical address extension")
MCE: Final = REGISTERS.add("mce", 1, Role.MODE, "machine checks")
PGE: Final = REGISTERS.add("pge", 1, Role.RELOCATION, "global pages")
PCE: Final = REGISTERS.add("pce", 1, Role.MODE, "RDPMC at any CPL")
OSFXSR: Final = REGISTERS.add("osfxsr", 1, Role.MODE, "SSE, and its registers in FXSAVE's image")
OSXMMEXCPT: Final = REGISTERS.add("osxmmexcpt", 1, Role.MODE, "SSE's exceptions are #XM, not #UD")
UMIP: Final = REGISTERS.add("umip", 1, Role.MODE, "SGDT SIDT SLDT SMSW STR only at CPL 0")
CR4: Final = REGISTERS.pack(
    "cr4",
    32,
    {
        "vme": 0, "pvi": 1, "tsd": 2, "de": 3, "pse": 4, "pae": 5, "mce": 6, "pge": 7, "pce": 8,
        "osfxsr": 9, "osxmmexcpt": 10, "umip": 11,
    },
)  # fmt: skip

DR: Final = REGISTERS.add_file("dr", ("dr0", "dr1", "dr2", "dr3"), 32, Role.RESOURCE)
DR6: Final = REGISTERS.add("dr6", 32, Role.RESOURCE, "debug status")
DR7: Final = REGISTERS.add("dr7", 32, Role.RESOURCE, "debug control")

IDT_BASE: Final = REGISTERS.add("idt_base", 32, Role.RELOCATION)
IDT_LIMIT: Final = REGISTERS.add("idt_limit", 16, Role.RELOCATION)
LDTR: Final = REGISTERS.add("ldtr", 16, Role.RELOCATION)
LDT_ATTRIBUTES: Final = REGISTERS.add("ldt_attributes", 12, Role.RELOCATION)
TR: Final = REGISTERS.add("tr", 16, Role.RELOCATION)
TR_BASE: Final = REGISTERS.add("tr_base", 32, Role.RELOCATION)
TR_LIMIT: Final = REGISTERS.add("tr_limit", 32, Role.RELOCATION)
TR_ATTRIBUTES: Final = REGISTERS.add("tr_attributes", 12, Role.RELOCATION)

SHADOW: Final = REGISTERS.add(
    "shadow", 1, Role.RESOURCE, "STI, MOV SS or POP SS has just held interrupts back"
)
PENDING: Final = REGISTERS.add(
    "pending", 16, Role.RESOURCE, "debug traps of the last instruction, as in DR6"
)
ARRIVAL: Final = REGISTERS.add(
    "arrival", 8, Role.RESOURCE, "a task has been entered; its segments are yet to be loaded"
)
ARRIVAL_CODE: Final = REGISTERS.add("arrival_code", 32, Role.RESOURCE, "an error code for it")
NMI_BLOCKED: Final = REGISTERS.add(
    "nmi_blocked", 1, Role.RESOURCE, "an NMI is being handled: no other before the next IRET"
)
SYSENTER_CS: Final = REGISTERS.add("sysenter_cs", 32, Role.RESOURCE)
SYSENTER_ESP: Final = REGISTERS.add("sysenter_esp", 32, Role.RESOURCE)
SYSENTER_EIP: Final = REGISTERS.add("sysenter_eip", 32, Role.RESOURCE)
TSC_OFFSET: Final = REGISTERS.add("tsc_offset", 64, Role.RESOURCE, "added to the count: RDTSC")

# The x87 unit (SDM volume 1, section 8.1). Its stack is kept as programs see it, ST(0) first: a
# push or pop moves the registers, and no register's number depends on TOP.

STACK_NAMES: Final = tuple(f"st{number}" for number in range(8))
ST: Final = REGISTERS.add_file("st", STACK_NAMES, 64, Role.GENERAL, "significand")
STX: Final = REGISTERS.add_file(
    "stx", tuple(f"{name}_exponent" for name in STACK_NAMES), 16, Role.GENERAL, "sign, exponent"
)
FULL: Final = REGISTERS.add("st_full", 8, Role.GENERAL, "bit n: ST(n) is not empty")
TOP: Final = REGISTERS.add("st_top", 3, Role.GENERAL, "number of the register that is ST(0)")
FCW: Final = REGISTERS.add("fcw", 16, Role.GENERAL, "x87 control word")
FPU_FLAGS: Final = REGISTERS.add("fpu_flags", 7, Role.GENERAL, "IE DE ZE OE UE PE SF")
C0: Final = REGISTERS.add("c0", 1, Role.GENERAL)
C1: Final = REGISTERS.add("c1", 1, Role.GENERAL)
C2: Final = REGISTERS.add("c2", 1, Role.GENERAL)
C3: Final = REGISTERS.add("c3", 1, Role.GENERAL)
FSW: Final = REGISTERS.pack(
    "fsw", 16, {"fpu_flags": 0, "c0": 8, "c1": 9, "c2": 10, "st_top": 11, "c3": 14}
)  # without ES and B, which follow from the flags and their masks
FOP: Final = REGISTERS.add("fop", 11, Role.GENERAL, "opcode of the last x87 instruction")
FIP: Final = REGISTERS.add("fip", 32, Role.GENERAL, "where it is")
FCS: Final = REGISTERS.add("fcs", 16, Role.GENERAL)
FDP: Final = REGISTERS.add("fdp", 32, Role.GENERAL, "where the last memory operand of one is")
FDS: Final = REGISTERS.add("fds", 16, Role.GENERAL)
FCW_INITIAL: Final = 0x037F  # 64 bits of precision, to nearest, all exceptions masked

# SSE (SDM volume 1, section 10.2). A register of 128 bits is kept in two halves.

XMM_LOW: Final = REGISTERS.add_file(
    "xmm_low", tuple(f"xmm{number}_low" for number in range(8)), 64, Role.GENERAL, "bits 0-63"
)
XMM_HIGH: Final = REGISTERS.add_file(
    "xmm_high", tuple(f"xmm{number}_high" for number in range(8)), 64, Role.GENERAL, "bits 64-127"
)
XMM: Final = tuple(
    REGISTERS.pack(f"xmm{number}", 128, {f"xmm{number}_low": 0, f"xmm{number}_high": 64})
    for number in range(8)
)
SSE_FLAGS: Final = REGISTERS.add("sse_flags", 6, Role.GENERAL, "IE DE ZE OE UE PE")
DAZ: Final = REGISTERS.add("daz", 1, Role.GENERAL, "denormal operands are zeros")
SSE_MASKS: Final = REGISTERS.add("sse_masks", 6, Role.GENERAL, "IM DM ZM OM UM PM")
SSE_ROUNDING: Final = REGISTERS.add("sse_rounding", 2, Role.GENERAL, "as the control word's")
FTZ: Final = REGISTERS.add("ftz", 1, Role.GENERAL, "denormal results are flushed to zero")
MXCSR: Final = REGISTERS.pack(
    "mxcsr", 32, {"sse_flags": 0, "daz": 6, "sse_masks": 7, "sse_rounding": 13, "ftz": 15}
)
MXCSR_INITIAL: Final = 0x1F80  # to nearest, all exceptions masked

FLAT_DATA: Final = 0xCF3  # present, DPL 3, writable and accessed data, 32 bit, 4 KiB granules
FLAT_CODE: Final = 0xCFB  # the same for readable code
