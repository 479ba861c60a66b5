"""The engine of a scripted machine: any engine, and the hooks around it.

Hooks of instructions, blocks and accesses need *watched* code (`watch.py`), which has a session of
its own; hooks of functions are breakpoints, and the others are handlers of exits, so with those the
engine runs as fast as ever. What hooks change is looked at here, between two instructions.
"""

from __future__ import annotations

from emu.engines import ENGINES, Engine, make_engine
from emu.engines.python import Python
from emu.engines.reference import window_open
from emu.exit import UNTIL, Exit
from emu.script.errors import ScriptError
from emu.script.hooks import (
    CALL,
    FAULT,
    INTERRUPT,
    PORT_READ,
    PORT_WRITE,
    Hooks,
)
from emu.script.watch import AGAIN, NOWHERE, Place, Watch
from emu.state import Handler, State
from isa.fault import Fault
from isa.hints import Final, Protocol, cast

SYSCALL_VECTOR: Final = 0x80
ADDRESS: Final = 0xFFFFFFFF
REAL_BASES, MOST_IP = 0x10_0000, 0xFFFF  # of segments in real mode, and in them


class Left(Exception):  # noqa: N818 - not an error: the script's own way out of a run
    """Leaves a run between two instructions; `reached` tells whether at an address asked for."""

    def __init__(self, *, reached: bool) -> None:
        super().__init__()
        self.reached = reached


class Serves(Protocol):
    """How system calls are served with hooks around them."""

    def __call__(self, state: State, handler: Handler, hooks: Hooks) -> Exit | None:
        """Serve the one in the registers."""


class ScriptEngine:
    """An engine with hooks; `flat`: program counters are addresses.

    `stops` are addresses at which `run` ends by `Left`; `asked` is set to end it at once.
    """

    def __init__(self, name: str, watch: Watch, *, flat: bool) -> None:
        if name not in ENGINES:
            raise ScriptError(
                f"There is no engine {name!r}", advice=f"Use one of {', '.join(ENGINES)}"
            )
        self._plain = make_engine(name)
        self._chosen = name
        self._watch = watch
        self._flat = flat
        self._watched: Engine | None = None
        self._last: Engine | None = None
        self._pointed = NOWHERE  # where points were told
        self.passed: Place = NOWHERE  # where a run began: it does not stop there
        self.hooks: Hooks
        self.stops: frozenset[int] = frozenset()
        self.asked = False
        self.serves: Serves | None = None

    @property
    def name(self) -> str:
        """The engine at work."""
        return (self._last or self._plain).name

    def deliver(self, state: State, fault: Fault) -> bool:
        """See `Engine`."""
        return self._plain.deliver(state, fault)

    def run(self, state: State, until: int) -> Exit:
        """See `Engine`. Raises Left, and what hooks raise."""
        while state.count < until:
            self._settle()
            if self._begin(state):
                continue
            stop = self._run(self._engine(state), state, until)
            if stop is not AGAIN:
                return stop
        return UNTIL

    def _settle(self) -> None:
        """Take note of what hooks have changed."""
        if self.asked:
            self.asked = False
            raise Left(reached=False)
        if self._watch.changed:
            self._watch.changed = False
            self.hooks.settle()

    def _begin(self, state: State) -> bool:
        """Do for the first instruction what its breakpoint would; True to look again."""
        if state.interrupt_requested and window_open(state):
            return False  # it is not the next that happens
        pc = state.pc
        self._at(state)
        return self._watch.changed or self.asked or state.pc != pc

    def _at(self, state: State) -> None:
        """Execution has come to an instruction: stop there, or tell the points."""
        address, here = self._address(state), (state.count, state.pc)
        if address in self.stops and here != self.passed:
            raise Left(reached=True)
        if address in self.hooks.points and here != self._pointed:
            self._pointed = here
            self.hooks.at_point(address)

    def _address(self, state: State) -> int:
        """Where the next instruction lies."""
        return state.pc if self._flat else state["cs_base"] + state.pc & ADDRESS

    def _breakpoints(self) -> set[int]:
        """Program counters at which execution may have come to what is wanted. In real mode an
        address has as many as there are segments that hold it."""
        wanted = self.stops | self.hooks.points.keys()
        if self._flat:
            return set(wanted)
        found = set(wanted)
        for address in wanted:
            found |= {address - base for base in range(0, REAL_BASES, 16)
                      if 0 <= address - base <= MOST_IP}  # fmt: skip
        return found

    # -- engines -------------------------------------------------------------------------------

    def _engine(self, state: State) -> Engine:
        """The engine for what is watched now."""
        engine = self._watched_engine() if self._watch.is_needed else self._plain
        if self._last is not None and engine is not self._last:
            elsewhere = getattr(engine, "elsewhere", None)
            if elsewhere is not None:
                elsewhere(state)
        self._last = engine
        return engine

    def _watched_engine(self) -> Engine:
        if self._watched is None:
            self._watched = watched_engine(self._chosen, self._plain, self._watch)
        return self._watched

    def _run(self, engine: Engine, state: State, until: int) -> Exit:
        handlers = state.handlers
        state.handlers = self._handlers(state, handlers)
        state.breakpoints = self._breakpoints()
        try:
            return engine.run(state, until)
        finally:
            state.handlers, state.breakpoints = handlers, set()

    # -- handlers --------------------------------------------------------------------------------

    def _handlers(self, state: State, plain: dict[str, Handler]) -> dict[str, Handler]:
        """The machine's handlers with the hooks before them."""
        found = {reason: self._then_look(handler) for reason, handler in plain.items()}
        hooks = self.hooks
        if hooks.of(INTERRUPT) or hooks.of(CALL):
            found["interrupt"] = self._then_look(self._interrupt(state, plain.get("interrupt")))
        for reason, kind in (("fault", FAULT), ("port_write", PORT_WRITE)):
            if hooks.of(kind):
                found[reason] = self._then_look(self._asked_first(reason, kind, plain.get(reason)))
        if hooks.of(PORT_READ):
            found["port_read"] = self._then_look(self._port_read(state, plain.get("port_read")))
        found["breakpoint"] = self._breakpoint(state)
        return found

    def _then_look(self, handler: Handler) -> Handler:
        """A handler after which the run is left if a hook has changed anything."""

        def handle(*values: object) -> Exit | None:
            answer = handler(*values)
            if answer is None and (self._watch.changed or self.asked):
                return AGAIN
            return answer

        return handle

    def _asked_first(self, reason: str, kind: str, plain: Handler | None) -> Handler:
        """Hooks that may say that they have served it."""

        def handle(*values: object) -> Exit | None:
            answers = [hook.callback(*values) for hook in self.hooks.of(kind)]
            if True in answers:
                return None
            return _leaves(reason, values) if plain is None else plain(*values)

        return handle

    def _interrupt(self, state: State, plain: Handler | None) -> Handler:
        asked = self._asked_first("interrupt", INTERRUPT, plain)

        def interrupt(vector: int) -> Exit | None:
            if vector == SYSCALL_VECTOR and self.serves is not None and self.hooks.of(CALL):
                assert plain is not None
                return self.serves(state, lambda: asked(vector), self.hooks)
            return asked(vector)

        return interrupt

    def _port_read(self, state: State, plain: Handler | None) -> Handler:
        def read(port: int, size: int) -> Exit | None:
            for hook in self.hooks.of(PORT_READ):
                value = hook.callback(port, size)
                if value is not None:
                    state.reply = int(value) & (1 << 8 * size) - 1  # type: ignore[call-overload]
                    return None
            return _leaves("port_read", (port, size)) if plain is None else plain(port, size)

        return read

    def _breakpoint(self, state: State) -> Handler:
        def at_breakpoint() -> Exit | None:
            pc = state.pc
            self._at(state)
            return AGAIN if self._watch.changed or self.asked or state.pc != pc else None

        return at_breakpoint


def _leaves(reason: str, values: tuple[object, ...]) -> Exit:
    """The exit that nobody serves."""
    if reason == "fault":
        (fault,) = values
        assert isinstance(fault, Fault)
        return Exit("fault", fault)
    return Exit(reason, None, cast("tuple[int, ...]", values))


def watched_engine(name: str, plain: Engine, watch: Watch) -> Engine:
    """The engine for watched code that goes with an engine's name."""
    if name == "reference":
        from emu.script.judge import WatchedReference

        return WatchedReference(watch)
    if type(plain) is Python:  # asked for, or there is no native code here
        from emu.script.stepping import WatchedPython

        return WatchedPython(watch)
    from emu.script.native import WatchedNative

    return WatchedNative(watch)
