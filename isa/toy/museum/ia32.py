"""Intel IA-32 (SDM volume 2, POPF, PUSHF, CLI, STI, IRET), with IOPL = 0.

s is CPL 0, u is CPL 3. EFLAGS has the condition codes in bits 3:0 (`flags`) and IF in bit 9, which
is kept as its complement, `masked`. A frame is EIP, EFLAGS with the code segment's RPL in bit 0 of
a third word.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.toy.builder import ToyBuilder
from isa.toy.table import instruction
from isa.toy.traps import Trap

IF = 9


@instruction("POPF", 0xA0, user="partly", registers="flags masked")
def popf(m: ToyBuilder) -> None:
    """Pop EFLAGS: the condition codes and IF."""
    flags = _pop_flags(m)
    _set_if(m, flags)


@popf.partly
def popf_in_user_mode(m: ToyBuilder) -> None:
    """With CPL > IOPL the condition codes change and IF stays: no exception."""
    _pop_flags(m)


@instruction("PUSHF", 0xA1, registers="flags masked")
def pushf(m: ToyBuilder) -> None:
    """Push EFLAGS, IF included, whoever asks."""
    enabled = (m.system("masked") == 0).zext(m.shape.word)
    top = m.get(m.stack_pointer) - 1
    m.store(top, enabled << IF | m.system("flags"))
    m.put(m.stack_pointer, top)


@instruction("CLI", 0xA2, user="traps", registers="masked")
def cli(m: ToyBuilder) -> None:
    """IF := 0; #GP if CPL > IOPL."""
    m.set_system("masked", Bits.of(1, m.shape.word))


@instruction("STI", 0xA3, user="traps", registers="masked")
def sti(m: ToyBuilder) -> None:
    """IF := 1; #GP if CPL > IOPL."""
    m.set_system("masked", Bits.of(0, m.shape.word))


@instruction("IRET", 0xA4, user="partly", registers="flags masked")
def iret(m: ToyBuilder) -> None:
    """Pop P, the mode (the RPL of CS) and EFLAGS."""
    mode, flags = _pop_frame(m)
    m.put(m.registers.m, mode)
    _set_if(m, flags)


@iret.partly
def iret_in_user_mode(m: ToyBuilder) -> None:
    """A return inward, RPL < CPL, is #GP (not for its privilege); otherwise IF stays."""
    mode, _ = _pop_frame(m)
    m.fault_when(mode.ult(m.get(m.registers.m)), Trap.ILLEGAL, m.field("word", m.shape.word))


def _pop_flags(m: ToyBuilder) -> Bits:
    top = m.get(m.stack_pointer)
    flags = m.load(top)
    m.put(m.stack_pointer, top + 1)
    m.set_system("flags", flags)
    return flags


def _pop_frame(m: ToyBuilder) -> tuple[Bits, Bits]:
    """Take P, CS and EFLAGS from the stack; the RPL in CS as a mode, and EFLAGS."""
    top = m.get(m.stack_pointer)
    target, cs, flags = m.load(top), m.load(top + 1), m.load(top + 2)
    m.put(m.stack_pointer, top + 3)
    m.jump(target)
    m.set_system("flags", flags)
    return cs.low(m.shape.m_bits), flags


def _set_if(m: ToyBuilder, flags: Bits) -> None:
    m.set_system("masked", (~flags.bit(IF)).zext(m.shape.word))
