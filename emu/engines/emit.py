"""From IR to Python source: the emitter of the `python` engine.

`Emitter` prints the scheduled nodes of a trace as statements. Values used once are printed where
they are used; others, and whatever is loaded, get a name (`t12`). Memory is reached through an
`Access` object for each address space, which knows the fast way for its kind of memory.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

from isa.bits import Bits
from isa.hints import Protocol
from isa.ops import OPS, require_columns
from isa.trace import Region
from isa.words import mask


class Access(Protocol):
    """How emitted source reaches one address space."""

    def load(self, address: str, width: int, for_write: bool = False) -> str:
        """An expression that loads; `address` is a name or a number."""

    def store(self, address: str, width: int, value: str, undo: bool) -> list[str]:
        """Lines that store; `undo`: so that a later fault can take it back."""


class Emitter:
    """Prints nodes as lines of Python; one emitter for one function."""

    def __init__(self, access: Callable[[str], Access], indent: str = "    ") -> None:
        self.lines: list[str] = []
        self.names: dict[int, str] = {}  # id of a node -> the name that holds its value
        self._access = access
        self.undo = False  # whether stores must be logged: set for each instruction
        self._text: dict[int, str] = {}
        self._uses: Counter[int] = Counter()
        self._numbers = itertools.count()
        self._results: dict[int, list[str]] = {}  # id of a `when` -> names of what it yields
        self._indent = indent

    # -- lines and names -----------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Append one line at the current indentation."""
        self.lines.append(self._indent + text)

    def text(self, node: Bits) -> str:
        """The expression for a node that has been emitted."""
        return self._text[id(node)]

    def _name(self, node: Bits, expression: str) -> str:
        name = f"t{next(self._numbers)}"
        self.names[id(node)] = name
        self.line(f"{name} = {expression}")
        return name

    def _atom(self, node: Bits) -> str:
        """A name or number for a node: safe to print several times."""
        text = self.text(node)
        if text.isidentifier() or text.isdigit():
            return text
        name = self._text[id(node)] = self._name(node, text)
        return name

    # -- regions -------------------------------------------------------------------------------

    def count_uses(self, region: Region) -> None:
        """Learn how often each node is used; call before `region`."""
        for node in region.nodes:
            self._uses.update(id(a) for a in node.args)
            if node.op == "when":
                self._uses.update(id(v) for pair in node.attribute.yields for v in pair)
                self.count_uses(node.attribute.region)

    def use(self, node: Bits, times: int = 1) -> None:
        """Count uses outside the regions (what a block leaves in registers)."""
        self._uses[id(node)] += times

    def region(self, region: Region) -> None:
        """Emit the nodes of a region in order."""
        for node in region.nodes:
            self.node(node)

    def puts(self, nodes: list[Bits]) -> None:
        """Emit register writes that take effect together: first every value, then the writes."""
        for node in nodes:
            for arg in node.args:
                if "V[" in self.text(arg):
                    self._text[id(arg)] = self._name(arg, self.text(arg))
        for node in nodes:
            self.node(node)

    def node(self, node: Bits) -> None:
        """Emit one node."""
        row = OPS[node.op]
        if not row.pure:
            getattr(self, f"do_{node.op}")(node)
            return
        expression = self._expression(node, row.source)
        if self._uses[id(node)] > 1:
            expression = self._name(node, expression)
        self._text[id(node)] = expression

    def _expression(self, node: Bits, template: str) -> str:
        width = node.args[0].width
        arguments = {}
        for key, arg in zip("abc", node.args, strict=False):
            repeated = template.count(f"{{{key}}}") > 1
            arguments[key] = self._atom(arg) if repeated else self.text(arg)
        return template.format(
            m=mask(width), s=1 << width - 1, w=width, k=node.attribute, r=mask(node.width),
            **arguments,
        )  # fmt: skip

    # -- leaves --------------------------------------------------------------------------------

    def do_const(self, node: Bits) -> None:
        self._text[id(node)] = str(node.value)

    def do_field(self, node: Bits) -> None:
        self._text[id(node)] = f"f_{node.attribute[0]}"

    def do_get(self, node: Bits) -> None:
        expression = f"V[{node.attribute[0].slot}]"
        if self._uses[id(node)] > 1:
            expression = self._name(node, expression)
        self._text[id(node)] = expression

    def do_get_indexed(self, node: Bits) -> None:
        first = node.attribute[0].members[0].slot
        place = f"{first} + {self.text(node.args[0])}" if first else self.text(node.args[0])
        self._text[id(node)] = self._name(node, f"V[{place}]")

    def do_clock(self, node: Bits) -> None:
        self._text[id(node)] = "S.count"

    def do_parameter(self, node: Bits) -> None:
        raise AssertionError("a parameter stands only in a function's body")

    def do_call(self, node: Bits) -> None:
        raise AssertionError("calls are expanded before a trace is emitted")

    # -- memory --------------------------------------------------------------------------------

    def do_load(self, node: Bits) -> None:
        space, width = node.attribute
        for_write = node.op == "load_for_write"
        expression = self._access(space).load(self._atom(node.args[0]), width, for_write)
        self._text[id(node)] = self._name(node, expression)

    do_load_for_write = do_load

    def do_store(self, node: Bits) -> None:
        space, width = node.attribute
        address, value = node.args
        access = self._access(space)
        for line in access.store(self._atom(address), width, self._atom(value), self.undo):
            self.line(line)

    def _bulk(self, node: Bits) -> None:
        space, *rest = node.attribute
        arguments = ", ".join([repr(space), *map(repr, rest), *map(self.text, node.args)])
        self._text[id(node)] = self._name(node, f"B.{node.op}({arguments})")

    do_copy = do_fill = do_scan = do_compare = _bulk

    # -- control -------------------------------------------------------------------------------

    def do_when(self, node: Bits) -> None:
        branch = node.attribute
        names = [f"y{len(self._results)}_{i}" for i in range(len(branch.yields))]
        self._results[id(node)] = names
        self.line(f"if {self.text(node.args[0])}:")
        outer, self._indent = self._indent, self._indent + "    "
        known = dict(self._text)  # what gets a name inside has none outside
        self.line("pass")
        self.region(branch.region)
        self._assign(names, [then for then, _ in branch.yields])
        self._text = known
        self._indent = outer
        if names:
            self.line("else:")
            self._indent += "    "
            self._assign(names, [otherwise for _, otherwise in branch.yields])
            self._indent = outer

    def _assign(self, names: list[str], values: list[Bits]) -> None:
        for name, value in zip(names, values, strict=True):
            self.line(f"{name} = {self.text(value)}")

    def yielded(self, when: Bits | None, number: int) -> str:
        """The name of what a `when` yields; empty if it was not emitted."""
        names = self._results.get(id(when), [])
        return names[number] if number < len(names) else ""

    def do_result(self, node: Bits) -> None:
        name = self._results[id(node.args[0])][node.attribute[0]]
        self._text[id(node)] = self.names[id(node)] = name

    def do_fault(self, node: Bits) -> None:
        vector, (has_code, has_address), left = node.attribute
        if left:
            self.line("raise Stop(None)")
            return
        rest = [self.text(a) for a in node.args]
        code = rest.pop(0) if has_code else "None"
        address = rest.pop(0) if has_address else "None"
        self.line(f"raise Stop(Fault({vector}, {code}, {address}))")

    def do_exit(self, node: Bits) -> None:
        values = "".join(f"{self.text(a)}, " for a in node.args)
        made = f"Exit({node.attribute!r}, None, ({values}))"
        before = node.attribute == "unimplemented"  # the instruction does not happen
        self.line(f"raise Stop({made})" if before else f"B.stop = {made}")

    def do_retire(self, node: Bits) -> None:
        self.line(f"B.retired = {self.text(node.args[0])}")

    def do_undefined(self, node: Bits) -> None:
        pass  # the value is the meaning's own

    def do_put(self, node: Bits) -> None:
        self.line(f"V[{node.attribute.slot}] = {self.text(node.args[0])}")

    def do_put_indexed(self, node: Bits) -> None:
        first = node.attribute.members[0].slot
        place = f"{first} + {self.text(node.args[0])}" if first else self.text(node.args[0])
        self.line(f"V[{place}] = {self.text(node.args[1])}")


require_columns(Emitter)
