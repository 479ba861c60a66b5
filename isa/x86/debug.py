"""Breakpoints of the debug registers (SDM volume 3, sections 17.2 and 17.3).

What an instruction met is kept in PENDING and becomes a #DB before the next one is fetched.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.semantics import Builder
from isa.x86.registers import DE, DR, DR7, PENDING

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

EXECUTED, WRITTEN, PORT, ACCESSED = range(4)
"""What a breakpoint is for: the R/W fields of DR7."""

SINGLE_STEP = 1 << 14  # DR6.BS
TASK_SWITCH = 1 << 15  # DR6.BT
BREAKPOINTS = 0xF  # DR6.B0–B3
GENERAL_DETECT = 1 << 13  # DR7.GD
ACCESS_DETECTED = 1 << 13  # DR6.BD


def hits(m: Builder, address: Bits, size: int, *kinds: int) -> Bits:
    """B0–B3 of DR6 for an access of `size` bytes: the enabled breakpoints that it meets."""
    found = Bits.of(0, 32)
    for number in range(len(DR.members)):
        found = found | _hit(m, number, address, size, kinds).zext(32) << number
    return found


def _hit(m: Builder, number: int, address: Bits, size: int, kinds: tuple[int, ...]) -> Bits:
    control = m.get(DR7)
    enabled = control.bits(2 * number, 2) != 0
    kind = control.bits(16 + 4 * number, 2)
    wanted = Bits.of(0, 1)
    for one in kinds:
        wanted = wanted | (kind == one)
    # LEN is 1, 2, 8 (undefined in older processors) or 4 bytes; the address is aligned to it.
    length = control.bits(18 + 4 * number, 2).zext(32)
    others = (length == 2).select(7, length)
    start = m.get(DR.members[number]) & ~others
    overlaps = start.ule(address + (size - 1)) & address.ule(start + others)
    return enabled & wanted & overlaps


def watch(m: X86Builder, address: Bits, size: int, *kinds: int) -> None:
    """Note the data or port breakpoints that an access meets: traps after the instruction."""
    if m.mode.debugged:
        note(m, hits(m, address, size, *kinds))


def watch_port(m: X86Builder, port: Bits, width: int) -> None:
    """The same for a port: only with CR4.DE is there such a breakpoint."""
    if m.mode.debugged:
        found = hits(m, port, width // 8, PORT)
        note(m, m.get(DE).select(found, 0))


def note(m: X86Builder, bits: Bits | int) -> None:
    """Let a #DB follow, with these bits of DR6."""
    found = bits.low(16) if isinstance(bits, Bits) else Bits.of(bits, 16)
    m.put(PENDING, m.so_far(PENDING) | found)
