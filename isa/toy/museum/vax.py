"""DEC VAX (VAX Architecture Reference Manual, chapters 5 and 6; Hall and Robinson, ISCA 1991).

Four modes: 0 kernel (the paper's s), 1 executive, 2 supervisor, 3 user, of which the last three are
u. PSL is the current mode alone: the previous mode, the interrupt priority and the condition codes
are left out, and with them the check of IPL. All modes share one stack pointer. The System Control
Block's entries for change-mode are words 2 to 5 of storage, whatever R is.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.table import Row, instruction
from isa.toy.traps import Trap

CHANGE_MODE_ENTRIES = 2  # follow the trap's two words


@instruction("MOVPSL", 0xB8, "rd")
def movpsl(m: ToyBuilder) -> None:
    """Move from PSL: rd := the current mode."""
    m.write("rd", m.get(m.registers.m).zext(m.shape.word))


@instruction("PROBER", 0xB9, "rd, [ra+offset]")
def prober(m: ToyBuilder) -> None:
    """Probe read: rd := 1 if a page may be read, in the mode rd or the current one, whichever less.

    [ra+offset] is the page's table entry, which the toy has its programs name: the least privileged
    mode that may read in its lowest bits, then the one that may write. The real instruction takes
    the previous mode, which is the current one or less privileged.
    """
    _probe(m, 0)


@instruction("PROBEW", 0xBA, "rd, [ra+offset]")
def probew(m: ToyBuilder) -> None:
    """Probe write: as PROBER."""
    _probe(m, m.shape.m_bits)


def _probe(m: ToyBuilder, low: int) -> None:
    bits = m.shape.m_bits
    allowed = m.load(m.address()).bits(low, bits)
    mode = _larger(m.get(m.registers.m), m.read("rd").low(bits))
    m.write("rd", mode.ule(allowed).zext(m.shape.word))


def _change_mode(name: str, opcode: int, mode: int, title: str) -> Row:
    """Enter one of CHMK, CHME, CHMS, CHMU."""

    def meaning(m: ToyBuilder) -> None:
        bits = m.shape.m_bits
        current, top = m.get(m.registers.m), m.get(m.stack_pointer)
        target = Bits.of(min(mode, m.shape.least_privileged), bits)
        entry = (CHANGE_MODE_ENTRIES + mode) % m.shape.words
        m.store(top - 1, current.zext(m.shape.word))
        m.store(top - 2, m.next.zext(m.shape.word))
        m.put(m.stack_pointer, top - 2)
        m.put(m.registers.m, _smaller(current, target))
        m.jump(m.load_space("physical", Bits.of(entry, m.shape.word), m.shape.word))

    meaning.__doc__ = (
        f"Change mode to {title}: push PSL and P, go to its entry in the SCB, in that mode or the "
        "current one, whichever is more privileged. Nobody is asked."
    )
    return instruction(name, opcode)(meaning)


CHANGES_OF_MODE = tuple(
    _change_mode(f"CHM{title[0].upper()}", 0xBB + mode, mode, title)
    for mode, title in enumerate(("kernel", "executive", "supervisor", "user"))
)


@instruction("REI", 0xBF)
def rei(m: ToyBuilder) -> None:
    """Return from exception or interrupt: pop P and PSL; inward is a reserved operand fault."""
    target, psl = m.pop_pair()
    mode = psl.low(m.shape.m_bits)
    m.fault_when(mode.ult(m.get(m.registers.m)), Trap.ILLEGAL, m.field("word", m.shape.word))
    m.put(m.registers.m, mode)
    m.jump(target)


def _larger(one: Bits, other: Bits) -> Bits:
    return one.ult(other).select(other, one)


def _smaller(one: Bits, other: Bits) -> Bits:
    return one.ult(other).select(one, other)
