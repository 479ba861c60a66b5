"""Monitors of the toy machine, and the table of them."""

from __future__ import annotations

from typing import Final

from vmm.monitors.allocation import Allocation, AllocationError
from vmm.monitors.control_program import Monitor
from vmm.monitors.direct import Hybrid, Interpretation, TrapAndEmulate
from vmm.monitors.machine import VirtualMachine, smaller
from vmm.monitors.paravirtual import Paravirtual
from vmm.monitors.translation import Translation

MONITORS: Final[dict[str, type[Monitor]]] = {
    monitor.name: monitor
    for monitor in (TrapAndEmulate, Hybrid, Translation, Paravirtual, Interpretation)
}

__all__ = [
    "MONITORS", "Allocation", "AllocationError", "Hybrid", "Interpretation", "Monitor",
    "Paravirtual", "Translation", "TrapAndEmulate", "VirtualMachine", "smaller",
]  # fmt: skip
