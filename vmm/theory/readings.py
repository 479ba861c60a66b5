"""Two readings of the paper's definitions, and the clause that each claim rests on."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Reading(Enum):
    """How the definitions are read.

    LITERAL takes every word as it stands: only *memory* traps are excluded, any other trap is a
    transition like others (to the PSW in E[1], which holds what the paper intends it to hold), and
    the state is E, M, P and R alone. REPAIRED excludes every trap, lets b = q mean all of storage,
    and counts resources (timer, ports, storage outside of the window) as the program's bounds too.
    """

    LITERAL = "literal"
    REPAIRED = "repaired"


PAPER: Final = "Popek and Goldberg, CACM 17(7), 1974"

_LITERAL: Final = {
    "privileged": "definition of privileged: for every pair (e,s,p,r), (e,u,p,r) without a memory "
    "trap, i traps in u and does not trap in s",
    "control_sensitive": "definition of control sensitive: i, not memory-trapping, changes M or R",
    "location_sensitive": "definition of behaviour sensitive, by location: (e|r,m,p,r) and "
    "(e|r⊕x,m,p,r⊕x) with equal window contents; i leaves M and R, and e|r or p differ after it",
    "mode_sensitive": "definition of behaviour sensitive, by mode: (e|r,s,p,r) and (e|r,u,p,r); "
    "i leaves M and R, and e|r or p differ after it",
    "behaviour_sensitive": "definition of behaviour sensitive: by location, by mode, or by both",
    "resource_sensitive": "left out by the paper: its machine has no resource but storage",
    "user_sensitive": "definition of user sensitive: control sensitive from M = u, or behaviour "
    "sensitive with both states in u",
    "supervisor_sensitive": "definition of supervisor sensitive: as user sensitive, with s",
}  # fmt: skip
_MAP: Final = {
    "vm_map": "definition of the VM map: f(i(S)) = i(f(S)), unless i(f(S)) traps to the monitor"
}
_REPAIRED: Final = _LITERAL | _MAP | {
    "privileged": "definition of privileged, repaired: whenever i does not trap in s (and does "
    "not memory-trap in u), it traps in u; and it does execute in s",
    "control_sensitive": "definition of control sensitive, repaired: i, not trapping at all, "
    "changes M, R, a resource, or storage outside of its window (footnote 2)",
    "location_sensitive": _LITERAL["location_sensitive"] + "; no trap of any kind",
    "mode_sensitive": _LITERAL["mode_sensitive"] + "; no trap of any kind",
    "resource_sensitive": "definition of behaviour sensitive, extended: states that differ in a "
    "timer, clock, latch or port only; e|r or p differ after i",
}  # fmt: skip


def clause(reading: Reading, claim: str) -> str:
    """The definition that a claim rests on."""
    return (_LITERAL if reading is Reading.LITERAL else _REPAIRED)[claim]
