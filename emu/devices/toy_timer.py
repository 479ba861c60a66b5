"""The toy machine's interval timer. It lives in two registers; this is what watches them."""

from __future__ import annotations

from collections.abc import Mapping

from emu.state import State
from isa.toy.ports import Port
from isa.toy.traps import Trap
from isa.words import mask


class ToyTimer:
    """Fires when the machine's count reaches the register `timer`, if `armed` is 1.

    No engine counts anything down: the machine stops the engine at the deadline. The register
    holds the count modulo the word, so the deadline lies less than one turn ahead.
    """

    ports = frozenset({Port.TIMER})
    trap = Trap.TIMER

    def __init__(self, state: State, word: int) -> None:
        self._state = state
        self._mask = mask(word)
        self.requested = False

    def deadline(self) -> int | None:
        """When it fires; None if it is off."""
        if not self._state["armed"]:
            return None
        return self._state.count + (self._state["timer"] - self._state.count & self._mask)

    def tick(self, now: int) -> None:
        """It fires once: one STIMER, one interrupt."""
        self._state["armed"] = 0
        self.requested = True

    def restart(self) -> None:
        """STIMER retired: an interrupt of the old setting that nobody took is gone."""
        self.requested = False

    def read(self, port: Port, now: int) -> int:
        """Instructions left."""
        deadline = self.deadline()
        return 0 if deadline is None else deadline - now

    def write(self, port: Port, value: int, now: int) -> None:
        """Only STIMER sets it."""

    def snapshot(self) -> Mapping[str, object]:
        """Whether an interrupt waits."""
        return {"requested": self.requested}
