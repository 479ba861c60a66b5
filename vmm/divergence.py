"""Where a virtual machine first differs from the bare one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first boundary at which the two machines differ, and the instruction that led there.

    `count` is the bare machine's time; `part` is what differs ("M", "E[12]", "ebx", "output" …);
    `why` goes on from the instruction: "is critical: …".
    """

    count: int
    instruction: str
    address: int
    part: str
    expected: str
    actual: str
    why: str
    trap: str = ""  # that only one of the two machines took

    def __str__(self) -> str:
        return (
            f"after {self.count} instructions {self.part} should be {self.expected} and is "
            f"{self.actual}{self.trap}; the last instruction was {self.instruction} at "
            f"{self.address:#x}, which {self.why}"
        )
