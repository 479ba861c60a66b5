"""What a monitor cost: how many instructions ran directly, and why the others did not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Efficiency:
    """Counts of one monitor.

    `direct` instructions ran on the machine below with no intervention; `interpreted` ones were
    carried out by the monitor; `delivered` traps and interrupts were given to the guest's own
    handler (each counts as one in its time). `exits` tells why control came back to the monitor.
    `operations` are the privileged instructions that a control program runs on the machine below
    for that: to enter a timer and a PSW, after a trap to read CAUSE and INFO. If the machine below
    is virtual itself, each of them is a trap there.
    """

    direct: int = 0
    interpreted: int = 0
    delivered: int = 0
    entries: int = 0
    operations: int = 0
    exits: Counter[str] = field(default_factory=Counter)

    @property
    def direct_fraction(self) -> float:
        """Of all that retired, the part that ran directly; 1 if nothing ran."""
        return self.direct / self.instructions if self.instructions else 1.0

    @property
    def instructions(self) -> int:
        """All that retired."""
        return self.direct + self.interpreted + self.delivered
