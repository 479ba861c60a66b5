"""FXSAVE and FXRSTOR: the state of the x87, MMX and SSE at once (SDM volume 1, section 10.5).

The XMM registers, and in FXRSTOR MXCSR, are part of it only if CR4.OSFXSR is 1, as the manual lets
a processor choose. Bytes 288 to 511 are neither read nor written, but have to be there: processors
look at the last one first.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder
from isa.x86.registers import OSFXSR
from isa.x86.sse import mxcsr
from isa.x86.sse.entry import require_alignment
from isa.x86.table import instruction
from isa.x86.x87 import fast_image as image
from isa.x86.x87.entry import require_unit


def _begin(m: X86Builder, operand: Operand, *, for_write: bool = False) -> Bits:
    """What both begin with, whatever exception is pending; returns whether SSE has its part."""
    require_unit(m)
    require_alignment(m, operand, image.WHOLE)
    last = m.wrap(m.address(operand) + (image.WHOLE // 8 - 1))
    m.load(m.segment_of(operand), last, 8, for_write=for_write)
    return m.get(OSFXSR) if m.mode.has_system else Bits.of(1, 1)


@instruction(
    "fxsave", heading="FXSAVE—Save x87 FPU, MMX Technology, and SSE State", since="pentium3"
)
def save(m: X86Builder, dst: Operand) -> None:
    has_sse = _begin(m, dst, for_write=True)
    segment, address = m.segment_of(dst), m.address(dst)
    m.store(segment, address, image.pack_unit(m))
    with m.when(has_sse):
        m.store(segment, m.wrap(address + image.UNIT // 8), image.pack_sse(m))


@instruction(
    "fxrstor", heading="FXRSTOR—Restore x87 FPU, MMX, XMM, and MXCSR State", since="pentium3"
)
def restore(m: X86Builder, src: Operand) -> None:
    has_sse = _begin(m, src)
    segment, address = m.segment_of(src), m.address(src)
    unit = m.load(segment, address, image.UNIT)
    with m.when(has_sse):
        mxcsr.write(m, image.mxcsr_of(unit))
        image.put_sse(m, m.load(segment, m.wrap(address + image.UNIT // 8), image.SSE))
    image.put_unit(m, unit)
