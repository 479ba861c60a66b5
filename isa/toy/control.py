"""Instructions of the control program: they change or read M, R, the timer, ports, or stop."""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.table import instruction


@instruction("LPSW", 0x80, "address", user="traps")
def lpsw(m: ToyBuilder) -> None:
    """Load PSW: (M, P, R) := the word at address, in storage order M | P | l | b."""
    m.set_psw(m.load(m.read("address")))


@instruction("LR", 0x81, "ra, rb", user="traps")
def lr(m: ToyBuilder) -> None:
    """Load R: (l, b) := (ra, rb), both in granules."""
    m.set_relocation(m.read("ra"), m.read("rb"))


@instruction("STIMER", 0x82, "ra", user="traps")
def stimer(m: ToyBuilder) -> None:
    """Set timer: interrupt after ra more instructions, in whatever mode they run; 0: never."""
    count = m.read("ra")
    now = m.clock().low(m.shape.word) + 1  # when this instruction has retired
    m.put(m.registers.timer, now + count)
    m.put(m.registers.armed, count != 0)
    m.exit("timer")


@instruction("IN", 0x83, "rd, port", user="traps")
def in_(m: ToyBuilder) -> None:
    """rd := what the port holds."""
    m.write("rd", m.load_space("port", m.read("port"), m.shape.word))


@instruction("OUT", 0x84, "rd, port", user="traps")
def out(m: ToyBuilder) -> None:
    """The port := rd."""
    m.store_space("port", m.read("port"), m.read("rd"))


@instruction("HALT", 0x85, user="traps")
def halt(m: ToyBuilder) -> None:
    """Stop the machine; the low 8 bits of r0 tell how it went."""
    m.exit("halt")


def deliver(m: ToyBuilder, vector: Bits, info: Bits) -> None:
    """A trap: E[0] := (M, P, R), then (M, P, R) := E[1]; real addresses, nothing else of E.

    (Popek and Goldberg, section 2, "Traps".) What trapped stays readable in two latches.
    """
    new = m.load_space("physical", Bits.of(1, m.shape.word), m.shape.word)
    m.store_space("physical", Bits.of(0, m.shape.word), m.current_psw())
    m.set_psw(new)
    m.put(m.registers.cause, vector)
    m.put(m.registers.info, info)
