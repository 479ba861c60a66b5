"""The monitor that has hardware assistance: the processor below in a mode that is not root.

Its processor has a second set of all registers, of which no instruction can see that it is the
second one (SDM volume 3, section 24.1): the virtual state is that set, and the engine of the
machine below works on it. The window is the second level of translation. Whatever goes to the
outside exits: ports, HLT, interrupt windows, changes of translations. Exceptions go through the
guest's own IDT.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from emu.exit import Exit
from emu.state import Handler, State
from isa.fault import Fault
from vmm.pc.control_program import Monitor

REASONS: Final[Mapping[str, str]] = {
    "port_read": "I/O instruction (30)",
    "port_write": "I/O instruction (30)",
    "halt": "HLT (12)",
    "window": "interrupt window (7)",
    "invalidate": "control register or INVLPG (28, 14)",
}
"""Exits of the engine, and basic exit reasons (SDM volume 3, appendix C)."""


class HardwareAssist(Monitor):
    """Everything runs directly, in every mode; what leaves the guest exits."""

    name = "hardware-assist"

    def run(self, state: State, until: int) -> Exit:
        """See the engine contract."""
        self._watch(state)
        began, delivered = state.count, self.efficiency.delivered
        self.efficiency.entries += 1
        stop = self.below.engine.run(state, until)
        injected = self.efficiency.delivered - delivered
        self.efficiency.direct += state.count - began - injected
        return stop

    def deliver(self, state: State, fault: Fault) -> bool:
        """Inject an event at the entry."""
        self.efficiency.delivered += 1
        return self.below.engine.deliver(state, fault)

    def _watch(self, state: State) -> None:
        """Stand between the processor and whoever serves its exits."""
        for reason in REASONS:
            handler = state.handlers.get(reason)
            if handler is not None and not isinstance(handler, _Exiting):
                state.handlers[reason] = _Exiting(partial(self._exit, state, reason, handler))

    def _exit(self, state: State, reason: str, handler: Handler, *values: int) -> Exit | None:
        self.efficiency.exits[REASONS[reason]] += 1
        self.efficiency.entries += 1
        answer = handler(*values)
        if answer is None and self.boundary is not None:
            return self.boundary(state)
        return answer


class _Exiting:
    """A handler that counts."""

    def __init__(self, call: Handler) -> None:
        self._call = call

    def __call__(self, *values: int) -> Exit | None:
        return self._call(*values)
