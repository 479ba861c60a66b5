"""The z3 reading of the IR: expressions as bit-vector terms, traces as symbolic outcomes.

Proofs of flag families and the classification of instructions build on it. z3 is imported at first
use only. Bulk operations are read as one iteration, which the IR allows and which defines the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from isa.bits import Bits
from isa.hints import Any
from isa.ops import OPS, require_columns, z3
from isa.registers import Register, RegisterFile, Role
from isa.trace import Region, Trace

Term = Any
"""A z3 bit-vector."""
Condition = Any
"""A z3 Boolean."""


def term(bits: Bits, leaves: Callable[[Bits], Term]) -> Term:
    """The z3 term of a pure expression, calls expanded; `leaves` gives what it starts from."""
    known: dict[int, Term] = {}

    def read(node: Bits) -> Term:
        if id(node) not in known:
            known[id(node)] = _read(node)
        return known[id(node)]

    def _read(node: Bits) -> Term:
        if node.op == "const":
            return z3.BitVecVal(node.value, node.width)
        if node.op == "call":
            return _call(node, [read(a) for a in node.args])
        if OPS[node.op].pure:
            return _apply(node, [read(a) for a in node.args])
        return leaves(node)

    return read(bits)


def _call(node: Bits, args: Sequence[Term]) -> Term:
    body = node.attribute.body(tuple(a.width for a in node.args))
    return term(body, lambda parameter: args[parameter.attribute[0]])


def _opaque(node: Bits, args: Sequence[Term]) -> Term:
    """The same of a function of which nothing is known but its name."""
    sorts = [arg.sort() for arg in args]
    widths = "_".join(str(arg.size()) for arg in args)
    name = f"{node.attribute!r}_{widths}"
    return z3.Function(name, *sorts, z3.BitVecSort(node.width))(*args)


def _apply(node: Bits, args: list[Term]) -> Term:
    meaning = OPS[node.op].z3
    assert callable(meaning)
    return meaning(node.args[0].width, node.attribute, *args)


# -- traces ---------------------------------------------------------------------------------------


class Symbols:
    """The state before the instruction: a variable for each register, field and space it needs.

    `units` tells how many bits an addressable unit of a space has. Assign to `registers`, `fields`
    or `memory` (arrays from addresses to units) beforehand to fix a part of the state.

    `opaque`: functions stay uninterpreted, for proofs that hold whatever they compute. `defined`:
    what the manual leaves undefined is what the meaning computes, as in our engines.
    """

    def __init__(
        self,
        units: Mapping[str, int],
        prefix: str = "",
        *,
        opaque: bool = False,
        defined: bool = False,
    ) -> None:
        self.units = units
        self.prefix = prefix
        self.opaque = opaque
        self.defined = defined
        self.registers: dict[Register, Term] = {}
        self.fields: dict[str, Term] = {}
        self.memory: dict[str, Any] = {}
        self.clock = z3.BitVec(f"{prefix}clock", 64)

    def register(self, register: Register) -> Term:
        """The register's value before the instruction."""
        variable = z3.BitVec(f"{self.prefix}{register.name}", register.width)
        return self.registers.setdefault(register, variable)

    def field(self, name: str, width: int) -> Term:
        """An operand field."""
        return self.fields.setdefault(name, z3.BitVec(f"{self.prefix}field_{name}", width))

    def space(self, space: str, address_width: int) -> Any:
        """The memory before the instruction."""
        sorts = z3.BitVecSort(address_width), z3.BitVecSort(self.units[space])
        return self.memory.setdefault(space, z3.Array(f"{self.prefix}{space}", *sorts))


@dataclass(frozen=True, slots=True)
class Event:
    """A fault, exit or memory access that happens if `condition`."""

    condition: Condition
    what: Any  # a fault's vector, an exit's reason, an access as (op, space, bits)
    values: tuple[Term | None, ...]  # a fault's (code, address), an exit's values, (address,)


@dataclass(slots=True)
class Outcome:
    """The state after the instruction, and when it is not what the instruction wrote.

    Where `faulted` holds, registers and memory are those before. A target that the manual leaves
    undefined is a fresh variable, listed in `fresh`.
    """

    registers: dict[Register, Term] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    faults: list[Event] = field(default_factory=list)
    exits: list[Event] = field(default_factory=list)
    accesses: list[Event] = field(default_factory=list)
    undefined: list[tuple[object, Condition]] = field(default_factory=list)
    fresh: list[Term] = field(default_factory=list)
    retired: Term = None
    value: Term | None = None

    @property
    def faulted(self) -> Condition:
        """Whether the instruction faults."""
        return z3.Or([fault.condition for fault in self.faults])


def execute(trace: Trace, state: Symbols) -> Outcome:
    """What the instruction does to `state`; reading it leaves `state` with all it needed."""
    execution = _Execution(state)
    execution.region(trace.region, z3.BoolVal(True))
    return execution.finish(trace)


class _Execution:
    """One instruction under way, on all paths at once."""

    def __init__(self, state: Symbols) -> None:
        self.state = state
        self.values: dict[int, Term] = {}
        self.path: Condition = None
        self.memory: dict[str, Any] = {}
        self.puts: dict[Register, Term] = {}
        self.left: list[tuple[Condition, Register, Term]] = []  # by faults
        self.operand_undefined: Condition = z3.BoolVal(False)
        self.outcome = Outcome(retired=z3.BitVecVal(1, 64))

    def region(self, region: Region, path: Condition) -> None:
        """Read the nodes in order; `path` is the condition under which they are carried out."""
        outer, self.path = self.path, path
        for node in region.nodes:
            args = [self.values[id(a)] for a in node.args]
            if OPS[node.op].pure:
                self.values[id(node)] = _apply(node, args)
            else:
                self.values[id(node)] = getattr(self, f"do_{node.op}")(node, *args)
        self.path = outer

    def finish(self, trace: Trace) -> Outcome:
        """Let the register writes take effect, and a fault take everything back."""
        outcome = self.outcome
        if trace.value is not None:
            outcome.value = self.values[id(trace.value)]
        self._forget_undefined()
        for register, value in self.puts.items():
            before = self.state.register(register)
            outcome.registers[register] = z3.If(outcome.faulted, before, value)
        for condition, register, value in self.left:
            other = outcome.registers.get(register, self.state.register(register))
            outcome.registers[register] = z3.If(condition, value, other)
        for space, array in self.memory.items():
            outcome.memory[space] = z3.If(outcome.faulted, self.state.memory[space], array)
        return outcome

    def _forget_undefined(self) -> None:
        for target, condition in self.outcome.undefined:
            if isinstance(target, Register):
                value = self.puts.get(target, self.state.register(target))
                self.puts[target] = self._unless(condition, value)

    def _unless(self, undefined: Condition, value: Term) -> Term:
        """`value`, or anything if it is undefined."""
        if self.state.defined or z3.is_false(z3.simplify(undefined)):
            return value
        fresh = z3.FreshConst(value.sort(), "undefined")
        self.outcome.fresh.append(fresh)
        return z3.If(undefined, fresh, value)

    @property
    def _now(self) -> Condition:
        """Whether this point is reached."""
        return z3.And(self.path, z3.Not(self.outcome.faulted))

    # -- leaves ------------------------------------------------------------------------------

    def do_const(self, node: Bits) -> Term:
        return z3.BitVecVal(node.value, node.width)

    def do_field(self, node: Bits) -> Term:
        return self.state.field(*node.attribute)

    def do_get(self, node: Bits) -> Term:
        return self.state.register(node.attribute[0])

    def do_get_indexed(self, node: Bits, index: Term) -> Term:
        first, *others = (self.state.register(member) for member in node.attribute[0].members)
        result = first
        for number, member in enumerate(others, 1):
            result = z3.If(index == number, member, result)
        return result

    def do_clock(self, _: Bits) -> Term:
        return self.state.clock

    def do_parameter(self, _: Bits) -> Term:
        raise AssertionError("a parameter stands only in a function's body")

    def do_call(self, node: Bits, *args: Term) -> Term:
        return _opaque(node, args) if self.state.opaque else _call(node, args)

    # -- memory ------------------------------------------------------------------------------

    def _array(self, space: str, address: Term) -> Any:
        return self.memory.get(space, self.state.space(space, address.size()))

    def _access(self, op: str, space: str, width: int, address: Term) -> None:
        self.outcome.accesses.append(Event(self._now, (op, space, width), (address,)))

    def _load(self, space: str, address: Term, width: int) -> Term:
        self._access("load", space, width, address)
        array = self._array(space, address)
        units = [z3.Select(array, address + i) for i in range(width // self.state.units[space])]
        return z3.Concat(*reversed(units)) if len(units) > 1 else units[0]

    def _store(self, space: str, address: Term, value: Term) -> None:
        self._access("store", space, value.size(), address)
        value = self._unless(self.operand_undefined, value)
        before, unit = self._array(space, address), self.state.units[space]
        after = before
        for i in range(value.size() // unit):
            part = z3.Extract(i * unit + unit - 1, i * unit, value)
            after = z3.Store(after, address + i, part)
        self.memory[space] = z3.If(self.path, after, before)

    def do_load(self, node: Bits, address: Term) -> Term:
        space, width = node.attribute
        return self._load(space, address, width)

    do_load_for_write = do_load

    def do_store(self, node: Bits, address: Term, value: Term) -> None:
        self._store(node.attribute[0], address, value)

    def do_copy(self, node: Bits, source: Term, to: Term, _: Term, count: Term) -> Term:
        space, width = node.attribute
        self._store(space, to, self._load(space, source, width))
        return z3.BitVecVal(1, count.size())

    def do_fill(self, node: Bits, to: Term, value: Term, _: Term, count: Term) -> Term:
        self._store(node.attribute[0], to, value)
        return z3.BitVecVal(1, count.size())

    def do_scan(self, node: Bits, at: Term, _: Term, __: Term, count: Term) -> Term:
        self._load(node.attribute[0], at, node.attribute[1])
        return z3.BitVecVal(1, count.size())

    def do_compare(self, node: Bits, one: Term, other: Term, _: Term, count: Term) -> Term:
        for address in (one, other):
            self._load(node.attribute[0], address, node.attribute[1])
        return z3.BitVecVal(1, count.size())

    # -- control -----------------------------------------------------------------------------

    def do_when(self, node: Bits, condition: Term) -> Term:
        self.region(node.attribute.region, z3.And(self.path, condition == 1))
        return condition

    def do_result(self, node: Bits, taken: Term) -> Term:
        then, otherwise = node.args[0].attribute.yields[node.attribute[0]]
        return z3.If(taken == 1, self.values[id(then)], self.values[id(otherwise)])

    def do_fault(self, node: Bits, *arguments: Term) -> None:
        vector, (has_code, has_address), left = node.attribute
        rest = list(arguments)
        code = rest.pop(0) if has_code else None
        address = rest.pop(0) if has_address else None
        now = self._now
        self.left += [(now, register, value) for register, value in zip(left, rest, strict=True)]
        self.outcome.faults.append(Event(now, vector, (code, address)))

    def do_exit(self, node: Bits, *values: Term) -> None:
        self.outcome.exits.append(Event(self._now, node.attribute, values))

    def do_retire(self, _: Bits, count: Term) -> None:
        wide = z3.ZeroExt(64 - count.size(), count) if count.size() < 64 else count
        self.outcome.retired = z3.If(self._now, wide, self.outcome.retired)

    def do_undefined(self, node: Bits, condition: Term) -> None:
        here = z3.And(self._now, condition == 1)
        self.outcome.undefined.append((node.attribute, here))
        if node.attribute == "operand":
            self.operand_undefined = z3.Or(self.operand_undefined, here)

    def do_put(self, node: Bits, value: Term) -> None:
        if node.attribute.role is Role.GENERAL:
            value = self._unless(self.operand_undefined, value)
        self.puts[node.attribute] = value

    def do_put_indexed(self, node: Bits, index: Term, value: Term) -> None:
        value = self._unless(self.operand_undefined, value)
        file: RegisterFile = node.attribute
        for number, member in enumerate(file.members):
            before = self.puts.get(member, self.state.register(member))
            self.puts[member] = z3.If(index == number, value, before)


require_columns(_Execution)
