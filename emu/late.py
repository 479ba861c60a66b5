"""numpy, imported when somebody first asks for something in it.

That takes longer than all that a short run needs otherwise, and such a run does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["np"]


class _Late:
    """A module that is not imported yet."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(import_module(self._name), attribute)
        setattr(self, attribute, found)  # the next time nobody asks here
        return found


if not TYPE_CHECKING:
    np = _Late("numpy")
