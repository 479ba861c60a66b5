"""Configurations: what the shipped ones make of each instruction, and what bad ones are told."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_machines import ENGINES, machine_at, mpr, quick, step, storage, toy, trapped, word

from emu.engines.reference import Reference
from emu.toy.machine import ToyMachine
from isa.toy import Configuration, ConfigurationError, Toy
from isa.toy.table import INSTRUCTIONS, Behaviour
from isa.toy.traps import Trap

ON_EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES)

# -- the shipped ones ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", Configuration.names())
def test_shipped_configurations_load_and_say_where_they_come_from(name):
    configuration = Configuration.load(name)
    assert configuration.name == name
    assert configuration.title
    assert configuration.source
    isa = Toy(configuration)
    for form in isa.rows:
        assert isa.trace(form) is isa.trace(form)


def test_all_has_every_instruction_there_is():
    assert list(Configuration.load("toy/all").behaviours) == list(INSTRUCTIONS)


def museum(engine, name, configuration, **options):
    """A machine about to do an instruction of the museum, with rd = r3, ra = r1."""
    isa = toy(configuration)
    code = word(isa, name, rd=3, ra=1, imm=options.pop("imm", 5))
    return machine_at(engine, code, isa=isa, **options)


@ON_EVERY_ENGINE
def test_jrst1_leaves_supervisor_mode_and_jumps_in_both(engine):
    machines = [museum(engine, "JRST1", "toy/pdp10", mode=mode) for mode in (0, 1)]
    for machine in machines:
        step(machine)
    assert [mpr(machine)[:2] for machine in machines] == [(1, 5), (1, 5)]


@ON_EVERY_ENGINE
def test_splx_sets_the_bound_or_silently_does_not(engine):
    for mode, bound in ((0, 9), (1, 50)):
        machine = museum(engine, "SPLX", "toy/popf", mode=mode, bound=50, registers={1: 9})
        step(machine)
        assert (trapped(machine), mpr(machine)) == (0, (mode, 3, 0, bound))


@ON_EVERY_ENGINE
@quick
@given(mode=st.integers(0, 1), base=st.integers(0, 200), value=st.integers(0, 2**32 - 1))
def test_lra_tells_the_real_address_in_both_modes(engine, mode, base, value):
    machine = museum(engine, "LRA", "toy/lra", mode=mode, base=base, registers={1: value})
    step(machine)
    assert trapped(machine) == 0
    assert machine.state["r3"] == (value + 5 + base * 64) % 2**32


@ON_EVERY_ENGINE
def test_lra_p_traps_in_user_mode(engine):
    machine = museum(engine, "LRA_P", "toy/s360", mode=1)
    step(machine)
    assert trapped(machine) == Trap.PRIVILEGED
    machine = museum(engine, "LRA_P", "toy/s360", base=2, registers={1: 7})
    step(machine)
    assert machine.state["r3"] == 7 + 5 + 128


@ON_EVERY_ENGINE
def test_rdmode_reads_the_mode(engine):
    for mode in (0, 1):
        machine = museum(engine, "RDMODE", "toy/rdmode", mode=mode, registers={3: 99})
        step(machine)
        assert machine.state["r3"] == mode


@ON_EVERY_ENGINE
def test_mfpi_reads_another_word_in_each_mode(engine):
    memory = {64 + 7: 1000, 64 + 7 + 128: 2000}  # a window of four granules at 64
    for mode, value in ((0, 2000), (1, 1000)):
        machine = museum(
            engine, "MFPI", "toy/pdp11", mode=mode, base=1, bound=4, registers={1: 2},
            memory=memory,
        )  # fmt: skip
        step(machine)
        assert machine.state["r3"] == value


@ON_EVERY_ENGINE
@quick
@given(mode=st.integers(0, 1), bound=st.integers(1, 256), new=st.integers(0, 300))
def test_decb_lets_users_only_shrink_their_window(engine, mode, bound, new):
    machine = museum(engine, "DECB", "toy/decb", mode=mode, bound=bound, registers={1: new})
    before = storage(machine)
    step(machine)
    if mode == 1 and new > bound:
        assert trapped(machine) == Trap.PRIVILEGED
    else:
        assert (trapped(machine), mpr(machine)) == (0, (mode, 3, 0, new))
        assert storage(machine) == before


# -- behaviours ---------------------------------------------------------------------------------


def configured(tmp_path, text):
    """A machine configured by a text."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return Toy(Configuration.load(path))


PRIVILEGED = [n for n, r in INSTRUCTIONS.items() if r.user is Behaviour.TRAPS]


@pytest.mark.parametrize("name", PRIVILEGED)
@ON_EVERY_ENGINE
def test_ignored_is_a_nop_in_user_mode(engine, name, tmp_path):
    """The configuration wraps the meaning: nothing but P changes, and nobody is told."""
    isa = configured(tmp_path, f'extends = "toy/all"\n[user]\n{name} = "ignored"')
    machine = machine_at(engine, word(isa, name), isa=isa, mode=1, registers={0: 7})
    before, expected = storage(machine), machine.state.registers() | {"p": 3}
    assert step(machine) == "until"
    assert machine.state.registers() == expected
    assert storage(machine) == before
    assert Toy("toy/all").configuration.behaviours[name] is Behaviour.TRAPS


@pytest.mark.parametrize("name", PRIVILEGED)
@ON_EVERY_ENGINE
def test_executes_is_the_supervisors_meaning(engine, name, tmp_path):
    isa = configured(tmp_path, f'extends = "toy/all"\n[user]\n{name} = "executes"')
    results = []
    for mode in (0, 1):
        machine = machine_at(engine, word(isa, name), isa=isa, mode=mode, registers={0: 7})
        results.append((step(machine), machine.state.registers() | {"mode": None}))
        assert trapped(machine) == 0
    assert results[0] == results[1]


def test_without_makes_an_instruction_illegal(tmp_path):
    isa = configured(tmp_path, 'extends = "toy/clean"\nwithout = ["MUL"]')
    machine = machine_at("reference", word(toy(), "MUL"), isa=isa)
    step(machine)
    assert trapped(machine) == Trap.ILLEGAL


def test_extends_a_file_beside_it(tmp_path):
    (tmp_path / "base.toml").write_text('extends = "toy/pdp10"\ntitle = "base"')
    isa = configured(tmp_path, 'extends = "base.toml"\ninstructions = ["RDMODE"]')
    assert {"JRST1", "RDMODE"} <= set(isa.rows)
    assert isa.configuration.title == ""


@pytest.mark.parametrize(
    ("sizes", "psw_bits"),
    [
        ("words = 8\ngranule = 1\nword = 20", 11),
        ("words = 8\ngranule = 8\nword = 20", 6),
        ("words = 1024\ngranule = 16\nword = 26", 1 + 10 + 6 + 7),
    ],
)
def test_small_machines(tmp_path, sizes, psw_bits):
    """Sizes are parameters: every word of a tiny machine runs, and all of it can be reached."""
    isa = configured(tmp_path, f'extends = "toy/all"\n[machine]\n{sizes}')
    shape = isa.shape
    assert shape.psw_bits == psw_bits
    for row in isa.rows.values():
        code = isa.encoding.encode(row, dict.fromkeys(row.fields, 1))
        machine = ToyMachine(isa, [0, 0, code], engine=Reference(), entry=2)
        step(machine)
        assert machine.state.count == 1
    machine = ToyMachine(isa, engine=Reference(), entry=2)
    machine.memory.view[shape.words - 1] = 5
    machine.memory.view[2] = word(isa, "LDA", rd=1, imm=shape.words - 1)
    step(machine)
    assert machine.state["r1"] == 5


# -- mistakes -----------------------------------------------------------------------------------

CLEAN = 'extends = "toy/clean"\n'
REGISTERS = "[registers]\n"
MISTAKES = [
    (CLEAN + "instrutions = []", "mine.toml:2: unknown key 'instrutions'; did you mean"),
    (CLEAN + "title = 3", "mine.toml:2: title must be a text, not 3"),
    (CLEAN + 'instructions = "LRA"', "mine.toml:2: instructions must be a list"),
    (CLEAN + "instructions = [\n1]", "an element of instructions must be a text, not 1"),
    (CLEAN + "instructions = [\n'LRX']", "mine.toml:3: unknown instruction 'LRX'; did you mean"),
    (CLEAN + "[user]\nJRST1 = 'traps'", "mine.toml:3: [user] names JRST1, which does not exist"),
    (CLEAN + "[user]\nLPSW = 'trap'", "mine.toml:3: LPSW: unknown behaviour 'trap'; did you mean"),
    (CLEAN + "[user]\nLPSW = 1", "mine.toml:3: LPSW: unknown behaviour 1"),
    (CLEAN + "[user]\nLPSW = 'partly'", 'mine.toml:3: LPSW: "partly" needs a meaning of its own'),
    (CLEAN + "[user]\nlpsw = 'traps'", "unknown instruction 'lpsw'; did you mean 'LPSW'?"),
    (CLEAN + "without = ['LRA']", "mine.toml:2: without LRA: what it extends does not have it"),
    (CLEAN + "instructions=['MUL']\nwithout=['MUL']", "MUL is both in"),
    (CLEAN + "[machine]\nwords = 100", "mine.toml:3: words = 100 is not a power of two"),
    (CLEAN + "[machine]\nword = 31", "mine.toml:3: word = 31 bits: a PSW has 32 bits"),
    (CLEAN + "[machine]\nwords = true", "words must be a whole number, not True"),
    (CLEAN + "[machine]\nbytes = 1", "mine.toml:3: unknown key 'bytes' in [machine]"),
    (CLEAN + "[machine]\nwords = 65536", "mine.toml:3: words = 65536 with granule = 64: a PSW has"),
    (CLEAN + "[machine]\nwords = -4", "mine.toml:3: words must be a number from 1 to"),
    (CLEAN + f"[machine]\nwords = {'9' * 5000}", "not TOML"),
    (CLEAN + f"[machine]\nwords = 0x{'9' * 5000}", "mine.toml:3: words must be a number from 1 to"),
    (CLEAN + "[machine]\ngranule = 65536", "granule = 65536 is more than words = 16384"),
    (CLEAN + "[machine]\nmodes = 3", "mine.toml:3: modes = 3: a machine has 2 modes, or 4 rings"),
    (CLEAN + "[machine]\nunmapped = 1", "mine.toml:3: unmapped must be true or false, not 1"),
    (CLEAN + "instructions = ['SPL']", "mine.toml:2: SPL works on a register ipl, which is not"),
    (CLEAN + REGISTERS + "ipl = { width = 3 }", "mine.toml:3: register ipl has no role; say role"),
    (CLEAN + REGISTERS + "x = { role = 'flag' }", "mine.toml:3: register x has no width"),
    (CLEAN + REGISTERS + "x = { width = 99, role = 'flag' }", "register x has no width a word"),
    (CLEAN + REGISTERS + "x = { width = 1, role = 'flog' }", "unknown role 'flog'; did you mean"),
    (CLEAN + REGISTERS + "x = { width = 1, role = 'mode' }", "unknown role 'mode'; known are"),
    (CLEAN + REGISTERS + "x = { wide = 1 }", "mine.toml:3: x: unknown key 'wide'; did you mean"),
    (CLEAN + REGISTERS + "x = 3", "mine.toml:3: x must be a table, not 3"),
    (CLEAN + REGISTERS + "r1 = { width = 1, role = 'flag' }", "'r1' cannot be a register's name"),
    (
        "extends='toy/pdp11'\n" + REGISTERS + "ipl = { width = 2, role = 'flag' }",
        "mine.toml:3: register ipl is declared otherwise by what it extends (width = 3, role = res",
    ),
    (CLEAN + "[user]\nLPSW = 'traps'\nLPSW = 'ignored'", "mine.toml:4: not TOML"),
    (CLEAN + "instructions = []\ninstructions = []", "mine.toml:3: not TOML"),
    ("title = 'empty'", "it has no instructions; list some"),
    ("extends = 'toy/nothing'", "mine.toml:1: extends toy/nothing: there is no such configuration"),
    ("extends = 'other.toml'", "mine.toml:1: extends other.toml: No such file"),
    ("extends = 'mine.toml'", "it extends itself"),
    ("title = ", "mine.toml:1: not TOML"),
    ("user = 5", "mine.toml:1: user must be a table"),
    ("[" * 20000, "not TOML"),
    ("x" * 70000, "more than 65536 bytes are no configuration"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_mistakes_are_told_with_their_place(tmp_path, text, message):
    with pytest.raises(ConfigurationError) as error:
        configured(tmp_path, text)
    assert message in str(error.value)


def test_cycles_are_told(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "b.toml"')
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    with pytest.raises(ConfigurationError, match=r"a\.toml extends .*b\.toml extends .*a\.toml"):
        Configuration.load(tmp_path / "a.toml")


NOISE = {
    "random": random.Random(3).randbytes(1 << 20),
    "letters": b"a" * (1 << 20),
    "brackets": b"[" * (1 << 20),
    "lines": b"x = 1\n" * (1 << 18),
    "zeros": bytes(1 << 20),
}


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("size", [1 << 20, 60_000])
def test_a_megabyte_of_noise_is_refused_at_once(tmp_path, noise, size):
    """And so is as much of it as a configuration may have."""
    path = tmp_path / "noise.toml"
    path.write_bytes(NOISE[noise][:size])
    began = time.thread_time()
    with pytest.raises(ConfigurationError, match=r"noise\.toml") as error:
        Configuration.load(path)
    assert time.thread_time() - began < 1
    assert len(str(error.value)) < 1000


@quick
@given(noise=st.binary(max_size=200))
def test_noise_is_a_mistake_and_nothing_worse(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "noise.toml"
    path.write_bytes(noise)
    with pytest.raises(ConfigurationError, match=r"noise\.toml"):
        Configuration.load(path)


@pytest.mark.parametrize("name", ["toy/none", "/nowhere/x.toml", "", "..", "toy/../toy/clean\0"])
def test_what_is_not_there(name):
    with pytest.raises(ConfigurationError, match="shipped are"):
        Configuration.load(name)


def test_a_folder_is_no_configuration(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        Configuration.load(tmp_path / "folder.toml")
