"""Monitors of the PC, and the table of them."""

from __future__ import annotations

from typing import Final

from vmm.pc.allocation import Allocation, allocation_for
from vmm.pc.control_program import Monitor
from vmm.pc.direct import Hybrid, Interpretation, TrapAndEmulate
from vmm.pc.machine import VirtualPc

MONITORS: Final[dict[str, type[Monitor]]] = {
    monitor.name: monitor for monitor in (TrapAndEmulate, Hybrid, Interpretation)
}

__all__ = [
    "MONITORS", "Allocation", "Hybrid", "Interpretation", "Monitor", "TrapAndEmulate",
    "VirtualPc", "allocation_for",
]  # fmt: skip
