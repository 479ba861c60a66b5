"""Meanings by family, in the manual's terms. Importing this package fills the table."""

from __future__ import annotations

from isa.x86.meanings import (
    arithmetic,
    control,
    flag_control,
    identification,
    move,
    segments,
    stack,
    system,
)

__all__ = [
    "arithmetic",
    "control",
    "flag_control",
    "identification",
    "move",
    "segments",
    "stack",
    "system",
]
