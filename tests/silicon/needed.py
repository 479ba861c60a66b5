"""The oracle for a test that cannot do without it."""

from __future__ import annotations

from pathlib import Path

from tests.needs import missing

from .native import Silicon, SiliconError


def needed_silicon(directory: Path) -> Silicon:
    """The oracle, built in a directory; else the test is skipped, under CI failed."""
    reason = Silicon.available()
    if reason is not None:
        return missing(reason)
    try:
        return Silicon.build(directory)
    except SiliconError as error:
        return missing(str(error))
