"""Parameters of tests, some of them for the heavy run only."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def some_fast(names: Iterable[object], *fast: object) -> list[object]:
    """Parameters of which only those named are for the default suite."""
    return [n if n in fast else pytest.param(n, marks=pytest.mark.heavy) for n in names]


def some_heavy(names: Iterable[object], *heavy: object) -> list[object]:
    """Parameters of which those named are for the heavy run."""
    known = list(names)
    return some_fast(known, *(n for n in known if n not in heavy))
