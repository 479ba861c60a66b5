"""What the classifications of all machines have in common: witnesses, classes, what follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from vmm.theory.theorems import Classified, Theorem, theorem1, theorem3


class ReplayError(Exception):
    """A witness that the reference engine does not bear out: a bug of ours."""


class Carried(Protocol):
    """A state and the step from it."""

    @property
    def text(self) -> str:
        """The instruction."""


RanT = TypeVar("RanT", bound=Carried)
DifferenceT = TypeVar("DifferenceT")
WitnessT_co = TypeVar("WitnessT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Steps(Generic[RanT, DifferenceT]):
    """One or two states, the step from each, and what differed: what a witness is."""

    claim: str
    one: RanT
    other: RanT | None
    differences: tuple[DifferenceT, ...]

    @property
    def text(self) -> str:
        """The instruction."""
        return self.one.text


class Known(Protocol[WitnessT_co]):
    """Evidence: whether a claim holds, and the witness of it, if any."""

    @property
    def holds(self) -> bool:
        """Whether the claim holds."""

    @property
    def witness(self) -> WitnessT_co | None:
        """What shows it."""


def witness_of_sensitivity(evidence: Mapping[str, Known[WitnessT_co]]) -> WitnessT_co | None:
    """The first witness of a claim that holds, but of "privileged"; None if there is none."""
    found = (e.witness for claim, e in evidence.items() if claim != "privileged" and e.holds)
    return next((witness for witness in found if witness is not None), None)


class Judged(Protocol):
    """What is derived of an instruction."""

    @property
    def privileged(self) -> bool:
        """Traps in u, and executes in s."""

    @property
    def control_sensitive(self) -> bool:
        """Changes M, R or a resource."""

    @property
    def behaviour_sensitive(self) -> bool:
        """Depends on M, R or a resource."""

    @property
    def sensitive(self) -> bool:
        """Control or behaviour sensitive."""


class Classes:
    """What follows from what was derived of an instruction."""

    __slots__ = ()

    @property
    def sensitive(self: Judged) -> bool:
        """Control or behaviour sensitive."""
        return self.control_sensitive or self.behaviour_sensitive

    @property
    def innocuous(self: Judged) -> bool:
        """Not sensitive."""
        return not self.sensitive

    @property
    def critical(self: Judged) -> bool:
        """Sensitive and not privileged: what Theorem 1 forbids."""
        return self.sensitive and not self.privileged


class Tabled(Protocol):
    """A machine's instructions."""

    @property
    def instructions(self) -> Mapping[str, Classified]:
        """Their classes by their names."""


class Verdicts:
    """What the theorems say of a machine's instructions."""

    __slots__ = ()

    @property
    def critical(self: Tabled) -> list[str]:
        """The instructions that Theorem 1 stumbles over."""
        return [i.name for i in _classes(self) if i.critical]

    @property
    def theorem1(self: Tabled) -> Theorem:
        """Sensitive ⊆ privileged."""
        return theorem1(_classes(self))

    @property
    def theorem3(self: Tabled) -> Theorem:
        """User sensitive ⊆ privileged."""
        return theorem3(_classes(self))


def _classes(table: Tabled) -> Iterable[Classified]:
    return table.instructions.values()
