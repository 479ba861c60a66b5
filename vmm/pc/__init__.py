"""Monitors of the PC, and the table of them."""

from __future__ import annotations

from typing import Final

from vmm.pc.allocation import Allocation, allocation_for
from vmm.pc.assist import HardwareAssist, ShadowedAssist
from vmm.pc.control_program import Monitor
from vmm.pc.direct import DirectGates, Hybrid, Interpretation, TrapAndEmulate
from vmm.pc.machine import VirtualPc
from vmm.pc.translation import Translation

MONITORS: Final[dict[str, type[Monitor]]] = {
    monitor.name: monitor
    for monitor in (TrapAndEmulate, Hybrid, Translation, HardwareAssist, Interpretation)
}

PAGINGS: Final[dict[str, type[Monitor]]] = {
    monitor.paging_kind: monitor for monitor in (HardwareAssist, ShadowedAssist)
}
"""Hardware assistance by how it translates addresses; the first is what is meant by default."""


GATES: Final[dict[str, type[TrapAndEmulate]]] = {
    monitor.gates_kind: monitor for monitor in (TrapAndEmulate, DirectGates)
}
"""Trap-and-emulate by what an INT n of the guest does; the first is what is meant by default."""


Kinds = tuple[str | None, str | None]
"""Which of PAGINGS and which of GATES is asked for."""


def monitors(paging: str | None, gates: str | None = None) -> dict[str, type[Monitor]]:
    """The monitors, those that there are several of as is asked for."""
    return MONITORS | {
        TrapAndEmulate.name: GATES[gates or TrapAndEmulate.gates_kind],
        HardwareAssist.name: PAGINGS[paging or HardwareAssist.paging_kind],
    }


__all__ = [
    "GATES", "MONITORS", "PAGINGS", "Allocation", "DirectGates", "HardwareAssist", "Hybrid",
    "Interpretation", "Kinds", "Monitor", "ShadowedAssist", "Translation", "TrapAndEmulate",
    "VirtualPc", "allocation_for", "monitors",
]  # fmt: skip
