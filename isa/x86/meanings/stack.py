"""The stack: PUSH POP PUSHA POPA ENTER LEAVE PUSHF POPF (SDM volume 1, sections 6.2 and 7.3.1)."""

from __future__ import annotations

from isa.bits import Bits
from isa.registers import Register
from isa.x86 import v86
from isa.x86.builder import Operand, X86Builder, is_segment, level_of, segment_name
from isa.x86.meanings import segments
from isa.x86.registers import (
    EAX,
    EBP,
    EBX,
    ECX,
    EDI,
    EDX,
    EFLAGS,
    ESI,
    ESP,
    IF,
    IOPL,
    RF,
    VIF,
    VIP,
    VM,
)  # fmt: skip
from isa.x86.table import instruction


@instruction(
    "push", heading="PUSH—Push Word, Doubleword, or Quadword Onto the Stack", escaped_since="386"
)
def push(m: X86Builder, src: Operand) -> None:
    if is_segment(src) and m.form.operand_size == 32:
        m.undefined("operand")  # bits 16–31: zero here; newer processors do not write them
        m.push(m.read(src).zext(32))
    else:
        m.push(_pushed(m, src).low(m.form.operand_size))


def _pushed(m: X86Builder, src: Operand) -> Bits:
    """An 8086 pushes SP as it is after the push (SDM volume 3, section 22.17)."""
    value = m.read(src)
    if m.model.is_8086:
        return m.is_stack_pointer(src).select(value - 2, value)
    return value


@instruction("pop", heading="POP—Pop a Value From the Stack", escaped_since="386")
def pop(m: X86Builder, dst: Operand) -> None:
    value = m.pop(m.form.operand_size)
    if is_segment(dst):
        segments.load(m, segment_name(dst), value.low(16))
        segments.hold_interrupts_back(m, segment_name(dst))
    elif dst.is_memory:
        # An ESP in the address counts after its increment (SDM volume 2, POP).
        m.store(m.segment_of(dst), m.address(dst, m.stack_pointer), value)
    else:
        m.write(dst, value)


_ALL = (EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI)


@instruction(
    "pushal", "pushaw", heading="PUSHA/PUSHAD—Push All General-Purpose Registers", since="286"
)
def pusha(m: X86Builder) -> None:
    for register in _ALL:
        m.push(m.read_part(register, m.form.operand_size))


@instruction("popal", "popaw", heading="POPA/POPAD—Pop All General-Purpose Registers", since="286")
def popa(m: X86Builder) -> None:
    for register in reversed(_ALL):
        value = m.pop(m.form.operand_size)
        if register is not ESP:
            m.write_part(register, value)


@instruction("enter", heading="ENTER—Make Stack Frame for Procedure Parameters", since="286")
def enter(m: X86Builder, size: Operand, level: Operand) -> None:
    width = m.form.operand_size
    m.push(m.read_part(EBP, width))
    frame = m.stack_pointer
    for number in range(1, level_of(level)):
        outer = m.stack_offset(m.get(EBP) - number * width // 8)
        m.push(m.load("ss", outer, width))
    if level_of(level):
        m.push(frame.low(width))
    m.release(-m.read(size).low(16).zext(32))
    _probe(m, width)
    m.write_part(EBP, frame.low(width))


def _probe(m: X86Builder, width: int) -> None:
    """Fault if the final stack pointer could not be written (SDM volume 2, ENTER)."""
    offset = m.stack_offset(m.stack_pointer)
    m.load("ss", offset, width, for_write=True)


@instruction("leave", heading="LEAVE—High Level Procedure Exit", since="286")
def leave(m: X86Builder) -> None:
    m.set_stack_pointer(m.get(EBP))
    m.write_part(EBP, m.pop(m.form.operand_size))


# -- EFLAGS ---------------------------------------------------------------------------------------


@instruction("pushf", "pushfd", heading="PUSHF/PUSHFD/PUSHFQ—Push EFLAGS Register Onto the Stack")
def pushf(m: X86Builder) -> None:
    size = m.form.operand_size
    image = flags_image(m).low(size)
    if m.mode.v86:
        v86.require_flags(m, size)
        image = v86.shown_flags(m, image)
    m.push(image)


@instruction("popf", "popfd", heading="POPF/POPFD/POPFQ—Pop Stack Into EFLAGS Register")
def popf(m: X86Builder) -> None:
    if m.mode.v86:
        v86.require_flags(m, m.form.operand_size)
    load_flags(m, m.pop(m.form.operand_size))
    m.put(RF, Bits.of(0, 1))


def flags_image(m: X86Builder) -> Bits:
    """EFLAGS as PUSHF shows it: VM and RF read as 0."""
    image = Bits.of(m.model.fixed_flags, 32)
    for register, low in EFLAGS.fields:
        if register not in (VM, RF):
            image = image | m.get(register).zext(32) << low
    return image


def load_flags(m: X86Builder, image: Bits) -> None:
    """Take over the flags that the privilege level allows; the others silently stay.

    IF needs CPL <= IOPL, IOPL needs CPL 0; VM, VIF, VIP and RF never come from here (SDM volume
    2, table "Effect of POPF/POPFD on the EFLAGS Register"), nor what the model does not have.
    Virtual-8086 mode may put VIF for IF.
    """
    if m.mode.v86:
        v86.load_flags(m, image)
    existing = m.model.real_flags if m.mode.real else m.model.flags
    for register, low in EFLAGS.fields:
        outside = low + register.width > image.width or not existing >> low & 1
        if not outside and register not in (VM, VIF, VIP, RF):
            value = image.bits(low, register.width)
            m.put(register, _may_change(m, register).select(value, m.get(register)))


def _may_change(m: X86Builder, register: Register) -> Bits:
    if register is IF:
        return Bits.of(m.mode.cpl, 2).ule(m.get(IOPL))
    return Bits.of(m.mode.cpl == 0 or register is not IOPL, 1)
