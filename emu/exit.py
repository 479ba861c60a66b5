"""Why an engine handed control back."""

from __future__ import annotations

from dataclasses import dataclass

from isa.fault import Fault


@dataclass(slots=True)
class Exit:
    """One stop at an instruction boundary.

    `reason` is "until", "fault", "interrupt" or "unimplemented"; `fault` belongs to "fault",
    `vector` to "interrupt" (the instruction pointer is already past the INT).
    """

    reason: str
    fault: Fault | None = None
    vector: int | None = None
    detail: str = ""
