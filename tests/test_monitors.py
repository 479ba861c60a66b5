"""Allocations, efficiency, recursion, resource control, the paravirtual port, the commands."""

from __future__ import annotations

import json
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_machines import FOLDER, HALF, LIMIT, PROGRAMS, bare, pair, virtual
from toy_machines import WORDS, engine, quick, toy, word
from vmm_command import vmm

from emu.toy.machine import ToyMachine
from emu.toy.memory import WindowMemory, WordMemory
from isa.toy.assembler import assemble
from vmm import bench as benchmark
from vmm.commands_bench import table
from vmm.commands_monitors import open_guest
from vmm.compare import Guest, compare_one
from vmm.equivalence import lockstep
from vmm.monitors import MONITORS, Allocation, AllocationError, VirtualMachine, smaller
from vmm.recursion import multiplied, recurse
from vmm.show.plot import bars

SVG = "{http://www.w3.org/2000/svg}"
WORKING = """
        .machine toy/clean
        .org 1
        .psw s, trap, 0, WORDS
start:  lui  r1, {high}
@next:  addi r1, r1, -1
        xor  r2, r2, r1
        bnz  r1, @next
        li   r0, 0
        halt
trap:   halt
"""


def guest(name, isa="toy/clean"):
    path = FOLDER / f"{name}.asm"
    given = path.with_suffix(".in")
    return Guest(path, path.read_text(), toy(isa), given.read_bytes() if given.exists() else b"")


# -- allocations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "words"), [(1, 64), (64, 65), (0, 0), (-64, 64), (16384, 64), (8192, 8256)]
)
def test_an_allocation_must_fit(base, words):
    with pytest.raises(AllocationError):
        VirtualMachine(MONITORS["hybrid"], ToyMachine(toy(), engine=engine("python")),
                       Allocation(base, words))  # fmt: skip


@quick
@given(base=st.integers(0, 300), address=st.integers(0, 299), value=WORDS)
def test_a_window_is_the_storage_below(base, address, value):
    below = WordMemory(600)
    window = WindowMemory(below, base, 300)
    told, told_below = [], []
    window.listeners.append(lambda *where: told.append(where))
    below.listeners.append(lambda *where: told_below.append(where))
    window.watch(address, 1)
    assert below.is_code(base + address, 1)
    window.write(address, [value])
    assert (told, told_below) == ([(address, 1)], [(base + address, 1)])
    assert below.load(base + address, 1) == window.load(address, 1) == value
    with pytest.raises(IndexError):
        window.write(299, [1, 2])


def test_a_machine_with_less_storage_is_another_machine():
    """Its memory traps begin where its storage ends, although P can say more."""
    isa = smaller(toy(), 128)
    machine = ToyMachine(isa, [0, 0, word(isa, "LDA", rd=1, imm=128)], engine=engine("python"),
                         entry=2)  # fmt: skip
    machine.run(1)
    assert (machine.state["cause"], machine.state["info"]) == (1, 128)


# -- efficiency ---------------------------------------------------------------------------------


def test_almost_all_of_a_computation_runs_directly():
    program = assemble(WORKING.format(high=1), "working", smaller(toy(), HALF.words))
    machine = virtual("trap-and-emulate", toy(), program.image, entry=program.entry).machine
    assert machine.run(LIMIT).reason == "halt"
    efficiency = machine.monitor.efficiency
    assert efficiency.direct_fraction >= 0.999
    assert efficiency.direct + efficiency.interpreted + efficiency.delivered == machine.state.count
    assert dict(efficiency.exits) == {"privileged instruction": 1}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("monitor", MONITORS)
def test_everything_that_retired_is_accounted_for(monitor, name):
    _, virtual_machine = pair(monitor, name)
    virtual_machine.machine.run(LIMIT)
    efficiency = virtual_machine.machine.monitor.efficiency
    total = efficiency.direct + efficiency.interpreted + efficiency.delivered
    assert total == virtual_machine.machine.state.count


# -- recursion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hello", "roundrobin", "diskcopy", "echo", "memtrap"])
@pytest.mark.parametrize("depth", range(1, 6))
def test_recursion(name, depth):
    """At every depth the same as on the bare machine; exits multiply."""
    result = recurse(guest(name), depth, "trap-and-emulate", LIMIT, every=16)
    assert result.divergence is None
    assert result.in_control
    assert len(result.levels) == depth
    assert len({level.exits for level in result.levels}) == 1  # each passes on what comes
    first = result.levels[-1].exits
    assert multiplied(result.levels) >= first * 3 ** (depth - 1)


def test_recursion_in_lockstep():
    assert recurse(guest("svc"), 5, "trap-and-emulate", 600, every=1).divergence is None


@pytest.mark.parametrize("monitor", ["hybrid", "translation", "interpretation"])
def test_recursion_of_other_monitors(monitor):
    assert recurse(guest("roundrobin"), 3, monitor, LIMIT, every=50).divergence is None


def test_recursion_ends_where_memory_does():
    """The paper's only limit: each level needs words of its own."""
    with pytest.raises(AllocationError):
        recurse(guest("hello"), 256, "trap-and-emulate")


# -- resource control ---------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", MONITORS)
@quick
@given(poison=WORDS, data=st.data())
def test_nothing_of_others_is_changed_or_read(monitor, poison, data):
    """A hostile guest claims any R and goes through all of it; poison makes no difference."""
    isa = toy()
    base, bound = data.draw(st.integers(0, 255)), data.draw(st.integers(0, 511))
    code = [
        word(isa, "LI", rd=1, imm=base), word(isa, "LI", rd=2, imm=bound),
        word(isa, "LR", ra=1, rb=2), word(isa, "LI", rd=3, imm=data.draw(st.integers(0, 16383))),
        word(isa, "LD", rd=4, ra=3), word(isa, "ST", rd=4, ra=3, imm=data.draw(st.integers(0, 99))),
        word(isa, "ADDI", rd=3, ra=3, imm=61), word(isa, "JMP", imm=6),
    ]  # fmt: skip
    image = [0] * HALF.words
    for granule in range(HALF.words // 64):  # the code is wherever R puts it
        image[granule * 64 : granule * 64 + 10] = [0, 0, *code]
    ends = []
    for words in (poison, ~poison & 0xFFFFFFFF):
        machine = virtual(monitor, isa, image, entry=2, poison=words).machine
        machine.run(2_000)
        storage = machine.below.memory.array
        assert (storage[HALF.end :] == words).all()
        assert MONITORS[monitor].keeps_words or (storage[: HALF.base] == words).all()
        ends.append((machine.state.registers(), machine.memory.array.tobytes()))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("monitor", MONITORS)
def test_a_guest_keeps_the_processor_for_no_longer_than_it_may(monitor):
    isa = toy()
    machine = virtual(monitor, isa, [0, 0, word(isa, "JMP", imm=2)], entry=2).machine
    for share in (1, 7, 100):
        began = machine.state.count
        assert machine.run(began + share).reason == "until"
        assert machine.state.count == began + share


# -- the contract -------------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", MONITORS)
def test_breakpoints(monitor):
    """A breakpoint stops every pass but the one that starts on it."""
    _, observed = pair(monitor, "gcd")
    machine = observed.machine
    machine.run(20)
    place = machine.state["p"]
    machine.state.breakpoints.add(place)
    stop = machine.run(LIMIT)
    assert stop.reason == "halt" or (stop.reason, machine.state["p"]) == ("breakpoint", place)
    machine.state.breakpoints.clear()
    assert machine.run(LIMIT).reason == "halt"


def test_translation_leaves_the_guest_its_own_code():
    """A kernel that reads and changes its own code, in a loop that was translated."""
    isa = toy("toy/pdp10")
    loop = [
        word(isa, "ADDI", rd=1, ra=1, imm=1), word(isa, "LDA", rd=2, imm=2),
        word(isa, "ADDI", rd=2, ra=2, imm=1), word(isa, "STA", rd=2, imm=2),
        word(isa, "LI", rd=3, imm=40), word(isa, "ADDI", rd=4, ra=4, imm=1),
        word(isa, "BLT", rd=4, ra=3, imm=2), word(isa, "HALT"),
    ]  # fmt: skip
    image = [0, 0, *loop]
    machines = bare(isa, image, entry=2), virtual("translation", isa, image, entry=2)
    assert lockstep(machines, 1_000) is None
    assert machines[1].machine.state["r1"] == sum(range(1, 41))
    assert machines[1].machine.monitor.cache.flushes > 0


def test_translation_runs_kernels_that_leave_storage_alone_directly():
    program = assemble(WORKING.format(high=1), "working", smaller(toy(), HALF.words))
    machine = virtual("translation", toy(), program.image, entry=program.entry).machine
    machine.run(LIMIT)
    assert machine.monitor.efficiency.direct_fraction >= 0.999


# -- the paravirtual monitor --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "work"), [("svc", "are the same"), ("roundrobin", "in order")])
def test_a_ported_kernel_does_the_same_work(name, work):
    """It is another guest, so not equivalent; how many lines the port took is told."""
    row = compare_one(guest(name), "paravirtual", LIMIT)
    assert "lines gone" in str(row.divergence)
    assert work in str(row.divergence)
    assert row.resource_control
    assert set(row.exits) == {"supervisor call"}
    assert row.stop == "halt"


# -- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", MONITORS)
def test_run_command(monitor):
    result = vmm("run", "--monitor", monitor, FOLDER / "hello.asm")
    assert (result.exit_code, result.stdout) == (0, (FOLDER / "hello.out").read_text())


def test_a_guest_reads_our_input():
    given = (FOLDER / "echo.in").read_bytes()
    result = vmm("run", FOLDER / "echo.asm", input=given)
    assert (result.exit_code, result.stdout_bytes) == (0, (FOLDER / "echo.out").read_bytes())


def test_compare_command():
    result = vmm("compare", FOLDER / "svc.asm", "--json")
    facts = json.loads(result.stdout)
    assert facts["isa"] == "toy/clean"
    for row in facts["monitors"]:
        assert set(row) == {"name", "equivalent", "divergence", "resource_control",
                            "direct_fraction", "exits", "slowdown"}  # fmt: skip
        assert row["equivalent"] == (row["name"] != "paravirtual")
    assert "trap-and-emulate" in vmm("compare", FOLDER / "svc.asm").stdout


def test_bench_command():
    """The shape of what it measures, and that the spread is around the median; never how much."""
    facts = json.loads(vmm("bench", FOLDER / "svc.asm", "--repeat", 5, "--json").stdout)
    assert set(facts) == {"guest", "isa", "engine", "repeat", "instructions", "bare", "monitors"}
    assert (facts["isa"], facts["engine"], facts["repeat"]) == ("toy/clean", "auto", 5)
    assert set(facts["bare"]) == {"seconds", "mips"}
    assert [row["name"] for row in facts["monitors"]] == list(MONITORS)
    for row in facts["monitors"]:
        assert set(row) == {"name", "instructions", "complete", "direct_fraction", "slowdown",
                            "spread"}  # fmt: skip
        low, high = row["spread"]
        assert 0 < low <= row["slowdown"] <= high
        assert row["complete"]


def test_a_slow_monitor_is_timed_on_a_part_of_the_guest(monkeypatch):
    """As much as it does in the time allowed, and the ratio is one of time per instruction."""
    monkeypatch.setattr(benchmark, "ENOUGH", 0.0)
    monkeypatch.setattr(benchmark, "FIRST_STEP", 100)
    found = benchmark.warm_up(guest("svc"))
    assert list(benchmark.rounds(found, 1)) == [None]
    for row in found.rows:
        assert (row.instructions, row.complete, len(row.ratios)) == (100, False, 1)
    assert "trap-and-emulate" in "\n".join(table(found))


def test_the_default_guest_of_the_benchmark_computes():
    """It prints what it should on a bare machine of the size that a virtual one has."""
    opened = open_guest(benchmark.GUEST, None, "auto")
    bare = opened.bare(HALF.words + 4096)
    assert bare.machine.run(1 << 30).reason == "halt"
    assert bare.output.getvalue() == benchmark.GUEST.with_suffix(".out").read_bytes()


def test_recurse_command():
    facts = json.loads(vmm("recurse", "--depth", 3, FOLDER / "svc.asm", "--json").stdout)
    assert (facts["depth"], facts["equivalent"], len(facts["levels"])) == (3, True, 3)
    assert [row["depth"] for row in facts["depths"]] == [0, 1, 2, 3]
    assert facts["depths"][3]["traps"] == facts["multiplied"]
    assert "at every depth to 2" in vmm("recurse", FOLDER / "hello.asm").stdout


def test_recurse_command_with_the_control_program_in_assembly(tmp_path):
    """Traps are counted at each depth, and drawn; a guest that halts too late ends it early."""
    path = tmp_path / "traps.svg"
    options = ["--monitor", "assembly", "--depth", 3]
    facts = json.loads(
        vmm("recurse", *options, FOLDER / "svc.asm", "--plot", path, "--json").stdout
    )
    traps = [row["traps"] for row in facts["depths"]]
    assert all(row["equivalent"] for row in facts["depths"])
    assert all(3 * fewer < more for fewer, more in pairwise(traps))
    drawing = ElementTree.parse(path).getroot()
    assert {f"{count:,}" for count in traps} <= {text.text for text in drawing.iter(f"{SVG}text")}
    shown = vmm("recurse", *options, FOLDER / "svc.asm", "--max-instructions", 20_000).stdout
    assert "depth 2: no halt to compare at" in shown
    assert "depth 3" not in shown


def test_bars_grow_with_the_logarithm():
    """Each ten times the one before: each longer by as much."""
    lengths = [line.count("█") for line in bars("depth", "traps", [(0, 10), (1, 100), (2, 1000)])]
    assert lengths == [0, 17, 33, 50]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("run {nowhere}", 66, "Check the path"),
        ("run {folder}", 65, "is a directory"),
        ("run {noise}", 65, "not a text in UTF-8"),
        ("run {x86}", 65, "begins with .machine toy"),
        ("run {pdp10} --isa toy/clean", 65, "choose another"),
        ("run {hello} --monitor magic", 65, "Use one of trap-and-emulate, hybrid"),
        ("run {hello} --max-instructions 0", 2, "not in the range"),
        ("compare {hello} --isa toy/nowhere", 65, "shipped are toy/all"),
        ("compare {hello} --engine steam", 65, "Use one of auto"),
        ("compare {hello} --isa {bad}", 65, "bad.toml:1: "),
        ("bench {hello} --repeat 1", 2, "not in the range"),
        ("recurse {hello} --depth 300", 65, "choose one from 1 to 255"),
        ("recurse {hello} --depth 99999999999999", 65, "choose one from 1 to 255"),
        ("recurse {hello} --depth 0", 2, "not in the range"),
        ("recurse {hello} --depth 42 --monitor assembly", 65, "choose one from 1 to 41"),
        ("recurse {pdp10} --monitor assembly", 65, "Choose another --monitor"),
        ("recurse {hello} --monitor magic", 65, "interpretation, assembly"),
        ("recurse {hello} --plot {folder}/no/where.svg", 65, "Choose another file"),
        ("partition {hello} --share hello=-1", 65, "Write NAME=NUMBER"),
        ("partition {hello} --share hello=0", 65, "give 1 or more"),
        ("partition {hello} --memory hello=63", 65, "choose a multiple of granule"),
        ("partition {hello} --memory hello=99999999999", 65, "to words = 16384"),
        ("partition {hello} --at 5:hello:colour=3", 65, "Write COUNT:NAME:share=N"),
        ("partition {hello} {pdp10}", 65, "Say --isa"),
        ("partition {hello} --monitor translation", 65, "use another monitor"),
        ("mutate lpsw-forgets", 65, "lpsw-forgets-mode"),
    ],
)
def test_mistakes_of_a_user_get_a_message(tmp_path, command, code, words):
    """What is wrong, where, and what to do; the exit codes are those of the README."""
    files = {
        "folder": tmp_path, "nowhere": tmp_path / "no.asm", "noise": tmp_path / "noise.asm",
        "pdp10": tmp_path / "pdp10.asm", "bad": tmp_path / "bad.toml",
        "hello": FOLDER / "hello.asm", "x86": FOLDER.parent / "x86" / "hello.asm",
    }  # fmt: skip
    files["noise"].write_bytes(bytes([200, 0]) * 5000)
    files["pdp10"].write_text(".machine toy/pdp10\nstart: jrst1 2\n halt\n")
    files["bad"].write_text("extends = 'toy/clean\n")
    result = vmm(*(word.format(**files) for word in command.split()))
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr


def test_a_guest_that_storms_is_explained(tmp_path):
    path = tmp_path / "storm.asm"
    path.write_text(".machine toy/clean\n.org 2\nstart: svc 1\n")
    result = vmm("run", path)
    assert result.exit_code == 125
    assert "traps for ever" in result.output


def test_nothing_is_left_of_the_words_that_were_there():
    assert not virtual("hybrid", toy(), [], poison=5).machine.memory.array.any()
