"""Sizes as users write them."""

from __future__ import annotations

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parsed(text: str) -> int | None:
    """Bytes, from a number with K, M or G; None if it is no size."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    return int(number) * UNITS[unit] if number.isdecimal() and unit in UNITS else None
