"""Derived classes against the table of the theory notes (section 1.2), in both readings.

The table's columns "loc" to "breaks Thm 3" are one for both readings as far as they do not rest on
the control-sensitive clause; where they do (a trap out of user mode counts as a change of M in the
literal one) they are the repaired reading's, as the table says of SVC: "(with fix)".
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from isa.toy import Configuration, Toy
from tests.parameters import some_heavy
from vmm.theory import Classification, classify
from vmm.theory.theorems import SUFFICIENT
from vmm.theory.toy import ToyModel

# instruction: priv, ctrl literal, ctrl fixed, loc, mode, user-sens, sup-sens, critical, breaks 3
TABLE = {
    "NOP": "- - - - - - - - -",
    "LD": "- - - - - - - - -",  # COPY
    "ST": "- - - - - - - - -",  # COPY
    "LR": "Y Y Y - - - Y - -",
    "LPSW": "Y Y Y - - - Y - -",
    "JRST1": "- Y Y - - - Y Y -",
    "SPLX": "- Y Y - - - Y Y -",
    "LRA": "- - - Y - Y Y Y Y",
    "LRA_P": "Y Y - Y - - Y - -",
    "RDMODE": "- - - - Y - - Y -",
    "MFPI": "- - - - Y - - Y -",
    "SVC": "- Y - - - - - - -",
    "HALT": "- - - - - - - - -",
    "DECB": "- Y Y - - Y Y Y Y",
}
COLUMNS = ("privileged", "literal", "control_sensitive", "location_sensitive", "mode_sensitive",
           "user_sensitive", "supervisor_sensitive", "critical", "breaks_theorem3")  # fmt: skip


def cells(name: str) -> dict[str, bool]:
    """One row of the table."""
    return dict(zip(COLUMNS, (c == "Y" for c in TABLE[name].split()), strict=True))


@cache
def paper(literal: bool) -> Classification:
    """Every instruction; HALT as in the paper, which knows no trap of it (footnote 3)."""
    return classify(halting(), literal=literal)


def halting() -> Toy:
    folder = Path(__file__).parent / "configurations"
    return Toy(Configuration.load(folder / "halt.toml"))


@pytest.mark.parametrize("name", TABLE)
def test_repaired_reading(name):
    found, expected = paper(literal=False).instructions[name], cells(name)
    del expected["literal"]
    breaks = expected.pop("breaks_theorem3")
    assert {column: getattr(found, column) for column in expected} == expected
    assert (name in paper(literal=False).theorem3.offending) == breaks
    assert (name in paper(literal=False).theorem1.offending) == expected["critical"]
    assert found.innocuous == (not found.sensitive)


@pytest.mark.parametrize("name", TABLE)
def test_literal_reading(name):
    found, expected = paper(literal=True).instructions[name], cells(name)
    assert found.control_sensitive == expected["literal"]
    for column in ("privileged", "location_sensitive", "mode_sensitive"):
        assert getattr(found, column) == expected[column], column


def test_literal_reading_of_what_rests_on_the_control_clause():
    """A trap out of user mode changes M: whatever traps there is literally user sensitive."""
    found = paper(literal=True).instructions
    user = {name for name in TABLE if found[name].user_sensitive}
    assert user == {"LR", "LPSW", "LRA", "LRA_P", "SVC", "DECB"}
    critical = {name for name in TABLE if found[name].critical}
    assert critical == {n for n in TABLE if cells(n)["critical"]} | {"SVC"}
    assert {"DIV", "MODU"} <= set(paper(literal=True).critical)  # exception traps, too


def test_literally_no_machine_with_a_supervisor_call_passes_nor_can_be_repaired():
    clean = classify(Toy("toy/clean"), literal=True)
    assert (clean.theorem1.holds, clean.repair.works) == (False, False)
    assert "SVC" in clean.repair.remaining
    assert classify(Toy("toy/clean")).theorem1.holds


@pytest.mark.parametrize("literal", [False, True])
def test_every_claim_has_its_proof_or_its_witness(literal):
    for found in paper(literal).instructions.values():
        for claim, evidence in found.evidence.items():
            assert evidence.holds == getattr(found, claim)
            assert evidence.clause
            assert evidence.proved == (evidence.holds == (claim == "privileged")) or (
                claim == "privileged" and not evidence.holds and evidence.witness is None
            )  # SVC never executes without a trap: a proof that it is not privileged


def test_verdicts_say_that_the_condition_is_sufficient_only():
    found = classify(Toy("toy/all"))
    for theorem in (found.theorem1, found.theorem2, found.theorem3):
        assert SUFFICIENT in str(theorem)
    assert not found.theorem2.holds
    assert set(found.theorem3.offending) & set(TABLE) == {"LRA", "DECB"}


@pytest.mark.parametrize(
    "name", some_heavy(Configuration.names(), "toy/mips", "toy/vax", "toy/armv7")
)
def test_the_repair_is_applied_and_holds(name):
    found = classify(Toy(name))
    assert set(found.repair.instructions) == set(found.critical)
    assert found.repair.works
    repaired = ToyModel(Toy(name)).with_traps(found.repair.instructions)
    assert classify(repaired.isa).theorem1.holds
