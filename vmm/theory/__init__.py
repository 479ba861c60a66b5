"""Popek and Goldberg's classification, derived from the meanings of instructions and proved."""

from vmm.theory.classify import Classification, Evidence, InstructionClass, classify
from vmm.theory.readings import Reading
from vmm.theory.theorems import Repair, Theorem
from vmm.theory.witness import Witness

__all__ = [
    "Classification",
    "Evidence",
    "InstructionClass",
    "Reading",
    "Repair",
    "Theorem",
    "Witness",
    "classify",
]
