"""Entering a procedure through a gate: its frame is as wide as the gate, not as the instruction.

SDM volume 3, sections 5.8.5 and 6.12.1.
"""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.hints import TYPE_CHECKING
from isa.x86.descriptors import Descriptor, Gate, enter_code, fill
from isa.x86.registers import ESP
from isa.x86.stacks import Stack
from isa.x86.vectors import GENERAL_PROTECTION

if TYPE_CHECKING:
    from isa.x86.builder import X86Builder

Push = Callable[[Stack, int], None]
"""Pushes a frame of so many bits an item on a stack."""


def enter(
    m: X86Builder, gate: Gate, code: Descriptor, stack: Stack, level: Bits, push: Push
) -> None:
    """Push a frame, if it fits, and go to the gate's target at `level` on that stack."""
    frames = {width: stack.begun() for width in (32, 16)}
    for width, frame in frames.items():
        push(frame, width)
        with m.when(gate.has_width(width)):
            frame.check(m)
    m.fault_when(code.limit.ult(gate.offset), GENERAL_PROTECTION, stack.external)
    for width, frame in frames.items():
        with m.when(gate.has_width(width)):
            frame.write(m)
    m.put(ESP, gate.is_wide.select(frames[32].pointer, frames[16].pointer))
    if stack.is_new:
        fill(m, "ss", stack.selector, stack.base, stack.limit, stack.attributes)
    enter_code(m, gate.selector, code, gate.offset, level)
