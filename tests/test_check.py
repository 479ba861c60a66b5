"""The checker refuses traces that break a rule of the IR, naming the trace."""

from __future__ import annotations

import pytest

from isa.bits import Bits, leaf
from isa.check import IRError, check
from isa.registers import Register, Role
from isa.trace import Branch, Region, Trace

A = Register("a", 8, Role.GENERAL, 0)
VALUE = leaf("get", 8, (A, 8))
FLAG = leaf("field", 1, ("c", 1))
FAULT = Bits("fault", 0, (), (6, (False, False), ()))


def trace(*nodes: Bits, value: Bits | None = None) -> Trace:
    return Trace("broken", Region(list(nodes), list(nodes)), value)


def branch(*nodes: Bits, yields: tuple[tuple[Bits, Bits], ...] = ()) -> Bits:
    return Bits("when", 0, (FLAG,), Branch(Region(list(nodes), list(nodes)), list(yields)))


BROKEN = {
    "used before": [Bits("put", 0, (VALUE,), A)],
    "no operation": [Bits("increment", 8)],
    "should have 8 bits": [VALUE, Bits("add", 9, (VALUE, VALUE))],
    "must be equal": [VALUE, FLAG, Bits("add", 8, (VALUE, FLAG))],
    "condition of `when`": [VALUE, Bits("when", 0, (VALUE,), Branch(Region()))],
    "condition of `undefined`": [VALUE, Bits("undefined", 0, (VALUE,), A)],
    "1 bits are put": [FLAG, Bits("put", 0, (FLAG,), A)],
    "8 bits are put": [VALUE, Bits("put", 0, (VALUE,), "eax")],
    "stored as 16": [VALUE, Bits("store", 0, (VALUE, VALUE), ("cells", 16))],
    "direction of `fill`": [VALUE, Bits("fill", 8, (VALUE,) * 4, ("cells", 8))],
    "fault leaves 1 bits": [FLAG, Bits("fault", 0, (FLAG,), (6, (False, False), (A,)))],
    "follows a fault": [FAULT, VALUE],
    "yields 8 or 1 bits": [FLAG, VALUE, branch(yields=((VALUE, FLAG),))],
    "not computed": [FLAG, branch(VALUE, yields=((VALUE, VALUE),))],
}
MESSAGES = {"used before": "before it is computed"}


@pytest.mark.parametrize("rule", BROKEN)
def test_broken_traces_are_refused(rule: str) -> None:
    """Each broken rule has its own message, and the trace its name in it."""
    with pytest.raises(IRError, match=MESSAGES.get(rule, rule)) as caught:
        check(trace(*BROKEN[rule]))
    assert str(caught.value).startswith("broken: ")


def test_a_value_must_be_computed() -> None:
    """A trace that returns something computes it."""
    with pytest.raises(IRError, match="never computed"):
        check(trace(value=VALUE))


def test_a_sound_trace_is_returned() -> None:
    """The checker passes what keeps the rules."""
    sound = trace(VALUE, FLAG, branch(FAULT), Bits("put", 0, (VALUE,), A), value=VALUE)
    assert check(sound) is sound
