"""IR as readable text: what an instruction does, one step a line."""

from __future__ import annotations

from collections.abc import Callable

from isa.bits import Bits
from isa.ops import require_columns
from isa.trace import Region, Trace

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^", "shl": "<<",
    "lshr": ">>", "ashr": ">>s", "eq": "=", "ne": "≠", "ult": "<", "ule": "≤", "slt": "<s",
    "sle": "≤s", "udiv": "/", "urem": "%", "sdiv": "/s", "srem": "%s",
}  # fmt: skip


def describe(trace: Trace) -> list[str]:
    """The steps of a trace in order; values are written where they are used."""
    printer = _Printer()
    printer.region(trace.region, "")
    if trace.value is not None:
        printer.lines.append(f"= {printer.value(trace.value)}")
    return printer.lines


class _Printer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[int, str] = {}

    def region(self, region: Region, indent: str) -> None:
        """One line for each effect."""
        for effect in region.effects:
            handler: Callable[[Bits, str], None] = getattr(self, f"do_{effect.op}")
            handler(effect, indent)

    def value(self, node: Bits) -> str:
        """An expression."""
        if id(node) in self._names:
            return self._names[id(node)]
        if node.op in _INFIX:
            return self._infix(node)
        method: Callable[[Bits], str] = getattr(self, f"value_{node.op}", self.value_other)
        return method(node)

    def _infix(self, node: Bits) -> str:
        a, b = node.args
        if node.op == "add" and b.is_const and b.signed_value < 0:
            return f"({self.value(a)} - {number(-b.signed_value)})"
        return f"({self.value(a)} {_INFIX[node.op]} {self.value(b)})"

    def value_const(self, node: Bits) -> str:
        return number(node.value)

    def value_get(self, node: Bits) -> str:
        return str(node.attribute[0])

    def value_field(self, node: Bits) -> str:
        return str(node.attribute[0])

    def value_get_indexed(self, node: Bits) -> str:
        return f"{node.attribute[0]}[{self.value(node.args[0])}]"

    def value_clock(self, node: Bits) -> str:
        return "instructions retired"

    def value_not(self, node: Bits) -> str:
        return f"~{self.value(node.args[0])}"

    def value_zext(self, node: Bits) -> str:
        return self.value(node.args[0])

    def value_sext(self, node: Bits) -> str:
        return f"sign-extended({self.value(node.args[0])})"

    def value_extract(self, node: Bits) -> str:
        low, width = node.attribute
        where = str(low) if width == 1 else f"{low + width - 1}:{low}"
        return f"{self.value(node.args[0])}[{where}]"

    def value_concat(self, node: Bits) -> str:
        return " : ".join(self.value(a) for a in node.args)

    def value_select(self, node: Bits) -> str:
        condition, then, otherwise = map(self.value, node.args)
        return f"({then} if {condition} else {otherwise})"

    def value_call(self, node: Bits) -> str:
        arguments = ", ".join(map(self.value, node.args))
        return f"{node.attribute.family}({arguments}).{node.attribute.result}"

    def value_result(self, node: Bits) -> str:
        (when,) = node.args
        then, otherwise = when.attribute.yields[node.attribute[0]]
        condition = self.value(when.args[0])
        return f"({self.value(then)} if {condition} else {self.value(otherwise)})"

    def value_other(self, node: Bits) -> str:
        return f"{node.op}({', '.join(map(self.value, node.args))})"

    # -- effects -----------------------------------------------------------------------------

    def _named(self, node: Bits, indent: str, text: str) -> None:
        name = self._names[id(node)] = f"t{len(self._names) + 1}"
        self.lines.append(f"{indent}{name} := {text}")

    def do_load(self, node: Bits, indent: str) -> None:
        space, width = node.attribute
        self._named(node, indent, f"{space}{width}[{self.value(node.args[0])}]")

    def do_load_for_write(self, node: Bits, indent: str) -> None:
        space, width = node.attribute
        place = self.value(node.args[0])
        self._named(node, indent, f"{space}{width}[{place}], which must be writable")

    def do_store(self, node: Bits, indent: str) -> None:
        space, width = node.attribute
        address, value = map(self.value, node.args)
        self.lines.append(f"{indent}{space}{width}[{address}] := {value}")

    def _bulk(self, node: Bits, indent: str) -> None:
        arguments = ", ".join(map(self.value, node.args))
        self._named(node, indent, f"{node.op}{node.attribute[1]}({arguments}), iterations done")

    do_copy = do_fill = do_scan = do_compare = _bulk

    def do_when(self, node: Bits, indent: str) -> None:
        self.lines.append(f"{indent}if {self.value(node.args[0])}:")
        self.region(node.attribute.region, indent + "    ")

    def do_fault(self, node: Bits, indent: str) -> None:
        code = f", code {self.value(node.args[0])}" if node.attribute[1][0] else ""
        left = node.attribute[2]
        values = node.args[len(node.args) - len(left) :]
        pairs = zip(left, values, strict=True)
        leaving = "".join(f", leaving {name} := {self.value(value)}" for name, value in pairs)
        self.lines.append(f"{indent}fault, vector {node.attribute[0]}{code}{leaving}")

    def do_exit(self, node: Bits, indent: str) -> None:
        values = "".join(f" {self.value(a)}" for a in node.args)
        self.lines.append(f"{indent}leave: {node.attribute}{values}")

    def do_retire(self, node: Bits, indent: str) -> None:
        self.lines.append(f"{indent}count as {self.value(node.args[0])} instructions")

    def do_undefined(self, node: Bits, indent: str) -> None:
        condition = node.args[0]
        when = "" if condition.is_const else f" if {self.value(condition)}"
        self.lines.append(f"{indent}{node.attribute} is undefined{when}")

    def do_put(self, node: Bits, indent: str) -> None:
        self.lines.append(f"{indent}{node.attribute} := {self.value(node.args[0])}")

    def do_put_indexed(self, node: Bits, indent: str) -> None:
        index, value = map(self.value, node.args)
        self.lines.append(f"{indent}{node.attribute}[{index}] := {value}")


EFFECTS = (
    "load", "store", "copy", "fill", "scan", "compare", "when", "fault", "exit", "retire",
    "undefined", "put", "put_indexed",
)  # fmt: skip
require_columns(_Printer, EFFECTS)


def number(value: int) -> str:
    """Small numbers in decimal, others in hexadecimal."""
    return str(value) if value < 10 else f"{value:#x}"
