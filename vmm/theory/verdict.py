"""Predicates that explain themselves: None, or why not."""

from __future__ import annotations

from isa.toy import Toy
from vmm.theory.classify import Classification, InstructionClass, classify
from vmm.theory.witness import Witness

_REASONS = {
    "control_sensitive": "changes M, R or a resource",
    "location_sensitive": "depends on where its window lies",
    "mode_sensitive": "depends on the mode",
    "resource_sensitive": "tells a resource",
    "behaviour_sensitive": "depends on mode and place together",
}


def why_not_virtualizable(isa: Toy | Classification) -> str | None:
    """Why Theorem 1 promises no monitor; None if it does."""
    found = _classified(isa)
    return _because(found, [i for i in found.instructions.values() if i.critical])


def why_not_hybrid_virtualizable(isa: Toy | Classification) -> str | None:
    """Why Theorem 3 promises no hybrid monitor; None if it does."""
    found = _classified(isa)
    offending = found.theorem3.offending
    return _because(found, [found.instructions[name] for name in offending])


def _classified(isa: Toy | Classification) -> Classification:
    return isa if isinstance(isa, Classification) else classify(isa)


def _because(found: Classification, offending: list[InstructionClass]) -> str | None:
    if not offending:
        return None
    return f"{found.name}: " + "; ".join(reason(one) for one in offending)


def reason(found: InstructionClass, example: Witness | None = None) -> str:
    """What one critical instruction is, with an example, by default its own witness."""
    reasons = [text for claim, text in _REASONS.items() if getattr(found, claim)]
    if len(reasons) > 1 and found.behaviour_sensitive:
        reasons = [r for r in reasons if r != _REASONS["behaviour_sensitive"]]
    witness = example or found.witness
    shown = "" if witness is None else f" ({witness.text}: {witness.differences[0]})"
    return f"{found.name} {' and '.join(reasons)} without being privileged{shown}"
