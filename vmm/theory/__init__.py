"""Popek and Goldberg's classification, derived from the meanings of instructions and proved."""

from vmm.theory.classify import Classification, Evidence, InstructionClass, classify
from vmm.theory.necessity import Escape, escape
from vmm.theory.readings import Reading
from vmm.theory.theorems import Repair, Theorem
from vmm.theory.verdict import why_not_hybrid_virtualizable, why_not_virtualizable
from vmm.theory.witness import Witness

__all__ = [
    "Classification",
    "Escape",
    "Evidence",
    "InstructionClass",
    "Reading",
    "Repair",
    "Theorem",
    "Witness",
    "classify",
    "escape",
    "why_not_hybrid_virtualizable",
    "why_not_virtualizable",
]
