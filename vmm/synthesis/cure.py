"""Which monitors are promised to run a machine, and so a guest, as a bare machine would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.monitors import Hybrid, Interpretation, Translation, TrapAndEmulate
from vmm.theory import InstructionClass

Promise = Callable[[InstructionClass], bool]


def _theorem1(found: InstructionClass) -> bool:
    return not found.critical


def _theorem3(found: InstructionClass) -> bool:
    return found.privileged or not found.user_sensitive


PROMISES: Final[dict[str, tuple[str, Promise]]] = {
    TrapAndEmulate.name: ("Theorem 1: sensitive ⊆ privileged", _theorem1),
    Hybrid.name: ("Theorem 3: user sensitive ⊆ privileged", _theorem3),
    Translation.name: ("as Theorem 3, since it too runs user mode directly", _theorem3),
    Interpretation.name: ("nothing runs directly", lambda found: True),
}
"""Monitors, the most direct first: on what their promise rests, and its condition for each
instruction that a guest executes.
"""


def promised(found: InstructionClass) -> list[str]:
    """The monitors that must be right about guests in which, of all critical instructions, only
    this one matters; the first of them is the cure.
    """
    return [monitor for monitor, (_, holds) in PROMISES.items() if holds(found)]


def cure(found: InstructionClass) -> str:
    """The most direct of them."""
    return promised(found)[0]
