"""Meanings by family, in the manual's terms. Importing this package fills the table."""

from __future__ import annotations

from isa.x86.meanings import (
    arithmetic,
    bits,
    decimal,
    divide,
    exchange,
    logic,
    move,
    multiply,
    shift,
    strings,
)

__all__ = [
    "arithmetic",
    "bits",
    "decimal",
    "divide",
    "exchange",
    "logic",
    "move",
    "multiply",
    "shift",
    "strings",
]
