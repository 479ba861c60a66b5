"""The z3 reading agrees with the reference engine, and says what a fault or `undefined` leaves."""

from __future__ import annotations

import random
from typing import Any

import pytest

from emu.engines.reference import Reference
from isa.semantics import Builder
from isa.smt import Outcome, Symbols, execute
from isa.x86.machine import X86
from isa.x86.registers import CF, DF, EAX, ECX, EDX, OF
from tests.machines import DATA, x86_machine
from tests.silicon.executor import FLAT_MODE

z3 = pytest.importorskip("z3")

INSTRUCTIONS = {
    "add eax, ecx": "01 c8",
    "sbb byte [esi], ah": "18 26",
    "shl ecx, cl": "d3 e1",
    "shld cx, dx, 20": "66 0f a4 d1 14",
    "bts dword [esi], ecx": "0f ab 0e",
    "bsf eax, ecx": "0f bc c1",
    "div cl": "f6 f1",
    "xadd al, ah": "0f c0 e0",
    "cmpxchg8b [esi]": "0f c7 0e",
    "movsd": "a5",
    "rep stosb": "f3 aa",
    "repe cmpsb": "f3 a6",
    "repne scasd": "f2 af",
}


def reading(code: bytes) -> tuple[Symbols, Outcome]:
    isa = X86()
    instruction = isa.decode(code, FLAT_MODE)
    symbols = Symbols(isa.spaces)
    symbols.fields |= {n: z3.BitVecVal(v, _field(n)) for n, v in instruction.fields.items()}
    return symbols, execute(isa.trace(instruction.form), symbols)


def _field(name: str) -> int:
    return 8 if name.startswith("imm") else 3 if name[:3] in ("reg", "bas", "ind") else 32


@pytest.mark.parametrize("text", INSTRUCTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_the_reading_agrees_with_the_reference(text: str, seed: int) -> None:
    """Put numbers for the variables: the terms become what the engine computes."""
    rng = random.Random(seed)
    registers = {name: rng.getrandbits(32) for name in ("eax", "edx", "ebx")}
    registers |= {"ecx": rng.randrange(300), "esi": DATA + 400, "edi": DATA + 800}
    code = bytes.fromhex(INSTRUCTIONS[text])
    data = rng.randbytes(1200)
    state = x86_machine(code, registers, data)
    symbols, outcome = reading(code)
    known = [(v, z3.BitVecVal(state.values[r.slot], r.width)) for r, v in symbols.registers.items()]
    if "linear" in symbols.memory:
        known.append((symbols.memory["linear"], _array(data)))
    known += [(fresh, _zero(fresh)) for fresh in outcome.fresh]
    stop = Reference().run(state, 1)

    def number(what: Any) -> Any:
        return z3.simplify(z3.substitute(what, *known))

    faults = any(z3.is_true(number(fault.condition)) for fault in outcome.faults)
    assert faults == (stop.fault is not None)
    undefined = {target for target, when in outcome.undefined if z3.is_true(number(when))}
    for register, after in outcome.registers.items():
        if register not in undefined and "operand" not in undefined:
            assert number(after).as_long() == state.values[register.slot], register
    for array in outcome.memory.values():
        for address in (*range(DATA + 396, DATA + 440), *range(DATA + 796, DATA + 808)):
            found = number(z3.Select(array, z3.BitVecVal(address, 32))).as_long()
            assert found == state.memory["linear"].load(address, 1)
    assert faults or number(outcome.retired).as_long() == 1


def _array(data: bytes) -> Any:
    array = z3.K(z3.BitVecSort(32), z3.BitVecVal(0, 8))
    for offset, byte in enumerate(data):
        array = z3.Store(array, z3.BitVecVal(DATA + offset, 32), z3.BitVecVal(byte, 8))
    return array


def _zero(variable: Any) -> Any:
    return z3.BitVecVal(0, variable.size())


def test_a_fault_leaves_the_registers() -> None:
    """Where DIV faults, EAX is EAX before."""
    symbols, outcome = reading(bytes.fromhex("f6 f1"))
    solver = z3.Solver()
    solver.add(symbols.registers[ECX] == 0)
    solver.add(z3.Or(z3.Not(outcome.faulted), outcome.registers[EAX] != symbols.registers[EAX]))
    assert solver.check() == z3.unsat


def test_what_a_fault_changes() -> None:
    """A register that a fault leaves changed is so where it faults, and only there."""
    m = Builder()
    m.put(EAX, m.get(ECX))
    with m.when(m.get(CF)):
        m.fault(6, leaving={EAX: m.get(EDX)})
    symbols = Symbols(X86().spaces)
    outcome = execute(m.finish("test"), symbols)
    after = z3.If(symbols.registers[CF] == 1, symbols.registers[EDX], symbols.registers[ECX])
    solver = z3.Solver()
    solver.add(outcome.registers[EAX] != after)
    assert solver.check() == z3.unsat


def test_an_undefined_flag_can_be_anything() -> None:
    """OF after a shift by more than 1 depends on nothing; after a shift by 1 it is known."""
    symbols, outcome = reading(bytes.fromhex("d3 e1"))
    count = z3.Extract(4, 0, symbols.registers[ECX])
    for least, expected in ((2, z3.sat), (1, z3.unsat)):
        solver = z3.Solver()
        solver.add(count == least, symbols.registers[ECX] < 1 << 16, symbols.registers[ECX] >= 0)
        solver.add(outcome.registers[OF] == 1)
        assert solver.check() == expected


def test_only_what_may_be_written_is_in_the_outcome() -> None:
    """ADD EAX, ECX writes CF and one of the general registers, DF and memory never."""
    _, outcome = reading(bytes.fromhex("01 c8"))
    assert {CF, EAX, EDX} <= outcome.registers.keys()  # an indexed write names the whole file
    assert DF not in outcome.registers
    assert not outcome.memory
