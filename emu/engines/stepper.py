"""One instruction at a time, as `Reference.step` does it, by emitted code for what occurs often.

For monitors, which want every instruction of a kernel back. Nothing is translated: code is fetched
and memory is reached by calls each time, so that others may write to either as they like.
"""

from __future__ import annotations

from collections.abc import Hashable

from emu.engines.access import CalledAccess, Stop
from emu.engines.compiling import is_emitted
from emu.engines.fetch import decode_at
from emu.engines.python import Session
from emu.engines.reference import Reference
from emu.exit import Exit
from emu.memory import Memory
from emu.state import State
from isa.definition import Instruction
from isa.fault import Fault
from isa.hints import Final
from isa.trace import Trace

HOT: Final = 24  # times that a form is evaluated before it is compiled, which takes as long
MOST_DECODED: Final = 1 << 14
_left: Final[dict[Hashable, int]] = {}  # by form, until it is compiled for a machine of the process


class _Calls(Session):
    """Emitted code that reaches memory by calls only."""

    def reach(self, space: str, memory: Memory) -> CalledAccess:
        """See `Session`."""
        return CalledAccess(space, memory, self.isa.spaces[space], self.undo)


class Stepper(Reference):
    """`step` and `deliver` of the reference engine, sooner."""

    def __init__(self) -> None:
        super().__init__()
        self._session: _Calls | None = None
        self._decoded: dict[tuple[bytes, Hashable], Instruction] = {}

    def step(self, state: State) -> Exit | None:
        """See `Reference`."""
        if state.coverage is not None:
            return super().step(state)
        session = self._session_of(state)
        mode = state.isa.mode(state.values)
        try:
            instruction = self._fetched(session, mode)
            if not self._is_hot(session, instruction.form):
                return super().step(state)
            return self._carry_out(session, instruction)
        except Stop as stop:
            session.take_back()
            if stop.why is None:
                return super().step(state)
            return stop.why if isinstance(stop.why, Exit) else self.trap(state, stop.why)

    def enter_handler(
        self, state: State, trace: Trace, fields: dict[str, int]
    ) -> Exit | Fault | None:
        """See `Reference`."""
        return self._session_of(state).judge.enter_handler(state, trace, fields)

    def _session_of(self, state: State) -> _Calls:
        if self._session is None or self._session.state is not state:
            if self._session is not None:
                self._session.close()
            self._session = _Calls(state, 0)
        return self._session

    def _fetched(self, session: _Calls, mode: Hashable) -> Instruction:
        """The instruction that comes next; raises Stop."""
        state = session.state
        fetch = session.fetcher(mode)
        address = state.pc if fetch is None else fetch(state.values)
        code, fault = state.memory[state.isa.code_space].fetch(address, state.isa.max_length)
        key = code, mode
        found = None if fault is not None else self._decoded.get(key)
        if found is None:
            decoded = decode_at(state, address)
            if isinstance(decoded, Fault):
                raise Stop(decoded)
            found = decoded
            if decoded.length + decoded.behind <= len(code):
                self._remember(key, decoded)
        return found

    def _remember(self, key: tuple[bytes, Hashable], instruction: Instruction) -> None:
        if len(self._decoded) >= MOST_DECODED:
            self._decoded.clear()
        self._decoded[key] = instruction

    def _is_hot(self, session: _Calls, form: Hashable) -> bool:
        """Whether a form was met often, or somebody has compiled it already."""
        left = _left.get(form, HOT)
        if left:
            undo = session.facts(form).undo
            known = is_emitted(session, session.isa.trace(form), undo)
            _left[form] = 0 if known else left - 1
        return not left

    def _carry_out(self, session: _Calls, instruction: Instruction) -> Exit | None:
        state, bulk, form = session.state, session.bulk, instruction.form
        handler = session.handler(form)
        bulk.budget = 1
        handler(state.values, [instruction.fields[name] for name in handler.fields])
        state.count, state.reply = state.count + bulk.retired, None
        bulk.retired = 1
        stop, bulk.stop = bulk.stop, None
        if stop is not None and stop.reason == "trap":
            return self.trap(state, Fault(stop.vector))
        return stop
