"""Monitors of the PC, and the table of them."""

from __future__ import annotations

from typing import Final

from vmm.pc.allocation import Allocation, allocation_for
from vmm.pc.assist import HardwareAssist
from vmm.pc.control_program import Monitor
from vmm.pc.direct import Hybrid, Interpretation, TrapAndEmulate
from vmm.pc.machine import VirtualPc
from vmm.pc.translation import Translation

MONITORS: Final[dict[str, type[Monitor]]] = {
    monitor.name: monitor
    for monitor in (TrapAndEmulate, Hybrid, Translation, HardwareAssist, Interpretation)
}

__all__ = [
    "MONITORS", "Allocation", "HardwareAssist", "Hybrid", "Interpretation", "Monitor",
    "Translation", "TrapAndEmulate", "VirtualPc", "allocation_for",
]  # fmt: skip
