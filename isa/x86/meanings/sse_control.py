"""MXCSR, fences and caches (SDM volume 1, sections 10.4.5, 10.4.6 and 11.4.4)."""

from __future__ import annotations

from isa.x86.builder import Operand, X86Builder
from isa.x86.sse import entry, mxcsr
from isa.x86.table import instruction

SSE, SSE2 = "pentium3", "pentium4"


@instruction("ldmxcsr", heading="LDMXCSR—Load MXCSR Register", since=SSE)
def load_status(m: X86Builder, src: Operand) -> None:
    entry.begin(m)
    mxcsr.write(m, m.read(src))


@instruction("stmxcsr", heading="STMXCSR—Store MXCSR Register State", since=SSE)
def store_status(m: X86Builder, dst: Operand) -> None:
    entry.begin(m)
    m.write(dst, mxcsr.read(m))


@instruction("sfence", heading="SFENCE—Store Fence", since=SSE)
@instruction("lfence", heading="LFENCE—Load Fence", since=SSE2)
@instruction("mfence", heading="MFENCE—Memory Fence", since=SSE2)
def fence(m: X86Builder) -> None:
    """Loads and stores happen in program order anyway; neither CR0 nor CR4 matters."""


@instruction("clflush", heading="CLFLUSH—Flush Cache Line", since=SSE2)
def flush(m: X86Builder, line: Operand) -> None:
    """There is no cache; what faults is what loading the byte would."""
    m.read(line)
