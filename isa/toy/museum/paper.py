"""The paper's own examples (CACM 17(7), 1974, sections 3 to 5), and others in its terms."""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.registers import USER
from isa.toy.table import instruction


@instruction("JRST1", 0xC0, "address")
def jrst1(m: ToyBuilder) -> None:
    """Jump and restore, function 1 (PDP-10): M := u and P := address."""
    m.put(m.registers.m, m.get(m.registers.m) | USER)
    m.jump(m.read("address"))


@instruction("SPLX", 0xC1, "ra", user="ignored")
def splx(m: ToyBuilder) -> None:
    """Set the bound: b := ra in granules. In user mode nothing happens, as with POPF's flags."""
    m.put(m.registers.b, m.read("ra").low(m.shape.b_bits))


@instruction("LRA", 0xC2, "rd, [ra+offset]")
def lra(m: ToyBuilder) -> None:
    """Load real address (IBM 360/67): rd := ra + offset + l, without any check."""
    m.write("rd", m.relocated(m.address()).low(m.shape.word))


@instruction("LRA_P", 0xC3, "rd, [ra+offset]", user="traps")
def lra_p(m: ToyBuilder) -> None:
    """The same as LRA, but in user mode it traps."""
    lra(m)


@instruction("RDMODE", 0xC4, "rd")
def rdmode(m: ToyBuilder) -> None:
    """Read mode: rd := M."""
    m.write("rd", m.get(m.registers.m).zext(m.shape.word))


@instruction("MFPI", 0xC5, "rd, [ra+offset]")
def mfpi(m: ToyBuilder) -> None:
    """Move from previous instruction space (PDP-11/45): which word is read depends on M.

    Here a window has a space for each mode, a half of it each: the supervisor reads the upper half.
    """
    m.write("rd", m.load(previous_space(m)))


def previous_space(m: ToyBuilder) -> Bits:
    """The address that [ra+offset] means in the space of the mode that was before."""
    half = m.in_words(m.get(m.registers.b)).low(m.shape.word) >> 1
    address = m.address()
    return m.in_supervisor_mode.select(address + half, address)


@instruction("DECB", 0xC6, "ra", user="partly")
def decb(m: ToyBuilder) -> None:
    """Decrease the bound: b := ra in granules (section 4's example of more than Theorem 1 asks)."""
    m.put(m.registers.b, m.read("ra").low(m.shape.b_bits))


@decb.partly
def decb_in_user_mode(m: ToyBuilder) -> None:
    """A user may only shrink his own window; otherwise a privileged-instruction trap."""
    bound = m.get(m.registers.b).zext(m.shape.word)
    m.refuse_when(bound.ult(m.read("ra")))
    decb(m)
