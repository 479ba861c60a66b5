"""Modules that are imported when somebody first asks for something in them."""

from __future__ import annotations

from isa.hints import Any


class Late:
    """A module that is not imported yet: to import it takes longer than most runs need."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        from importlib import import_module  # which is not free either

        found = getattr(import_module(self._name), attribute)
        setattr(self, attribute, found)  # the next time nobody asks here
        return found
