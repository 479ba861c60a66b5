"""Toy machines for tests of the theory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from isa.toy import Configuration, Toy
from isa.toy.table import Behaviour


def with_behaviours(behaviours: Mapping[str, Behaviour], name: str = "toy/all") -> Toy:
    """A shipped machine, but in user mode these instructions do as said."""
    old = Configuration.load(name)
    return Toy(replace(old, behaviours={**old.behaviours, **behaviours}))
