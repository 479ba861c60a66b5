"""From EIP to the linear address of the next instruction, and what comes before that instruction.

SDM volume 3, section 6.9, "Priority Among Simultaneous Exceptions and Interrupts".
"""

from __future__ import annotations

from functools import cache

from isa.bits import Bits
from isa.semantics import Builder
from isa.trace import Trace
from isa.x86 import debug
from isa.x86.arrival import ARRIVING, DOUBLES_AT, FAILURE_AT, FAILURES
from isa.x86.mode import Mode
from isa.x86.models import model_of
from isa.x86.registers import ARRIVAL, ARRIVAL_CODE, EIP, PENDING, SEGMENTS
from isa.x86.vectors import DEBUG, DOUBLE_FAULT, GENERAL_PROTECTION


def fetch(mode: Mode) -> Trace:
    """CS base + EIP, if nothing is to be delivered first."""
    limited = mode.has_system and "cs" not in mode.flat
    breakpoints = mode.debugged and not mode.resume
    wide = model_of(mode.model).has("386")
    held = mode.pending and mode.shadow
    flat = "cs" in mode.flat
    return _fetch(flat, wide, limited, mode.arriving, mode.pending, held, breakpoints)


@cache
def _fetch(
    flat: bool,
    wide: bool,
    limited: bool,
    arriving: bool,
    pending: bool,
    held: bool,
    breakpoints: bool,
) -> Trace:
    """`wide`: EIP; models before the 386 have an IP of 16 bits.

    `held`: a data breakpoint after an instruction that holds interrupts back met the operand of MOV
    or POP to SS, and its #DB waits as they do (SDM volume 3, section 6.8.3).
    """
    m = Builder()
    code, offset = SEGMENTS["cs"], m.get(EIP) if wide else m.get(EIP).low(16).zext(32)
    address = offset if flat else m.get(code.base) + offset
    if arriving:
        _arrive(m)
    if pending:
        _debug(m, m.get(PENDING).zext(32), held=debug.BREAKPOINTS if held else 0)
    if breakpoints:
        _debug(m, debug.hits(m, address, 1, debug.EXECUTED))
    if limited:
        m.fault_when(m.get(code.limit).ult(offset), GENERAL_PROTECTION, 0)
    return m.finish("fetch", address)


def _debug(m: Builder, status: Bits, held: int = 0) -> None:
    """#DB with these bits of DR6, if there are any but those that are held back."""
    with m.when((status & ~held) != 0):
        m.fault(DEBUG, None, status)


def _arrive(m: Builder) -> None:
    """Load the segments of a task that was just entered, or say why that cannot be."""
    state = m.get(ARRIVAL)
    failure = state.bits(FAILURE_AT, 4)
    m.fault_when((failure != 0) & state.bit(DOUBLES_AT), DOUBLE_FAULT, 0)
    for vector in FAILURES:
        m.fault_when(failure == vector, vector, m.get(ARRIVAL_CODE))
    m.fault_when(state != 0, ARRIVING)
