"""Toy machines for tests of the theory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from isa.toy import Configuration, Toy
from isa.toy.table import INSTRUCTIONS, Behaviour

PAPER = [n for n, r in INSTRUCTIONS.items() if r.opcode < 0x86 or 0xC0 <= r.opcode <= 0xC6]
"""The clean machine's instructions and those of the paper's own examples."""


def paper(behaviours: Mapping[str, Behaviour]) -> Toy:
    """The machine that has just these, some of them doing in user mode as said."""
    old = Configuration.load("toy/all")
    kept = {name: old.behaviours[name] for name in PAPER}
    return Toy(replace(old, behaviours={**kept, **behaviours}))


def with_behaviours(behaviours: Mapping[str, Behaviour], name: str = "toy/all") -> Toy:
    """A shipped machine, but in user mode these instructions do as said."""
    old = Configuration.load(name)
    return Toy(replace(old, behaviours={**old.behaviours, **behaviours}))
