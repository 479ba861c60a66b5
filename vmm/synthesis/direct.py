"""Direct execution on symbols: what the machine below makes of a virtual machine's instruction.

The VM map f of a monitor that executes everything directly, its allocation known: M' is never s,
R' = R moved by the allocation and clipped to it, resources are the real ones, and storage outside
of the allocation is the monitor's. `monitors/` does the same in numbers; a guest that is found
here is run there, and has to diverge.
"""

from __future__ import annotations

from isa.ops import z3
from isa.registers import Register
from isa.toy import Toy
from isa.toy.registers import USER
from vmm.monitors import Allocation
from vmm.theory.model import Condition, Term
from vmm.theory.readings import Reading
from vmm.theory.step import INDEX, Renaming, Step, carry_out
from vmm.theory.toy import ToyModel


class DirectExecution:
    """One instruction of `isa`, the machine below, executed for a guest in `allocation`.

    `poison` is in all words that are not the guest's.
    """

    def __init__(self, isa: Toy, form: str, allocation: Allocation, poison: int) -> None:
        self._model = ToyModel(isa)
        self._free = carry_out(self._model, form, Reading.REPAIRED)
        self._first = allocation.base // isa.shape.granule
        self._granules = allocation.words // isa.shape.granule
        self._poison = poison

    # -- f -----------------------------------------------------------------------------------

    def image(self, one: Step) -> Step:
        """The step from f(S), for the step `one` from the virtual state S."""
        width = self._model.shape.word
        outside = z3.K(z3.BitVecSort(width), z3.BitVecVal(self._poison, width))
        registers = self._free.before.registers
        renaming: Renaming = [
            (registers[register], z3.simplify(term)) for register, term in self._mapped(one).items()
        ]
        return self._free.renamed([*renaming, (self._free.before.outside, outside)])

    def _mapped(self, one: Step) -> dict[Register, Term]:
        known, virtual, parts = self._model.isa.known, one.before.registers, self._model.parts
        lowest = z3.BitVecVal(USER, known.m.width)
        mode = virtual[known.m]
        resources = {r: z3.BitVecVal(0, r.width) for r in parts.resources}
        return resources | {
            known.m: z3.If(z3.ULT(mode, lowest), lowest, mode),
            known.l: virtual[known.l] + self._first,
            known.b: self._clipped(virtual[known.l], virtual[known.b]),
        }

    def _clipped(self, base: Term, bound: Term) -> Term:
        room = self._granules - z3.ZeroExt(bound.size() - base.size(), base)
        return z3.If(z3.ULE(bound, room), bound, room)

    def begins_inside(self, one: Step) -> Condition:
        """That the window begins in the virtual machine's storage."""
        return z3.ULT(one.before.registers[self._model.shift], self._granules)

    # -- f(i(S)) and i(f(S)) -----------------------------------------------------------------

    def diverges(self, one: Step, image: Step) -> Condition:
        """That the virtual state after direct execution is not the bare machine's: seen at once.

        A privileged-instruction trap is the monitor's to interpret, any other is the guest's own.
        """
        told = z3.And(image.traps, z3.Not(one.traps))
        apart = z3.And(
            z3.Not(image.traps),
            z3.Not(one.traps),
            z3.Or(*self._apart(one, image), self._e(one, image)),
        )
        return z3.And(z3.Not(image.privileged_traps), z3.Or(told, apart))

    def agrees(self, one: Step, image: Step) -> Condition:
        """That it is, as far as registers go; of instructions that do not store."""
        apart = z3.Or(image.traps, *self._apart(one, image))
        return z3.And(z3.Not(one.traps), z3.Or(image.privileged_traps, z3.Not(apart)))

    def _apart(self, one: Step, image: Step) -> list[Condition]:
        """M, P, R, a data register or a resource differs."""
        parts, back = self._model.parts, self._virtual(one, image)
        kept = [one.after[r] != one.before.registers[r] for r in parts.resources]
        return [*kept, *(one.after[register] != value for register, value in back.items())]

    def _virtual(self, one: Step, image: Step) -> dict[Register, Term]:
        """The virtual registers that the monitor makes of the real ones: f backwards.

        It believes in the mode and the R that it simulates unless it sees the real ones changed.
        """
        known, parts = self._model.isa.known, self._model.parts
        before, after, virtual = image.before.registers, image.after, one.before.registers
        same_r = z3.And([after[r] == before[r] for r in parts.relocation])
        data = {r: after[r] for r in (parts.counter, *parts.data)}
        return data | {
            known.m: z3.If(after[known.m] == before[known.m], virtual[known.m], after[known.m]),
            known.l: z3.If(same_r, virtual[known.l], after[known.l] - self._first),
            known.b: z3.If(same_r, virtual[known.b], after[known.b]),
        }

    def _e(self, one: Step, image: Step) -> Condition:
        """A word of the window differs, or one outside of it was changed on the bare machine."""
        index = z3.BitVec(INDEX, self._model.address_width)
        sizes = [self._size(step) for step in (one, image)]
        inside = z3.And([z3.ULT(index, size) for size in sizes])
        word = z3.And(inside, one.word_after != image.word_after)
        return z3.Or(word, z3.And(one.leaves_window, z3.Not(image.leaves_window)))

    def _size(self, step: Step) -> Term:
        return self._model.window(lambda register: step.before.registers[register]).size
