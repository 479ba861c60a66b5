"""Register writes in nested `when`s: what does not happen leaves what was there before."""

from isa.bits import Bits
from isa.registers import RegisterSet, Role
from isa.semantics import Builder
from isa.trace import Rewriter

REGISTERS = RegisterSet()
X = REGISTERS.add("x", 8, Role.GENERAL)
A = REGISTERS.add("a", 1, Role.FLAG)
B = REGISTERS.add("b", 1, Role.FLAG)


def outcome(a: int, b: int) -> int:
    """x after: x := 1; if a: (if b: x := 2)."""
    m = Builder()
    m.put(X, Bits.of(1, 8))
    with m.when(m.get(A) == 1), m.when(m.get(B) == 1):
        m.put(X, Bits.of(2, 8))
    (put,) = m.finish("nested").puts
    known = {A: Bits.of(a, 1), B: Bits.of(b, 1), X: Bits.of(99, 8)}
    return (
        Rewriter(lambda n: known[n.attribute[0]] if n.op == "get" else None)
        .value(put.args[0])
        .value
    )


def test_inner_write_that_does_not_happen_leaves_the_outer_one():
    assert [outcome(a, b) for a in (0, 1) for b in (0, 1)] == [1, 1, 1, 2]
