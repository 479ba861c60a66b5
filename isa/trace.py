"""Traces: what running a meaning on the builder leaves, an ordered list of IR operations.

A `Trace` is a `Region` of nodes in the order in which they are carried out. A `when` node holds a
`Branch`: the region carried out if its condition is 1, and the values it yields either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isa.bits import Bits, folded, leaf
from isa.hints import Any
from isa.ops import OPS
from isa.registers import Register


class Region:
    """`effects` in program order; `nodes` is the schedule: the same with every value they need."""

    __slots__ = ("effects", "nodes")

    def __init__(self, effects: list[Bits] | None = None, nodes: list[Bits] | None = None) -> None:
        self.effects = [] if effects is None else effects
        self.nodes = [] if nodes is None else nodes

    @property
    def ends(self) -> bool:
        """Whether the region always ends in a fault, so that nothing follows it."""
        return bool(self.effects) and self.effects[-1].op == "fault"


class Branch:
    """What a `when` carries out, and (value if taken, value if not) for each of its results."""

    __slots__ = ("region", "yields")

    def __init__(self, region: Region, yields: list[tuple[Bits, Bits]] | None = None) -> None:
        self.region = region
        self.yields = [] if yields is None else yields


class Trace:
    """The IR of one instruction form (or of one instruction, once specialised)."""

    __slots__ = ("name", "region", "value")

    def __init__(self, name: str, region: Region, value: Bits | None = None) -> None:
        self.name = name
        self.region = region
        self.value = value  # what a trace that computes something (a fetch address) returns

    def walk(self) -> Iterator[Bits]:
        """Every scheduled node, inner regions included, in order."""
        yield from _walk(self.region)

    @property
    def puts(self) -> list[Bits]:
        """The register writes, which take effect together at the end."""
        return [n for n in self.region.effects if n.op in ("put", "put_indexed")]

    def written(self) -> set[Register]:
        """Every register that the trace may write."""
        found: set[Register] = set()
        for node in self.puts:
            found |= {node.attribute} if node.op == "put" else set(node.attribute.members)
        for node in self.walk():
            if node.op == "fault":
                found.update(node.attribute[2])
        return found

    def read(self) -> set[Register]:
        """Every register that the trace may read by its own name, not by a number."""
        return {node.attribute[0] for node in self.walk() if node.op == "get"}

    def has(self, *ops: str) -> bool:
        """Whether one of the operations occurs."""
        return any(node.op in ops for node in self.walk())


def _walk(region: Region) -> Iterator[Bits]:
    for node in region.nodes:
        if node.op == "when":
            yield from _walk(node.attribute.region)
        yield node


# -- scheduling ---------------------------------------------------------------------------------


class ScheduleError(Exception):
    """A meaning uses a value outside the `when` that computes it: a bug in the meaning."""


def schedule(trace: Trace) -> Trace:
    """Fill in `nodes` of every region: each value right before its first use in that region."""
    _schedule_region(trace.region, set(), [] if trace.value is None else [trace.value])
    return trace


def _schedule_region(region: Region, scope: set[int], results: list[Bits]) -> None:
    region.nodes = []
    for effect in region.effects:
        for arg in effect.args:
            _schedule_value(arg, region, scope)
        if effect.op == "when":
            branch: Branch = effect.attribute
            for _, otherwise in branch.yields:
                _schedule_value(otherwise, region, scope)
            _schedule_region(branch.region, set(scope), [then for then, _ in branch.yields])
        region.nodes.append(effect)
        scope.add(id(effect))
    for value in results:
        _schedule_value(value, region, scope)


def _schedule_value(node: Bits, region: Region, scope: set[int]) -> None:
    if id(node) in scope:
        return
    row = OPS[node.op]
    if not (row.pure or node.op in _FLOATING):
        raise ScheduleError(f"{node!r} is used where it has not been computed")
    for arg in node.args:
        _schedule_value(arg, region, scope)
    if node.op == "result" and id(node.args[0]) not in scope:
        raise ScheduleError(f"{node!r} is used outside the `when` that yields it")
    region.nodes.append(node)
    scope.add(id(node))


_FLOATING = {"const", "field", "get", "get_indexed", "clock", "parameter", "call", "result"}
"""Operations that may stand anywhere after their arguments: they neither order nor change state."""

_PURE = frozenset(name for name, row in OPS.items() if row.pure)
_INTERNED = _PURE | _FLOATING


# -- rewriting ----------------------------------------------------------------------------------

Substitution = Callable[[Bits], Bits | None]


class Rewriter:
    """Rebuilds expression graphs: equal nodes become one, constants fold, `substitute` replaces.

    `substitute` sees leaves, calls and effects with their arguments already rebuilt, and returns
    another node or None.
    Rewriters that share `interned` make equal nodes one across traces (an engine's block).
    """

    def __init__(
        self,
        substitute: Substitution | None = None,
        interned: dict[Any, Bits] | None = None,
    ) -> None:
        self._substitute = substitute
        self._done: dict[int, Bits] = {}
        self._interned = {} if interned is None else interned
        self._kept: list[Bits] = []  # ids in `_done` stay unique while their nodes live

    def trace(self, trace: Trace) -> Trace:
        """Rebuild and schedule a whole trace."""
        region = self.region(trace.region)
        value = None if trace.value is None else self.value(trace.value)
        return schedule(Trace(trace.name, region, value))

    def region(self, region: Region) -> Region:
        """Rebuild a region; a `when` whose condition became known is dropped or dissolved."""
        rebuilt = Region()
        for effect in region.effects:
            if effect.op == "when":
                self._when(effect, rebuilt)
            else:
                rebuilt.effects.append(self._effect(effect))
            if rebuilt.ends:
                break
        return rebuilt

    def _effect(self, effect: Bits) -> Bits:
        node = Bits(effect.op, effect.width, self._values(effect.args), effect.attribute)
        return self._remember(effect, self._replace(node))

    def _when(self, effect: Bits, into: Region) -> None:
        condition = self.value(effect.args[0])
        branch: Branch = effect.attribute
        yields = branch.yields
        if condition.is_const:
            if condition.value:
                into.effects += self.region(branch.region).effects
            chosen = [self.value(y[0] if condition.value else y[1]) for y in yields]
            self._remember(effect, Bits("when", 0, (), chosen))
            return
        otherwise = [self.value(y[1]) for y in yields]
        region = self.region(branch.region)
        # Nothing comes out of a region that always faults, and what follows the fault is gone.
        then = otherwise if region.ends else [self.value(y[0]) for y in yields]
        rebuilt = Branch(region, list(zip(then, otherwise, strict=True)))
        into.effects.append(self._remember(effect, Bits("when", 0, (condition,), rebuilt)))

    def rebuilt(self, node: Bits) -> Bits | None:
        """What a node of the old graph became, or None if it was not needed."""
        return self._done.get(id(node))

    def value(self, node: Bits) -> Bits:
        """Rebuild one expression."""
        found = self._done.get(id(node))
        if found is not None:
            return found
        args = self._values(node.args)
        if node.op == "result" and not args[0].args:  # its `when` was dissolved
            return self._remember(node, args[0].attribute[node.attribute[0]])
        if node.op in _PURE:  # may answer with one of `args`, which must not be replaced again
            rebuilt = folded(node.op, args, node.attribute, node.width)
        else:
            rebuilt = self._replace(Bits(node.op, node.width, args, node.attribute))
        return self._remember(node, self._intern(rebuilt))

    def _values(self, args: tuple[Bits, ...]) -> tuple[Bits, ...]:
        """Rebuild arguments; most have been already."""
        done, value = self._done, self.value
        found = [(done.get(id(a)), a) for a in args]
        return tuple([value(a) if known is None else known for known, a in found])

    def _replace(self, node: Bits) -> Bits:
        replaced = None if self._substitute is None else self._substitute(node)
        return node if replaced is None else replaced

    def _intern(self, node: Bits) -> Bits:
        if node.op not in _INTERNED:
            return node
        key = (node.op, node.width, node.attribute, *map(id, node.args))
        return self._interned.setdefault(key, node)

    def _remember(self, old: Bits, new: Bits) -> Bits:
        self._done[id(old)] = new
        self._kept.append(old)
        return new


def specialise(
    fields: Mapping[str, int], known: Mapping[Register, Bits], interned: dict[Any, Bits]
) -> Rewriter:
    """A rewriter from a form's trace to one instruction's.

    Operand fields become constants, `known` registers the values they are known to have.
    """

    def substitute(node: Bits) -> Bits | None:
        if node.op == "field":
            return Bits.of(fields[node.attribute[0]], node.width)
        if node.op == "get":
            return known.get(node.attribute[0])
        if node.op == "get_indexed" and node.args[0].is_const:
            member = node.attribute[0].members[node.args[0].value]
            value = known.get(member)
            return leaf("get", node.width, (member, node.width)) if value is None else value
        if node.op == "put_indexed" and node.args[0].is_const:
            member = node.attribute.members[node.args[0].value]
            return Bits("put", 0, (node.args[1],), member)
        return None

    return Rewriter(substitute, interned)


def expander() -> Rewriter:
    """A rewriter that replaces every call of a function by the function's body."""

    def substitute(node: Bits) -> Bits | None:
        return node.attribute.inline(node.args) if node.op == "call" else None

    return Rewriter(substitute)
