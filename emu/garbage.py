"""Python's search for garbage, in a command: it makes much at its start, and keeps it."""

from __future__ import annotations

import atexit
import gc

MADE = 50_000  # objects after which Python looks; a start makes fewer


def look_seldom() -> None:
    """Look for garbage after many objects only, and not at the end: a tenth of a short run."""
    gc.set_threshold(MADE)
    atexit.register(gc.freeze)
