"""Brute force on a small machine and z3 on the real one say the same of every instruction."""

from __future__ import annotations

import pytest

from isa.toy import Configuration, Toy
from isa.toy.table import INSTRUCTIONS, Behaviour
from tests.theory_machines import PAPER, paper
from vmm.theory import Reading, classify
from vmm.theory.brute import CLAIMS, brute_force

READINGS = [Reading.REPAIRED, Reading.LITERAL]


def agree(isa: Toy, reading: Reading) -> None:
    derived = classify(isa, literal=reading is Reading.LITERAL).instructions
    tried = brute_force(isa, reading)
    for name, answers in tried.items():
        expected = {claim: getattr(derived[name], claim) for claim in CLAIMS}
        assert (name, answers) == (name, expected)
    assert list(tried) == list(derived)


def test_a_configuration():
    agree(Toy("toy/clean"), Reading.REPAIRED)


@pytest.mark.heavy
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("name", Configuration.names())
def test_every_shipped_configuration(name, reading):
    agree(Toy(name), reading)


@pytest.mark.heavy
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("behaviour", [b for b in Behaviour if b is not Behaviour.PARTLY])
def test_every_behaviour_of_the_instructions_that_look_at_m_or_r(behaviour, reading):
    names = [n for n in PAPER if INSTRUCTIONS[n].opcode >= 0x80]
    agree(paper(dict.fromkeys(names, behaviour)), reading)
