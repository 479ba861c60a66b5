"""Where things stand in the address space of an i386 Linux process (no randomisation)."""

from __future__ import annotations

USER_END = 0xC000_0000  # TASK_SIZE
LOWEST = 0x1_0000  # vm.mmap_min_addr, so that a null pointer never points at something
DYN_BASE = 0x40_0000  # ELF_ET_DYN_BASE of arch/x86 for 32-bit programs
STACK_TOP = USER_END
STACK_SIZE = 8 << 20  # the default RLIMIT_STACK
GUARD_SIZE = 1 << 20  # stack_guard_gap: 256 pages that nothing else is mapped into
STACK_GUARD = STACK_TOP - STACK_SIZE - GUARD_SIZE
IMAGE_END = STACK_GUARD
MMAP_TOP = USER_END - (128 << 20)  # mmap_base with the smallest gap that Linux leaves
MAX_MAPPINGS = 65530  # vm.max_map_count
