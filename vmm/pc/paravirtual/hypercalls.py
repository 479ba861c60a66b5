"""Hypercalls by their numbers, and how they are carried out.

A call returns its result, refuses (-errno), or has done one slice of its work and goes on as the
next instruction, with other arguments in the guest's registers: no call lasts long (Xen's
continuations). Nothing that a guest passes makes an exception of the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmm.pc.paravirtual.interface import HYPERCALLS
from vmm.pc.paravirtual.refusal import Errno, Refusal

if TYPE_CHECKING:
    from vmm.pc.paravirtual.domain import Domain
    from vmm.pc.paravirtual.hypervisor import Hypervisor

SLICE: Final = 32  # parts of a batch that are done at a time


@dataclass(frozen=True, slots=True)
class Again:
    """The call goes on with these arguments."""

    arguments: list[int]


@dataclass(frozen=True, slots=True)
class Done:
    """The call has set all registers itself; `result` is what stands in EAX."""

    result: int


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, and the five arguments."""

    monitor: Hypervisor
    domain: Domain
    arguments: list[int]

    def again(self, *first: int) -> Again:
        """Go on with these as the first arguments, and the others as they were."""
        return Again([*first, *self.arguments[len(first) :]])


Outcome = int | Again | Done
_TABLE: Final[dict[str, Callable[[Call], Outcome]]] = {}
NAMES: Final = frozenset(HYPERCALLS.values())


def hypercall(function: Callable[[Call], Outcome]) -> Callable[[Call], Outcome]:
    """Enter a function under its name, which must be one of Xen's."""
    assert function.__name__ in NAMES, function.__name__
    _TABLE[function.__name__] = function
    return function


def is_implemented(name: str) -> bool:
    """Whether a hypercall does anything but refuse."""
    return name in _TABLE


def perform(monitor: Hypervisor, domain: Domain, number: int, arguments: list[int]) -> Outcome:
    """Carry out a call; a refusal is -errno."""
    monitor.calls[HYPERCALLS.get(number, "unknown")] += 1
    function = _TABLE.get(HYPERCALLS.get(number, ""))
    if function is None:
        return -Errno.ENOSYS
    try:
        return function(Call(monitor, domain, arguments))
    except Refusal as refusal:
        return -refusal.errno
