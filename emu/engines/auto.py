"""The `auto` engine: python at first, native once a guest has proved to be worth it.

Loading LLVM takes as long as some thousand instructions do that the python engine meets first; a
guest that ends before that never pays for it. Where an earlier run or the installation has left
handlers on the disk nobody needs LLVM, nor python's own handlers: then it is native from the first
instruction.
"""

from __future__ import annotations

from emu.engines.python import Python
from emu.exit import UNTIL, Exit
from emu.state import State
from isa.definition import InstructionSet
from isa.fault import Fault

PATIENCE = 1_000  # instructions before LLVM is loaded


class Auto:
    """Engine contract: `run(state, until) -> Exit`, exact and precise (see emu/README.md)."""

    def __init__(self, *, patience: int | None = None) -> None:
        self._engine = Python()
        self._left = patience  # instructions for python; None: as few as is good

    @property
    def name(self) -> str:
        """The engine at work."""
        return self._engine.name

    def run(self, state: State, until: int) -> Exit:
        """Run until `state.count` reaches `until` or something else stops the processor."""
        if self._left is None:
            self._left = 0 if _was_native(state.isa) else PATIENCE
        run = self._chosen().run
        while self._left > 0:
            began = state.count
            stop = run(state, min(until, began + self._left))
            self._left = max(self._left - max(state.count - began, 1), 0)
            if stop is not UNTIL or state.count >= until:
                return stop
            run = self._chosen().go_on
        return run(state, until)

    def _chosen(self) -> Python:
        if self._left == 0 and self._engine.name == "python":
            self._engine = _native()
        return self._engine

    def elsewhere(self, state: State) -> None:
        """See `Python`."""
        self._engine.elsewhere(state)

    def deliver(self, state: State, fault: Fault) -> bool:
        """Carry out the machine's own delivery of a trap or interrupt; it counts as one."""
        return self._engine.deliver(state, fault)


def _was_native(isa: InstructionSet) -> bool:
    """Whether there is compiled code for such a machine."""
    from emu.engines.native.cache import DiskCache
    from emu.engines.native.names import flags_file

    return DiskCache.users().has(flags_file(isa.fingerprint))


def _native() -> Python:
    from emu.engines.native.engine import Native

    return Native()
