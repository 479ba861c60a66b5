"""Code that was looked at before it runs: what would see or load the host's stops.

A process has other selectors and tables than the machine that a monitor thinks it has, and no
processor tells on who reads them; and a selector of the host's, once loaded, reaches all of the
process. An instruction that does either, by its meaning, ends before it begins, with the fault
`LOOKED_AT`: it stands for the breakpoint (INT3) that a hosted monitor plants before it lets a page
of code run. What traps anyhow needs none. Nothing here knows an instruction by name.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Final, cast

from isa.bits import Bits
from isa.registers import Register
from isa.trace import Rewriter, Trace
from isa.x86 import registers as r
from isa.x86.form import Form
from isa.x86.machine import X86
from isa.x86.tracing import faulting, trace

LOOKED_AT: Final = 0x103
"""The fault before such an instruction: no exception has that number."""
OF_THE_HOST: Final[frozenset[Register]] = frozenset(
    {segment.selector for segment in r.SEGMENTS.values()}
    | {r.GDT_BASE, r.GDT_LIMIT, r.LDTR, r.LDT_BASE, r.LDT_LIMIT, r.LDT_ATTRIBUTES, r.TR}
    | {r.MP, r.EM, r.TS, r.ET, r.NE}
)
"""Registers that hold the host's in a process, whatever a monitor asks for, and that an instruction
may read without a trap."""
REACHES: Final[frozenset[Register]] = frozenset(
    part for s in r.SEGMENTS.values() for part in (s.base, s.limit, s.attributes)
)
"""Registers that say what can be reached."""
_KNOWN: Final = {r.IDT_LIMIT: 0}
_FEW: Final = 8  # bits of operands that are tried one by one


@cache
def sees_the_host(form: Form) -> bool:
    """Whether a form reads any of the host's registers and does not always trap."""
    return not trace(form).read().isdisjoint(OF_THE_HOST) and not traps(form)


@cache
def loads_the_hosts(form: Form) -> bool:
    """Whether a form may load a segment, and does not always trap."""
    return not trace(form).written().isdisjoint(REACHES) and not traps(form)


@cache
def traps(form: Form) -> bool:
    """Whether a form faults in a process whatever its operands are, before it does anything: where
    no gate is, and the like."""
    for effect in Rewriter(_known).trace(trace(form)).region.effects:
        if effect.op != "when" or not effect.attribute.region.ends:
            return bool(effect.op == "fault")
        if _is_true(effect.args[0]):
            return True
    return False


def _known(node: Bits) -> Bits | None:
    if node.op == "get" and node.attribute[0] in _KNOWN:
        return Bits.of(_KNOWN[node.attribute[0]], node.width)
    return None


def _is_true(condition: Bits) -> bool:
    """Whether a condition holds for all operands: of few bits, which are tried."""
    leaves = [node for node in _leaves(condition) if not node.is_const]
    names = {node.attribute for node in leaves if node.op == "field"}
    if len(names) != 1 or any(node.op != "field" or node.width > _FEW for node in leaves):
        return False
    return all(_holds(condition, value) for value in range(1 << leaves[0].width))


def _leaves(node: Bits) -> list[Bits]:
    return [leaf for arg in node.args for leaf in _leaves(arg)] if node.args else [node]


def _holds(condition: Bits, value: int) -> bool:
    def operand(node: Bits) -> Bits | None:
        return Bits.of(value, node.width) if node.op == "field" else None

    found = Rewriter(operand).value(condition)
    return found.is_const and bool(found.value)


class Inspected(X86):
    """The x86 of a process whose code is looked at: for loads of segments, and with `reads` for all
    that sees the host."""

    def __init__(self, model: str, *, reads: bool) -> None:
        super().__init__(model)
        self.reads = reads
        self.fingerprint = f"{self.fingerprint} inspected {reads}"

    def trace(self, form: Hashable) -> Trace:
        """The form's trace, or the stop before it."""
        found = cast(Form, form)
        stops = loads_the_hosts(found) or (self.reads and sees_the_host(found))
        return faulting(found, LOOKED_AT) if stops else trace(found)
