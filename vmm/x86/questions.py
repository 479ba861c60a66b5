"""The definitions as satisfiability questions about one form: "exist states such that …".

As footnote 5 of the paper allows, a pair for behaviour sensitivity has a state in u, as a virtual
machine always runs there: (s, u) for the mode, (u, u) for the place and for resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from isa.bits import Bits
from isa.ops import z3
from isa.registers import Register
from isa.smt import Event, Outcome, execute
from isa.trace import Rewriter, Trace
from isa.x86.registers import CPL, SEGMENTS
from isa.x86.tracing import trace
from vmm.x86.configuration import X86Configuration
from vmm.x86.forms import Sample, row_name
from vmm.x86.replay import Concrete, Ran, run
from vmm.x86.states import BORDER, Condition, Parts, Side, Term, parts_of

INDEX: Final = "index"
"""The variable that stands for the address of any byte."""
SEGMENT_REGISTERS: Final = frozenset(r for s in SEGMENTS.values() for r in parts_of(s))


MASKED: Final = "CR0's guest/host mask"


@dataclass(frozen=True, slots=True)
class Intercepts:
    """What exits from non-root operation: by a control, or by a change of a masked register."""

    control: str
    masked: tuple[Register, ...]

    @staticmethod
    def of(configuration: X86Configuration, sample: Sample) -> Intercepts | None:
        """Those of the form, if u is non-root operation."""
        nonroot = configuration.nonroot
        if nonroot is None:
            return None
        return Intercepts(nonroot.control(row_name(sample.form)), nonroot.masked)

    def applied(self, ran: Ran) -> Ran:
        """The same step in numbers, taken back if it exits."""
        ran = replace(ran, own_levels=True)
        reason = self.control or (MASKED if ran.changed(self.masked) else "")
        return replace(ran, after=ran.before, exited=reason) if ran.executes and reason else ran


@dataclass(frozen=True, slots=True)
class Step:
    """A side and what the form makes of it. `intercepts`: it is in non-root operation."""

    side: Side
    outcome: Outcome
    code: bytes
    intercepts: Intercepts | None = None
    own_levels: bool = False

    @property
    def traps(self) -> Condition:
        """Whether it traps, or is something that this processor does not do.

        A trap is what the paper says it is: an exception, or any other way from u into s, for that
        ends where the monitor has said.
        """
        missing = [e.condition for e in self.outcome.exits if e.what == "unimplemented"]
        raised = [] if self.own_levels else [z3.ULT(self.after(CPL), self.side.mode[CPL])]
        return z3.Or(self.outcome.faulted, *missing, *raised, *self._exits)

    @property
    def _exits(self) -> list[Condition]:
        """What leads out of the guest."""
        if self.intercepts is None:
            return []
        always = [z3.BoolVal(True)] if self.intercepts.control else []
        return [*always, *self.changes(self.intercepts.masked)]

    def ran(self, state: Concrete, processor: str) -> Ran:
        """The same step in numbers."""
        ran = run(state, processor)
        if self.intercepts is not None:
            return self.intercepts.applied(ran)
        return replace(ran, own_levels=self.own_levels)

    def after(self, register: Register) -> Term:
        """The register after it, if it does not trap."""
        return self.outcome.registers.get(register, self.side.registers[register])

    def changes(self, registers: tuple[Register, ...]) -> list[Condition]:
        """That one of them changes."""
        written = [r for r in registers if r in self.outcome.registers]
        return [self.after(r) != self.side.registers[r] for r in written]

    @property
    def drives(self) -> list[Condition]:
        """That it writes to a port."""
        return [e.condition for e in self.outcome.accesses if e.what[:2] == ("store", "port")]

    def byte(self, index: Term, *, tables: bool) -> Term:
        """A byte of memory afterwards; `tables`: as the two spaces that hold the same show it."""
        before = self.side.symbols.memory
        linear = z3.Select(self.outcome.memory.get("linear", before["linear"]), index)
        if not tables:
            return linear
        old = z3.Select(before["linear"], index)
        system = z3.Select(self.outcome.memory.get("system", before["system"]), index)
        return z3.If(linear != old, linear, system)

    @property
    def shares_memory(self) -> bool:
        """Whether what lies in its tables is what other sides have there."""
        memory = self.side.symbols.memory
        return bool(memory["system"].eq(memory["linear"]))

    def placed(self) -> list[Condition]:
        """That in u the program keeps below the border, and that tables lie above it."""
        if self.side.mode[CPL] != 3:
            return []
        return [_side_of_border(e) for e in self.outcome.accesses if e.what[1] != "port"]


def _side_of_border(event: Event) -> Condition:
    (address,) = event.values
    above = z3.UGE(address, BORDER) if event.what[1] == "system" else z3.ULE(address, BORDER >> 1)
    return z3.Implies(event.condition, above)


@dataclass(frozen=True, slots=True)
class Question:
    """A condition on one or two steps."""

    claim: str
    one: Step
    other: Step | None
    conditions: tuple[Condition, ...]


class Questions:
    """The questions about one form. `fixed`: its operands are those of the sample."""

    def __init__(
        self, configuration: X86Configuration, sample: Sample, *, fixed: bool, opaque: bool
    ) -> None:
        self.configuration, self.sample = configuration, sample
        self.fixed, self.opaque = fixed, opaque
        self.parts = Parts.of(configuration)
        self._system = frozenset(self.parts.relocation) - SEGMENT_REGISTERS
        self.s = self._step(configuration.supervisor)
        self.u = self._user()

    def _user(self, **apart: Any) -> Step:
        step = self._step(self.configuration.user, **apart)
        return replace(step, intercepts=Intercepts.of(self.configuration, self.sample))

    def _step(self, mode: Mapping[Register, int], **apart: Any) -> Step:
        side = Side(self.configuration, mode, opaque=self.opaque, **apart)
        form = replace_mode(self.sample, self.configuration, mode)
        if self.fixed:
            side.symbols.fields = with_operands(form, self.sample)
        outcome = execute(reduced(form, side), side.symbols)
        own_levels = self.configuration.nonroot is not None
        return Step(side, outcome, self.sample.code, own_levels=own_levels)

    # -- the definitions ---------------------------------------------------------------------

    def privileged_fails(self) -> Question:
        """A pair that refutes "traps in u whenever it does not trap in s"."""
        executed = z3.Not(self.s.traps), z3.Not(self.u.traps)
        return self._ask("not privileged", self.s, self.u, *executed)

    def exits_fail(self) -> Question:
        """A state from which the form is control sensitive in s, and from which u does not exit."""
        changes = [*self.s.changes(self.parts.resources), *self.s.drives]
        executed = z3.Not(self.s.traps), z3.Not(self.u.traps)
        return self._ask("not privileged", self.s, self.u, *executed, z3.Or(changes))

    def privileged_misses(self) -> Question:
        """A state in u that it does not trap in: if s traps there, the monitor still misses it.

        LSS and its like ask for a stack segment of CPL, so that no selector will do in s and in u.
        """
        return self._ask("unseen in u", self.u, None, z3.Not(self.u.traps))

    def privileged_shows(self) -> Question:
        """A pair that shows it: a claim about no pair would be empty."""
        return self._ask("privileged", self.s, self.u, z3.Not(self.s.traps), self.u.traps)

    def control(self, mode: str) -> Question:
        """A state whose M, R or resources the form changes without a trap."""
        step = self.s if mode == "supervisor" else self.u
        parts = self.parts
        registers = (*parts.mode, *parts.relocation, *parts.resources)
        changes = [*step.changes(registers), *step.drives]
        return self._ask("control_sensitive", step, None, z3.Not(step.traps), z3.Or(changes))

    def by_mode(self) -> Question:
        """Two states that differ in M only."""
        return self._behaviour("mode_sensitive", self.s, self.u)

    def location(self) -> Question:
        """Two states in u with system registers and tables of their own."""
        own = self.configuration.nonroot is not None  # then its tables are a guest's own
        if own or not self._reads(self._system, "system"):
            return Question("location_sensitive", self.u, self.u, (z3.BoolVal(False),))
        elsewhere = self._user(apart=self._system, own_system=True)
        return self._behaviour("location_sensitive", self.u, elsewhere)

    def resource(self) -> Question:
        """Two states in u that differ in resources only; of masked ones a guest reads its own."""
        resources = frozenset(self.parts.resources)
        if self.configuration.nonroot is not None:
            resources -= frozenset(self.configuration.nonroot.masked)
        if not self._reads(resources, "port"):
            return Question("resource_sensitive", self.u, self.u, (z3.BoolVal(False),))
        other = self._user(apart=resources, own_devices=True)
        return self._behaviour("resource_sensitive", self.u, other)

    def _reads(self, registers: frozenset[Register], space: str) -> bool:
        """Whether the meaning in u mentions what would differ; if not, nothing can follow it."""
        return any(
            (n.op == "get" and n.attribute[0] in registers)
            or n.op == "clock"
            or (n.op in ("load", "load_for_write") and n.attribute[0] == space)
            for n in trace(self.sample.form).walk()
        )

    def _behaviour(self, claim: str, one: Step, other: Step) -> Question:
        kept = (*self.parts.mode, *self.parts.relocation)
        stay = [z3.Not(change) for step in (one, other) for change in step.changes(kept)]
        return self._ask(
            claim, one, other, z3.Not(one.traps), z3.Not(other.traps), *stay,
            self._differs(one, other),
        )  # fmt: skip

    def _differs(self, one: Step, other: Step) -> Condition:
        seen = [
            one.after(r) != other.after(r)
            for r in self.parts.program
            if r in one.outcome.registers or r in other.outcome.registers
        ]
        index, tables = z3.BitVec(INDEX, 32), one.shares_memory and other.shares_memory
        stored = any(
            e.what[:2] in (("store", "linear"), ("store", "system"))
            for step in (one, other)
            for e in step.outcome.accesses
        )
        return z3.Or(
            *seen,
            *(
                [one.byte(index, tables=tables) != other.byte(index, tables=tables)]
                if stored
                else []
            ),
        )

    def _ask(self, claim: str, one: Step, other: Step | None, *conditions: Condition) -> Question:
        steps = [one] if other is None else [one, other]
        held = [h for step in steps for h in step.side.invariants()]
        return Question(claim, one, other, (*held, *conditions))


def replace_mode(
    sample: Sample, configuration: X86Configuration, mode: Mapping[Register, int]
) -> Any:
    """The form that the sample's bytes have in a mode."""
    return sample.form._replace(mode=configuration.mode(mode))


def reduced(form: Any, side: Side) -> Trace:
    """The form's trace with what is known of the side's registers folded into it."""

    def known(node: Bits) -> Bits | None:
        if node.op != "get" or not z3.is_bv_value(side.registers[node.attribute[0]]):
            return None
        return Bits.of(side.registers[node.attribute[0]].as_long(), node.width)

    return Rewriter(known).trace(trace(form))


def with_operands(form: Any, sample: Sample) -> dict[str, Term]:
    """The form's operand fields as the sample has them."""
    widths = _widths(form)
    return {n: z3.BitVecVal(v, widths[n]) for n, v in sample.fields.items() if n in widths}


def _widths(form: Any) -> dict[str, int]:
    """The width of each operand field that the form's meaning looks at."""
    found = (n.attribute for n in trace(form).walk() if n.op == "field")
    return dict(found)
