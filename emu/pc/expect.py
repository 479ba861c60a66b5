"""Talking to a guest from a script: wait for a text, type another."""

from __future__ import annotations

from collections.abc import Callable

from emu.exit import Exit
from isa.hints import Final

LIMIT: Final = 2_000_000_000  # instructions that `wait` lets pass
STEP: Final = 100_000  # instructions between two looks
SHOWN: Final = 12  # last lines of the output in an error


class ExpectError(Exception):
    """The text did not come: says how long it was waited for and what came instead."""


class Console:
    """A guest's console, by four functions of the host's.

    `run` lets the machine run up to a count and tells why it stopped; `now` is its count; `read` is
    all output so far, or, if not `is_stream`, what a screen shows; `send` types a text.
    Every call answers with the console, so that `wait("login:").type("root\\n")` can be written.
    """

    def __init__(
        self,
        run: Callable[[int], Exit],
        now: Callable[[], int],
        read: Callable[[], str],
        send: Callable[[str], None],
        *,
        is_stream: bool = True,
    ) -> None:
        self._run, self._now, self._read, self._send = run, now, read, send
        self._is_stream = is_stream
        self._end = 0  # of the text that was found last

    def type(self, text: str) -> Console:
        """Type a text; the guest gets it in its own time."""
        self._send(text)
        return self

    def wait(self, text: str, *, limit: int = LIMIT) -> Console:
        """Run until a text comes that was not there when the last one was found.

        Raises ExpectError after `limit` instructions, or if the machine stops before.
        """
        start = self._now()
        while not self._found(text):
            until = min(self._now() + STEP, start + limit)
            if self._now() == until:
                raise self._error(text, f"did not come within {limit:,} instructions")
            stop = self._run(until)
            if stop.reason != "until" and not self._found(text):
                raise self._error(text, f"did not come before the machine stopped ({stop.reason})")
        if self._is_stream:
            self._end = self._read().index(text, self._end) + len(text)
        return self

    def _found(self, text: str) -> bool:
        return text in self._read()[self._end :]

    def _error(self, text: str, finding: str) -> ExpectError:
        lines = self._read()[self._end :].rstrip().splitlines()[-SHOWN:]
        shown = "\n".join(f"  | {line}" for line in lines) or "  (nothing)"
        return ExpectError(f"{text!r} {finding}. Since the last text that came:\n{shown}")
