"""The clauses of Popek and Goldberg's machine model (section 2), one property each."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from toy_machines import (
    ENGINES,
    MODES,
    WORDS,
    machine_at,
    mpr,
    quick,
    step,
    storage,
    toy,
    trapped,
    windows,
    word,
)

from isa.toy.table import Behaviour
from isa.toy.traps import Trap

pytestmark = pytest.mark.parametrize("engine", ENGINES)

ISA = toy()
Q, G = ISA.shape.words, ISA.shape.granule
TRAP_PSW = ISA.known.psw.pack([0] * 12) | 1  # any PSW will do; this one is (s, 0, (0, 1))
PRIVILEGED = [n for n, b in ISA.configuration.behaviours.items() if b is Behaviour.TRAPS]
INNOCENT = [n for n, b in ISA.configuration.behaviours.items() if b is Behaviour.EXECUTES]
REFERENCES = {  # one word each that refers to address r1 of the window
    "LD": {"rd": 2, "ra": 1},
    "ST": {"rd": 2, "ra": 1},
    "POP": {"rd": 2},
    "PUSH": {"rd": 2},
    "CALL": {"imm": 4},
    "RET": {},
}


def referring(engine, name, address, **options):
    """A machine about to refer to a virtual address, code in the first granule of the window."""
    top = (address + (name in ("PUSH", "CALL"))) & 0xFFFFFFFF
    return machine_at(
        engine, word(ISA, name, **REFERENCES[name]), registers={1: address, 7: top}, **options
    )


def test_initial_state(engine):
    """A machine starts in supervisor mode with R = (0, q)."""
    machine = machine_at(engine, None, p=5)
    assert mpr(machine) == (0, 5, 0, Q // G)


@pytest.mark.parametrize("name", REFERENCES)
@quick
@given(mode=MODES, window=windows(), data=st.data())
def test_relocation_is_active_in_both_modes(engine, name, mode, window, data):
    """An address a in the window means E[a + l], whatever the mode."""
    base, bound = window
    address = data.draw(st.integers(3, bound * G - 1))
    machine = referring(engine, name, address, mode=mode, base=base, bound=bound)
    before = storage(machine)
    before[address + base * G] ^= 0x1234
    machine.memory.view[address + base * G] ^= 0x1234
    value = before[address + base * G]
    step(machine)
    assert trapped(machine) == 0
    if name in ("LD", "POP"):
        assert machine.state["r2"] == value
    if name == "RET":
        assert machine.state["p"] == value % Q
    expected = {"ST": 0, "PUSH": 0, "CALL": 3}.get(name, value)
    before[address + base * G] = expected
    assert storage(machine) == before


@pytest.mark.parametrize("name", REFERENCES)
@quick
@given(mode=MODES, base=st.integers(0, 255), beyond=st.integers(0, 2**32 - 1))
def test_memory_trap_if_a_plus_l_reaches_q(engine, name, mode, base, beyond):
    """a + l >= q traps even if a < b: a bound says nothing about where storage ends."""
    first = Q - base * G
    address = first + beyond % (511 * G - first) if beyond % 2 else min(first + beyond, 2**32 - 1)
    machine = referring(engine, name, address, mode=mode, base=base, bound=511)
    step(machine)
    assert trapped(machine) == Trap.MEMORY
    assert machine.state["info"] == address


@pytest.mark.parametrize("name", REFERENCES)
@quick
@given(mode=MODES, window=windows(), data=st.data())
def test_memory_trap_if_a_reaches_b(engine, name, mode, window, data):
    """a >= b traps even if E[a + l] exists."""
    base, bound = window
    assume(base + bound < 256)
    address = data.draw(st.integers(bound * G, (256 - base) * G - 1))
    machine = referring(engine, name, address, mode=mode, base=base, bound=bound)
    step(machine)
    assert trapped(machine) == Trap.MEMORY
    assert machine.state["info"] == address


@quick
@given(mode=MODES)
def test_bound_q_reaches_the_last_word(engine, mode):
    """R = (0, q) means all of storage: the paper's (0, q-1) would miss word q-1."""
    machine = referring(engine, "LD", Q - 1, mode=mode, memory={Q - 1: 77})
    step(machine)
    assert machine.state["r2"] == 77


@quick
@given(mode=MODES, window=windows(), data=st.data())
def test_program_counter_is_relative_to_r(engine, mode, window, data):
    """The next instruction is E[P + l]."""
    base, bound = window
    p = data.draw(st.integers(0, bound * G - 1))
    machine = machine_at(
        engine, word(ISA, "LI", rd=3, imm=42), mode=mode, base=base, bound=bound, p=p
    )
    step(machine)
    assert machine.state["r3"] == 42
    assert mpr(machine) == (mode, (p + 1) % Q, base, bound)


@quick
@given(mode=MODES, base=st.integers(0, 255), bound=st.integers(0, 511), outside=st.data())
def test_fetch_traps_like_any_reference(engine, mode, base, bound, outside):
    """P outside of the window or of storage is a memory trap; the old PSW has that P."""
    first = max(0, min(bound * G, Q - base * G))
    assume(first < Q)
    p = outside.draw(st.integers(first, Q - 1))
    machine = machine_at(engine, None, mode=mode, base=base, bound=bound, p=p)
    old = machine.state["psw"]
    step(machine)
    assert (trapped(machine), machine.state["info"]) == (Trap.MEMORY, p)
    assert machine.memory.view[0] == old


@quick
@given(mode=MODES, window=windows(), new=WORDS, code=st.sampled_from([0, "SVC", "DIV"]))
def test_trap_swaps_psws_and_changes_nothing_else(engine, mode, window, new, code):
    """E[0] := (M, P, R), (M, P, R) := E[1]; every other word and register stays."""
    base, bound = window
    instruction = code if code == 0 else word(ISA, code, rd=1, ra=2, rb=3, imm=0)
    registers = {1: 11, 2: 22, 3: 0, 7: 77}
    machine = machine_at(
        engine,
        instruction,
        mode=mode,
        base=base,
        bound=bound,
        memory={1: new, 5: 55},
        registers=registers,
        p=7,
    )
    before, old = storage(machine), machine.state["psw"]
    values = [machine.state[f"r{i}"] for i in range(8)]
    step(machine)
    assert machine.state.count == 1
    assert trapped(machine) in (Trap.ILLEGAL, Trap.SVC, Trap.ARITHMETIC)
    assert machine.state["psw"] == new
    assert storage(machine) == [old, *before[1:]]
    assert [machine.state[f"r{i}"] for i in range(8)] == values


@quick
@given(psw=WORDS)
def test_psw_packing_loses_nothing(engine, psw):
    """LPSW takes (M, P, R) from one word, and a trap puts the same word back."""
    machine = machine_at(engine, word(ISA, "LPSW", imm=100), memory={100: psw, 1: TRAP_PSW})
    step(machine)
    assert machine.state["psw"] == psw
    assert mpr(machine) == (psw >> 31, psw >> 17 & Q - 1, psw >> 9 & 255, psw & 511)
    assert ISA.known.psw.unpack(psw) == {
        r: machine.state[r.name] for r in (ISA.known.m, ISA.known.p, ISA.known.l, ISA.known.b)
    }


@pytest.mark.parametrize("name", PRIVILEGED)
@quick
@given(window=windows(), p=st.integers(2, G - 1), fields=st.tuples(*[st.integers(0, 7)] * 4))
def test_privileged_instructions_trap_in_user_mode(engine, name, window, p, fields):
    """Each does nothing in u but trap, storing its own P; the kernel can read which it was."""
    base, bound = window
    rd, ra, rb, imm = fields
    code = word(ISA, name, rd=rd, ra=ra, rb=rb, imm=imm)
    machine = machine_at(engine, code, mode=1, base=base, bound=bound, p=p, memory={1: TRAP_PSW})
    before, old = storage(machine), machine.state["psw"]
    assert step(machine) == "until"
    assert (trapped(machine), machine.state["info"]) == (Trap.PRIVILEGED, code)
    assert storage(machine) == [old, *before[1:]]
    assert machine.state["armed"] == 0


@pytest.mark.parametrize("name", PRIVILEGED)
@quick
@given(window=windows(), p=st.integers(16, G - 1), fields=st.tuples(*[st.integers(0, 7)] * 4))
def test_privileged_instructions_do_not_trap_in_supervisor_mode(engine, name, window, p, fields):
    """The same words in s have their meaning."""
    base, bound = window
    rd, ra, rb, imm = fields
    code = word(ISA, name, rd=rd, ra=ra, rb=rb, imm=imm)
    machine = machine_at(engine, code, base=base, bound=bound, p=p)
    step(machine)
    assert trapped(machine) == 0
    assert machine.state.count == 1


@pytest.mark.parametrize("name", INNOCENT)
@quick
@given(
    window=windows(2),
    fields=st.tuples(*[st.integers(0, 7)] * 3),
    imm=st.integers(0, 2**16 - 1),
    values=st.lists(WORDS | st.integers(0, 2 * G), min_size=8, max_size=8),
)
def test_other_instructions_do_not_see_the_mode(engine, name, window, fields, imm, values):
    """From states that differ in M only, they lead to states that differ in M only."""
    base, bound = window
    rd, ra, rb = fields
    code = word(ISA, name, rd=rd, ra=ra, rb=rb, imm=imm)
    results = []
    for mode in (0, 1):
        machine = machine_at(
            engine, code, mode=mode, base=base, bound=bound, p=9,
            registers=dict(enumerate(values)), memory={1: TRAP_PSW},
        )  # fmt: skip
        step(machine)
        assert trapped(machine) or machine.state["mode"] == mode
        registers = machine.state.registers() | {"mode": None}
        results.append((registers, storage(machine)[1:], storage(machine)[0] & 0x7FFFFFFF))
    assert results[0] == results[1]


@quick
@given(window=windows(2), values=st.lists(WORDS, min_size=8, max_size=8), code=WORDS, mode=MODES)
def test_every_word_in_every_state_is_one_step(engine, window, values, code, mode):
    """An instruction is a total function: no word and no state stops the machine unexpectedly."""
    machine = machine_at(
        engine, code, mode=mode, base=window[0], bound=window[1],
        registers=dict(enumerate(values)),
    )  # fmt: skip
    assert step(machine) in ("until", "halt")
    assert machine.state.count == 1


@quick
@given(mode=MODES, rl=WORDS, rb=WORDS)
def test_load_r_changes_relocation_only(engine, mode, rl, rb):
    """LR sets R, which decides already where the next instruction comes from."""
    machine = machine_at(engine, word(ISA, "LR", ra=1, rb=2), p=9, registers={1: rl, 2: rb})
    step(machine)
    assert mpr(machine) == (0, 10, rl & 255, rb & 511)


@pytest.mark.parametrize("mode", [0, 1])
def test_supervisor_call_traps_in_both_modes(engine, mode):
    """SVC stores its own P; the number is in INFO."""
    machine = machine_at(engine, word(ISA, "SVC", imm=300), mode=mode, p=9)
    old = machine.state["psw"]
    step(machine)
    assert (trapped(machine), machine.state["info"]) == (Trap.SVC, 300)
    assert machine.memory.view[0] == old


def test_program_counter_wraps(engine):
    """P + 1 is taken modulo its width: after word q-1 comes word 0."""
    machine = machine_at(engine, word(ISA, "NOP"), p=Q - 1)
    step(machine)
    assert machine.state["p"] == 0
