"""A classification as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence

from vmm.theory import Classification


def page(found: Sequence[Classification]) -> str:
    """The page."""
    raise NotImplementedError
