"""Meanings by family, in the manual's terms. Importing this package fills the table."""

from __future__ import annotations

from isa.x86.meanings import (
    arithmetic,
    bits,
    control,
    decimal,
    divide,
    exchange,
    flag_control,
    identification,
    logic,
    move,
    multiply,
    segments,
    shift,
    stack,
    strings,
    system,
)

__all__ = [
    "arithmetic",
    "bits",
    "control",
    "decimal",
    "divide",
    "exchange",
    "flag_control",
    "identification",
    "logic",
    "move",
    "multiply",
    "segments",
    "shift",
    "stack",
    "strings",
    "system",
]
