"""Whole guest systems for Hypothesis, which draws the seed (see vmm/systems.py)."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st
from toy_machines import toy

from vmm.systems import Generator, Q, System

__all__ = ["Generator", "Q", "System", "systems"]


def systems(name: str = "toy/clean") -> st.SearchStrategy[System]:
    """Guest systems for a configuration."""
    isa = toy(name)
    return st.integers(0, 2**48).map(lambda seed: Generator(isa, Random(seed)).system())
