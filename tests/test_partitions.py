"""Partitions: isolation, exact shares, resizing while they run, and each runs as if alone."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monitor_machines import FOLDER, expected_output, program, source
from toy_machines import WORDS, engine, toy, word
from toy_systems import Q, systems
from vmm_command import vmm as command

from emu.toy.machine import ToyMachine
from emu.toy.run import BLANK_DISK
from vmm.equivalence import Observed, differences
from vmm.monitors import MONITORS, AllocationError, smaller
from vmm.partitions import POISON, Labelled, Partitions, alone, with_storage

few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHARING = ("trap-and-emulate", "hybrid", "paravirtual", "interpretation")
LOOP = [0, 0, word(toy(), "ADDI", rd=1, ra=1, imm=1), word(toy(), "JMP", imm=2)]
HALT = [0, 0, word(toy(), "HALT")]


def partitions(monitor="trap-and-emulate", quantum=10, name="toy/clean"):
    bare = ToyMachine(toy(name), engine=engine("python"))
    return Partitions(bare, monitor=MONITORS[monitor], quantum=quantum)


def looping(*shares, quantum=10):
    found = partitions(quantum=quantum)
    for number, share in enumerate(shares):
        found.add(f"p{number}", 128, LOOP, entry=2, share=share)
    return found


def counts(found):
    return [p.count for p in found.members]


# -- the processor ------------------------------------------------------------------------------


def test_turns_are_exact():
    found = looping(1, 3, 2)
    assert [(found.turn().name, *counts(found)) for _ in range(4)] == [
        ("p0", 10, 0, 0), ("p1", 10, 30, 0), ("p2", 10, 30, 20), ("p0", 20, 30, 20)
    ]  # fmt: skip


@pytest.mark.parametrize("until", [1, 9, 61, 1_000, 6_007])
def test_the_time_given_is_exact_however_it_is_cut(until):
    found, other = looping(1, 3, 2), looping(1, 3, 2)
    assert found.run(until)
    for time in range(until % 7, until + 1, 7):
        other.run(time)
    other.run(until)
    assert counts(found) == counts(other)
    assert sum(counts(found)) == found.time == until


def test_a_share_changes_at_once():
    found = looping(3, 1)
    found.run(15)
    found.set_share("p0", 1)  # which it has used up
    found.run(25)
    assert counts(found) == [15, 10]
    found.set_share("p1", 2)  # its turn goes on
    found.run(35)
    assert counts(found) == [15, 20]


def test_the_share_of_a_stopped_partition_goes_to_the_others():
    found = partitions()
    found.add("halts", 64, HALT, entry=2, share=9)
    found.add("runs", 64, LOOP, entry=2)
    assert found.run(500)
    assert (found["halts"].stop.reason, counts(found)) == ("halt", [1, 499])
    found.remove("runs")
    assert not found.run(600)
    found.remove("halts")
    assert not found.run(600)


# -- storage ------------------------------------------------------------------------------------


def test_growing_in_place_and_by_moving():
    found = looping(1, 1)
    found.run(100)
    found.resize("p1", 256)
    assert (found["p1"].allocation.base, found["p1"].allocation.words) == (192, 256)
    found.resize("p0", 256)
    assert (found["p0"].allocation.base, found["p0"].machine.state["r1"] > 10) == (448, True)
    assert [(r.base, r.words) for r in found.free()] == [(64, 128), (704, 16384 - 704)]
    found.resize("p0", 64)
    assert found.in_control()
    found.run(200)
    assert found.in_control()
    assert sum(counts(found)) == 200


def test_what_is_in_use_is_not_taken_away():
    found = looping(1)
    memory = found["p0"].machine.memory
    memory.write(100, [7])
    with pytest.raises(AllocationError, match=r"uses word 100.*only to 128"):
        found.resize("p0", 64)
    memory.write(100, [0])
    found.resize("p0", 64)
    assert found["p0"].machine.memory.size == 64


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda f: f.add("p0", 64), "already"),
        (lambda f: f.add("new", 100), "granule"),
        (lambda f: f.add("new", 0), "must have"),
        (lambda f: f.add("new", 1 << 20), "free in one piece"),
        (lambda f: f.add("new", 64, [0] * 65), "65 words of program"),
        (lambda f: f.add("new", 64, share=0), "share of 0"),
        (lambda f: f.set_share("p0", 0), "share of 0"),
        (lambda f: f.set_share("nobody", 1), "there are: p0, p1"),
        (lambda f: f.resize("p0", 1 << 20), "free in one piece"),
        (lambda f: f.resize("p0", 65), "granule"),
        (lambda f: f.resize("p0", -64), "granule|must have|uses word"),
        (lambda f: f.remove("nobody"), "there is no partition"),
    ],
)
def test_what_is_refused_changes_nothing(do, says):
    found = looping(1, 1)
    found.run(25)
    before = found.bare.memory.array.tobytes(), counts(found)
    with pytest.raises(AllocationError, match=says):
        do(found)
    assert before == (found.bare.memory.array.tobytes(), counts(found))
    assert found.in_control()
    assert found.run(50)


def test_monitors_that_keep_words_cannot_share_a_machine():
    with pytest.raises(AllocationError, match="translation"):
        partitions("translation")
    with pytest.raises(AllocationError, match="quantum"):
        partitions(quantum=0)


def test_nothing_stays_of_who_left():
    found = looping(1, 1)
    found.run(100)
    listeners = len(found.bare.memory.listeners)
    found.remove("p0")
    assert (found.bare.memory.array[64:192] == POISON).all()
    assert not found.add("next", 128).machine.memory.array.any()
    assert len(found.bare.memory.listeners) == listeners


# -- each as if alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", ["trap-and-emulate", "hybrid"])
def test_programs_side_by_side(monitor):
    """Output, count and whole state of every program equal those of its run alone."""
    found, doubles = partitions(monitor, quantum=33), {}
    for number, name in enumerate(("gcd", "hello", "echo", "roundrobin", "diskcopy")):
        guest, given = program(name, words=2048), source(name).getvalue()
        outputs = io.BytesIO(), io.BytesIO()
        options = {"entry": guest.entry, "disk": BLANK_DISK}
        found.add(name, 2048, guest.image, share=number + 1, output=outputs[0],
                  source=io.BytesIO(given), **options)  # fmt: skip
        doubles[name] = outputs, ToyMachine(
            smaller(toy(), 2048), guest.image, engine=engine("python"), output=outputs[1],
            source=io.BytesIO(given), **options,
        )  # fmt: skip
    assert not found.run(300_000)
    for partition in found.members:
        (mine, its), double = doubles[partition.name]
        double = alone(partition.sizes, double, partition.count)
        assert list(differences(Observed(double, its), Observed(partition.machine, mine))) == []
        assert mine.getvalue() == expected_output(partition.name)
        assert partition.stop.reason == "halt"
    assert found.in_control()


class Side:
    """Generated systems in partitions, each with a bare double that nobody shares."""

    def __init__(self, monitor, name, hosted, shares):
        self.found = partitions(monitor, quantum=7, name=name)
        self.pairs = {}
        for number, (system, share) in enumerate(zip(hosted, shares, strict=True)):
            outputs = io.BytesIO(), io.BytesIO()
            self.found.add(f"p{number}", Q, system.image, share=share, entry=system.entry,
                           output=outputs[0], source=io.BytesIO(system.given),
                           disk=BLANK_DISK)  # fmt: skip
            double = ToyMachine(
                smaller(toy(name), Q), system.image, engine=engine("python"), entry=system.entry,
                output=outputs[1], source=io.BytesIO(system.given), disk=BLANK_DISK,
            )  # fmt: skip
            self.pairs[f"p{number}"] = [*outputs, double]

    def turn(self):
        """One turn; nobody else's words changed, and its state is its double's."""
        before = self.found.bare.memory.array.copy()
        was = {p.name: p.count for p in self.found.members}
        partition = self.found.turn()
        if partition is None:
            return False
        own = slice(partition.allocation.base, partition.allocation.end)
        before[own] = self.found.bare.memory.array[own]
        assert (before == self.found.bare.memory.array).all()
        assert partition.count - was[partition.name] <= 7 * partition.share
        mine, its, double = self.pairs[partition.name]
        double.run(partition.count)
        assert list(differences(Observed(double, its), Observed(partition.machine, mine))) == []
        return True

    def resize(self, name, words):
        try:
            self.found.resize(name, words)
        except AllocationError:
            return
        self.pairs[name][2] = with_storage(self.pairs[name][2], words)


PROMISED = [("trap-and-emulate", "toy/clean"), ("hybrid", "toy/pdp10"), ("hybrid", "toy/popf")]


def check_side_by_side(monitor, name, data):
    hosted = data.draw(st.lists(systems(name), min_size=2, max_size=4))
    share = st.integers(1, 5)
    side = Side(monitor, name, hosted, [data.draw(share) for _ in hosted])
    for _ in range(60):
        if data.draw(st.integers(0, 5)) == 0:
            chosen = data.draw(st.sampled_from(sorted(side.pairs)))
            if data.draw(st.booleans()):
                side.resize(chosen, 64 * data.draw(st.integers(8, 40)))
            else:
                side.found.set_share(chosen, data.draw(share))
        if not side.turn():
            break
    assert side.found.in_control()


@pytest.mark.parametrize(("monitor", "name"), PROMISED)
@few
@given(data=st.data())
def test_hostile_guests_side_by_side(monitor, name, data):
    check_side_by_side(monitor, name, data)


@pytest.mark.heavy
@pytest.mark.parametrize(("monitor", "name"), PROMISED)
@settings(few, max_examples=100)
@given(data=st.data())
def test_many_hostile_guests_side_by_side(monitor, name, data):
    check_side_by_side(monitor, name, data)


@few
@given(system=systems(), others=st.lists(systems(), min_size=2, max_size=2), poison=WORDS)
def test_nobody_reads_what_is_not_its_own(system, others, poison):
    """The same guest between other neighbours and other nobody's words does the same."""
    ends = []
    for neighbour, filling in zip(others, (poison, ~poison & 0xFFFFFFFF), strict=True):
        found = partitions(quantum=9)
        found.bare.memory.write(0, [filling] * found.bare.memory.size)
        found.add("before", Q, neighbour.image, entry=neighbour.entry)
        chosen = found.add("chosen", Q, system.image, entry=system.entry, disk=BLANK_DISK)
        found.add("behind", Q, neighbour.image, entry=neighbour.entry, share=2)
        while chosen.stop is None and chosen.count < 450:
            found.turn()
        words = chosen.machine.memory.array.tolist()
        ends.append((chosen.count, chosen.machine.state.values, words))
    assert ends[0] == ends[1]


# -- the command --------------------------------------------------------------------------------


def vmm(*arguments):
    return command("partition", *arguments)


HELLO, GCD = FOLDER / "hello.asm", FOLDER / "gcd.asm"


def test_command():
    result = vmm(HELLO, GCD, HELLO, "--share", "gcd=2", "--memory", "gcd=512", "--json",
                 "--at", "40:gcd:memory=1024", "--at", "60:hello:share=3")  # fmt: skip
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stderr)
    rows = {row["name"]: row for row in facts["partitions"]}
    assert facts["resource_control"]
    assert sorted(rows) == ["gcd", "hello", "hello-2"]
    assert all(row["equivalent"] and row["stop"] == "halt" for row in rows.values())
    assert (rows["gcd"]["words"], rows["hello"]["share"]) == (1024, 3)
    said = [x.partition(" | ")[2] for x in result.stdout.splitlines() if x.startswith("gcd")]
    assert said == (FOLDER / "gcd.out").read_text().splitlines()
    table = vmm(HELLO, "--monitor", "hybrid")
    assert "as alone" in table.stderr and "yes" in table.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing argument"),
        (("nowhere.asm",), "nowhere.asm"),
        ((HELLO, "--share", "gcd=2"), "names are hello"),
        ((HELLO, "--share", "hello=x"), "NAME=NUMBER"),
        ((HELLO, "--share", "hello=0"), "give 1 or more"),
        ((HELLO, "--memory", "hello=65"), "65"),
        ((HELLO, "--memory", "hello=9999999"), "9999999"),
        ((HELLO, "--at", "7"), "COUNT:NAME"),
        ((HELLO, "--at", "7:hello:memory=64000"), "free in one piece"),
        ((HELLO, "--monitor", "translation"), "another monitor"),
        ((HELLO, "--monitor", "magic"), "no monitor"),
    ],
)
def test_mistakes_of_a_user_get_a_message(arguments, says):
    result = vmm(*arguments)
    assert result.exit_code in (1, 2, 65, 66)  # 1: a change was refused
    assert isinstance(result.exception, SystemExit)
    assert says in result.output


def test_what_is_refused_while_all_run_stops_nobody():
    result = vmm(HELLO, "--at", "9:hello:memory=64000", "--at", "20:hello:share=2", "--json")
    facts = json.loads(result.stderr.splitlines()[0])
    assert (result.exit_code, len(facts["refused"])) == (1, 1)
    row = facts["partitions"][0]
    assert (row["stop"], row["share"], row["equivalent"]) == ("halt", 2, True)


def test_labels():
    stream = io.BytesIO()
    output = Labelled(stream, "a | ")
    for byte in b"one\ntwo":
        output.write(bytes([byte]))
    assert stream.getvalue() == b"a | one\n"
    output.finish()
    output.finish()
    assert stream.getvalue() == b"a | one\na | two\n"
    assert output.getvalue() == b"one\ntwo"
