"""Guests synthesised from witnesses, and the monitors that must be right about them."""

from vmm.synthesis.cure import cure, promised
from vmm.synthesis.synthesis import NoGuestError, Synthesis, synthesize

__all__ = ["NoGuestError", "Synthesis", "cure", "promised", "synthesize"]
