"""System instructions as user mode meets them (SDM volume 2; volume 3, section 5.9).

At CPL 0 most are left to the system half of the machine: an exit "unimplemented".
"""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder, special_name
from isa.x86.registers import IF, IOPL
from isa.x86.table import instruction
from isa.x86.vectors import GENERAL_PROTECTION


def mov_special(m: X86Builder, *operands: Operand) -> None:
    """MOV to and from control and debug registers; those that do not exist are #UD."""
    if any(special_name(o) in ("cr1", "cr5", "cr6", "cr7", "cr8") for o in operands):
        m.invalid_opcode()
    else:
        privileged(m)


def privileged(m: X86Builder) -> None:
    """#GP(0) unless CPL is 0."""
    if m.mode.cpl:
        m.general_protection()
    else:
        m.exit("unimplemented")


@instruction(
    "lgdt", "lidt", "lldt", "ltr", "lmsw", "clts", "invd", "wbinvd", "invlpg", "rdmsr", "wrmsr",
    "rdpmc", heading="(privileged instructions, SDM volume 3, section 5.9)",
)  # fmt: skip
def privileged_instruction(m: X86Builder, *_: Operand) -> None:
    privileged(m)


@instruction("hlt", heading="HLT—Halt")
def hlt(m: X86Builder) -> None:
    if m.mode.cpl:
        m.general_protection()
    else:
        m.exit("halt")


@instruction("cli", heading="CLI—Clear Interrupt Flag", parameters=(0,))
@instruction("sti", heading="STI—Set Interrupt Flag", parameters=(1,))
def put_interrupt_flag(m: X86Builder, value: int) -> None:
    require_io_privilege(m)
    m.put(IF, Bits.of(value, 1))


def require_io_privilege(m: X86Builder) -> None:
    """#GP(0) if CPL is greater than IOPL; no I/O permission bitmap allows more."""
    above = m.get(IOPL).ult(Bits.of(m.mode.cpl, 2))
    m.fault_when(above, GENERAL_PROTECTION, 0)


@instruction("in", heading="IN—Input From Port")
def in_(m: X86Builder, dst: Operand, port: Operand) -> None:
    require_io_privilege(m)
    m.write(dst, m.load_space("port", _port(m, port), dst.width))


@instruction("out", heading="OUT—Output to Port")
def out(m: X86Builder, port: Operand, src: Operand) -> None:
    require_io_privilege(m)
    m.store_space("port", _port(m, port), m.read(src))


def _port(m: X86Builder, operand: Operand) -> Bits:
    """A port's number: DX or an unsigned byte."""
    number = m.read(operand)
    return (number.low(8) if operand.is_immediate else number.low(16)).zext(32)


@instruction(
    "insb", "insw", "insd", "outsb", "outsw", "outsd",
    heading="INS/OUTS—Input or Output String", implied_operands=True, repeatable=True,
)  # fmt: skip
def string_io(m: X86Builder) -> None:
    require_io_privilege(m)
    m.exit("unimplemented")
