"""Regions before they are lowered: which blocks, what each does, and which flags can wait.

A block's instructions are traced one after the other with values forwarded. Flags (registers whose
role says so) are seldom read: a block leaves behind a *recipe* for them, the number of a set of
expressions and the operands these need, and only an exit from the region computes them. Flags that
another block of the region does read are computed by the block that changes them as well. An exit
in the middle of a block that has changed some flags only is no such reader: it has a recipe of its
own, which takes what the recipe of the block before has computed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from emu.engines.facts import Facts
from emu.engines.native.pieces import PORT, exits, reads_port
from emu.engines.native.spaces import Space
from isa.bits import Bits, leaf
from isa.definition import Instruction, InstructionSet
from isa.hints import Any
from isa.ops import OPS
from isa.record import NamedTuple
from isa.registers import Register, Role
from isa.trace import specialise


@dataclass(slots=True)
class Part:
    """One instruction of a block: its effects, and every changed register before it."""

    effects: list[Bits]
    before: dict[Register, Bits]


@dataclass(slots=True)
class PlannedBlock:
    """A block of the region, traced."""

    number: int
    pc: int
    address: int
    instructions: Sequence[Instruction]
    parts: list[Part]
    after: dict[Register, Bits]
    targets: set[int] = field(default_factory=set)  # where its indirect jump has gone
    reads: set[Register] = field(default_factory=set)  # flags read as they were before the block
    live: set[Register] = field(default_factory=set)  # flags that a later block reads

    @property
    def length(self) -> int:
        """How many instructions."""
        return len(self.instructions)

    def offset(self, number: int) -> int:
        """Units of code before instruction `number`."""
        return sum(i.length for i in self.instructions[:number])

    @property
    def size(self) -> int:
        """Units of code."""
        return self.offset(self.length)

    @property
    def ends(self) -> bool:
        """Whether it always ends in a fault."""
        return bool(self.parts[-1].effects) and self.parts[-1].effects[-1].op == "fault"

    def following(self, isa: InstructionSet) -> Bits:
        """The program counter after the block."""
        return self.after[isa.pc]


def trace_block(
    isa: InstructionSet, mode: Hashable, pc: int, instructions: Sequence[Instruction]
) -> tuple[list[Part], dict[Register, Bits]]:
    """Trace instructions one after the other; see `PlannedBlock`."""
    known: dict[Register, Bits] = {isa.pc: Bits.of(pc, isa.pc.width)}
    interned: dict[Any, Bits] = {}
    fetch = isa.fetch(mode).region
    parts = []
    for number, instruction in enumerate(instructions):
        region = specialise(instruction.fields, known, interned).region(
            isa.trace(instruction.form).region
        )
        effects = [e for e in region.effects if e.op not in ("put", "put_indexed", "undefined")]
        if number and fetch.effects:
            effects = specialise({}, known, interned).region(fetch).effects + effects
        parts.append(Part(effects, dict(known)))
        if region.ends:
            break
        for put in region.effects:
            assert put.op != "put_indexed", "a register number that is no constant"
            if put.op == "put":
                known[put.attribute] = put.args[0]
    return parts, known


def is_native(
    isa: InstructionSet, form: Hashable, facts: Facts, spaces: Mapping[str, Space]
) -> bool:
    """Whether native code can do a form: not the clock of repetitions, or taking stores back."""
    trace = isa.trace(form)
    if facts.undo or (facts.repeats and trace.has("clock")):
        return False
    for node in trace.walk():
        if node.op == "exit" and node.attribute == "unimplemented":
            return False
        if node.op == "load" and node.attribute[0] == PORT:
            if not reads_port(trace):
                return False
        elif node.op in _MEMORY and not exits(node):
            space = spaces.get(node.attribute[0])
            if space is None or not space.can(node):
                return False
    return True


_MEMORY = ("load", "load_for_write", "store", "copy", "fill", "scan", "compare")


def changed(register: Register, known: dict[Register, Bits]) -> bool:
    """Whether a register's expression is anything but its own old value."""
    value = known.get(register)
    return value is not None and not (value.op == "get" and value.attribute[0] is register)


def constants(target: Bits) -> Iterator[int]:
    """The program counters that a direct jump may lead to."""
    if target.is_const:
        yield target.value
    elif target.op == "select":
        yield from constants(target.args[1])
        yield from constants(target.args[2])


def is_indirect(target: Bits) -> bool:
    """Whether some way of the jump has a computed target."""
    if target.op == "select":
        return is_indirect(target.args[1]) or is_indirect(target.args[2])
    return not target.is_const


def return_sites(block: PlannedBlock, isa: InstructionSet) -> set[int]:
    """Where control comes back to if the block calls: it stores the address that follows it."""
    last = block.instructions[-1]
    before = block.parts[-1].before.get(isa.pc)
    if before is None or not before.is_const or block.ends:
        return set()
    follows = before.value + last.length
    stored = (e.args[1] for e in block.parts[-1].effects if e.op == "store")
    found = any(v.is_const and v.value == follows for v in stored)
    return {follows} if found and set(constants(block.following(isa))) != {follows} else set()


def is_return(block: PlannedBlock, isa: InstructionSet) -> bool:
    """Whether the block takes its target off a stack: it moves the register that the address of
    the target was in."""
    target = block.following(isa)
    if block.ends or target.op != "load":
        return False
    before, address = block.parts[-1].before, _shape(target.args[0])
    moved = [r for r in block.after if block.after[r] is not before.get(r) and r is not isa.pc]
    return any(_shape(expression(r, before)) == address for r in moved)


def walk(nodes: Iterable[Bits], seen: set[int], visit: Callable[[Bits], None]) -> None:
    """Visit every node that `nodes` need, effects inside of `when`s included, each once."""
    for node in nodes:
        if id(node) in seen:
            continue
        seen.add(id(node))
        visit(node)
        walk(node.args, seen, visit)
        if node.op == "when" and node.args:
            walk(node.attribute.region.effects, seen, visit)
            walk([v for pair in node.attribute.yields for v in pair], seen, visit)


def touched(block: PlannedBlock) -> set[Register]:
    """The registers that a block changes, or reads as they were before it."""
    found = {register for register in block.after if changed(register, block.after)}
    nodes = [node for part in block.parts for node in part.effects]

    def visit(node: Bits) -> None:
        if node.op == "get":
            found.add(node.attribute[0])

    walk([*nodes, *(block.after[register] for register in found)], set(), visit)
    return found


def flags_of(blocks: Sequence[PlannedBlock], isa: InstructionSet) -> tuple[Register, ...]:
    """The flags that a region changes, be it inside of a block only."""
    return tuple(
        r
        for r in isa.registers
        if r.role is Role.FLAG and any(changed(r, b.after) or _inside(r, b) for b in blocks)
    )


def mark_flags(blocks: Sequence[PlannedBlock], cuts: Cuts, isa: InstructionSet) -> None:
    """Set `reads` and `live` of a region's blocks."""
    flags = set(cuts.flags)
    for block in blocks:
        block.reads = _reads(block, flags, cuts)
    _liveness(blocks, flags, isa)


def _inside(register: Register, block: PlannedBlock) -> bool:
    return any(changed(register, part.before) for part in block.parts)


def _reads(block: PlannedBlock, flags: set[Register], cuts: Cuts) -> set[Register]:
    found: set[Register] = set()

    def visit(node: Bits) -> None:
        if node.op == "get" and node.attribute[0] in flags:
            found.add(node.attribute[0])

    roots: list[Bits] = []
    for part in block.parts:
        roots += part.effects
        if part.effects:
            roots += [v for r, v in part.before.items() if r not in flags]
            roots += cuts.of(part.before).operands
    roots += _needed(block.after, flags)
    walk(roots, set(), visit)
    return found


def _needed(known: dict[Register, Bits], flags: set[Register]) -> list[Bits]:
    """Expressions that an exit must be able to compute; flags only if one has changed."""
    roots = [v for r, v in known.items() if r not in flags]
    if any(changed(f, known) for f in flags):
        roots += [expression(f, known) for f in flags]
    return roots


def _liveness(blocks: Sequence[PlannedBlock], flags: set[Register], isa: InstructionSet) -> None:
    by_pc = {b.pc: b for b in blocks}
    successors = {b.number: [by_pc[t] for t in edges(b, isa) if t in by_pc] for b in blocks}
    before = {b.number: set(b.reads) for b in blocks}
    again = True
    while again:
        again = False
        for block in reversed(blocks):
            block.live = set().union(*(before[s.number] for s in successors[block.number]))
            kept = {f for f in block.live if not changed(f, block.after)}
            new = block.reads | kept
            if new != before[block.number]:
                before[block.number] = new
                again = True


def edges(block: PlannedBlock, isa: InstructionSet) -> set[int]:
    """Every program counter that may follow inside of the region."""
    if block.ends:
        return set()
    return set(constants(block.following(isa))) | block.targets


def budgets(
    blocks: Sequence[PlannedBlock], entries: Iterable[int], isa: InstructionSet
) -> dict[int, int]:
    """Where the budget is looked at, by block number: what it must be there, so that it lasts until
    it is looked at again.

    That is at entries, where loops close, and behind repeated instructions, which count as many.
    """
    by_pc = {b.pc: b.number for b in blocks}
    after = [[by_pc[t] for t in sorted(edges(b, isa)) if t in by_pc] for b in blocks]
    looks = {*entries, *(n for b in blocks if _repeats(b) for n in after[b.number])}
    order = _from_last(after, looks)
    most: dict[int, int] = {}
    for number in order:
        rest = max((most[n] for n in after[number] if n not in looks), default=0)
        most[number] = blocks[number].length + rest
    return {n: most[n] for n in looks if n in most}


def _repeats(block: PlannedBlock) -> bool:
    found: list[bool] = []
    effects = [e for part in block.parts for e in part.effects]
    walk(effects, set(), lambda node: found.append(node.op == "retire"))
    return any(found)


def _from_last(after: Sequence[Sequence[int]], looks: set[int]) -> list[int]:
    """Block numbers so that each comes behind those that follow it, but for ends of edges that
    close a loop, which are added to `looks`."""
    done: list[int] = []
    open_: set[int] = set()
    seen: set[int] = set()
    for start in range(len(after)):
        stack = [] if start in seen else [(start, iter(after[start]))]
        seen.add(start)
        open_ |= {n for n, _ in stack}
        while stack:
            number, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                open_.discard(number)
                done.append(number)
            elif following in open_:
                looks.add(following)
            elif following not in seen:
                seen.add(following)
                open_.add(following)
                stack.append((following, iter(after[following])))
    return done


class Cut(NamedTuple):
    """How flags follow from operands: expressions over `parameter` nodes and the old values of the
    flags in `olds`."""

    values: dict[Register, Bits]
    operands: list[Bits]
    olds: set[Register]


class Cuts:
    """The flags' expressions of a region's instructions, cut: once for each state of the flags, as
    most instructions change none."""

    def __init__(self, flags: tuple[Register, ...]) -> None:
        self.flags = flags
        self._set = frozenset(flags)
        self._found: dict[Hashable, Cut] = {}

    def of(self, known: dict[Register, Bits], stored: Iterable[Register] = ()) -> Cut:
        """The flags' expressions, cut; whoever asks keeps `known`.

        The old values of flags in `stored` are operands too, as new ones take their places.
        """
        taken = frozenset(stored)
        key = taken, *[id(known.get(flag)) for flag in self.flags]
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._cut_all(known, taken)
        return found

    def _cut_all(self, known: dict[Register, Bits], stored: frozenset[Register]) -> Cut:
        operands: list[Bits] = []
        stays = self._set - stored  # old flags that can be read when the recipe is used
        values = {f: self._cut(expression(f, known), operands, stays) for f in self.flags}
        return Cut(values, operands, olds_of(values))

    def _cut(self, node: Bits, operands: list[Bits], stays: frozenset[Register]) -> Bits:
        """The node over operands: 1-bit operations and calls are kept, and what no slot has room
        for; what they take is cut."""
        if node.op == "const" or (node.op == "get" and node.attribute[0] in stays):
            return node
        row = OPS[node.op]
        is_kept = row.pure and (node.width == 1 or node.width > slot_width(node.width))
        if node.op == "call" or is_kept:
            args = tuple([self._cut(a, operands, stays) for a in node.args])
            return Bits(node.op, node.width, args, node.attribute)
        for number, operand in enumerate(operands):
            if operand is node:
                return _parameter(number, node.width)
        operands.append(node)
        return _parameter(len(operands) - 1, node.width)


@cache
def _parameter(number: int, width: int) -> Bits:
    """An operand: one node, as results for the same arguments may be known together."""
    return leaf("parameter", width, (number, width))


def olds_of(values: Mapping[Register, Bits]) -> set[Register]:
    """The flags whose old values some expressions take."""
    found: set[Register] = set()

    def visit(node: Bits) -> None:
        if node.op == "get":
            found.add(node.attribute[0])

    walk(values.values(), set(), visit)
    return found


@dataclass(slots=True)
class Recipe:
    """A cut that exits leave behind, with the operands' widths."""

    number: int
    cut: Cut
    widths: list[int]


class Recipes:
    """The recipes of a region, numbered from 1; 0 means that the flags are what they are."""

    def __init__(self) -> None:
        self.found: dict[Hashable, Recipe] = {}
        self.most = {32: 0, 64: 0}  # operands of each width that some recipe needs
        self._of: dict[int, Recipe] = {}  # by id of a cut, which its `Cuts` keep

    def of(self, cut: Cut) -> Recipe:
        """The recipe for a cut; cuts that look alike share one."""
        known = self._of.get(id(cut))
        if known is None:
            key = tuple([_shape(v) for v in cut.values.values()])
            known = self._of[id(cut)] = self.found.get(key) or self._add(key, cut)
        return known

    def _add(self, key: Hashable, cut: Cut) -> Recipe:
        recipe = Recipe(len(self.found) + 1, cut, [o.width for o in cut.operands])
        self.found[key] = recipe
        for size in self.most:
            needed = sum(slot_width(w) == size for w in recipe.widths)
            self.most[size] = max(self.most[size], needed)
        return recipe


def expression(register: Register, known: dict[Register, Bits]) -> Bits:
    """What a register is worth; as it was before the block if nothing is known."""
    value = known.get(register)
    return leaf("get", register.width, (register, register.width)) if value is None else value


def slot_width(width: int) -> int:
    """Operands are kept in slots of 32 or 64 bits."""
    return 32 if width <= 32 else 64


def _shape(node: Bits) -> Hashable:
    if node.op == "call":
        return ("call", id(node.attribute), *(_shape(a) for a in node.args))
    return (node.op, node.width, node.attribute, *(_shape(a) for a in node.args))
