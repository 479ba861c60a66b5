"""Flags that stitched code leaves pending: operands, and a number that tells what follows of them.

Most flags are overwritten before anybody reads them. A stencil passes on what they are computed
from instead, with the number of their *kind*. Whoever reads one in the same block has just that one
evaluated; wherever stitched code is left, all are settled (`Word.PENDING`, `Word.OPERANDS`). No
kind is known by name: forms whose flags have the same expressions share one. A conditional jump has
a stencil for each kind that it may follow: it decides by those operands, and no flag is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from emu.engines.native.kinds import MASK_BITS, FlagFacts, evaluator_of, settler_of
from emu.engines.native.layout import CONVENTION, MOST_OPERANDS, Word
from emu.engines.native.lowering import Lowering
from emu.engines.native.names import digest
from emu.engines.native.pieces import load_slot, read_word, store_slot
from emu.engines.native.plan import Cut, Cuts, walk
from emu.engines.native.site import PARAMETERS, go_on
from isa.bits import Bits
from isa.hints import Final
from isa.record import NamedTuple
from isa.registers import Register
from isa.trace import Rewriter, Trace
from isa.words import mask


class Guard(NamedTuple):
    """What an instruction has to say for its flags to change: some bit of a mask in a field."""

    field: str
    mask: int


class Pending(NamedTuple):
    """What a form leaves pending: the flags' expressions over operands, by flag, if its guard (if
    it has one) holds."""

    name: str
    cut: Cut
    guard: Guard | None

    def code(self, flags: Sequence[Register]) -> tuple[str, dict[str, str]]:
        """The function that settles it, and stencils by symbol that compute one flag each: none if
        one of them may read what was another one's old value."""
        alone = [] if self.cut.olds else [flag for flag in flags if flag in self.cut.values]
        found = {evaluator_of(self.name, flags.index(flag)): flag for flag in alone}
        return _settler(self), {name: _evaluator(self, name, flag) for name, flag in found.items()}


def pending_of(trace: Trace, flags: Sequence[Register]) -> Pending | None:
    """What a form leaves pending of some flags; None if it changes none of them, or if that follows
    from too much."""
    known = {n.attribute: n.args[0] for n in trace.puts if n.op == "put" and n.attribute in flags}
    if not known:
        return None
    guard = _guard_of(known)
    if guard is not None:
        known = {flag: value.args[1] for flag, value in known.items()}
    cuts = Cuts(tuple(known))
    small = [cut for stored in (known, ()) if _fits((cut := cuts.of(known, stored)).operands)]
    if not small:
        return None
    return Pending(digest(_described(small[0].values).encode()), small[0], guard)


def _guard_of(known: Mapping[Register, Bits]) -> Guard | None:
    """What decides whether flags change at all, if that is known with the instruction: the count of
    a shift is, mostly, and not 0."""
    guards = set()
    for flag, value in known.items():
        chosen = value.op == "select" and value.args[2].op == "get"
        if not chosen or value.args[2].attribute[0] is not flag:
            return None
        guards.add(_guard(value.args[0]))
    return guards.pop() if len(guards) == 1 else None


def _guard(condition: Bits) -> Guard | None:
    """A condition as such a guard; None if it is none."""
    if condition.op != "ne" or not condition.args[1].is_const or condition.args[1].value:
        return None
    node, most = condition.args[0], mask(MASK_BITS)
    while node.op in ("zext", "extract"):
        if node.op == "extract":
            if node.attribute[0]:  # not from the lowest bit on
                return None
            most &= mask(node.width)
        node = node.args[0]
    if node.op != "field" or most & mask(node.width) != most:
        return None
    return Guard(node.attribute[0], most)


def flag_facts(
    trace: Trace,
    pending: Pending | None,
    flags: Sequence[Register],
    word_of: Callable[[str], int],
) -> FlagFacts:
    """What stitching has to know. `word_of`: which word of a record has a field."""

    def bits(some: set[Register]) -> int:
        return sum(1 << n for n, flag in enumerate(flags) if flag in some)

    written = trace.written()
    keeps = bits(set(flags) - written) if pending else 0
    facts = FlagFacts(
        bits(_read(trace, pending)),
        not written.isdisjoint(flags),
        pending.name if pending else "",
        keeps=keeps,
    )
    if pending is None or pending.guard is None:
        return facts
    return facts._replace(word=word_of(pending.guard.field), mask=pending.guard.mask)


def reads_only(trace: Trace, facts: FlagFacts) -> bool:
    """Whether a form does nothing with flags but read some, and nothing with memory."""
    changes = facts.writes or facts.kind
    puts = all(effect.op in ("put", "put_indexed") for effect in trace.region.effects)
    return bool(facts.needs) and not changes and puts


def with_pending(trace: Trace, pending: Pending) -> Trace | None:
    """A form's trace that takes pending flags from their operands, its parameters; None if it reads
    none of them, or if they follow from what flags were before, too."""
    values = pending.cut.values
    if pending.cut.olds or not trace.read() & values.keys():
        return None

    def substitute(node: Bits) -> Bits | None:
        return values.get(node.attribute[0]) if node.op == "get" else None

    return Rewriter(substitute).trace(trace)


def _read(trace: Trace, pending: Pending | None) -> set[Register]:
    """The registers that a form reads, be it to settle its flags."""
    if pending is None:
        return trace.read()
    cut, found = pending.cut, set(pending.cut.olds)

    def visit(node: Bits) -> None:
        if node.op == "get":
            found.add(node.attribute[0])

    others = [e for e in trace.region.effects if e.op != "put" or e.attribute not in cut.values]
    walk([*others, *cut.operands], set(), visit)
    return found


def _fits(operands: Sequence[Bits]) -> bool:
    return len(operands) <= MOST_OPERANDS and all(o.width <= 64 for o in operands)


def _described(values: Mapping[Register, Bits]) -> str:
    return ";".join(f"{flag.name}={_text(value)}" for flag, value in values.items())


def _text(node: Bits) -> str:
    """An expression, the same in every run."""
    what = node.op
    if node.op == "call":
        what = f"{node.attribute.module}:{node.attribute!r}"
    elif node.op == "get":
        what = node.attribute[0].name
    elif node.op == "const":
        what = str(node.value)
    elif node.op == "parameter":
        what = f"p{node.attribute[0]}"
    elif node.attribute is not None:
        what = f"{node.op}[{node.attribute}]"
    return f"{what}:{node.width}({','.join(map(_text, node.args))})"


# -- code ---------------------------------------------------------------------------------------


PASSED: Final = ("first", "second")  # the operands that are parameters


def keep(low: Lowering, pending: Pending) -> dict[str, str]:
    """Store the operands, but for those that are passed on."""
    values = [_sized(low, low.value(o), o.width, 64) for o in pending.cut.operands]
    for number, text in enumerate(values[len(PASSED) :], len(PASSED)):
        low.line(f"store i64 {text}, ptr {_word(low, Word.OPERANDS + number)}")
    return dict(zip(PASSED, values, strict=False))


def _sized(low: Lowering, text: str, width: int, wanted: int) -> str:
    if width == wanted:
        return text
    return low.emit(f"{'zext' if wanted > width else 'trunc'} i{width} {text} to i{wanted}")


def _word(low: Lowering, number: int) -> str:
    return low.emit(f"getelementptr i64, ptr %mailbox, i64 {int(number)}")


def _settler(pending: Pending) -> str:
    """The function that computes all flags that are pending."""
    low = Lowering()
    low.lines.append(read_word("registers", Word.REGISTERS))
    for number, name in enumerate(PASSED):
        low.line(f"%{name} = load i64, ptr {_word(low, Word.OPERANDS + number)}")
    values = _values(low, pending, list(pending.cut.values))  # before any of them changes
    for register, value in values.items():
        _put(low, register, value)
    body = "\n".join(low.lines)
    define = f'define void @"{settler_of(pending.name)}"(ptr %mailbox)'
    return f"{define} {{\nentry:\n{body}\n  ret void\n}}"


def _evaluator(pending: Pending, symbol: str, flag: Register) -> str:
    """The stencil that computes one flag, and leaves all pending."""
    low = Lowering()
    _put(low, flag, _values(low, pending, [flag])[flag])
    body = "\n".join([*low.lines, *go_on("next")])
    define = f'define {CONVENTION} i64 @"{symbol}"({PARAMETERS})'
    return f"{define} {{\nentry:\n{body}\n}}"


def _values(low: Lowering, pending: Pending, flags: Sequence[Register]) -> dict[Register, str]:
    """The flags' values, from operands and old values of flags: LLVM forgets what none needs."""
    operands = []
    for number, operand in enumerate(pending.cut.operands):
        if number < len(PASSED):
            text = f"%{PASSED[number]}"
        else:
            text = low.emit(f"load i64, ptr {_word(low, Word.OPERANDS + number)}")
        operands.append(_sized(low, text, 64, operand.width))
    olds = {
        old: load_slot(low, old.width, _slot(low, old))
        for old in sorted(pending.cut.olds, key=lambda r: r.slot)
    }
    return {flag: low.inline(pending.cut.values[flag], operands, olds) for flag in flags}


def _put(low: Lowering, flag: Register, value: str) -> None:
    store_slot(low, flag.width, value, _slot(low, flag))


def _slot(low: Lowering, flag: Register) -> str:
    return low.emit(f"getelementptr i64, ptr %registers, i64 {flag.slot}")
