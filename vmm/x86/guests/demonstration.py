"""A synthesised guest in lock-step: under trap-and-emulate, and under every cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vmm.divergence import Divergence
from vmm.pc import TrapAndEmulate, monitors
from vmm.pc.equivalence import first_divergence
from vmm.theory.shared import ReplayError
from vmm.x86.guests.synthesis import Synthesis

LIMIT: Final = 10_000
CURES: Final = ("hybrid", "translation", "hardware-assist", "interpretation")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Where trap-and-emulate diverges, and each cure, by name, if it does."""

    synthesis: Synthesis
    divergence: Divergence
    cures: Mapping[str, Divergence | None]


def demonstrate(synthesis: Synthesis) -> Demonstration:
    """Run the guest. Raises ReplayError if its first divergence is not the instruction's."""
    found = divergence(synthesis, TrapAndEmulate.name)
    if found is None or found.address != synthesis.address:
        raise ReplayError(f"{synthesis.row.name}: trap-and-emulate: {found or 'no divergence'}")
    cures = {name: divergence(synthesis, name) for name in CURES}
    return Demonstration(synthesis, found, cures)


def divergence(synthesis: Synthesis, monitor: str) -> Divergence | None:
    """The guest under one monitor in lock-step with the bare PC."""
    guest, made = synthesis.guest(), monitors(None, synthesis.gates)
    found, _ = first_divergence(lambda: guest.pair(made[monitor]), LIMIT)
    return found
