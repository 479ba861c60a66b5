"""x87 control: FINIT FLDCW FSTCW FSTSW FCLEX FLDENV FSTENV FSAVE FRSTOR FFREE FINCSTP WAIT.

SDM volume 1, section 8.3.9. The forms with WAIT in front (FINIT, FSTCW …) are two instructions.
"""

from __future__ import annotations

from isa.bits import Bits
from isa.x86.builder import Operand, X86Builder
from isa.x86.meanings.x87_operands import leave_codes_undefined, register
from isa.x86.registers import (
    C0,
    C1,
    C2,
    C3,
    FCS,
    FCW,
    FCW_INITIAL,
    FDP,
    FDS,
    FIP,
    FOP,
    FPU_FLAGS,
    FULL,
    MP,
    ST,
    STX,
    TOP,
    TS,
)
from isa.x86.table import instruction
from isa.x86.vectors import DEVICE_NOT_AVAILABLE
from isa.x86.x87 import image
from isa.x86.x87.entry import begin, require_unit, wait_for_errors
from isa.x86.x87.unit import Unit
from isa.x86.x87.words import put_control_word, status_word


@instruction("wait", heading="WAIT/FWAIT—Wait")
def wait(m: X86Builder) -> None:
    if m.mode.has_system:
        m.fault_when(m.get(MP) & m.get(TS), DEVICE_NOT_AVAILABLE)
    wait_for_errors(m)


@instruction("fninit", heading="FINIT/FNINIT—Initialize Floating-Point Unit")
def initialize(m: X86Builder) -> None:
    """The registers keep what they hold, though all are empty."""
    require_unit(m)
    _turn(m, -m.get(TOP))
    _reset(m)


def _reset(m: X86Builder) -> None:
    m.put(FCW, Bits.of(FCW_INITIAL, 16))
    for part in (FPU_FLAGS, C0, C1, C2, C3, TOP, FULL, FOP, FIP, FCS, FDP, FDS):
        m.put(part, Bits.of(0, part.width))


def _turn(m: X86Builder, by: Bits) -> None:
    """Let TOP grow while every register keeps its number."""
    for file in (ST, STX):
        values = [m.get(member) for member in file.members]
        for bit in range(3):
            places = 1 << bit
            turned = values[places:] + values[:places]
            values = [by.bit(bit).select(a, b) for a, b in zip(turned, values, strict=True)]
        for member, value in zip(file.members, values, strict=True):
            m.put(member, value)


@instruction("fnclex", heading="FCLEX/FNCLEX—Clear Exceptions")
def clear_exceptions(m: X86Builder) -> None:
    require_unit(m)
    m.put(FPU_FLAGS, Bits.of(0, FPU_FLAGS.width))
    leave_codes_undefined(m)


@instruction("fnstcw", heading="FSTCW/FNSTCW—Store x87 FPU Control Word")
def store_control_word(m: X86Builder, dst: Operand) -> None:
    require_unit(m)
    m.write(dst, m.get(FCW))
    leave_codes_undefined(m)


@instruction("fldcw", heading="FLDCW—Load x87 FPU Control Word")
def load_control_word(m: X86Builder, src: Operand) -> None:
    require_unit(m)
    wait_for_errors(m)
    put_control_word(m, m.read(src))
    leave_codes_undefined(m)


@instruction("fnstsw", heading="FSTSW/FNSTSW—Store x87 FPU Status Word")
def store_status_word(m: X86Builder, dst: Operand) -> None:
    require_unit(m)
    m.write(dst, status_word(m))


@instruction("fnstenv", heading="FSTENV/FNSTENV—Store x87 FPU Environment")
def store_environment(m: X86Builder, dst: Operand) -> None:
    """Then all exceptions are masked."""
    require_unit(m)
    m.store(m.segment_of(dst), m.address(dst), image.pack(m))
    m.put(FCW, m.get(FCW) | 0x3F)
    leave_codes_undefined(m)


@instruction("fldenv", heading="FLDENV—Load x87 FPU Environment")
def load_environment(m: X86Builder, src: Operand) -> None:
    require_unit(m)
    wait_for_errors(m)
    found = m.load(m.segment_of(src), m.address(src), 8 * image.size(m))
    _turn(m, image.put(m, found) - m.get(TOP))


@instruction("fnsave", heading="FSAVE/FNSAVE—Store x87 FPU State")
def save(m: X86Builder, dst: Operand) -> None:
    """Environment and stack, ST(0) first; then the unit is initialized."""
    require_unit(m)
    m.store(m.segment_of(dst), m.address(dst), image.pack_all(m))
    _turn(m, -m.get(TOP))
    _reset(m)


@instruction("frstor", heading="FRSTOR—Restore x87 FPU State")
def restore(m: X86Builder, src: Operand) -> None:
    require_unit(m)
    wait_for_errors(m)
    size = 8 * image.size(m) + image.REGISTERS_SIZE
    image.put_all(m, m.load(m.segment_of(src), m.address(src), size))


@instruction("fincstp", heading="FINCSTP—Increment Stack-Top Pointer", parameters=(1,))
@instruction("fdecstp", heading="FDECSTP—Decrement Stack-Top Pointer", parameters=(-1,))
def move_top(m: X86Builder, by: int) -> None:
    """Not a pop or push: no register becomes empty or full."""
    begin(m)
    unit = Unit(m)
    unit.move(by)
    unit.commit()
    leave_codes_undefined(m)


@instruction("ffree", heading="FFREE—Free Floating-Point Register", parameters=(False,))
@instruction("ffreep", heading="(undocumented) FFREEP—Free Register and Pop", parameters=(True,))
def free(m: X86Builder, pops: bool, dst: Operand) -> None:
    begin(m)
    unit = Unit(m)
    unit.free(register(m, dst))
    if pops:
        unit.pop()
    unit.commit()
    leave_codes_undefined(m)
    m.undefined(C1)


@instruction("fnop", heading="FNOP—No Operation")
def nothing(m: X86Builder) -> None:
    """It waits, and leaves its address behind."""
    begin(m)


@instruction("feni8087_nop", "fdisi8087_nop", "fsetpm", heading="(8087, 80287) FENI, FDISI, FSETPM")
def ignored(m: X86Builder) -> None:
    """What later units ignore; they do not wait."""
    require_unit(m)
