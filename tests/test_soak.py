"""A soak: no difference and no growth, while everything that is kept is forgotten all the time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak import MEBIBYTE, soak, summary

SECONDS = 300  # by hand: python -m tests.soak --seconds 600
SLACK = 40 * MEBIBYTE
"""Between the middle third and the last, of some 300 MiB. Caches that are bounded by the number of
instruction forms, or of functions of a linker, still fill a little, the more so on a slow machine.
What this is to find is larger: before they were mended, page tables that malloc made resident came
to 600 MiB in four minutes, 48 for each machine."""


@pytest.mark.heavy
def test_five_minutes(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Random programs under tiny limits: no difference; no more memory once caches are full."""
    work, memory, forgotten = soak(SECONDS, tmp_path / "cache", tell=lambda text: None)
    grown, slope = memory.growth(), memory.slope()
    told = summary(work, memory, forgotten)
    told += f"; from the middle third to the last {grown / MEBIBYTE:+.1f} MiB"
    record_property("measured", f"{told}, slope {slope / MEBIBYTE:+.2f} MiB a minute")
    assert min(forgotten["evictions"], forgotten["machines"]) >= 20
    assert grown <= SLACK
    assert slope * SECONDS / 60 * 2 / 3 <= SLACK
