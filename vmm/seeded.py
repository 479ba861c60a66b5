"""Seeded faults: one method or function replaced by a wrong one while a property is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

Wrong = Callable[[Any], Any]
Where = TypeVar("Where")
"""Under which monitor, on which machine a fault is tried."""


STUCK: Final = 3_000  # rounds of a monitor in which no time passes


class StuckError(Exception):
    """A monitor goes on and on, and its guest does not."""


@contextmanager
def watched(monitor: Any) -> Iterator[None]:
    """A monitor of that class in which no time passes raises StuckError."""
    right = monitor._continue
    last = [-1, 0]

    def continued(self: Any, state: Any, until: int) -> Any:
        last[1] = last[1] + 1 if state.count == last[0] else 0
        last[0] = state.count
        if last[1] > STUCK:
            raise StuckError
        return right(self, state, until)

    monitor._continue = continued
    try:
        yield
    finally:
        monitor._continue = right


@dataclass(frozen=True, slots=True)
class Mutant(Generic[Where]):
    """A fault: what it does, where it is, the wrong code made of the right, where it is tried."""

    name: str
    what: str
    owner: Any
    attribute: str
    wrong: Wrong
    trial: Where

    @contextmanager
    def planted(self) -> Iterator[None]:
        """With the fault in place."""
        right = vars(self.owner)[self.attribute]
        wrong = self.wrong(right.__func__ if isinstance(right, staticmethod) else right)
        setattr(
            self.owner,
            self.attribute,
            staticmethod(wrong) if isinstance(right, staticmethod) else wrong,
        )
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, right)


@dataclass(frozen=True, slots=True)
class Caught(Generic[Where]):
    """How a mutant fared; `by` is "" if nothing noticed."""

    mutant: Mutant[Where]
    by: str
    systems: int

    def facts(self) -> dict[str, Any]:
        """What `--json` shows."""
        return {
            "name": self.mutant.name, "what": self.mutant.what, "trial": str(self.mutant.trial),
            "caught": bool(self.by), "by": self.by, "systems": self.systems,
        }  # fmt: skip


def then(change: Callable[..., None]) -> Wrong:
    """The right thing, and after it something wrong, with the same arguments."""

    def wrong(right: Any) -> Any:
        def both(*arguments: Any) -> Any:
            outcome = right(*arguments)
            change(*arguments)
            return outcome

        return both

    return wrong


def instead(replacement: Callable[..., Any]) -> Wrong:
    """Something wrong instead; the right function comes as its first argument."""

    def wrong(right: Any) -> Any:
        return lambda *arguments: replacement(right, *arguments)

    return wrong
