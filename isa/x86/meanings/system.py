"""System instructions: moves of control and debug registers, HLT, CLI STI, IN OUT.

SDM volume 2; volume 3, section 5.9. In a process machine what only CPL 0 may do is #GP(0).
"""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder, is_special, special_name
from isa.x86.debug import watch_port
from isa.x86.meanings import control_registers, debug_registers
from isa.x86.ports import above_io_level, require_port
from isa.x86.registers import IF, PVI, SHADOW, VIF, VIP, VME
from isa.x86.table import instruction
from isa.x86.vectors import GENERAL_PROTECTION


def mov_special(m: X86Builder, dst: Operand, src: Operand) -> None:
    """MOV to and from control and debug registers; those that do not exist are #UD."""
    to = is_special(dst)
    name = special_name(dst if to else src)
    if name in control_registers.NAMES and (name != "cr4" or m.model.cr4):
        (control_registers.write_control if to else control_registers.read_control)(m, dst, src)
    elif name in debug_registers.NAMES:
        (debug_registers.write_debug if to else debug_registers.read_debug)(m, dst, src)
    else:
        m.invalid_opcode()


@instruction("hlt", heading="HLT—Halt")
def hlt(m: X86Builder) -> None:
    """Under single step there is no time to wait: the trap would end it at once."""
    if m.mode.cpl:
        m.general_protection()
    elif not (m.mode.has_system and m.mode.single_step):
        m.exit("halt")


@instruction("cli", heading="CLI—Clear Interrupt Flag", parameters=(0,))
@instruction("sti", heading="STI—Set Interrupt Flag", parameters=(1,))
def put_interrupt_flag(m: X86Builder, value: int) -> None:
    """IF, or VIF where CR4 lets a program of CPL 3 have its own; STI holds interrupts back."""
    allowed = ~above_io_level(m)
    virtual = _virtual_flag(m)
    m.fault_when(~allowed & ~virtual, GENERAL_PROTECTION, 0)
    if value:
        m.fault_when(~allowed & m.get(VIP), GENERAL_PROTECTION, 0)
    if value and m.mode.has_system and not m.mode.shadow:
        m.put(SHADOW, allowed & ~m.get(IF))
    m.put(IF, allowed.select(Bits.of(value, 1), m.get(IF)))
    m.put(VIF, allowed.select(m.get(VIF), value))


def _virtual_flag(m: X86Builder) -> Bits:
    """Whether CLI and STI act on VIF if IOPL does not allow more (SDM volume 3, section 20.4)."""
    if not m.mode.has_system or m.mode.cpl < 3:
        return Bits.of(0, 1)
    return m.get(VME if m.mode.v86 else PVI)


@instruction("in", heading="IN—Input From Port")
def in_(m: X86Builder, dst: Operand, port: Operand) -> None:
    number = _port(m, port)
    require_port(m, number, dst.width)
    watch_port(m, number, dst.width)
    m.write(dst, m.load_space("port", number, dst.width))


@instruction("out", heading="OUT—Output to Port")
def out(m: X86Builder, port: Operand, src: Operand) -> None:
    number = _port(m, port)
    require_port(m, number, src.width)
    watch_port(m, number, src.width)
    m.store_space("port", number, m.read(src))


def _port(m: X86Builder, operand: Operand) -> Bits:
    """A port's number: DX or an unsigned byte."""
    number = m.read(operand)
    return (number.low(8) if operand.is_immediate else number.low(16)).zext(32)
