"""What the `python` engine leaves to the reference engine: single instructions, and deliveries.

A delivery (`isa.delivery`) is a long trace that a guest with a timer needs thousands of times, so
after `HOT` times it is compiled as a handler of an instruction is.
"""

from __future__ import annotations

from emu.engines.access import Stop
from emu.engines.compiling import emit_handler, is_emitted
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.state import State
from isa.fault import Fault
from isa.hints import TYPE_CHECKING, Any, Final
from isa.trace import Trace

if TYPE_CHECKING:
    from emu.engines.python import Session

HOT: Final = 64  # deliveries by a trace before it is compiled, which takes as long as hundreds
_left: Final[dict[int, int]] = {}  # the same for all machines of a process


class Judge(Reference):
    """The reference engine in a session, whose deliveries become emitted code."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._compiled: dict[int, Any] = {}  # by the id of a trace, which `isa` keeps

    def enter_handler(
        self, state: State, trace: Trace, fields: dict[str, int]
    ) -> Exit | Fault | None:
        """See `Reference`."""
        handler = self._handler(trace)
        if handler is None:
            return super().enter_handler(state, trace, fields)
        bulk = self._session.bulk
        for access in self._session.accesses.values():
            access.flush()  # between two runs nobody has told what has changed
        try:
            handler(state.values, [fields[name] for name in handler.fields])
        except Stop as stop:
            self._session.take_back()
            if isinstance(stop.why, Fault):
                return stop.why
            return super().enter_handler(state, trace, fields)
        state.count, state.reply = state.count + 1, None
        outcome, bulk.stop = bulk.stop, None
        return outcome

    def _handler(self, trace: Trace) -> Any:
        """Emitted code for a trace that is needed often."""
        key = id(trace)
        found = self._compiled.get(key)
        if found is None:
            _left[key] = _left.get(key, HOT) - 1
            if _left[key] < 0 or is_emitted(self._session, trace, undo=True):
                found = self._compiled[key] = emit_handler(self._session, trace, undo=True)
        return found
