"""The builder: what `get`, `put`, `when` and `fault` mean, seen through the reference engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emu.engines.reference import Evaluation
from emu.exit import Exit
from emu.state import State
from isa.bits import Bits
from isa.fault import Fault
from isa.registers import RegisterSet, Role
from isa.semantics import Builder
from isa.trace import ScheduleError

REGISTERS = RegisterSet()
FILE = REGISTERS.add_file("file", ("a", "b", "c", "d"), 8, Role.GENERAL)
A, B, C, D = FILE.members
FLAG = REGISTERS.add("flag", 1, Role.FLAG)


class Cells:
    """A space of bytes that refuses addresses from 200 on."""

    def __init__(self) -> None:
        self.bytes = bytearray(200)

    def load(self, address: int, size: int) -> int | Fault:
        found = int.from_bytes(self.bytes[address : address + size], "little")
        return found if address < 200 else Fault(14, 0, address)

    load_for_write = load

    def store(self, address: int, size: int, value: int) -> Fault | None:
        if address >= 200:
            return Fault(14, 2, address)
        self.bytes[address : address + size] = value.to_bytes(size, "little")
        return None


class Isa:
    """As much of an instruction set as an evaluation asks for."""

    registers = REGISTERS
    spaces = {"cells": 8}  # noqa: RUF012


Meaning = Callable[[Builder], object]


def carry_out(meaning: Meaning, **registers: int) -> tuple[State, Exit | Fault | None]:
    """Trace the meaning and carry it out once."""
    m = Builder()
    meaning(m)
    state = State(Isa(), {"cells": Cells()})  # type: ignore[arg-type]
    for name, value in registers.items():
        state[name] = value
    return state, Evaluation(state, {"n": registers.get("d", 0)}).carry_out(m.finish("test"))


def test_get_answers_with_the_state_before() -> None:
    """A put is not seen by a later get, so registers swap without a temporary."""

    def swap(m: Builder) -> None:
        m.put(A, m.get(B))
        m.put(B, m.get(A))

    state, _ = carry_out(swap, a=1, b=2)
    assert (state["a"], state["b"]) == (2, 1)


@pytest.mark.parametrize("n", [0, 1])
def test_the_last_put_wins_over_an_alias(n: int) -> None:
    """A register written by name and by index has what was put last."""

    def alias(m: Builder) -> None:
        m.put(A, Bits.of(1, 8))
        m.put_indexed(FILE, m.field("n", 2), Bits.of(2, 8))
        m.put(B, Bits.of(3, 8))

    state, _ = carry_out(alias, d=n)
    assert (state["a"], state["b"]) == ((2, 3) if n == 0 else (1, 3))


@pytest.mark.parametrize("taken", [0, 1])
def test_when_merges_register_writes(taken: int) -> None:
    """A write inside happens if the condition holds; else the one before it stays."""

    def meaning(m: Builder) -> None:
        m.put(A, Bits.of(10, 8))
        with m.when(m.get(FLAG)):
            m.put(A, Bits.of(20, 8))
            m.put(B, m.load_space("cells", Bits.of(5, 8), 8) + 1)

    state, _ = carry_out(meaning, flag=taken, b=7)
    assert (state["a"], state["b"]) == ((20, 1) if taken else (10, 7))


@pytest.mark.parametrize(("outer", "inner"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_when_nests(outer: int, inner: int) -> None:
    """Effects happen if every condition around them holds."""

    def meaning(m: Builder) -> None:
        with m.when(m.get(FLAG)):
            loaded = m.load_space("cells", Bits.of(0, 8), 8)
            with m.when(m.get(A) == 1):
                m.store_space("cells", Bits.of(3, 8), loaded + 9)
                m.put(C, m.load_space("cells", Bits.of(3, 8), 8))

    state, _ = carry_out(meaning, flag=outer, a=inner, c=4)
    both = outer and inner
    assert state["c"] == (9 if both else 4)
    assert state.memory["cells"].load(3, 1) == (9 if both else 0)


def test_a_known_condition_leaves_no_when() -> None:
    """A condition known while tracing is decided there."""
    m = Builder()
    with m.when(Bits.of(1, 1)):
        m.store_space("cells", Bits.of(0, 8), Bits.of(1, 8))
    with m.when(Bits.of(0, 1)):
        m.store_space("cells", Bits.of(1, 8), Bits.of(1, 8))
    trace = m.finish("test")
    assert not trace.has("when")
    assert [n.op for n in trace.region.effects] == ["store"]


def test_a_fault_takes_everything_back() -> None:
    """Stores and register writes before a fault have not happened, nor has time passed."""

    def meaning(m: Builder) -> None:
        m.put(A, Bits.of(1, 8))
        m.store_space("cells", Bits.of(0, 8), Bits.of(77, 8))
        m.store_space("cells", Bits.of(250, 8), Bits.of(77, 8))

    state, outcome = carry_out(meaning)
    assert outcome == Fault(14, 2, 250)
    assert (state["a"], state.memory["cells"].load(0, 1), state.count) == (0, 0, 0)


def test_nothing_follows_a_certain_fault() -> None:
    """What a meaning says after a fault is dropped, register writes included."""
    m = Builder()
    m.put(A, Bits.of(1, 8))
    m.fault(6)
    m.store_space("cells", Bits.of(0, 8), Bits.of(1, 8))
    assert [n.op for n in m.finish("test").region.effects] == ["fault"]


def test_a_fault_in_a_when_leaves_no_write() -> None:
    """Writes beside a conditional fault do not merge: the branch never reaches its end."""

    def meaning(m: Builder) -> None:
        with m.when(m.get(FLAG)):
            m.put(A, Bits.of(9, 8))
            m.fault(13, 4)
        m.put(B, Bits.of(5, 8))

    state, outcome = carry_out(meaning, flag=0)
    assert (outcome, state["a"], state["b"]) == (None, 0, 5)
    state, outcome = carry_out(meaning, flag=1)
    assert (outcome, state["a"], state["b"]) == (Fault(13, 4), 0, 0)


def test_a_fault_may_leave_registers_changed() -> None:
    """What it says that it leaves survives; what the instruction put there does not."""

    def meaning(m: Builder) -> None:
        m.put(A, Bits.of(1, 8))
        m.put(B, Bits.of(2, 8))
        with m.when(m.get(FLAG)):
            m.fault(13, 4, leaving={B: m.get(C) + 1})

    state, outcome = carry_out(meaning, c=6, flag=1)
    assert (outcome, state["a"], state["b"], state.count) == (Fault(13, 4), 0, 7, 0)
    state, outcome = carry_out(meaning, c=6, flag=0)
    assert (outcome, state["a"], state["b"]) == (None, 1, 2)


def test_retire_says_how_long_an_instruction_took() -> None:
    """One, unless the meaning says otherwise."""
    assert carry_out(lambda m: None)[0].count == 1
    assert carry_out(lambda m: m.retire(m.get(A)), a=5)[0].count == 5


def test_undefined_is_not_said_when_it_is_known_to_be_false() -> None:
    """A condition that folds to 0 leaves no trace."""
    m = Builder()
    m.undefined(FLAG, Bits.of(0, 1))
    m.undefined("operand")
    assert [n.attribute for n in m.finish("test").region.effects] == ["operand"]


def test_a_value_stays_in_its_when() -> None:
    """A load inside a `when` cannot be used outside: it may not have happened."""
    m = Builder()
    with m.when(m.get(FLAG)):
        loaded = m.load_space("cells", Bits.of(0, 8), 8)
    m.put(A, loaded)
    with pytest.raises(ScheduleError, match="has not been computed"):
        m.finish("test")
