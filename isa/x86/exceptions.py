"""Faults of the delivery of faults (SDM volume 3, section 6.15, "Double Fault Exception")."""

from __future__ import annotations

from isa.bits import Bits
from isa.fault import Fault
from isa.hints import Final
from isa.x86.vectors import (
    DIVIDE_ERROR,
    DOUBLE_FAULT,
    GENERAL_PROTECTION,
    INVALID_TSS,
    PAGE_FAULT,
    SEGMENT_NOT_PRESENT,
    STACK_FAULT,
)

_CONTRIBUTORY: Final = INVALID_TSS, SEGMENT_NOT_PRESENT, STACK_FAULT, GENERAL_PROTECTION


def combined(first: Fault, second: Fault) -> Fault | None:
    """What is delivered if `second` happens while `first` is; None: the processor shuts down.

    An external interrupt is a fault without an error code, and benign whatever its vector is.
    """
    if first.vector == DOUBLE_FAULT and first.code is not None:
        return None
    page_fault = first.vector == PAGE_FAULT and first.code is not None
    if _is_contributory(second) and (page_fault or _is_contributory(first)):
        return Fault(DOUBLE_FAULT, 0)
    if page_fault and second.vector == PAGE_FAULT:
        return Fault(DOUBLE_FAULT, 0)
    return second


def doubles(vector: Bits, coded: Bits) -> Bits:
    """Whether a contributory fault on the way to the event's handler makes a double fault."""
    found = vector == DOUBLE_FAULT
    for number in (*_CONTRIBUTORY, PAGE_FAULT):
        found = found | (vector == number)
    return coded & found | (vector == DIVIDE_ERROR)


def _is_contributory(fault: Fault) -> bool:
    if fault.vector == DIVIDE_ERROR:
        return True
    return fault.vector in _CONTRIBUTORY and fault.code is not None
