"""Guests synthesised from witnesses, and the monitors that must be right about them."""

from vmm.synthesis.cure import cure, promised
from vmm.synthesis.demonstration import Demonstration, demonstrate, first_divergence
from vmm.synthesis.synthesis import NoGuestError, Synthesis, synthesize

__all__ = [
    "Demonstration", "NoGuestError", "Synthesis", "cure", "demonstrate", "first_divergence",
    "promised", "synthesize",
]  # fmt: skip
