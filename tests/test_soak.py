"""A soak: no difference and no growth, while everything that is kept is forgotten all the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak import WARM, Memory, Result, Sizes

SECONDS = 300  # by hand: python -m tests.soak --seconds 600
SLACK = Sizes(resident=8, allocated=0.8, objects=12)
"""MiB of some 145, MiB of some 13, and thousands of some 300, between the first third of the time
after a minute and the last.

What is resident goes up and down by 3 MiB, and the largest region so far, which may come late,
leaves holes that nobody gives back: thirds of ten minutes were 143.3, 146.2 and 145.0. What malloc
has given out is as good as constant (+0.2), so that a leak shows there: with the last one, 80 bytes
for each function that LLVM compiled, it was 1.9 MiB after five minutes, and 6 MiB were resident.
Objects are what is derived of functions of the IR when a guest needs them first, of 160 in the
first minute and of 40 in the next four (+5 thousand)."""


@pytest.mark.heavy
def test_five_minutes(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Random programs under tiny limits: no difference; no more memory once caches are full."""
    found = in_a_process_of_its_own(tmp_path)
    record_property("measured", str(found))
    assert min(found.forgotten["evictions"], found.forgotten["machines"]) >= 20
    for grown, slope, slack in zip(found.grown, found.slope, SLACK, strict=True):
        assert grown <= slack, found
        assert slope * (SECONDS - WARM) / 60 * 2 / 3 <= slack, found  # as far apart as those thirds


def test_growth_is_measured_after_the_first_minute() -> None:
    """What fills in a minute is no growth; what goes on growing is."""
    filled = Memory([(at, sizes(min(at, 60))) for at in range(600)])
    assert filled.thirds() == [sizes(60)] * 3
    assert filled.slope() == sizes(0)
    growing = Memory([(at, sizes(at)) for at in range(600)])
    assert growing.thirds() == [sizes(149.5), sizes(329.5), sizes(509.5)]
    assert growing.slope() == pytest.approx(sizes(60))


def sizes(of: float) -> Sizes:
    """Three that are one another's multiples."""
    return Sizes(of, 2 * of, 3 * of)


def in_a_process_of_its_own(directory: Path) -> Result:
    """Whose memory is that of nothing else, and whose crash tells its signal and its stack."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.soak",
         "--json", "--seconds", str(SECONDS)],
        capture_output=True, text=True, cwd=Path(__file__).parents[1],
        env=os.environ | {"TMPDIR": str(directory)},
    )  # fmt: skip
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stderr[-8_000:]}"
    return Result.of(json.loads(done.stdout))
