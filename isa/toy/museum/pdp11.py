"""DEC PDP-11/45 (PDP-11/45 Processor Handbook, 1973, chapters 4 and 6), MFPI apart.

Condition codes are `flags`, the processor status word holds N Z V C in bits 3:0, the priority in
bits 7:5 and the mode in bit 14. Stacks of other modes are left out.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.museum.paper import previous_space
from isa.toy.table import instruction

PRIORITY, PRIORITY_BITS, MODE = 5, 3, 14


@instruction("MTPI", 0x90, "rd, [ra+offset]")
def mtpi(m: ToyBuilder) -> None:
    """Move to previous instruction space: the store to MFPI's load."""
    m.store(previous_space(m), m.read("rd"))


@instruction("SPL", 0x91, "natural", user="ignored", registers="ipl")
def spl(m: ToyBuilder) -> None:
    """Set priority level: priority := number. In user and supervisor mode it is a NOP."""
    m.set_system("ipl", m.read("natural"))


@instruction("RESET", 0x92, user="ignored")
def reset(m: ToyBuilder) -> None:
    """Reset the external bus; of devices the toy stops the clock. In user mode it is a NOP."""
    m.put(m.registers.armed, Bits.of(0, 1))
    m.exit("timer")


@instruction("RTI", 0x93, user="partly", registers="flags ipl")
def rti(m: ToyBuilder) -> None:
    """Return from interrupt: pop P and the status word (RTT is the same but for tracing)."""
    status = _pop_p_and_flags(m)
    m.set_system("ipl", status.bits(PRIORITY, PRIORITY_BITS))
    m.put(m.registers.m, status.bits(MODE, m.shape.m_bits))


@rti.partly
def rti_in_user_mode(m: ToyBuilder) -> None:
    """Mode bits can only be set, which they are, and the priority stays; nobody is told."""
    _pop_p_and_flags(m)


def _pop_p_and_flags(m: ToyBuilder) -> Bits:
    target, status = m.pop_pair()
    m.jump(target)
    m.set_system("flags", status)
    return status
