"""Theorem 2's second condition: can a monitor be built that does not depend on timing?

What is derived. A program can depend on time only by an instruction that tells a resource: a clock,
a timer, a latch, a device. Of every other it is proved that states which differ in resources only
look the same afterwards. If each of those that tell one, and each that sets one, is privileged,
then a monitor stands between its guest and time: it can answer with the count of the guest's own
instructions, and so can a monitor that is itself the guest.

What is assumed, being about the monitor and not about the machine: that it does answer so, that
interrupts are delivered by that count, and that storage is left for one more level.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmm.theory.model import Model
from vmm.theory.readings import Reading

if TYPE_CHECKING:
    from vmm.theory.classify import InstructionClass


@dataclass(frozen=True, slots=True)
class Timing:
    """The instructions that tell a resource, that set one, and of both those that do not trap.

    In the literal reading, whose machine has no resources, all three are empty.
    """

    tell: tuple[str, ...]
    set: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def virtual(self) -> bool:
        """Whether a monitor stands between its guest and time."""
        return not self.unseen

    def __str__(self) -> str:
        if not self.tell and not self.set:
            return "no instruction tells or sets a clock, a timer or a device"
        if not self.virtual:
            return f"{', '.join(self.unseen)} reach clock, timer or devices without a trap"
        return (
            f"clock, timer and devices are told by {_list(self.tell)} only (proved of the others) "
            f"and set by {_list(self.set)} only, and all trap in user mode, so a monitor can "
            "answer with its guest's own time"
        )


def timing(model: Model, reading: Reading, instructions: Iterable[InstructionClass]) -> Timing:
    """Derive it: `tell` from the proofs and witnesses, `set` from the traces."""
    if reading is Reading.LITERAL:
        return Timing((), (), ())
    found = list(instructions)
    tell = tuple(i.name for i in found if i.resource_sensitive)
    sets = tuple(i.name for i in found if _sets(model, i.name))
    unseen = tuple(i.name for i in found if i.name in {*tell, *sets} and not i.privileged)
    return Timing(tell, sets, unseen)


def _sets(model: Model, form: str) -> bool:
    """Whether the meaning writes a resource, or any space that is not storage."""
    trace = model.isa.trace(form)
    stores = (node for node in trace.walk() if node.op == "store")
    return bool(trace.written() & {*model.parts.resources}) or any(
        node.attribute[0] != model.storage for node in stores
    )


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "none"
