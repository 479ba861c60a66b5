"""Basic exit reasons and how an exit qualifies itself (SDM 3, appendix C; section 27.2.1)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Reason(IntEnum):
    """Basic exit reasons by their numbers."""

    EXCEPTION = 0
    EXTERNAL_INTERRUPT = 1
    TRIPLE_FAULT = 2
    INTERRUPT_WINDOW = 7
    TASK_SWITCH = 9
    CPUID = 10
    HLT = 12
    INVD = 13
    INVLPG = 14
    RDPMC = 15
    RDTSC = 16
    CR_ACCESS = 28
    DR_ACCESS = 29
    IO = 30
    RDMSR = 31
    WRMSR = 32
    INVALID_GUEST_STATE = 33
    GDTR_IDTR = 46
    LDTR_TR = 47
    EPT_VIOLATION = 48
    EPT_MISCONFIGURATION = 49
    WBINVD = 54


NAMES: Final = {
    Reason.EXCEPTION: "exception", Reason.EXTERNAL_INTERRUPT: "external interrupt",
    Reason.TRIPLE_FAULT: "triple fault", Reason.INTERRUPT_WINDOW: "interrupt window",
    Reason.TASK_SWITCH: "task switch", Reason.CR_ACCESS: "control register",
    Reason.DR_ACCESS: "debug register", Reason.IO: "I/O instruction",
    Reason.INVALID_GUEST_STATE: "invalid guest state", Reason.GDTR_IDTR: "GDTR or IDTR",
    Reason.LDTR_TR: "LDTR or TR", Reason.EPT_VIOLATION: "EPT violation",
    Reason.EPT_MISCONFIGURATION: "EPT misconfiguration",
}  # fmt: skip
ENTRY_FAILURE: Final = 1 << 31  # of the exit reason: the guest was never entered

# -- interruption information (tables 24-13 and 24-15) ---------------------------------------------

EXTERNAL, NMI, HARDWARE_EXCEPTION, SOFTWARE_INTERRUPT, SOFTWARE_EXCEPTION = 0, 2, 3, 4, 6
HAS_CODE: Final = 1 << 11
VALID: Final = 1 << 31


def interruption(vector: int, kind: int, code: int | None) -> int:
    """What tells of an event."""
    return vector | kind << 8 | (0 if code is None else HAS_CODE) | VALID


# -- qualifications (tables 27-3 to 27-7) ----------------------------------------------------------

MOV_TO, MOV_FROM, CLTS, LMSW = range(4)  # accesses of control registers


def control_register(number: int, access: int, general: int = 0, source: int = 0) -> int:
    """Of reason 28: `general` is the register moved, `source` the operand of LMSW."""
    return number | access << 4 | general << 8 | source << 16


def io(port: int, size: int, *, reads: bool) -> int:
    """Of reason 30; string and REP forms and immediate ports are not told apart."""
    return size - 1 | int(reads) << 3 | port << 16


def ept_violation(access: int, rights: int) -> int:
    """Of reason 48: bit 0 read, 1 write, 2 fetch; what the entries allowed; bit 7: the linear
    address is valid; bit 8: of the access itself, not of a page table's entry."""
    return access | rights << 3 | 1 << 7


def name(reason: int) -> str:
    """An exit reason for the reader, with its number."""
    basic = Reason(reason & 0xFFFF)
    return f"{NAMES.get(basic, basic.name)} ({int(basic)})"
