"""Engines: each runs any machine that `isa` defines; none knows an instruction by name."""

from __future__ import annotations

from typing import Protocol

from emu.exit import Exit
from emu.state import State
from isa.fault import Fault

ENGINES = ("auto", "reference", "python", "native")
"""Names that `make_engine` takes; "auto" is the fastest that runs here."""


class Engine(Protocol):
    """What runs instructions; the contract is in emu/README.md."""

    name: str

    def run(self, state: State, until: int) -> Exit:
        """Run until the count reaches `until` or something stops the processor."""

    def deliver(self, state: State, fault: Fault) -> bool:
        """Carry out the machine's own delivery of a trap or interrupt."""


def make_engine(name: str = "auto") -> Engine:
    """A new engine by name; raises ValueError naming those there are."""
    if name == "reference":
        from emu.engines.reference import Reference

        return Reference()
    if name in ("auto", "python"):
        from emu.engines.python import Python

        return Python()
    if name == "native":
        from emu.engines.native.engine import Native

        return Native()
    raise ValueError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
