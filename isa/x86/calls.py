"""Far JMP and CALL to what is no code segment: call gates, task gates, task-state segments.

SDM volume 3, sections 5.8.2–5.8.5 and 7.3; volume 2, JMP and CALL.
"""

from __future__ import annotations

from functools import partial

from isa.bits import Bits
from isa.hints import Final
from isa.x86 import tasks, tss
from isa.x86.builder import X86Builder
from isa.x86.descriptors import Descriptor, Gate, Selector, enter_code, find
from isa.x86.entrance import enter
from isa.x86.meanings.segments import out_of_reach
from isa.x86.meanings.stack import flags_image
from isa.x86.registers import ESP, SEGMENTS
from isa.x86.returns import check_target
from isa.x86.stacks import Stack, inner_stack, present_stack
from isa.x86.tasks import Departure
from isa.x86.vectors import GENERAL_PROTECTION, SEGMENT_NOT_PRESENT

CALL_GATES: Final = 4, 12
TASK_GATE: Final = 5
MOST_PARAMETERS: Final = 31


def through_system_descriptor(
    m: X86Builder, selector: Selector, descriptor: Descriptor, *, call: bool
) -> None:
    """Where a far JMP or CALL goes that names a gate or a task."""
    _check(m, selector, descriptor)
    if not m.mode.has_system:
        m.exit("unimplemented")
        return
    departure = Departure(m.next, flags_image(m), nests=call)
    with m.when(descriptor.is_type(*CALL_GATES)):
        _through_call_gate(m, Gate(descriptor), call=call)
    with m.when(descriptor.is_type(TASK_GATE)):
        tasks.through_gate(m, Gate(descriptor), departure)
    with m.when(descriptor.is_type(*tss.AVAILABLE)):
        tasks.switch(m, selector, descriptor, departure)


def _check(m: X86Builder, selector: Selector, descriptor: Descriptor) -> None:
    known = descriptor.is_type(TASK_GATE, *CALL_GATES)
    known = known | descriptor.is_type(*tss.AVAILABLE) & ~selector.is_local
    wrong = ~known | out_of_reach(m, selector, descriptor)
    m.fault_when(wrong, GENERAL_PROTECTION, selector.error_code)
    m.fault_when(~descriptor.present, SEGMENT_NOT_PRESENT, selector.error_code)


def _through_call_gate(m: X86Builder, gate: Gate, *, call: bool) -> None:
    code, cpl = find(m, gate.selector, GENERAL_PROTECTION), Bits.of(m.mode.cpl, 2)
    above = cpl.ult(code.dpl)
    level_wrong = above if call else code.is_conforming.select(above, code.dpl != cpl)
    error_code = gate.selector.error_code
    m.fault_when(~code.is_code | level_wrong, GENERAL_PROTECTION, error_code)
    m.fault_when(~code.present, SEGMENT_NOT_PRESENT, error_code)
    if call:
        _call(m, gate, code)
    else:
        check_target(m, code, gate.offset)
        enter_code(m, gate.selector, code, gate.offset, cpl)


def _call(m: X86Builder, gate: Gate, code: Descriptor) -> None:
    """Call at the same level, or at the code's if it has more privilege and is not conforming."""
    cpl = Bits.of(m.mode.cpl, 2)
    inner = ~code.is_conforming & code.dpl.ult(cpl) if m.mode.cpl else Bits.of(0, 1)
    with m.when(inner):
        stack = inner_stack(m, code.dpl, 0)
        enter(m, gate, code, stack, code.dpl, lambda frame, width: _deep(m, gate, frame, width))
    with m.when(~inner):
        stack = present_stack(m, 0)
        enter(m, gate, code, stack, cpl, lambda frame, width: _return_address(m, frame, width))


def _return_address(m: X86Builder, frame: Stack, width: int) -> None:
    frame.push(m.get(SEGMENTS["cs"].selector).zext(32).low(width))
    frame.push(m.next.low(width))


def _deep(m: X86Builder, gate: Gate, frame: Stack, width: int) -> None:
    """The old stack pointer, the parameters from the old stack, the return address."""
    frame.push(m.get(SEGMENTS["ss"].selector).zext(32).low(width))
    frame.push(m.get(ESP).low(width))
    old = [m.stack_offset(m.get(ESP) + n * width // 8) for n in range(MOST_PARAMETERS)]
    values = [partial(m.load, "ss", place, width) for place in old]
    frame.push_all(width, gate.parameters, values)
    _return_address(m, frame, width)
