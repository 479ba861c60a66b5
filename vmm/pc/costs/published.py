"""Published cycle costs, and what one event costs by them.

Adams and Agesen, "A Comparison of Software and Hardware Techniques for x86 Virtualization", ASPLOS
2006, figure 5: a Pentium 4 672 at 3.8 GHz with VT-x of the first generation, which has no nested
paging. Where the figure gives only a relation ("about four times the software's") the number is
what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SOFTWARE, HARDWARE = "software", "hardware"


@dataclass(frozen=True, slots=True)
class Published:
    """Cycles of one nano-benchmark. `calibrates`: columns from which an event's cost was taken."""

    native: int
    software: int
    hardware: int
    calibrates: tuple[str, ...] = ()


TABLE: Final[Mapping[str, Published]] = {
    "syscall": Published(242, 2308, 242),
    "in": Published(3209, 214, 15826, (SOFTWARE, HARDWARE)),
    "cr8wr": Published(140, 35, 140, (SOFTWARE,)),
    "callret": Published(11, 51, 11, (SOFTWARE,)),
    "pgfault": Published(1093, 3927, 11242, (SOFTWARE, HARDWARE)),
    "divzero": Published(889, 3223, 1014, (SOFTWARE,)),
    "ptemod": Published(1, 391, 12733, (SOFTWARE, HARDWARE)),
}

_CALL_OUT: Final = TABLE["in"].software
_REFLECTION: Final = TABLE["divzero"].software - TABLE["divzero"].native - _CALL_OUT
_WALK: Final = TABLE["pgfault"].software - TABLE["pgfault"].native - _CALL_OUT - _REFLECTION
ENTRY, EXIT = 2409, 1931  # cycles of a VM entry and of an exit by a page fault, P4 672
WORLD_SWITCH: Final = ENTRY + EXIT

SOFTWARE_COSTS: Final[Mapping[str, int]] = {
    "call-out": _CALL_OUT,
    "call-out: page table write": TABLE["ptemod"].software - TABLE["ptemod"].native,
    "page table write": _REFLECTION + _WALK,
    "hidden page fault": _REFLECTION + _WALK,
    "#PF": _REFLECTION + _WALK,
    "indirect": TABLE["callret"].software - TABLE["callret"].native,
    "inline": TABLE["cr8wr"].software // 2,  # two instructions: CLI, STI
}
"""By what the translating monitor counts; any other trap is reflected to the guest."""

HARDWARE_COSTS: Final[Mapping[str, int]] = {
    "I/O instruction (30)": TABLE["in"].hardware,
    "exception (0): true page fault": TABLE["pgfault"].hardware - TABLE["pgfault"].native,
    "exception (0): hidden page fault": TABLE["pgfault"].hardware - TABLE["pgfault"].native,
    "exception (0): page table write": TABLE["ptemod"].hardware - TABLE["ptemod"].native,
}
"""By what the monitor with hardware assistance counts; any other exit is a world switch."""


def cost(technique: str, event: str) -> int:
    """Cycles of one event."""
    if technique == HARDWARE:
        return HARDWARE_COSTS.get(event, WORLD_SWITCH)
    return SOFTWARE_COSTS.get(event, _REFLECTION)


TECHNIQUES: Final[Mapping[str, str]] = {
    "trap-and-emulate": SOFTWARE, "translation": SOFTWARE, "hardware-assist": HARDWARE,
}  # fmt: skip
"""Monitors for which there are figures: none interprets a kernel."""


def modelled(monitor: str, instructions: int, exits: Mapping[str, int]) -> float | None:
    """How much longer a run takes if an instruction takes one cycle and an exit what was published;
    None where nothing is."""
    technique = TECHNIQUES.get(monitor)
    if technique is None or not instructions:
        return None
    cycles = sum(n * cost(technique, event) for event, n in exits.items())
    return (instructions + cycles) / instructions
