"""Exception vectors (SDM volume 3, table 6-1)."""

from __future__ import annotations

from isa.hints import Final

DIVIDE_ERROR: Final = 0
DEBUG: Final = 1
NMI: Final = 2
BREAKPOINT: Final = 3
OVERFLOW: Final = 4
BOUND_RANGE_EXCEEDED: Final = 5
INVALID_OPCODE: Final = 6
DEVICE_NOT_AVAILABLE: Final = 7
DOUBLE_FAULT: Final = 8
INVALID_TSS: Final = 10
SEGMENT_NOT_PRESENT: Final = 11
STACK_FAULT: Final = 12
GENERAL_PROTECTION: Final = 13
PAGE_FAULT: Final = 14
FLOATING_POINT_ERROR: Final = 16
ALIGNMENT_CHECK: Final = 17
SIMD_FLOATING_POINT: Final = 19

NAMES: Final = {
    DIVIDE_ERROR: "#DE divide error",
    DEBUG: "#DB debug exception",
    BREAKPOINT: "#BP breakpoint",
    OVERFLOW: "#OF overflow",
    BOUND_RANGE_EXCEEDED: "#BR bound range exceeded",
    INVALID_OPCODE: "#UD invalid opcode",
    DEVICE_NOT_AVAILABLE: "#NM device not available",
    DOUBLE_FAULT: "#DF double fault",
    INVALID_TSS: "#TS invalid TSS",
    SEGMENT_NOT_PRESENT: "#NP segment not present",
    STACK_FAULT: "#SS stack-segment fault",
    GENERAL_PROTECTION: "#GP general protection",
    PAGE_FAULT: "#PF page fault",
    FLOATING_POINT_ERROR: "#MF x87 floating-point error",
    ALIGNMENT_CHECK: "#AC alignment check",
    SIMD_FLOATING_POINT: "#XM SIMD floating-point exception",
}
