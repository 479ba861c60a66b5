"""Protected mode against a model of the manual's pseudo-code, condition by condition.

`python -m tests.protected [ENGINE]` tries every condition, these tests a part of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from emu.state import State
from isa.fault import Fault
from tests.machines import engines
from tests.protected.conditions import FAMILIES, every, pointer
from tests.protected.machine import (
    HANDLERS,
    NAMES,
    TSS_WIDE,
    WIDE_TSS,
    Condition,
    Machine,
    expected,
    registers_of,
    wide_task,
)

BASE_OF_CODE = 0x7800
STACK_SELECTOR_AT = 0x7900
EVERY_NTH = 13  # of the conditions are tried on an engine
SOME = ("reference", "python")
CONDITIONS = every()
ENGINES: dict[str, Any] = engines()


def differing(engine: str, conditions: list[Condition]) -> list[Condition]:
    """The conditions whose outcome is not the model's."""
    machine = Machine(ENGINES[engine])
    found = []
    for condition in conditions:
        wanted, steps = expected(condition)
        if machine.run(condition, steps) != wanted:
            found.append(condition)
    return found


@pytest.mark.parametrize("engine", SOME)
def test_conditions(engine: str) -> None:
    """Vector, error code, pushed frame, exits and every register and byte of memory are right."""
    tried = CONDITIONS[::EVERY_NTH]
    assert len(tried) >= 1500
    assert not differing(engine, tried)


@pytest.mark.heavy
@pytest.mark.parametrize(("share", "engine"), tuple(enumerate(engines())))
def test_other_conditions(share: int, engine: str) -> None:
    """Every engine takes other conditions."""
    tried = CONDITIONS[share + 1 :: EVERY_NTH]
    assert len(tried) >= 1500
    assert not differing(engine, tried)


def test_every_condition_is_another() -> None:
    """At least 1,500 distinct conditions, in which every family has a part."""
    assert len(CONDITIONS) == len(set(CONDITIONS)) >= 1500
    tried = set(CONDITIONS[::EVERY_NTH])
    assert all(tried & set(family()) for family in FAMILIES)


# -- several instructions -------------------------------------------------------------------------

HELD_BACK = {
    "STI": ("FB 90 90", {"if": 0}, 2),
    "STI with IF": ("FB 90 90", {"if": 1}, 0),
    "STI twice": ("FB FB 90", {"if": 0}, 2),
    "MOV SS": ("8E D0 90 90", {"if": 1, "masked": 1}, 2),
    "MOV SS twice": ("8E D0 8E D0 90", {"if": 1, "masked": 1}, 2),
    "CLI": ("90 FA 90 90", {"if": 1, "masked": 1}, None),
}
"""Code, how it begins, and after how many instructions an interrupt is taken that is requested
before the first; `masked`: before the second, as the first instruction might hold it back."""


@pytest.mark.parametrize("engine", SOME)
@pytest.mark.parametrize("case", HELD_BACK)
def test_interrupts_are_held_back(case: str, engine: str) -> None:
    """STI, if IF was 0, and MOV SS let one more instruction come before an interrupt."""
    code, registers, wanted = HELD_BACK[case]
    state = programmed(engine, bytes.fromhex(code))
    masked = registers.get("masked", 0)
    state["if"], state["eax"] = registers["if"], 0x10
    if masked:
        ENGINES[engine].run(state, 1 if case != "CLI" else 2)
    state.interrupt_requested = True
    stop = ENGINES[engine].run(state, 3)
    assert (state.count if stop.reason == "window" else None) == wanted


def programmed(engine: str, code: bytes) -> State:
    """A machine at level 0 with code of its own."""
    machine = Machine(ENGINES[engine])
    found = registers_of(Condition("nop"))
    machine.state.set_values(found[name] for name in NAMES)
    machine.space.poke(BASE_OF_CODE, code)
    machine.state["eip"] = BASE_OF_CODE
    return machine.state


@pytest.mark.parametrize("engine", SOME)
def test_a_task_is_traced(engine: str) -> None:
    """A task with T: #DB before its first instruction, which DR6 explains."""
    machine = Machine(ENGINES[engine])
    task = (TSS_WIDE, wide_task(trap=0x680001))
    wanted, steps = expected(Condition("jmp far 4", 0, (pointer(WIDE_TSS), task)))
    condition = Condition("jmp far 4", 0, (pointer(WIDE_TSS), task))
    assert machine.run(condition, steps) == wanted
    assert wanted.registers["pending"] == 0x8000
    machine.engine.run(machine.state, steps + 1)
    assert machine.state["dr6"] == 0xFFFF8FF0
    assert machine.state["eip"] == HANDLERS + 16


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("code", "after"), [("8E 13 90 90", 3), ("8E 13 8E 13 90", 4)])
def test_a_data_breakpoint_on_the_load_of_ss(code: str, after: int, engine: str) -> None:
    """#DB comes after the instruction that follows MOV to SS, also if that is another."""
    state = programmed(engine, bytes.fromhex(code))
    state["ebx"], state["dr0"], state["dr7"] = STACK_SELECTOR_AT, STACK_SELECTOR_AT, 0x00030002
    state.memory["linear"].store(STACK_SELECTOR_AT, 2, state["ss"])
    stop = ENGINES[engine].run(state, 3)
    assert stop.reason == "until"
    assert state["eip"] == HANDLERS + 16
    assert state.memory["linear"].load(state["esp"], 4) == BASE_OF_CODE + after
    assert state["dr6"] & 0xF == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_breakpoint_on_a_repeated_instruction(engine: str) -> None:
    """It is met once, before the first iteration; RF is 1 between them, also as it is pushed."""
    state = programmed(engine, bytes.fromhex("F3 AA 90"))
    state["ecx"], state["edi"], state["dr0"], state["dr7"] = 3, 0x7A00, BASE_OF_CODE, 2
    values = tuple(state.values)
    ENGINES[engine].run(state, 1)
    assert (state["eip"], state["ecx"]) == (HANDLERS + 16, 3)
    state.set_values(values)
    state["rf"], state.count = 1, 0
    for left in (2, 1, 0):
        ENGINES[engine].run(state, 3 - left)
        assert (state["ecx"], state["rf"], state["dr6"] & 1) == (left, int(left > 0), 0)
        assert pushed_flags(engine, state) >> 16 & 1 == state["rf"]
    assert state["eip"] == BASE_OF_CODE + 2


def pushed_flags(engine: str, state: State) -> int:
    """EFLAGS as an interrupt would push them; the state stays as it is."""
    values, count = tuple(state.values), state.count
    assert ENGINES[engine].deliver(state, Fault(3))
    found = state.memory["linear"].load(state["esp"] + 8, 4)
    state.set_values(values)
    state.count = count
    return found


@pytest.mark.parametrize("engine", SOME)
def test_every_step_is_traced(engine: str) -> None:
    """POPF sets TF: the instruction after it is the first to be followed by #DB."""
    state = programmed(engine, bytes.fromhex("9D 90 90"))
    state.memory["linear"].store(state["esp"], 4, 0x302)
    ENGINES[engine].run(state, 3)
    assert state["eip"] == HANDLERS + 16
    assert state.memory["linear"].load(state["esp"], 4) == BASE_OF_CODE + 2
    assert state["dr6"] == 0xFFFF4FF0
