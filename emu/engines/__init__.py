"""Engines: each runs any machine that `isa` defines; none knows an instruction by name."""

from __future__ import annotations

import sys

from emu.exit import Exit
from emu.state import State
from isa.fault import Fault
from isa.hints import Protocol
from isa.light import cache

ENGINES = ("auto", "reference", "python", "native")
"""Names that `make_engine` takes; "auto" is the fastest that runs here."""


class Engine(Protocol):
    """What runs instructions; the contract is in emu/README.md."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def run(self, state: State, until: int) -> Exit:
        """Run until the count reaches `until` or something stops the processor."""

    def deliver(self, state: State, fault: Fault) -> bool:
        """Carry out the machine's own delivery of a trap or interrupt."""


def make_engine(name: str = "auto") -> Engine:
    """A new engine by name; raises ValueError naming those there are."""
    if name == "reference":
        from emu.engines.reference import Reference

        return Reference()
    if name in ("auto", "native") and not _has_llvm():
        name = "python"
    if name == "python":
        from emu.engines.python import Python

        return Python()
    if name == "auto":
        from emu.engines.auto import Auto

        return Auto()
    if name == "native":
        from emu.engines.native.engine import Native

        return Native()
    raise ValueError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")


@cache
def _has_llvm() -> bool:
    """Whether native code can be made here; says once if not."""
    host = sys.byteorder == "little" and sys.implementation.name == "cpython"  # see `native.gate`
    try:
        import llvmlite  # noqa: F401 - its compiler is loaded later, if ever
    except ImportError:
        host = False
    if not host:
        print("emu: no native code here (pip install llvmlite); using python", file=sys.stderr)
    return host
