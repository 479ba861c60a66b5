"""How the processor takes an exception or interrupt (SDM volume 3, chapters 6 and 20)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from isa.bits import Bits
from isa.semantics import Builder
from isa.trace import Trace
from isa.x86 import arrival, debug, gates, real
from isa.x86.builder import X86Builder
from isa.x86.form import Form
from isa.x86.mode import Mode
from isa.x86.models import model_of
from isa.x86.registers import CR2, DR6, DR7, IF, NMI_BLOCKED, PENDING, RF, SHADOW
from isa.x86.vectors import (
    BOUND_RANGE_EXCEEDED,
    DEBUG,
    DEVICE_NOT_AVAILABLE,
    DIVIDE_ERROR,
    DOUBLE_FAULT,
    FLOATING_POINT_ERROR,
    INVALID_OPCODE,
    NMI,
    PAGE_FAULT,
    SIMD_FLOATING_POINT,
)

ZERO = Bits.of(0, 1)
FAULTS_WITHOUT_CODE = (
    DIVIDE_ERROR,
    BOUND_RANGE_EXCEEDED,
    INVALID_OPCODE,
    DEVICE_NOT_AVAILABLE,
    FLOATING_POINT_ERROR,
    SIMD_FLOATING_POINT,
)


@dataclass(frozen=True, slots=True)
class Event:
    """What is delivered: an interrupt or exception.

    `vector` is 8 bits wide; `code` 32, pushed if `coded` (1 bit); `address` is a page fault's;
    `return_to` is the EIP that is pushed; `resumes` is RF in the pushed flags; `software`: INT n,
    INT3 or INTO, which need a right to use the gate, and whose own faults are not external (EXT)
    to the program.
    """

    vector: Bits
    code: Bits
    coded: Bits
    return_to: Bits
    resumes: Bits
    software: bool = False

    @property
    def external(self) -> int:
        """EXT of the error codes of faults in the delivery (SDM volume 3, section 6.13)."""
        return int(not self.software)

    def flags(self, m: X86Builder) -> Bits:
        """EFLAGS as they are pushed, with VM and RF."""
        from isa.x86.meanings.stack import flags_image

        above = Bits.of(m.mode.v86, 1).concat(self.resumes)
        return flags_image(m) | above.zext(32) << 16


def software_event(m: X86Builder, vector: Bits) -> Event:
    """INT n, INT3, INTO: what comes next is returned to."""
    return Event(vector, Bits.of(0, 32), ZERO, m.next, ZERO, software=True)


def resumes(m: X86Builder, vector: Bits, coded: Bits) -> Bits:
    """RF as it is pushed: 1 for faults, so that no breakpoint meets their instruction again.

    SDM volume 3, section 17.3.1.1. What has no error code may be a trap or interrupt.
    """
    fault = coded & (vector != DOUBLE_FAULT)
    for number in FAULTS_WITHOUT_CODE:
        fault = fault | (vector == number)
    return fault | m.get(RF)


def deliver(m: X86Builder, event: Event) -> None:
    """Enter the event's handler; a debug trap of INT n itself is lost."""
    m.put(PENDING, Bits.of(0, 16))
    if m.mode.real:
        real.interrupt(m, event)
    else:
        gates.interrupt(m, event)


@cache
def delivery(mode: Mode) -> Trace:
    """The trace by which a mode takes exceptions and external interrupts.

    Fields: vector, code, coded (whether there is a code), address (of a page fault).
    """
    m = X86Builder(Form("(delivery)", (), 32, 32, "", False, "ds", mode))
    m.go(m.here)  # nothing follows in memory: there is no instruction
    vector, coded = m.field("vector", 8), m.field("coded", 1)
    if mode.arriving:
        _deliver_or_arrive(m, vector, coded)
    else:
        _deliver_here(m, vector, coded)
    return m.finish("delivery")


def _deliver_or_arrive(m: X86Builder, vector: Bits, coded: Bits) -> None:
    """A task's segments are loaded as if that were an exception's handler."""
    arrives = ~coded & (vector == arrival.ARRIVING)
    with m.when(arrives):
        arrival.arrive(m)
    with m.when(~arrives):
        arrival.end(m)
        _deliver_here(m, vector, coded)


def _deliver_here(m: X86Builder, vector: Bits, coded: Bits) -> None:
    m.put(SHADOW, Bits.of(0, 1))
    page_fault = coded & (vector == PAGE_FAULT)
    m.put(CR2, page_fault.select(m.field("address", 32), m.get(CR2)))
    if not model_of(m.mode.model).is_8086:
        m.put(NMI_BLOCKED, m.get(NMI_BLOCKED) | ~coded & (vector == NMI))
    with m.when(~coded & (vector == DEBUG)):
        _tell_debugger(m)
    deliver(m, Event(vector, m.field("code", 32), coded, m.here, resumes(m, vector, coded)))


def _tell_debugger(m: X86Builder) -> None:
    """DR6 gains what a #DB is for, which stands in place of an address; GD ends.

    B0–B3 tell of this one alone (SDM volume 3, section 17.2.3).
    """
    status = m.field("address", 32)
    m.put(DR6, m.get(DR6) & ~debug.BREAKPOINTS | status)
    m.put(DR7, m.get(DR7) & ~debug.GENERAL_DETECT)


@cache
def interruptible(mode: Mode) -> Trace:
    """1 if an external interrupt can be taken now."""
    m = Builder()
    return m.finish("interruptible", m.get(IF) & _between(mode))


@cache
def nmi_interruptible(mode: Mode) -> Trace:
    """1 if an NMI can be taken now: none is being handled (SDM volume 3, section 6.7.1)."""
    m = Builder()
    return m.finish("nmi_interruptible", ~m.get(NMI_BLOCKED) & _between(mode))


def _between(mode: Mode) -> Bits:
    """1 unless the last instruction holds interrupts back, or is not over."""
    return Bits.of(not (mode.shadow or mode.pending or mode.arriving), 1)
