"""Handlers of exits, the same for every engine: who is called, and how the run goes on."""

from __future__ import annotations

from emu.exit import Exit
from emu.state import State
from isa.hints import Final

BEFORE: Final = frozenset({"breakpoint", "fault", "port_read", "unimplemented"})
"""Reasons to stop at an instruction that has not happened: it has passed its breakpoint."""


_running: Final[set[int]] = set()  # ids of the states that an engine is at work on


def begin(state: State) -> None:
    """An engine starts to run a machine; raises RuntimeError if one does so already."""
    if id(state) in _running:
        raise RuntimeError(
            "the machine is running: a handler may change it, or return an Exit to whoever runs it"
        )
    _running.add(id(state))


def end(state: State) -> None:
    """The engine has stopped."""
    _running.discard(id(state))


def is_running(state: State) -> bool:
    """Whether an engine is at work on a machine (and perhaps waits for a handler)."""
    return id(state) in _running


def before(state: State, first: bool) -> Exit | None:
    """What stops the processor before an instruction; a breakpoint does not stop its own resume."""
    if state.shut_down:
        return Exit("shutdown")
    if state.interrupt_requested and _window_open(state):
        return Exit("window")
    if not first and state.pc in state.breakpoints:
        return Exit("breakpoint")
    return None


def _window_open(state: State) -> bool:
    from emu.engines.reference import window_open  # nobody interrupts most guests

    return window_open(state)


def offer(state: State, stop: Exit, first: bool) -> tuple[Exit | None, bool]:
    """Let the handler of an exit have it.

    The answer is the exit with which `run` returns, None to go on; then also whether the
    instruction at the program counter has passed its breakpoint. `first`: it had when it stopped.
    """
    handler = state.handlers.get(stop.reason)
    if handler is None:
        return stop, first
    pc = state.pc
    answer = handler(*(stop.values if stop.fault is None else (stop.fault,)))
    if answer is not None:
        return checked(stop.reason, answer), first
    passed = stop.reason in BEFORE or (stop.reason == "window" and first)
    return None, passed and state.pc == pc


def checked(reason: str, answer: object) -> Exit:
    """A handler's answer, which must be an exit; raises TypeError."""
    if isinstance(answer, Exit):
        return answer
    raise TypeError(f"the handler of {reason!r} returned {answer!r}, which is no Exit and not None")
