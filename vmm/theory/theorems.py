"""The three theorems as predicates on a classification; the repair that makes Theorem 1 hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from vmm.theory.timing import Timing

if TYPE_CHECKING:
    from vmm.theory.classify import InstructionClass

SUFFICIENT: Final = "The condition is sufficient, not necessary."


class Classified(Protocol):
    """What Theorems 1 and 3 ask of an instruction's class, whatever the machine."""

    @property
    def name(self) -> str:
        """The instruction."""

    @property
    def privileged(self) -> bool:
        """Whether it traps in u and not in s."""

    @property
    def sensitive(self) -> bool:
        """Whether it is control or behaviour sensitive."""

    @property
    def user_sensitive(self) -> bool:
        """Whether it is sensitive with all states in u."""

    @property
    def critical(self) -> bool:
        """Whether it is sensitive and not privileged."""


@dataclass(frozen=True, slots=True)
class Theorem:
    """A verdict; `offending` are the instructions outside of the privileged ones."""

    number: int
    holds: bool
    offending: tuple[str, ...]
    statement: str
    remark: str

    @property
    def critical(self) -> tuple[str, ...]:
        """The same, under the name that Theorem 1's have."""
        return self.offending

    def __str__(self) -> str:
        verdict = "holds" if self.holds else f"fails ({', '.join(self.offending)})"
        return f"Theorem {self.number} {verdict}: {self.statement}. {self.remark}"


def theorem1(instructions: Iterable[Classified]) -> Theorem:
    """A monitor can be built if every sensitive instruction is privileged."""
    offending = tuple(i.name for i in instructions if i.critical)
    if offending:
        remark = f"{SUFFICIENT} So no trap-and-emulate monitor is promised; another may exist"
    else:
        remark = f"{SUFFICIENT} It is met: trap-and-emulate works"
    return Theorem(1, not offending, offending, "sensitive ⊆ privileged", remark + ".")


def theorem2(instructions: Iterable[InstructionClass], timing: Timing) -> Theorem:
    """The machine is recursively virtualizable if Theorem 1 holds and a monitor without timing."""
    first = theorem1(instructions)
    if first.holds and not timing.virtual:
        remark = f"{SUFFICIENT} Its second condition is not met: {timing}"
    elif first.holds:
        remark = (
            f"{SUFFICIENT} It is met as far as it is about the machine: {timing}. Assumed of the "
            "monitor: that it does so, delivers interrupts by that time, and leaves storage"
        )
    else:
        remark = f"{SUFFICIENT} Its first condition, Theorem 1, is not met"
    statement = "Theorem 1, and a monitor without timing dependence"
    holds = first.holds and timing.virtual
    return Theorem(2, holds, first.offending or timing.unseen, statement, remark + ".")


def theorem3(instructions: Iterable[Classified]) -> Theorem:
    """A hybrid monitor can be built if every user sensitive instruction is privileged."""
    offending = tuple(i.name for i in instructions if i.user_sensitive and not i.privileged)
    if offending:
        remark = f"{SUFFICIENT} So not even a hybrid monitor is promised"
    else:
        remark = f"{SUFFICIENT} It is met: interpret supervisor mode, run user mode directly"
    return Theorem(3, not offending, offending, "user sensitive ⊆ privileged", remark + ".")


@dataclass(frozen=True, slots=True)
class Repair:
    """The smallest set of instructions to make trap in user mode; each critical one must be in it.

    `remaining` are critical even then (it was classified again): those that trap in supervisor
    mode too, in the literal reading.
    """

    instructions: tuple[str, ...]
    remaining: tuple[str, ...]

    @property
    def works(self) -> bool:
        """Whether Theorem 1 holds after it."""
        return not self.remaining

    def __str__(self) -> str:
        if not self.instructions:
            return "nothing to repair"
        names = ", ".join(self.instructions)
        text = f"make {_these(len(self.instructions))} trap in user mode: {names}"
        if self.works:
            return f"{text} (applied and classified again: Theorem 1 holds)"
        return f"{text}; {', '.join(self.remaining)} would still be critical"


def _these(count: int) -> str:
    return "this instruction" if count == 1 else f"these {count} instructions"


def repair_of(
    critical: Sequence[str], critical_after: Callable[[Sequence[str]], Sequence[str]]
) -> Repair:
    """The repair, checked by `critical_after(instructions)`.

    It is minimal: what is critical is a matter of each instruction alone, so each has to change.
    """
    remaining = critical_after(critical) if critical else ()
    return Repair(tuple(critical), tuple(remaining))
