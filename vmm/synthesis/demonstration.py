"""A synthesised guest in lock-step: under trap-and-emulate, under its cures, on a repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isa.toy import Toy
from vmm.compare import allocation_for, observed_pair
from vmm.divergence import Divergence
from vmm.equivalence import lockstep
from vmm.monitors import TrapAndEmulate
from vmm.synthesis.cure import promised
from vmm.synthesis.synthesis import Synthesis
from vmm.theory import InstructionClass
from vmm.theory.shared import ReplayError
from vmm.theory.verdict import reason

LIMIT = 200
"""Instructions: a guest prepares, enters, runs the instruction and whatever follows it."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What became of a guest: where trap-and-emulate diverges, and each promised monitor, if any.

    `cures` are by name, None where the virtual machine equals the bare one.
    """

    synthesis: Synthesis
    divergence: Divergence
    cures: Mapping[str, Divergence | None]
    why: str

    @property
    def holds(self) -> bool:
        """Whether no cure diverges."""
        return not any(self.cures.values())

    @property
    def explanation(self) -> str:
        """What diverged, what the instruction is, and by which clause."""
        return f"{self.divergence}. {self.why}. By {self.synthesis.clause}"


def demonstrate(
    found: InstructionClass, synthesis: Synthesis, engine: str = "auto"
) -> Demonstration:
    """Run the guest under trap-and-emulate and under every monitor that is promised to be right.

    Raises ReplayError if its first divergence is not the instruction's, as z3 says it is.
    """
    divergence = first_divergence(synthesis, TrapAndEmulate.name, engine=engine)
    if divergence is None or divergence.address != synthesis.address:
        raise ReplayError(
            f"{synthesis.instruction}: trap-and-emulate: {divergence or 'no divergence'}"
        )
    return Demonstration(
        synthesis,
        divergence,
        {m: first_divergence(synthesis, m, engine=engine) for m in promised(found)},
        reason(found, synthesis.witness),
    )


def first_divergence(
    synthesis: Synthesis, monitor: str, isa: Toy | None = None, engine: str = "auto"
) -> Divergence | None:
    """The guest in lock-step with the bare machine, on its own machine or on another."""
    guest = synthesis.guest(isa, engine)
    return lockstep(observed_pair(guest, monitor, allocation_for(guest.isa)), LIMIT)
