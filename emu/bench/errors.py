"""What makes a benchmark worthless."""

from __future__ import annotations


class BenchError(Exception):
    """A tool computed something else than it should, or did not end as it should."""
