"""What SSE's arithmetic leaves in MXCSR, and #XM (SDM volume 1, sections 11.5.1 to 11.5.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_

from isa.bits import Bits
from isa.registers import Register
from isa.x86.builder import X86Builder
from isa.x86.registers import OSXMMEXCPT, SSE_FLAGS, SSE_MASKS
from isa.x86.vectors import INVALID_OPCODE, SIMD_FLOATING_POINT
from isa.x86.x87.result import BEFORE, Result

WIDTH = SSE_FLAGS.width


def settle(m: X86Builder, results: Iterable[Result], leaving: Mapping[Register, Bits] = {}) -> None:
    """Raise the exceptions of all parts of an operand together.

    An unmasked one that is found before anything is computed leaves those unsaid that a result
    would have. What is not masked is said in MXCSR as well, and faults; `leaving` are other
    registers that such a fault leaves changed.
    """
    raised = reduce(or_, (result.flags.low(WIDTH) for result in results))
    unmasked = ~m.get(SSE_MASKS)
    before = m.get(SSE_FLAGS)
    with m.when((raised & unmasked) != 0):
        stopped = (raised & BEFORE & unmasked) != 0
        told = stopped.select(raised & BEFORE, raised)
        _fault(m, {**leaving, SSE_FLAGS: before | told})
    m.put(SSE_FLAGS, before | raised)


def _fault(m: X86Builder, leaving: Mapping[Register, Bits]) -> None:
    """#XM, or #UD where the system does not know it."""
    if m.mode.has_system:
        with m.when(~m.get(OSXMMEXCPT)):
            m.fault(INVALID_OPCODE, leaving=leaving)
    m.fault(SIMD_FLOATING_POINT, leaving=leaving)
