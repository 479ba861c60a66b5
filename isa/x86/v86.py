"""Virtual-8086 mode (SDM volume 3, chapter 20).

With IOPL 3 its programs may use IF; with less, CR4.VME gives them VIF in its place, for operands of
16 bits (section 20.3).
"""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.x86 import real
from isa.x86.descriptors import fill
from isa.x86.registers import CPL, ESP, IOPL, VIF, VIP, VME
from isa.x86.vectors import GENERAL_PROTECTION

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

SEGMENT_LIMIT = 0xFFFF
RETURNED_SEGMENTS = "ss", "es", "ds", "fs", "gs"  # as IRET pops them


def load(m: X86Builder, name: str, selector: Bits) -> None:
    """Load a segment register as the mode has it, whatever the present mode is."""
    base, limit = selector.zext(32) << 4, Bits.of(SEGMENT_LIMIT, 32)
    fill(m, name, selector, base, limit, Bits.of(real.V86_DATA, 12))


def resume(m: X86Builder, code: Bits, offset: Bits) -> None:
    """IRET from level 0 into the mode: the other segments lie on the stack, above ESP."""
    m.fault_when(Bits.of(SEGMENT_LIMIT, 32).ult(offset), GENERAL_PROTECTION, 0)
    pointer = m.pop(32)
    for name in RETURNED_SEGMENTS:
        load(m, name, m.pop(32).low(16))
    load(m, "cs", code)
    m.put(ESP, pointer)
    m.put(CPL, Bits.of(3, 2))
    m.go(offset)


def trusted(m: X86Builder) -> Bits:
    """Whether IOPL lets programs use IF."""
    return m.get(IOPL) == 3


def require_flags(m: X86Builder, size: int) -> None:
    """#GP(0) if the program may use neither IF nor VIF: PUSHF, POPF, IRET."""
    allowed = trusted(m) | m.get(VME) if size == 16 else trusted(m)
    m.fault_when(~allowed, GENERAL_PROTECTION, 0)


def shown_flags(m: X86Builder, image: Bits) -> Bits:
    """FLAGS as a program sees them that has VIF: in the place of IF, with IOPL 3."""
    seen = image & ~(1 << 9) | m.get(VIF).zext(image.width) << 9 | 3 << 12
    return trusted(m).select(image, seen)


def load_flags(m: X86Builder, image: Bits) -> None:
    """POPF and IRET without IOPL 3: IF goes to VIF, unless that needs the monitor's help."""
    wanted = image.bit(9)
    asks = image.bit(8) | (wanted & m.get(VIP))
    m.fault_when(~trusted(m) & asks, GENERAL_PROTECTION, 0)
    m.put(VIF, trusted(m).select(m.get(VIF), wanted))
