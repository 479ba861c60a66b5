"""Interrupt and trap gates of protected mode (SDM volume 3, sections 6.10–6.14; 2, INT n)."""

from __future__ import annotations

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.x86 import tasks
from isa.x86.descriptors import Descriptor, Gate, find, nullify
from isa.x86.entrance import enter
from isa.x86.exceptions import doubles
from isa.x86.registers import ESP, IDT_BASE, IDT_LIMIT, IF, NT, RF, SEGMENTS, TF, VM
from isa.x86.stacks import Stack, inner_stack, present_stack
from isa.x86.tasks import Departure
from isa.x86.vectors import GENERAL_PROTECTION, SEGMENT_NOT_PRESENT

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder
    from isa.x86.delivery import Event

TASK_GATE = 5
INTERRUPT_OR_TRAP_GATES = 6, 7, 14, 15
V86_DATA_SEGMENTS = "gs", "fs", "ds", "es"  # in the order of their pushes


def interrupt(m: X86Builder, event: Event) -> None:
    """Go through the vector's gate of the interrupt descriptor table."""
    descriptor = _entry(m, event)
    is_task = descriptor.is_type(TASK_GATE)
    with m.when(is_task):
        tasks.through_gate(m, Gate(descriptor), _departure(m, event))
    with m.when(~is_task):
        _to_handler(m, event, descriptor)


def _departure(m: X86Builder, event: Event) -> Departure:
    return Departure(
        event.return_to,
        event.flags(m),
        nests=True,
        external=event.external,
        coded=event.coded,
        code=event.code,
        doubles=doubles(event.vector, event.coded),
    )


def _entry(m: X86Builder, event: Event) -> Descriptor:
    """The vector's gate, which must be one, present, and open to a program that asks for it."""
    place, code = event.vector.zext(32) << 3, event.vector.zext(32) << 3 | 2 | event.external
    m.fault_when(m.get(IDT_LIMIT).zext(32).ult(place | 7), GENERAL_PROTECTION, code)
    gate = Descriptor(m.load_space("system", m.get(IDT_BASE) + place, 64))
    known = gate.is_type(TASK_GATE, *INTERRUPT_OR_TRAP_GATES)
    m.fault_when(~known, GENERAL_PROTECTION, code)
    if event.software:
        m.fault_when(gate.dpl.ult(Bits.of(m.mode.cpl, 2)), GENERAL_PROTECTION, code)
    m.fault_when(~gate.present, SEGMENT_NOT_PRESENT, code)
    return gate


def _to_handler(m: X86Builder, event: Event, descriptor: Descriptor) -> None:
    """Check the handler's code segment, and enter it on the stack of its level."""
    gate, cpl = Gate(descriptor), Bits.of(m.mode.cpl, 2)
    code = find(m, gate.selector, GENERAL_PROTECTION, event.external)
    wrong = ~code.is_code | cpl.ult(code.dpl)
    error_code = gate.selector.error_code | event.external
    m.fault_when(wrong, GENERAL_PROTECTION, error_code)
    m.fault_when(~code.present, SEGMENT_NOT_PRESENT, error_code)
    inner = ~code.is_conforming & code.dpl.ult(cpl)
    if m.mode.v86:
        m.fault_when(~inner | (code.dpl != 0), GENERAL_PROTECTION, error_code)
        _enter_inner(m, event, gate, code)
    else:
        _enter_protected(m, event, gate, code, inner)
    _clear_flags(m, descriptor)


def _enter_protected(
    m: X86Builder, event: Event, gate: Gate, code: Descriptor, inner: Bits
) -> None:
    if m.mode.cpl:
        with m.when(inner):
            _enter_inner(m, event, gate, code)
    same = ~inner if m.mode.cpl else Bits.of(1, 1)
    with m.when(same):
        stack = present_stack(m, event.external)
        _enter(m, event, gate, code, stack, [], Bits.of(m.mode.cpl, 2))


def _enter_inner(m: X86Builder, event: Event, gate: Gate, code: Descriptor) -> None:
    """Switch to the stack of the handler's level, which then shows where the old one stood."""
    stack = inner_stack(m, code.dpl, event.external)
    outer = [m.get(SEGMENTS["ss"].selector).zext(32), m.get(ESP)]
    if m.mode.v86:
        outer = [m.get(SEGMENTS[name].selector).zext(32) for name in V86_DATA_SEGMENTS] + outer
        for name in V86_DATA_SEGMENTS:
            nullify(m, name)
    _enter(m, event, gate, code, stack, outer, code.dpl)


def _enter(
    m: X86Builder, event: Event, gate: Gate, code: Descriptor, stack: Stack,
    outer: list[Bits], level: Bits,
) -> None:  # fmt: skip
    """Push the frame and go to the handler at `level`; the error code is last, if there is one."""

    def push(frame: Stack, width: int) -> None:
        selector = m.get(SEGMENTS["cs"].selector).zext(32)
        for value in (*outer, event.flags(m), selector, event.return_to):
            frame.push(value.low(width))
        if not event.software:
            frame.push(event.code.low(width), event.coded)

    enter(m, gate, code, stack, level, push)


def _clear_flags(m: X86Builder, gate: Descriptor) -> None:
    """The handler begins without TF, NT, RF and VM; through an interrupt gate also without IF."""
    for flag in (TF, NT, RF, VM):
        m.put(flag, Bits.of(0, 1))
    m.put(IF, m.get(IF) & gate.type.bit(0))
