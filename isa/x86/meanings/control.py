"""Control transfer: near and far JMP CALL RET, Jcc, LOOP, INT, BOUND, IRET.

SDM volume 1, sections 6.4 and 7.3.8; far transfers: volume 3, section 5.8.
"""

from __future__ import annotations

from dataclasses import replace

from isa.bits import Bits
from isa.x86 import real, redirection, tasks, v86
from isa.x86.builder import Operand, X86Builder
from isa.x86.calls import through_system_descriptor
from isa.x86.delivery import deliver, software_event
from isa.x86.descriptors import Descriptor, Selector, enter_code, find
from isa.x86.meanings.conditions import for_each_condition, holds
from isa.x86.meanings.segments import far_pointer
from isa.x86.meanings.stack import flags_image, load_flags
from isa.x86.registers import ECX, NMI_BLOCKED, NT, OF, RF, SEGMENTS, VIF, VIP, VM, ZF
from isa.x86.returns import check_target, far_return
from isa.x86.table import instruction
from isa.x86.tasks import Departure
from isa.x86.vectors import (
    BOUND_RANGE_EXCEEDED,
    BREAKPOINT,
    DEBUG,
    GENERAL_PROTECTION,
    OVERFLOW,
    SEGMENT_NOT_PRESENT,
)  # fmt: skip

NOTHING = Bits.of(0, 32)

# -- near -----------------------------------------------------------------------------------------


def target_of(m: X86Builder, operand: Operand) -> Bits:
    """Where a near jump goes: relative to the next instruction, or absolute in a register."""
    if operand.is_immediate:
        return m.next + m.read(operand)
    return m.read(operand).zext(32)


@instruction("jmp", heading="JMP—Jump")
def jmp(m: X86Builder, target: Operand) -> None:
    m.jump(target_of(m, target))


@instruction("call", heading="CALL—Call Procedure")
def call(m: X86Builder, target: Operand) -> None:
    m.jump(target_of(m, target))
    m.push(m.next.low(m.form.operand_size))


@instruction("ret", heading="RET—Return From Procedure")
def ret(m: X86Builder, *release: Operand) -> None:
    m.jump(m.pop(m.form.operand_size).zext(32))
    for count in release:
        m.release(m.read(count).low(16).zext(32))


@for_each_condition("j", heading="Jcc—Jump if Condition Is Met", escaped_since="386")
def jcc(m: X86Builder, condition: str, target: Operand) -> None:
    _jump_when(m, holds(m, condition), target)


def _jump_when(m: X86Builder, condition: Bits, target: Operand) -> None:
    with m.when(condition):
        m.jump(target_of(m, target))


@instruction("jecxz", heading="Jcc—Jump if Condition Is Met")
def jecxz(m: X86Builder, target: Operand) -> None:
    _jump_when(m, m.read_part(ECX, m.form.address_size) == 0, target)


_LOOP = "LOOP/LOOPcc—Loop According to ECX Counter"


@instruction("loop", heading=_LOOP, parameters=("loop",))
@instruction("loope", heading=_LOOP, parameters=("loope",))
@instruction("loopne", heading=_LOOP, parameters=("loopne",))
def loop(m: X86Builder, which: str, target: Operand) -> None:
    count = m.read_part(ECX, m.form.address_size) - 1
    m.write_part(ECX, count)
    zero = m.flag(ZF)
    going = {"loop": Bits.of(1, 1), "loope": zero, "loopne": ~zero}[which]
    _jump_when(m, (count != 0) & going, target)


# -- interrupts -----------------------------------------------------------------------------------

_INT = "INT n/INTO/INT3/INT1—Call to Interrupt Procedure"


@instruction("int", heading=_INT)
def int_n(m: X86Builder, vector: Operand) -> None:
    number = m.read(vector).low(8)
    if not m.mode.has_system:
        m.exit("interrupt", number)
    elif m.mode.v86:
        redirection.interrupt(m, software_event(m, number))
    else:
        deliver(m, software_event(m, number))


@instruction("int3", heading=_INT, parameters=(BREAKPOINT,))
@instruction("icebp", heading=_INT, parameters=(DEBUG,), since="386")
def trap(m: X86Builder, vector: int) -> None:
    if m.mode.has_system:
        event = software_event(m, Bits.of(vector, 8))
        deliver(m, replace(event, software=vector != DEBUG))  # INT1 needs no right to its gate
    else:
        m.exit("trap", Bits.of(vector, 8))


@instruction("into", heading=_INT)
def into(m: X86Builder) -> None:
    with m.when(m.flag(OF)):
        trap(m, OVERFLOW)


@instruction("bound", heading="BOUND—Check Array Index Against Bounds", since="286")
def bound(m: X86Builder, index: Operand, bounds: Operand) -> None:
    if not bounds.is_memory:
        m.invalid_opcode()
        return
    value, segment, address = m.read(index), m.segment_of(bounds), m.address(bounds)
    lower = m.load(segment, address, value.width)
    upper = m.load(segment, m.wrap(address + value.width // 8), value.width)
    m.fault_when(value.slt(lower) | upper.slt(value), BOUND_RANGE_EXCEEDED)


# -- far ------------------------------------------------------------------------------------------


@instruction("ljmp", heading="JMP—Jump")
def far_jmp(m: X86Builder, *target: Operand) -> None:
    selector, offset = _far_target(m, target)
    _transfer(m, selector, offset, call=False)


@instruction("lcall", heading="CALL—Call Procedure")
def far_call(m: X86Builder, *target: Operand) -> None:
    selector, offset = _far_target(m, target)
    _transfer(m, selector, offset, call=True)


def _far_target(m: X86Builder, operands: tuple[Operand, ...]) -> tuple[Selector, Bits]:
    """Selector and 32-bit offset, of immediates or of a pointer in memory."""
    if len(operands) == 2:
        value, offset = (m.read(operand) for operand in operands)
    else:
        value, offset = far_pointer(m, operands[0])
    return Selector(value.low(16)), offset.low(m.form.operand_size).zext(32)


def _transfer(m: X86Builder, selector: Selector, offset: Bits, *, call: bool) -> None:
    if m.mode.segments_are_paragraphs:
        if call:
            _push_return(m)
        real.go_far(m, selector.value, offset)
        return
    descriptor = find(m, selector, GENERAL_PROTECTION)
    with m.when(~descriptor.is_code):
        through_system_descriptor(m, selector, descriptor, call=call)
    with m.when(descriptor.is_code):
        _check_code(m, selector, descriptor)
        check_target(m, descriptor, offset)
        if call:
            _push_return(m)
        enter_code(m, selector, descriptor, offset, Bits.of(m.mode.cpl, 2))


def _push_return(m: X86Builder) -> None:
    m.push(m.get(SEGMENTS["cs"].selector).zext(m.form.operand_size))
    m.push(m.next.low(m.form.operand_size))


def _check_code(m: X86Builder, selector: Selector, descriptor: Descriptor) -> None:
    """Direct transfers keep the level (SDM volume 3, section 5.8.1)."""
    cpl = Bits.of(m.mode.cpl, 2)
    conforming_wrong = cpl.ult(descriptor.dpl)
    other_wrong = cpl.ult(selector.rpl) | (descriptor.dpl != cpl)
    wrong = descriptor.is_conforming.select(conforming_wrong, other_wrong)
    m.fault_when(wrong, GENERAL_PROTECTION, selector.error_code)
    m.fault_when(~descriptor.present, SEGMENT_NOT_PRESENT, selector.error_code)


@instruction("retf", heading="RET—Return From Procedure")
def far_ret(m: X86Builder, *release: Operand) -> None:
    offset = m.pop(m.form.operand_size).zext(32)
    selector = Selector(m.pop(m.form.operand_size).low(16))
    released = NOTHING
    for count in release:
        released = m.read(count).low(16).zext(32)
        m.release(released)
    _return(m, selector, offset, released)


def _return(m: X86Builder, selector: Selector, offset: Bits, released: Bits) -> None:
    if m.mode.segments_are_paragraphs:
        real.go_far(m, selector.value, offset)
    else:
        far_return(m, selector, offset, released)


@instruction("iret", "iretd", heading="IRET/IRETD/IRETQ—Interrupt Return")
def iret(m: X86Builder) -> None:
    if m.mode.has_system:
        m.put(NMI_BLOCKED, Bits.of(0, 1))
    if m.mode.segments_are_paragraphs:
        _interrupt_return(m)
        return
    nested = m.get(NT)
    with m.when(nested):
        _return_to_task(m)
    with m.when(~nested):
        _interrupt_return(m)


def _return_to_task(m: X86Builder) -> None:
    if m.mode.has_system:
        flags = flags_image(m) & ~(1 << 14)  # NT: this task is no longer nested
        tasks.back(m, Departure(m.next, flags, returns=True))
    else:
        m.exit("unimplemented")


def _interrupt_return(m: X86Builder) -> None:
    size = m.form.operand_size
    if m.mode.v86:
        v86.require_flags(m, size)
    offset = m.pop(size).zext(32)
    selector, image = Selector(m.pop(size).low(16)), m.pop(size)
    if size == 32 and m.mode.cpl == 0 and not m.mode.real:
        _return_by_image(m, selector, offset, image)
    else:
        _return(m, selector, offset, NOTHING)
    load_flags(m, image)
    m.put(RF, image.bit(16) if size == 32 else Bits.of(0, 1))


def _return_by_image(m: X86Builder, selector: Selector, offset: Bits, image: Bits) -> None:
    """From level 0, VM, VIF and VIP are what the popped flags say."""
    to_v86 = image.bit(17)
    after = m.stack_pointer
    with m.when(to_v86):
        v86.resume(m, selector.value, offset)
    m.stack_pointer = after
    with m.when(~to_v86):
        _return(m, selector, offset, NOTHING)
    for register, number in ((VM, 17), (VIF, 19), (VIP, 20)):
        m.put(register, image.bit(number))
