"""Code that was looked at before it runs: what would see the host in place of the machine stops.

A process has other selectors and tables than the machine that a monitor thinks it has, and no
processor tells on those who read them. An instruction that does, by its meaning, ends before it
begins, with the fault `LOOKED_AT`: it stands for the breakpoint (INT3) that a hosted monitor plants
before it lets a page of code run. Nothing here knows an instruction by name.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Final, cast

from isa.registers import Register
from isa.trace import Trace
from isa.x86 import registers as r
from isa.x86.builder import X86Builder
from isa.x86.form import Form
from isa.x86.machine import X86, trace, trace_behind

LOOKED_AT: Final = 0x103
"""The fault before such an instruction: no exception has that number."""
OF_THE_HOST: Final[frozenset[Register]] = frozenset(
    {segment.selector for segment in r.SEGMENTS.values()}
    | {r.GDT_BASE, r.GDT_LIMIT, r.LDTR, r.LDT_BASE, r.LDT_LIMIT, r.LDT_ATTRIBUTES, r.TR}
    | {r.MP, r.EM, r.TS, r.ET, r.NE}
)
"""Registers that hold the host's in a process, whatever a monitor asks for, and that an instruction
may read without a trap."""


@cache
def sees_the_host(form: Form) -> bool:
    """Whether a form reads any of them."""
    read = {node.attribute[0] for node in trace(form).walk() if node.op == "get"}
    return not read.isdisjoint(OF_THE_HOST)


class Inspected(X86):
    """The x86 of a process whose code is looked at."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.fingerprint = f"{self.fingerprint} inspected"

    def trace(self, form: Hashable) -> Trace:
        """The form's trace, or the stop before it."""
        found = cast(Form, form)
        return _stopped(found) if sees_the_host(found) else trace(found)


@cache
def _stopped(form: Form) -> Trace:
    return trace_behind(form, _stop)


def _stop(m: X86Builder) -> bool:
    m.fault(LOOKED_AT)
    return True
