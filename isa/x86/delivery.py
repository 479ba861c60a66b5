"""How the processor takes an exception or interrupt (SDM volume 3, chapters 6 and 20)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from isa.bits import Bits
from isa.semantics import Builder
from isa.trace import Trace
from isa.x86 import gates, real
from isa.x86.builder import X86Builder
from isa.x86.form import Form
from isa.x86.mode import Mode
from isa.x86.registers import CR2, IF, SHADOW
from isa.x86.vectors import PAGE_FAULT


@dataclass(frozen=True, slots=True)
class Event:
    """What is delivered: an interrupt or exception.

    `vector` is 8 bits wide; `code` 32, pushed if `coded` (1 bit); `address` is a page fault's;
    `return_to` is the EIP that is pushed; `software`: INT n, INT3 or INTO, which need a right to
    use the gate, and whose own faults are not external (EXT) to the program.
    """

    vector: Bits
    code: Bits
    coded: Bits
    return_to: Bits
    software: bool = False


def software_event(m: X86Builder, vector: Bits) -> Event:
    """INT n, INT3, INTO: what comes next is returned to."""
    return Event(vector, Bits.of(0, 32), Bits.of(0, 1), m.next, software=True)


def deliver(m: X86Builder, event: Event) -> None:
    """Enter the event's handler."""
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
    vector, coded = m.field("vector", 8), m.field("coded", 1)
    m.put(SHADOW, Bits.of(0, 1))
    page_fault = coded & (vector == PAGE_FAULT)
    m.put(CR2, page_fault.select(m.field("address", 32), m.get(CR2)))
    deliver(m, Event(vector, m.field("code", 32), coded, m.here))
    return m.finish("delivery")


@cache
def interruptible(mode: Mode) -> Trace:
    """1 if an external interrupt can be taken now."""
    m = Builder()
    return m.finish("interruptible", m.get(IF) & Bits.of(not mode.shadow, 1))
