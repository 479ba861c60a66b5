"""Where everything of a generated system lies: one mebibyte, mapped to itself."""

from __future__ import annotations

from typing import Final

MEMORY: Final = 1 << 20
PAGE: Final = 4096
VECTORS: Final = 0  # of real mode
DIRECTORY, TABLE, OTHER_DIRECTORY, OTHER_TABLE = 0x1000, 0x2000, 0x3000, 0x4000
TASK, OTHER_TASK, FRESH_TASK = 0x5000, 0x5100, 0x5200
GDT, LDT, IDT = 0x5400, 0x5600, 0x5800
VARIABLES: Final = 0x6000
ACTIVITIES: Final = 0x6100  # 16 bytes each: kind, entry, flags, 0
MOST_ACTIVITIES: Final = 48
NUCLEUS: Final = 0x7000
SMALL_CODE, KERNEL_CODE, USER_CODE, CODE_END = 0x8000, 0x9000, 0xA000, 0xC000
DATA: Final = 0x10000
PAGES: Final = 8  # of data, whose entries change; behind them as many that stay
SMALL_STACK, USER_STACK, KERNEL_STACK, RING_1_STACK = 0x20000, 0x22000, 0x25000, 0x27000
LARGE: Final = 0x400000  # where a page of 4 MiB shows the same memory, or other tables do
ALIAS: Final = 0x800000  # where other tables show it
HIGH: Final = 0xFFC00000  # the same, where a monitor has its own pages

CODE, FLAT, USER, USER_DATA, TSS, LOCAL, OTHER_TSS = 8, 0x10, 0x1B, 0x23, 0x28, 0x30, 0x38
RING_1, RING_1_DATA, SMALL, SMALL_DATA, CONFORMING = 0x41, 0x49, 0x50, 0x58, 0x60
CALL_GATE, TASK_GATE, ABSENT, DOWNWARD, FRESH_DATA = 0x6B, 0x73, 0x7B, 0x83, 0x8B
FRESH_CODE, CONSTANT, SMALL_USER = 0x93, 0x9B, 0xA3
SELECTORS: Final = (
    0, 3, CODE, FLAT, 0x18, USER, 0x20, USER_DATA, TSS, LOCAL, OTHER_TSS, 0x3B, RING_1, RING_1_DATA,
    SMALL, SMALL_DATA, CONFORMING, 0x63, CALL_GATE, TASK_GATE, ABSENT, DOWNWARD, FRESH_DATA,
    FRESH_CODE, CONSTANT, SMALL_USER, *(0x07, 0x0F, 0x14, 0x17) * 2, 0xA8, 0xAF, 0xFFF8,
)  # fmt: skip
"""Of everything in the tables, and of nothing."""
