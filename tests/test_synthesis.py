"""Every critical instruction has a guest, made of its witness, that a monitor lets down.

Nothing here knows an instruction: what is critical, in which way, and which monitor is promised to
be right about it all come from the classification.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache

import pytest
from toy_machines import toy
from vmm_command import vmm

from isa.toy import Configuration
from isa.toy.assembler import assemble
from vmm.compare import allocation_for
from vmm.equivalence import CLAUSES
from vmm.monitors import Hybrid, Translation, TrapAndEmulate, smaller
from vmm.synthesis import (
    NoGuestError,
    cure,
    demonstrate,
    first_divergence,
    promised,
    synthesize,
)
from vmm.synthesis.preparation import prepared, settled
from vmm.theory import classify

QUICK = ["toy/lra", "toy/pdp11", "toy/eflags"]
ENGINE = "reference"  # guests are a few instructions long
REPLAYED = {  # what a replay of the state that diverged may say, and what must then be derived
    CLAUSES[short]: f"{short}_sensitive" for short in ("control", "mode", "location", "resource")
}


@cache
def classified(name):
    return classify(toy(name))


def synthesized(found, name, mode=None):
    return synthesize(found.model.isa, found.instructions[name], mode)


def check(found, name):
    """Diverges, is named and explained; cured by who must; and does not diverge if it traps."""
    instruction = found.instructions[name]
    made = synthesized(found, name)
    shown = demonstrate(instruction, made, ENGINE)
    assert shown.holds, shown.cures
    named, explained = shown.divergence, shown.explanation
    assert named.instruction.split()[0].upper() == name
    assert instruction.evidence[made.claim].holds
    clause = named.why.removeprefix("is ")
    assert clause == CLAUSES["trap"] or getattr(instruction, REPLAYED[clause])
    for said in (named.part, named.expected, named.actual, name, made.clause):
        assert said in explained
    for repaired in (found.repair.instructions, [name]):
        isa = found.model.with_traps(repaired).isa
        assert first_divergence(made, TrapAndEmulate.name, isa, ENGINE) is None
        assert arrives(made, isa, named.count)
    return made


def arrives(made, isa, count):
    """Whether the guest comes to the instruction on this machine too."""
    machine = made.guest(isa, ENGINE).bare(allocation_for(isa).words).machine
    machine.run(count - 1)
    granule = isa.shape.granule
    return machine.state["p"] + machine.state["l"] * granule == made.address


def check_all(name, record_property):
    found = classified(name)
    assert found.theorem1.holds == (not found.critical)
    done = [check(found, critical) for critical in found.critical]
    cures = Counter(cure(found.instructions[made.instruction]) for made in done)
    assert found.theorem3.holds == (set(cures) <= {Hybrid.name})
    told = ", ".join(f"{monitor} {number}" for monitor, number in cures.items()) or "none needed"
    counted = f"{len(done)} of {len(found.critical)} critical instructions diverge"
    record_property("measured", f"{name}: {counted}; cures: {told}")


@pytest.mark.parametrize("name", QUICK)
def test_each_critical_instruction_diverges_and_is_cured(name, record_property):
    check_all(name, record_property)


@pytest.mark.heavy
@pytest.mark.parametrize("name", sorted(set(Configuration.names()) - set(QUICK)))
def test_each_critical_instruction_of_the_museum(name, record_property):
    check_all(name, record_property)


def test_a_machine_that_nothing_prepared_is_as_it_starts():
    assert set(prepared(toy("toy/eflags"), None).values()) == {0}


def test_a_preparation_sets_what_no_load_reaches():
    """Each one other than 0, and none by the instruction that would diverge itself."""
    isa = smaller(toy("toy/eflags"), allocation_for(toy("toy/eflags")).words)
    made = [synthesized(classified("toy/eflags"), "PUSHF", mode) for mode in ("supervisor", "user")]
    for one in made:
        before = one.witness.one.before.registers
        assert [r.name for r in settled(isa) if before[r]] == ["masked"]


# -- user mode ----------------------------------------------------------------------------------


def check_user_mode(found, name):
    """Whether there is a guest in user mode; if so, whatever runs users directly is wrong too."""
    instruction = found.instructions[name]
    try:
        made = synthesized(found, name, "user")
    except NoGuestError:
        return False
    assert demonstrate(instruction, made, ENGINE).holds
    assert not {Hybrid.name, Translation.name} & set(promised(instruction))
    for monitor in (Hybrid, Translation):
        assert first_divergence(made, monitor.name, engine=ENGINE).address == made.address
    return True


@pytest.mark.parametrize(
    ("name", "instruction"), [("toy/lra", "LRA"), ("toy/eflags", "PUSHF"), ("toy/decb", "DECB")]
)
def test_user_sensitive_instructions_diverge_in_user_mode(name, instruction):
    """Theorem 3 fails because of them, and visibly."""
    assert check_user_mode(classified(name), instruction)


@pytest.mark.heavy
@pytest.mark.parametrize("name", Configuration.names())
def test_user_mode_of_the_museum(name, record_property):
    """Only user sensitive instructions have such guests; some of these have none, as Theorem 3 is
    sufficient and not necessary."""
    found = classified(name)
    having = [critical for critical in found.critical if check_user_mode(found, critical)]
    assert set(having) <= set(found.theorem3.offending)
    counted = f"{len(having)} of {len(found.theorem3.offending)}"
    record_property("measured", f"{name}: {counted} that offend Theorem 3 diverge in user mode")


# -- where there is no guest --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["toy/clean", "toy/m68010"])
def test_a_privileged_instruction_has_no_guest(name):
    """Sensitive as it may be, the monitor is told: the solver finds none."""
    found = classified(name)
    sensitive = [n for n, i in found.instructions.items() if i.sensitive]
    assert sensitive
    for instruction in sensitive:
        with pytest.raises(NoGuestError, match=instruction):
            synthesized(found, instruction)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('without = ["HALT"]', "no guest can be written"),
        ("[machine]\nwords = 64", "no room"),
    ],
)
def test_a_machine_that_cannot_have_the_kernel(tmp_path, shape, message):
    path = tmp_path / "odd.toml"
    path.write_text(f'title = "odd"\nsource = "a test"\nextends = "toy/rdmode"\n{shape}\n')
    result = vmm("witness", "rdmode", "--isa", path)
    assert (result.exit_code, message in result.output) == (65, True)


# -- the command --------------------------------------------------------------------------------


def test_the_program_is_one_that_compare_shows_diverging(tmp_path):
    path = tmp_path / "guest.asm"
    told = vmm("witness", "splx", "--isa", "toy/popf", "--output", path)
    assert (told.exit_code, "; " not in told.stdout.splitlines()[0]) == (0, True)
    rows = json.loads(vmm("compare", path, "--isa", "toy/popf", "--json").stdout)["monitors"]
    equivalent = {row["name"]: row["equivalent"] for row in rows}
    assert equivalent == {
        "trap-and-emulate": False, "hybrid": True, "translation": True, "interpretation": True,
    }  # fmt: skip


def test_without_a_file_the_program_is_printed():
    text = vmm("witness", "splx", "--isa", "toy/popf").stdout
    assert "splx" in disassembled(text)


def test_facts():
    facts = json.loads(vmm("witness", "splx", "--isa", "toy/popf", "--json").stdout)
    assert "splx" in disassembled(facts["program"])
    assert facts["divergence"] in facts["explanation"]
    assert facts["cures"] == {"hybrid": None, "translation": None, "interpretation": None}


def disassembled(text):
    """The mnemonics of a program, after assembling it."""
    isa = smaller(toy("toy/popf"), allocation_for(toy("toy/popf")).words)
    words = [word for word in assemble(text, isa=isa).image if word]
    return [isa.text(word.to_bytes(4, "little"), 0).split()[0] for word in words]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["LD", "--isa", "toy/clean"], "LD is innocuous"),
        (["LPSW", "--isa", "toy/popf"], "LPSW is privileged"),
        (["SPLY", "--isa", "toy/popf"], "Did you mean SPLX"),
        (["SPLX", "--isa", "toy/popf", "--mode", "user"], "no guest found"),
        (["SPLX", "--isa", "toy/popf", "--output", "/nowhere/x.asm"], "Choose another file"),
    ],
)
def test_mistakes_are_told(arguments, message):
    result = vmm("witness", *arguments)
    assert (result.exit_code, message in result.output) == (65, True)
