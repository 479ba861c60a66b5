"""The one lowering of the IR to LLVM text, shared by everything that the native engine compiles.

`Lowering` turns nodes into lines of a function. Pure operations come from the `llvm` column of the
table; effects have a method each. What differs between the users of a lowering (where registers
live, how memory is reached, what leaving means) is their `Context`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from emu.engines.native import shared
from emu.engines.native.layout import UNLIKELY, Left
from isa.bits import Bits
from isa.hints import Protocol
from isa.ops import OPS, require_columns
from isa.registers import Register
from isa.trace import Region


class Context(Protocol):
    """What a lowering asks of the function in which it works. Texts are LLVM values.

    One `is_patient` that does itself, byte by byte, what cannot be done at one place; it has
    `%missed`, which points to `Word.MISSED`.
    """

    is_patient: bool

    def get(self, register: Register) -> str:
        """The register's value before the instruction (or the block)."""

    def get_indexed(self, node: Bits, index: str) -> str:
        """The value of the register that `index` selects."""

    def field(self, name: str, width: int) -> str:
        """An operand field."""

    def clock(self) -> str:
        """How many instructions had retired before this one (i64)."""

    def load(self, node: Bits, address: str) -> str:
        """A load or load_for_write."""

    def store(self, node: Bits, address: str, value: str) -> None:
        """A store."""

    def bulk(self, node: Bits, arguments: list[str]) -> str:
        """A repeated operation: how many iterations it did."""

    def given_up(self) -> str:
        """The label to go to if the instruction must be done elsewhere (it faults)."""

    def missed(self) -> str:
        """The label to go to if a repeated operation could not begin; the mailbox tells why."""

    def missed_at(self, address: str, why: Left, space: int = 0) -> str:
        """The label to go to if an access of this (32-bit) address of a space missed."""

    def exit(self, node: Bits, values: list[str]) -> None:
        """After the instruction, leave the engine."""

    def retire(self, count: str, width: int) -> None:
        """Count the instruction as that many."""


class Lowering:
    """Lines of one function, and the texts of the values computed so far, innermost scope last.

    Lines only, or a function's body, need no context.
    """

    context: Context

    def __init__(self, context: Context | None = None) -> None:
        self.lines: list[str] = []
        self.cold: list[str] = []  # whole basic blocks that are seldom reached
        self.declarations: set[str] = set()  # of the shared functions that are called
        if context is not None:
            self.context = context
        self.label = "entry"  # the basic block under way
        self._numbers = itertools.count()
        self._scopes: list[dict[int, str]] = [{}]
        self._kept: list[Bits] = []  # ids in scopes stay unique while their nodes live
        self._results: dict[int, list[str]] = {}

    # -- lines -----------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Append one instruction."""
        self.lines.append("  " + text)

    def emit(self, text: str) -> str:
        """Append an assignment of the right-hand side `text`; return the name."""
        name = f"%t{next(self._numbers)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def name(self) -> str:
        """A name for a value that `emit` does not make."""
        return f"%t{next(self._numbers)}"

    def fresh(self, stem: str) -> str:
        """A label nobody else has."""
        return f"{stem}.{next(self._numbers)}"

    def start(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self.label = label

    def jump(self, label: str) -> None:
        """End the basic block."""
        self.line(f"br label %{label}")

    def branch(self, condition: str, then: str, otherwise: str, hint: str = "") -> None:
        """End the basic block on an i1."""
        more = f", {hint}" if hint else ""
        self.line(f"br i1 {condition}, label %{then}, label %{otherwise}{more}")

    def likely(self, condition: str, otherwise: str) -> None:
        """Go on if the condition holds, as it nearly always does, else to `otherwise`."""
        here = self.fresh("on")
        self.branch(condition, here, otherwise, UNLIKELY)
        self.start(here)

    # -- scopes ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Forget all values: a new block of the guest."""
        self._scopes = [{}]
        self._kept.clear()
        self._results.clear()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Basic blocks until its end are out of the way of what is done mostly, in `cold`."""
        usual, self.lines = self.lines, []
        self.push()
        yield
        self.pop()
        self.cold += self.lines
        self.lines = usual

    def push(self) -> None:
        """Values computed from here to `pop` are not known after it."""
        self._scopes.append({})

    def pop(self) -> None:
        """Leave the innermost scope."""
        self._scopes.pop()

    def known(self, node: Bits) -> str | None:
        """The text of a node that has been computed where this place can see it."""
        for scope in reversed(self._scopes):
            if id(node) in scope:
                return scope[id(node)]
        return None

    def define(self, node: Bits, text: str) -> str:
        """Remember the text of a node in the innermost scope."""
        self._scopes[-1][id(node)] = text
        self._kept.append(node)
        return text

    # -- values ----------------------------------------------------------------------------------

    def value(self, node: Bits) -> str:
        """The text of a node, computed here unless it is known."""
        if node.op == "const":
            return str(node.value)
        found = self.known(node)
        if found is not None:
            return found
        row = OPS[node.op]
        if row.pure:
            return self.define(node, self.pure(node, [self.value(a) for a in node.args]))
        method: Callable[[Bits], str] = getattr(self, f"do_{node.op}")
        return self.define(node, method(node))

    def pure(self, node: Bits, texts: list[str]) -> str:
        """One pure operation by the table's `llvm` column."""
        template, width = OPS[node.op].llvm, node.args[0].width
        if callable(template):
            return template(self.emit, width, node.attribute, *texts)
        named = dict(zip("abc", texts, strict=False))
        return self.emit(template.format(w=width, x=node.width, k=node.attribute, **named))

    def do_const(self, node: Bits) -> str:
        return str(node.value)

    def do_field(self, node: Bits) -> str:
        return self.context.field(node.attribute[0], node.width)

    def do_get(self, node: Bits) -> str:
        return self.context.get(node.attribute[0])

    def do_get_indexed(self, node: Bits) -> str:
        return self.context.get_indexed(node, self.value(node.args[0]))

    def do_clock(self, node: Bits) -> str:
        return self.context.clock()

    def do_parameter(self, node: Bits) -> str:
        raise AssertionError("a parameter stands only in a function's body")

    def do_call(self, node: Bits) -> str:
        widths = tuple(a.width for a in node.args)
        texts = [self.value(a) for a in node.args]
        if shared.is_shared(node.attribute, widths):
            self.declarations.add(shared.declaration(node.attribute, widths))
            given = ", ".join(f"i{w} {text}" for w, text in zip(widths, texts, strict=True))
            return self.emit(
                f'call i{node.width} @"{shared.name_of(node.attribute, widths)}"({given})'
            )
        return self.inline(node.attribute.body(widths), texts)

    def inline(
        self, node: Bits, arguments: list[str], old: Mapping[Register, str] | None = None
    ) -> str:
        """An expression over parameters, and over the registers in `old`."""
        return self._inline(node, arguments, {}, old or {})

    def _inline(
        self, node: Bits, arguments: list[str], done: dict[int, str], old: Mapping[Register, str]
    ) -> str:
        if node.op == "parameter":
            number: int = node.attribute[0]
            return arguments[number]
        if node.op == "get":
            return old[node.attribute[0]]
        if node.op == "const":
            return str(node.value)
        found = done.get(id(node))
        if found is None:
            texts = [self._inline(a, arguments, done, old) for a in node.args]
            if node.op == "call":
                body = node.attribute.body(tuple(a.width for a in node.args))
                found = self.inline(body, texts)
            else:
                found = self.pure(node, texts)
            done[id(node)] = found
        return found

    def do_result(self, node: Bits) -> str:
        number: int = node.attribute[0]
        return self._results[id(node.args[0])][number]

    # -- effects ---------------------------------------------------------------------------------

    def region(self, region: Region) -> None:
        """Carry out a region's effects in order."""
        for effect in region.effects:
            self.effect(effect)

    def effect(self, node: Bits) -> None:
        """Carry out one effect; what it yields is defined here."""
        method: Callable[[Bits], str | None] = getattr(self, f"do_{node.op}")
        text = method(node)
        if text is not None:
            self.define(node, text)

    def do_load(self, node: Bits) -> str:
        return self.context.load(node, self.value(node.args[0]))

    do_load_for_write = do_load

    def do_store(self, node: Bits) -> None:
        address, value = map(self.value, node.args)
        self.context.store(node, address, value)

    def _bulk(self, node: Bits) -> str:
        return self.context.bulk(node, [self.value(a) for a in node.args])

    do_copy = do_fill = do_scan = do_compare = _bulk

    def do_when(self, node: Bits) -> None:
        branch = node.attribute
        condition = self.value(node.args[0])
        otherwise = [self.value(o) for _, o in branch.yields]
        before, inside, after = self.label, self.fresh("then"), self.fresh("after")
        ends = branch.region.ends
        if ends:
            self.branch(condition, inside, after, "!prof !1")
        else:
            self.branch(condition, inside, after)
        self.start(inside)
        self.push()
        self.region(branch.region)
        then = [] if ends else [self.value(t) for t, _ in branch.yields]
        self.pop()
        if not ends:
            inside = self.label
            self.jump(after)
        self.start(after)
        if ends:
            self._results[id(node)] = otherwise
            return
        self._results[id(node)] = [
            self.emit(f"phi i{t.width} [{a}, %{inside}], [{b}, %{before}]")
            for (t, _), a, b in zip(branch.yields, then, otherwise, strict=True)
        ]

    def do_fault(self, node: Bits) -> None:
        self.jump(self.context.given_up())

    def do_exit(self, node: Bits) -> None:
        self.context.exit(node, [self.value(a) for a in node.args])

    def do_retire(self, node: Bits) -> None:
        self.context.retire(self.value(node.args[0]), node.args[0].width)

    def do_undefined(self, node: Bits) -> None:
        pass  # the value is the meaning's own

    def do_put(self, node: Bits) -> None:
        raise AssertionError("register writes are gathered by whoever compiles")

    do_put_indexed = do_put


require_columns(Lowering)
missing = [row.name for row in OPS.values() if row.pure and row.llvm == "effect"]
if missing:
    raise TypeError(f"the table has no LLVM reading of {', '.join(missing)}")
