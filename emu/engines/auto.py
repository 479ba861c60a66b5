"""The `auto` engine: python at first, native once a guest has proved to be worth it.

Loading LLVM takes as long as some thousand instructions do that the python engine meets first; a
guest that ends before that never pays for it.
"""

from __future__ import annotations

from emu.engines.python import Python
from emu.exit import UNTIL, Exit
from emu.state import State
from isa.fault import Fault

PATIENCE = 1_000  # instructions before LLVM is loaded


class Auto:
    """Engine contract: `run(state, until) -> Exit`, exact and precise (see emu/README.md)."""

    def __init__(self, *, patience: int = PATIENCE) -> None:
        self._engine = Python()
        self._left = patience

    @property
    def name(self) -> str:
        """The engine at work."""
        return self._engine.name

    def run(self, state: State, until: int) -> Exit:
        """Run until `state.count` reaches `until` or something else stops the processor."""
        if self._left > 0:
            began = state.count
            stop = self._engine.run(state, min(until, began + self._left))
            self._left -= max(state.count - began, 1)
            if stop is not UNTIL or state.count >= until:
                return stop
            return self._native().go_on(state, until)
        return self._native().run(state, until)

    def _native(self) -> Python:
        if self._engine.name == "python":
            self._engine = _native()
        return self._engine

    def deliver(self, state: State, fault: Fault) -> bool:
        """Carry out the machine's own delivery of a trap or interrupt; it counts as one."""
        return self._engine.deliver(state, fault)


def _native() -> Python:
    from emu.engines.native.engine import Native

    return Native()
