"""A soak: no difference and no growth, while everything that is kept is forgotten all the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak import Result

SECONDS = 300  # by hand: python -m tests.soak --seconds 600
SLACK = 40
"""MiB, of some 300, between the middle third and the last. Caches that are bounded by the number of
instruction forms, or of functions of a linker, still fill a little, the more so on a slow machine.
What this is to find is larger: before they were mended, page tables that malloc made resident came
to 600 MiB in four minutes, 48 for each machine."""


@pytest.mark.heavy
def test_five_minutes(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Random programs under tiny limits: no difference; no more memory once caches are full."""
    found = in_a_process_of_its_own(tmp_path)
    record_property("measured", str(found))
    assert min(found.forgotten["evictions"], found.forgotten["machines"]) >= 20
    assert found.grown <= SLACK
    assert found.slope * SECONDS / 60 * 2 / 3 <= SLACK


def in_a_process_of_its_own(directory: Path) -> Result:
    """Whose memory is that of nothing else, and whose crash tells its signal and its stack."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.soak",
         "--json", "--seconds", str(SECONDS)],
        capture_output=True, text=True, cwd=Path(__file__).parents[1],
        env=os.environ | {"TMPDIR": str(directory)},
    )  # fmt: skip
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stderr[-8_000:]}"
    return Result(**json.loads(done.stdout))
