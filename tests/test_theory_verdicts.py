"""Verdicts explain themselves; the conditions are sufficient, not necessary; flips have effects."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.toy import Configuration, Toy
from isa.toy.table import Behaviour
from tests.theory_machines import PAPER, paper
from vmm.theory import classify, escape, why_not_hybrid_virtualizable, why_not_virtualizable
from vmm.theory.model import Partition, RolesError
from vmm.theory.necessity import high_core, shrinking_bound, under_map
from vmm.theory.theorems import theorem2
from vmm.theory.timing import Timing

CLAIMS = ("privileged", "control_sensitive", "location_sensitive", "mode_sensitive",
          "resource_sensitive", "user_sensitive", "supervisor_sensitive")  # fmt: skip


def test_a_machine_explains_why_it_is_not_virtualizable():
    assert why_not_virtualizable(Toy("toy/clean")) is None
    why = why_not_virtualizable(Toy("toy/pdp10"))
    assert why is not None
    assert why.startswith("toy/pdp10: JRST1 changes M, R or a resource without being privileged")
    assert "mode: 0x0 → 0x1" in why
    assert why_not_hybrid_virtualizable(Toy("toy/pdp10")) is None
    assert "LRA" in (why_not_hybrid_virtualizable(Toy("toy/lra")) or "")


def test_first_counterexample_a_monitor_in_high_storage():
    """LRA tells real addresses; if they are the virtual ones, nobody is told anything wrong."""
    assert not high_core().found.theorem1.holds
    assert high_core().holds
    assert high_core().disobedient["LRA"].proved
    usual = high_core(relocated=True)
    assert not usual.holds
    witness = usual.disobedient["LRA"].witness
    assert witness is not None
    assert [d.part for d in witness.differences] == ["E"]


def test_second_counterexample_a_bound_that_only_shrinks():
    """What a user may give up of his own needs no monitor; what he may not have traps."""
    assert not shrinking_bound().found.theorem1.holds
    assert not shrinking_bound().found.theorem3.holds
    assert shrinking_bound().holds


@pytest.mark.parametrize("name", ["toy/pdp10", "toy/popf", "toy/rdmode", "toy/pdp11"])
def test_no_escape_from_the_others(name):
    found = classify(Toy(name))
    assert escape(found) is None
    for relocated in (True, False):
        tried = under_map(found, relocated=relocated)
        broken = [e for e in tried.disobedient.values() if e.holds]
        assert broken
        assert all(e.witness is not None for e in broken)


def test_innocuous_instructions_obey_the_map():
    """Lemma 1, instruction by instruction."""
    from vmm.theory.classify import disobedience

    found = classify(Toy("toy/clean"))
    for name in ("NOP", "LD", "ST", "ADD", "PUSH", "CALL", "BEQ", "SVC", "LPSW"):
        assert disobedience(found.model, name, relocated=True).proved


def test_registers_without_roles_are_told():
    isa = Toy("toy/clean")
    bare = type(isa.registers)(isa.shape)
    bare._by_name = {r.name: r for r in isa.registers if r.name not in ("l", "b")}
    with pytest.raises(RolesError, match="no register has the role 'relocation'"):
        Partition.of(bare, isa.pc)


FLIPPABLE = [b for b in Behaviour if b is not Behaviour.PARTLY]
ALWAYS_TRAPS = {"SVC"}


def speaks_of_mode(name: str) -> bool:
    """Whether the meaning itself reads or writes M, whatever a configuration wraps around it."""
    isa = paper({name: Behaviour.EXECUTES})
    trace = isa.trace(name)
    reads = any(n.op == "get" and n.attribute[0] is isa.known.m for n in trace.walk())
    return reads or isa.known.m in trace.written()


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(PAPER), behaviour=st.sampled_from(FLIPPABLE))
def test_flipping_one_instruction_changes_the_table_as_the_definitions_say(name, behaviour):
    before = classify(paper({})).instructions
    after = classify(paper({name: behaviour})).instructions
    for other in before:
        if other != name:
            assert all(getattr(after[other], c) == getattr(before[other], c) for c in CLAIMS)
    found = after[name]
    assert found.supervisor_sensitive == before[name].supervisor_sensitive
    assert found.privileged == (behaviour is Behaviour.TRAPS and name not in ALWAYS_TRAPS)
    if behaviour is Behaviour.TRAPS:  # the repair: nothing of it is left in user mode
        assert not (found.user_sensitive or found.mode_sensitive or found.critical)
    elif behaviour is Behaviour.IGNORED:  # a NOP in u can only differ from what it does in s
        assert not found.user_sensitive
        assert found.critical == found.sensitive
    elif not speaks_of_mode(name):  # the same in both modes
        assert found.user_sensitive == found.supervisor_sensitive
        assert not found.mode_sensitive
        assert found.critical == found.supervisor_sensitive


@pytest.mark.parametrize("name", Configuration.names())
def test_verdicts_follow_from_the_classes(name):
    found = classify(Toy(name))
    rows = found.instructions.values()
    assert found.theorem1.holds == all(i.privileged for i in rows if i.sensitive)
    assert found.theorem3.holds == all(i.privileged for i in rows if i.user_sensitive)
    assert found.theorem3.holds or not found.theorem1.holds
    assert (why_not_virtualizable(found) is None) == found.theorem1.holds


# -- Theorem 2 ------------------------------------------------------------------------------------


def test_time_is_told_and_set_by_privileged_instructions_only():
    """Of the clean machine: a port is read to tell it, timer and ports are written to set it."""
    found = classify(Toy("toy/clean"))
    assert found.timing == Timing(("IN",), ("STIMER", "OUT"), ())
    assert found.theorem2.holds
    assert "told by IN only (proved of the others)" in found.theorem2.remark
    assert "Assumed of the monitor" in found.theorem2.remark


@pytest.mark.parametrize("name", ["IN", "STIMER"])
def test_a_program_that_reaches_time_unseen(tmp_path, name):
    """Let users do it, and neither theorem's condition is met."""
    path = tmp_path / "open.toml"
    path.write_text(
        f'title = "open"\nsource = "a test"\nextends = "toy/clean"\n[user]\n{name} = "executes"\n'
    )
    found = classify(Toy(str(path)))
    assert found.timing.unseen == (name,)
    assert not found.timing.virtual
    assert found.theorem2.offending == (name,)


def test_where_theorem_1_holds_so_does_the_second_condition():
    """What tells or changes a resource is sensitive, hence privileged."""
    for name in ("toy/s360", "toy/m68010", "toy/riscv"):
        assert classify(Toy(name)).theorem2.holds


def test_the_second_condition_alone_can_fail():
    """If something that sets a resource were innocuous and did not trap, it would be named."""
    found = classify(Toy("toy/clean"))
    theorem = theorem2(found.instructions.values(), Timing((), ("NOP",), ("NOP",)))
    assert not theorem.holds
    assert theorem.offending == ("NOP",)
    assert "NOP reach clock" in theorem.remark
